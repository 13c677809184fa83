//! Finish: gives a value to trials and refits whose folds all ended.

use std::collections::BTreeMap;

use trawl_domain::id::StudyId;
use trawl_domain::metric::{FoldMetrics, TrialValue};
use trawl_domain::seed::FitOwner;
use trawl_domain::state::TrialState;
use trawl_domain::study::{RefitSpec, Study};

use super::AppError;
use crate::store::folds::{self, FoldRecord};
use crate::store::jobs::JobRecord;
use crate::store::studies::EndedTrials;
use crate::store::trials::{self, TrialEnd};
use crate::store::{Connection, objectives, refits};

/// The error of a trial with a fold that lacks an objective's value: only some metrics can be undefined for some rows.
pub(super) fn lacks_metric(study: &Study) -> String {
    let lacking = study.metrics().into_iter().find(|metric| metric.may_lack());
    format!("a fold has no {}", lacking.unwrap_or(study.objective.metric))
}

/// Ends the trials of a job whose folds all ended, and counts them. `open` are the job's unfinished trials, locked by
/// the transaction.
pub(super) async fn finish_trials(
    conn: &mut Connection,
    study: &Study,
    job: &JobRecord,
    open: &[u32],
) -> Result<EndedTrials, AppError> {
    let folds = folds::of_owners(conn, job.study_id, open, None).await?;
    let costs = match study.further[..] {
        [] => BTreeMap::new(),
        _ => objectives::costs(conn, job.study_id, open).await?,
    };
    let mut ends = Vec::new();
    let mut ended = EndedTrials::default();
    for of_trial in folds.chunk_by(|a, b| a.owner == b.owner) {
        let FitOwner::Trial(trial) = of_trial[0].owner else {
            continue;
        };
        let Some(outcome) = outcome(study, of_trial) else {
            continue;
        };
        let further_keys = match costs.get(&trial) {
            Some((params, seconds)) => study
                .further_keys(params, &metrics(study, of_trial), *seconds)
                .map_err(|v| AppError::stored_study(job.study_id, &v))?,
            None => Some(Vec::new()),
        };
        let outcome = outcome.and_then(|value| Ok((value, further_keys.ok_or_else(|| lacks_metric(study))?)));
        let end = match outcome {
            Ok((value, further_keys)) => {
                ended.completed += 1;
                let rank_key = study.objective.rank_key(value.mean);
                TrialEnd {
                    trial,
                    state: TrialState::Completed,
                    value: Some((value, rank_key)),
                    further_keys,
                    error: None,
                }
            }
            Err(error) => {
                ended.failed += 1;
                TrialEnd {
                    trial,
                    state: TrialState::Failed,
                    value: None,
                    further_keys: Vec::new(),
                    error: Some(error),
                }
            }
        };
        ends.push(end);
    }
    trials::finish(conn, job.study_id, &ends).await?;
    let failed: Vec<u32> = ends
        .iter()
        .filter(|end| end.state == TrialState::Failed)
        .map(|end| end.trial)
        .collect();
    folds::end_between_jobs(conn, job.study_id, &failed, TrialState::Pruned).await?;
    Ok(ended)
}

/// Ends a refit whose folds all ended.
pub(super) async fn finish_refit(
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
    refit: u32,
) -> Result<(), AppError> {
    let Some(record) = refits::lock_unfinished(conn, study_id, refit).await? else {
        return Ok(());
    };
    let folds = folds::of_owners(conn, study_id, &[], Some(refit)).await?;
    let outcome = match study.refit.as_ref().is_some_and(RefitSpec::keeps_folds) {
        true => outcome_of_kept(conn, study_id, record.trial, &folds).await?,
        false => outcome(study, &folds),
    };
    match outcome {
        None => {}
        Some(Ok(value)) => refits::complete(conn, study_id, refit, value).await?,
        Some(Err(error)) => refits::fail(conn, study_id, refit, &error).await?,
    }
    Ok(())
}

/// The outcome of a refit that keeps the networks of its trial's folds: its value is the trial's.
async fn outcome_of_kept(
    conn: &mut Connection,
    study_id: StudyId,
    trial: u32,
    folds: &[FoldRecord],
) -> Result<Option<Result<TrialValue, String>>, AppError> {
    if let Some(failed) = folds.iter().find(|fold| fold.state == TrialState::Failed) {
        return Ok(Some(Err(failed.error.clone().unwrap_or_else(|| "unknown".to_owned()))));
    }
    if folds.is_empty() || !folds.iter().all(|fold| fold.state == TrialState::Completed) {
        return Ok(None);
    }
    let trials = trials::page(conn, study_id, trial, 1).await?;
    let value = trials
        .into_iter()
        .find(|found| found.trial == trial)
        .and_then(|trial| trial.value);
    Ok(Some(value.ok_or_else(|| "its trial has no value any more".to_owned())))
}

/// The value of a trial or refit, or why it failed; `None` while a fold is missing or has not ended. The fit on all
/// training rows has to end too, but does not count in the value. If the trial failed, its paused folds count as ended.
fn outcome(study: &Study, folds: &[FoldRecord]) -> Option<Result<TrialValue, String>> {
    if let Some(failed) = folds.iter().find(|fold| fold.state == TrialState::Failed) {
        let all_ended = folds
            .iter()
            .all(|fold| fold.state.is_final() || fold.state == TrialState::Paused);
        let error = failed.error.clone().unwrap_or_else(|| "unknown".to_owned());
        return all_ended.then_some(Err(error));
    }
    let is_whole = folds.len() >= study.validation.folds() as usize;
    if !is_whole || !folds.iter().all(|fold| fold.state == TrialState::Completed) {
        return None;
    }
    let value = study.objective.of_trial(&metrics(study, folds), study.validation.seeds);
    Some(value.ok_or_else(|| lacks_metric(study)))
}

/// Metrics on the validation rows.
fn metrics(study: &Study, folds: &[FoldRecord]) -> Vec<FoldMetrics> {
    let validated = folds.iter().filter(|fold| fold.fold < study.validation.folds());
    validated.map(|fold| fold.metrics).collect()
}
