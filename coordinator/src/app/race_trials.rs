//! Race: once all trials of a generation came to a rung, the better ones go on to the next, and the others are pruned.

use std::collections::BTreeMap;
use std::ops::Range;

use tracing::info;
use trawl_domain::id::StudyId;
use trawl_domain::job::TrialFold;
use trawl_domain::metric::FoldMetrics;
use trawl_domain::racing::{AtRung, Racing};
use trawl_domain::seed::FitOwner;
use trawl_domain::state::{StudyState, TrialState};
use trawl_domain::study::Study;

use super::AppError;
use super::finish_trials::lacks_metric;
use crate::store::folds::{self, FoldRecord, NewFold};
use crate::store::racers::{self, Racer, RungVerdict};
use crate::store::studies::{EndedTrials, StudyRecord};
use crate::store::trials::{self, TrialEnd};
use crate::store::{Connection, checkpoints, studies};

/// What a race did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raced {
    /// Trials that ended.
    ended: EndedTrials,
    /// True if folds wait for a job now.
    pub(super) queued_folds: bool,
}

/// Decides the rungs to which all trials of these generations came. The transaction has locked the study, so it sees what every other
/// one did that ended a fold of them.
pub(super) async fn race_trials(
    conn: &mut Connection,
    study: &Study,
    record: &StudyRecord,
    generations: &[u32],
) -> Result<Raced, AppError> {
    let mut raced = Raced::default();
    let Some(racing) = &study.racing else {
        return Ok(raced);
    };
    if record.state == StudyState::Running {
        for generation in generations {
            // A rung that trains nothing more, as a few epochs are, is decided at once.
            for heat in study.heats(*generation) {
                while decide(conn, study, racing, record.study_id, *generation, &heat, &mut raced).await? {}
            }
        }
        studies::count_ended(conn, record.study_id, raced.ended).await?;
        if raced.queued_folds {
            studies::set_folds_wait(conn, record.study_id, true).await?;
        }
    }
    checkpoints::remove_unneeded(conn, record.study_id).await?;
    Ok(raced)
}

/// Decides the rung that the trials of a generation that race each other are at; false if it cannot be decided yet, or if something is to be trained then.
async fn decide(
    conn: &mut Connection,
    study: &Study,
    racing: &Racing,
    study_id: StudyId,
    generation: u32,
    heat: &Range<u32>,
    raced: &mut Raced,
) -> Result<bool, AppError> {
    let racers = racers::racers(conn, study_id, heat).await?;
    let open: Vec<&Racer> = racers.iter().filter(|racer| !racer.state.is_final()).collect();
    // Those that are under way are at one rung: none goes on before all came.
    let Some(rung) = open
        .first()
        .map(|racer| racer.rung)
        .filter(|rung| *rung < racing.last_rung())
    else {
        return Ok(false);
    };
    let numbers: Vec<u32> = open.iter().map(|racer| racer.trial).collect();
    let folds = by_trial(folds::of_owners(conn, study_id, &numbers, None).await?);
    // One that diverged fails its trial once its job ends, and may yet be trained again before.
    let came = |fold: &FoldRecord| matches!(fold.state, TrialState::Paused | TrialState::Completed);
    if !folds.values().flatten().all(came) {
        return Ok(false);
    }
    let mut values: BTreeMap<u32, Option<RungVerdict>> = BTreeMap::new();
    for racer in &open {
        let metrics = folds.get(&racer.trial).into_iter().flatten().map(|fold| fold.metrics);
        let metrics: Vec<FoldMetrics> = metrics.collect();
        // What workers spent is no objective of a study that is raced.
        let further_keys = study.further_keys(&racer.params, &metrics, 0.0);
        let further_keys = further_keys.map_err(|v| AppError::stored_study(study_id, &v))?;
        let verdict = study.objective.of_trial(&metrics, 1).zip(further_keys);
        let verdict = verdict.map(|(value, further_keys)| RungVerdict {
            trial: racer.trial,
            value: value.mean,
            further_keys,
            goes_on: false,
        });
        values.insert(racer.trial, verdict);
    }
    let came: Vec<AtRung> = racers
        .iter()
        // Those that were cancelled before they came are none.
        .filter(|racer| racer.rung == rung && racer.state != TrialState::Cancelled)
        .map(|racer| AtRung {
            trial: racer.trial,
            // One that is whole already has its value.
            keys: match values.get(&racer.trial) {
                Some(verdict) => verdict
                    .as_ref()
                    .map(|verdict| study.keys(verdict.value, &verdict.further_keys)),
                None => racer.keys.clone(),
            },
        })
        .collect();
    let promoted = racing.promote(&came);
    let verdicts = values.values().flatten().map(|verdict| RungVerdict {
        goes_on: promoted.binary_search(&verdict.trial).is_ok(),
        ..verdict.clone()
    });
    let verdicts: Vec<RungVerdict> = verdicts.collect();
    racers::take_verdicts(conn, study_id, came.len() as u32, &verdicts).await?;
    let failed: Vec<TrialEnd> = values
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(trial, _)| TrialEnd {
            trial: *trial,
            state: TrialState::Failed,
            value: None,
            further_keys: Vec::new(),
            error: Some(lacks_metric(study)),
        })
        .collect();
    trials::finish(conn, study_id, &failed).await?;
    let dropped: Vec<u32> = numbers
        .into_iter()
        .filter(|trial| promoted.binary_search(trial).is_err())
        .collect();
    folds::end_between_jobs(conn, study_id, &dropped, TrialState::Pruned).await?;
    raced.ended.failed += failed.len() as u32;
    raced.ended.pruned += (dropped.len() - failed.len()) as u32;
    let goes_on = open.iter().filter(|racer| promoted.binary_search(&racer.trial).is_ok());
    let queued = queue(
        conn,
        study,
        racing,
        study_id,
        (generation, rung + 1),
        goes_on.copied(),
        &folds,
    )
    .await?;
    raced.queued_folds |= queued;
    info!(study.id = %study_id, generation, rung, rung.trials = came.len(), rung.promoted = promoted.len(), "rung decided");
    Ok(!queued && !promoted.is_empty())
}

/// Has the folds of trials wait for the jobs that train them up to a rung; false if nothing is left to be trained for it.
async fn queue<'a>(
    conn: &mut Connection,
    study: &Study,
    racing: &Racing,
    study_id: StudyId,
    (generation, rung): (u32, u32),
    racers: impl Iterator<Item = &'a Racer>,
    folds: &BTreeMap<u32, Vec<FoldRecord>>,
) -> Result<bool, AppError> {
    let (mut new, mut further) = (Vec::new(), Vec::new());
    for racer in racers {
        let trial = racer.trial;
        let (trained, end_epoch) = racing.folds(generation, rung, study.validation, racer.epochs);
        for fold in trained {
            let there = folds
                .get(&trial)
                .and_then(|folds| folds.iter().find(|there| there.fold == fold));
            match there {
                None => new.push(NewFold {
                    job: None,
                    owner: FitOwner::Trial(trial),
                    fold,
                    end_epoch,
                }),
                Some(there) if there.epochs < end_epoch => further.push((TrialFold { trial, fold }, end_epoch)),
                Some(_) => {}
            }
        }
    }
    folds::insert(conn, study_id, &new).await?;
    folds::go_on(conn, study_id, &further).await?;
    Ok(!new.is_empty() || !further.is_empty())
}

fn by_trial(folds: Vec<FoldRecord>) -> BTreeMap<u32, Vec<FoldRecord>> {
    let mut by_trial: BTreeMap<u32, Vec<FoldRecord>> = BTreeMap::new();
    for fold in folds {
        if let FitOwner::Trial(trial) = fold.owner {
            by_trial.entry(trial).or_default().push(fold);
        }
    }
    by_trial
}
