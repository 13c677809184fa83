//! Refit: trains one configuration again, as the study's `refit` section asks for.

use tracing::info;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::fold::Split;
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::job::plan_refit;
use trawl_domain::metric::Objective;
use trawl_domain::seed::FitOwner;
use trawl_domain::state::TrialState;
use trawl_domain::study::{RefitEpochs, RefitSpec, Study};

use super::{App, AppError, quotas};
use crate::store::artifacts;
use crate::store::curves;
use crate::store::folds::{self, NewFold};
use crate::store::jobs::{self, JobSplit, NewJob, Turn};
use crate::store::refits::{self, NewRefit, RefitRecord};
use crate::store::trials::{self, TrialRecord};
use crate::store::{Connection, studies};

/// Most refits of a study, so that repeated requests do not fill the database.
const REFITS_MAX: u32 = 1_000;

/// Starts a refit of a trial, the best one if none is named.
///
/// # Errors
/// [`AppError::FailedPrecondition`] if the study has no `refit` section, or the trial did not complete.
pub async fn refit_study(app: &App, study: &str, trial: Option<u32>) -> Result<RefitRecord, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, found.study_id).await?;
    let loaded = app.study_of(&record)?;
    let study = &loaded.study;
    if study.refit.is_none() {
        return Err(AppError::FailedPrecondition(format!(
            "study '{}' has no refit section",
            record.name
        )));
    }
    let chosen = match trial {
        None => trials::best(&mut tx, &[record.study_id], 1)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| {
                AppError::FailedPrecondition(format!("study '{}' has no completed trial yet", record.name))
            })?,
        Some(number) => super::read_study::trial(&mut tx, &record, number).await?,
    };
    if chosen.state != TrialState::Completed {
        return Err(AppError::FailedPrecondition(format!(
            "trial {} is {}",
            chosen.trial, chosen.state
        )));
    }
    if study.refit.as_ref().is_some_and(RefitSpec::keeps_folds) {
        let name = ArtifactKind::Weights.file(Some(0)).unwrap_or_default();
        let weights = artifacts::find(&mut tx, record.study_id, FitOwner::Trial(chosen.trial), &name).await?;
        if weights.is_none() {
            return Err(AppError::FailedPrecondition(format!(
                "trial {} has left no networks of its folds: the three best trials leave theirs, if these are not too large",
                chosen.trial
            )));
        }
    }
    let number = start_refit(app, &mut tx, study, record.study_id, &chosen, false).await?;
    let refit = refits::of_study(&mut tx, record.study_id)
        .await?
        .into_iter()
        .find(|refit| refit.refit == number);
    let refit = refit.ok_or_else(|| AppError::Internal(format!("refit {number} is not there")))?;
    let asked = studies::reserve_epochs(&mut tx, record.study_id, study.refit_epoch_reports()).await?;
    let quota = app.settings.quotas.study_epoch_reports;
    if asked > quota {
        return Err(AppError::Exhausted(format!(
            "the study's quota of epoch reports does not suffice: with this refit it would ask for {asked} of {quota} \
             (--study-epoch-reports-max)"
        )));
    }
    quotas::hold(app, &mut tx).await?;
    tx.commit().await?;
    app.signal_jobs();
    app.signal_studies();
    Ok(refit)
}

/// Queues the jobs of a refit of a locked study, and returns the refit's number.
pub(super) async fn start_refit(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
    trial: &TrialRecord,
    ends_study: bool,
) -> Result<u32, AppError> {
    let (Some(spec), Some(params)) = (&study.refit, study.refit_params(&trial.params)) else {
        return Err(AppError::Internal(format!("study {study_id} has no refit section")));
    };
    let epochs = match spec.epochs {
        RefitEpochs::Fixed(epochs) => epochs,
        RefitEpochs::Best => {
            let Objective { metric, goal, .. } = study.objective;
            let best = curves::best_epochs(conn, study_id, trial.trial, metric, goal).await?;
            if best.is_empty() {
                return Err(AppError::Internal(format!("trial {} has no epochs", trial.trial)));
            }
            study.epochs_of_best(&best)
        }
        RefitEpochs::OfFolds => trial.epochs,
    };
    // A refit that keeps its trial's networks trains none.
    let first_epoch = if spec.keeps_folds() { epochs } else { 0 };
    let new = NewRefit {
        trial: trial.trial,
        params: &params,
        epochs,
        ends_study,
    };
    let refit = refits::insert(conn, study_id, &new).await?;
    if refit >= REFITS_MAX && !ends_study {
        return Err(AppError::FailedPrecondition(format!(
            "a study has at most {REFITS_MAX} refits"
        )));
    }
    let mut new_jobs = Vec::new();
    let mut new_folds = Vec::new();
    let config = study.refit_config(&params, epochs);
    let config = config.map_err(|violation| AppError::stored_study(study_id, &violation))?;
    for planned in plan_refit(study, &config.architecture) {
        let job_id = JobId(app.new_id());
        let split = if planned.split == Split::All {
            JobSplit::All
        } else {
            JobSplit::Validation
        };
        new_jobs.push(NewJob {
            job_id,
            members: planned.folds.len() as u32,
            epochs,
            range: (first_epoch, epochs),
            split,
        });
        new_folds.extend((0..).zip(planned.folds).map(|(member, fold)| NewFold {
            job: Some((job_id, member)),
            owner: FitOwner::Refit(refit),
            fold,
            end_epoch: epochs,
        }));
    }
    jobs::insert(conn, study_id, Some(refit), &new_jobs, Turn::Last).await?;
    folds::insert(conn, study_id, &new_folds).await?;
    info!(study.id = %study_id, study.name = study.name, refit.number = refit, trial.number = trial.trial, "refit queued");
    Ok(refit)
}
