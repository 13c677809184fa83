//! Race: once all trials of a generation have reached a rung, the better ones go on to the next, and the others are pruned.

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

/// Results of a race.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raced {
    /// Trials that ended.
    ended: EndedTrials,
    /// True if folds wait for a job now.
    pub(super) queued_folds: bool,
}

/// Decides the rungs that all trials of these generations reached. The transaction has locked the study, so it sees all
/// transactions that ended a fold of these trials.
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
            // Short rungs may add no epochs; such a rung is decided at once.
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

/// Decides the current rung of trials that race each other; false if it cannot be decided yet, or if folds have to be trained next.
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
    // All trials under way are at one rung: none goes on before all have reached it.
    let Some(rung) = open
        .first()
        .map(|racer| racer.rung)
        .filter(|rung| *rung < racing.last_rung())
    else {
        return Ok(false);
    };
    let numbers: Vec<u32> = open.iter().map(|racer| racer.trial).collect();
    let folds = by_trial(folds::of_owners(conn, study_id, &numbers, None).await?);
    // A diverged fold fails its trial when its job ends; until then it may be trained again.
    let came = |fold: &FoldRecord| matches!(fold.state, TrialState::Paused | TrialState::Completed);
    if !folds.values().flatten().all(came) {
        return Ok(false);
    }
    let mut values: BTreeMap<u32, Option<RungVerdict>> = BTreeMap::new();
    for racer in &open {
        let metrics = folds.get(&racer.trial).into_iter().flatten().map(|fold| fold.metrics);
        let metrics: Vec<FoldMetrics> = metrics.collect();
        // Racing studies have no objective of worker time.
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
        // Trials cancelled before they reached the rung do not count.
        .filter(|racer| racer.rung == rung && racer.state != TrialState::Cancelled)
        .map(|racer| AtRung {
            trial: racer.trial,
            // A whole trial already has its value.
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
    info!(study.id = %study_id, study.name = study.name, generation, rung, rung.trials = came.len(), rung.promoted = promoted.len(),
        "rung decided");
    Ok(!queued && !promoted.is_empty())
}

/// Makes the folds of trials wait for jobs that train them up to a rung; false if none needs training.
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
