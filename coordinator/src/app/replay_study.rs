//! Replay: computes a study's proposals and pruning decisions again from stored data, and reports differences.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use trawl_domain::id::StudyId;
use trawl_domain::job::TrialFold;
use trawl_domain::metric::{At, FoldMetrics, Metrics, Objective};
use trawl_domain::objectives::Further;
use trawl_domain::racing::{AtRung, Racing};
use trawl_domain::search::{fingerprint, propose};
use trawl_domain::state::TrialState;
use trawl_domain::study::Study;

use super::study_cache::LoadedStudy;
use super::{App, AppError};
use crate::store::curves;
use crate::store::studies::StudyRecord;
use crate::store::trials::{self, TrialRecord};
use crate::store::{Connection, proposals};

/// Time after which a page ends, at the end of its current generation.
const PAGE_WITHIN: Duration = Duration::from_secs(5);
/// Most differences on a page.
const TOLD_MAX: usize = 100;

/// Results of a replay.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replay {
    /// Trials whose configurations were proposed again.
    pub trials: u32,
    /// Rungs decided again.
    pub rungs: u32,
    /// Differences from stored data, in words.
    pub differences: Vec<String>,
    /// The first trial of the next page.
    pub next_trial: Option<u32>,
}

/// Replays as many generations of a study as fit the time limit, beginning at `first_trial`, which has to be the first trial of a generation.
pub async fn replay_study(app: &App, study: &str, first_trial: u32) -> Result<Replay, AppError> {
    let began = Instant::now();
    let record = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    let loaded = app.study_of(&record)?;
    let mut replay = Replay::default();
    let mut first = first_trial / loaded.study.generations.size * loaded.study.generations.size;
    while first < record.next_trial {
        if began.elapsed() > PAGE_WITHIN {
            replay.next_trial = Some(first);
            break;
        }
        let size = loaded.study.generations.size.min(record.next_trial - first);
        let stored = trials::page(&mut conn, record.study_id, first, size).await?;
        proposals(&mut conn, &record, &loaded, &stored, &mut replay).await?;
        if let Some(racing) = &loaded.study.racing {
            for heat in loaded.study.heats(loaded.study.generations.of(first)) {
                let raced = |trial: &&TrialRecord| heat.contains(&trial.trial) && trial.rung.is_some();
                let stored: Vec<TrialRecord> = stored.iter().filter(raced).cloned().collect();
                rungs(&mut conn, &record, &loaded.study, racing, &stored, &mut replay).await?;
            }
        }
        first += size;
    }
    Ok(replay)
}

impl Replay {
    fn differs(&mut self, what: String) {
        if self.differences.len() < TOLD_MAX {
            self.differences.push(what);
        }
    }
}

/// Proposes a generation again.
async fn proposals(
    conn: &mut Connection,
    record: &StudyRecord,
    loaded: &Arc<LoadedStudy>,
    stored: &[TrialRecord],
    replay: &mut Replay,
) -> Result<(), AppError> {
    let Some(first) = stored.first().map(|trial| trial.trial) else {
        return Ok(());
    };
    let study = &loaded.study;
    let generation = study.generations.of(first);
    let history = match study.sampler.generations() {
        None => None,
        Some(generations) => {
            let known = generations.known_trials(generation);
            Some(proposals::history(conn, record.study_id, known, study.objective).await?)
        }
    };
    let kept = proposals::kept(conn, record.study_id, &(first..first + stored.len() as u32)).await?;
    let (loaded, stored) = (Arc::clone(loaded), stored.to_vec());
    let proposing = spawn_blocking(move || {
        let study = &loaded.study;
        let mut differing = Vec::new();
        let mut trials = 0;
        // A user chose these; no sampler proposed them.
        let together = |a: &TrialRecord, b: &TrialRecord| {
            a.chosen == b.chosen && kept.iter().all(|kept| kept.first_trial != b.trial)
        };
        for run in stored.chunk_by(together).filter(|run| !run[0].chosen) {
            let first = run[0].trial;
            let history = history
                .as_ref()
                .map(|history| history.before(first))
                .unwrap_or_default();
            let proposed = propose(
                &study.sampler,
                study.seed,
                &study.space,
                generation,
                first,
                run.len() as u32,
                &history,
            );
            trials += run.len() as u32;
            let kept = kept.iter().find(|kept| kept.first_trial == first);
            let history_differs = kept.is_some_and(|kept| kept.history != fingerprint::of_history(&history));
            let stored = fingerprint::of_proposals(run.iter().map(|trial| &trial.params));
            if kept.is_some_and(|kept| kept.proposals != stored) {
                differing.push(format!("trials {first} and after are not as they were proposed"));
            }
            if history_differs {
                differing.push(format!(
                    "trials {first} and after were proposed from other results than are stored"
                ));
            }
            let differs = run
                .iter()
                .zip(&proposed)
                .filter(|(trial, params)| trial.params != **params);
            differing.extend(
                differs.map(|(trial, _)| format!("trial {} has other parameters than are proposed", trial.trial)),
            );
        }
        (trials, differing)
    });
    let (trials, differing) = proposing
        .await
        .map_err(|error| AppError::Internal(format!("a proposal failed: {error}")))?;
    for difference in differing {
        replay.differs(difference);
    }
    replay.trials += trials;
    Ok(())
}

/// Objectives that the folds of raced trials measured, by epoch: at the ends of rungs, or at every epoch where the best one counts.
async fn measured(
    conn: &mut Connection,
    study_id: StudyId,
    study: &Study,
    racing: &Racing,
    stored: &[TrialRecord],
) -> Result<BTreeMap<TrialFold, BTreeMap<u32, Metrics>>, AppError> {
    let numbers: Vec<u32> = stored.iter().map(|trial| trial.trial).collect();
    let end = |trial: &TrialRecord, rung| racing.folds(trial.generation, rung, study.validation, trial.epochs).1 - 1;
    let mut epochs: Vec<u32> = stored
        .iter()
        .flat_map(|trial| (0..racing.last_rung()).map(move |rung| end(trial, rung)))
        .collect();
    epochs.sort_unstable();
    epochs.dedup();
    let further = study.further.iter().filter_map(|further| match further {
        Further::Metric(objective) => Some(*objective),
        Further::Cost(_) => None,
    });
    let objectives: Vec<Objective> = std::iter::once(study.objective).chain(further).collect();
    let all_last = objectives.iter().all(|objective| objective.at == At::Last);
    let wanted = all_last.then_some(&epochs[..]);
    let mut by_fold: BTreeMap<TrialFold, BTreeMap<u32, Metrics>> = BTreeMap::new();
    for objective in objectives {
        let metric = objective.metric;
        for measured in curves::metric_of_trials(conn, study_id, &numbers, metric, wanted).await? {
            let of_fold = by_fold.entry(measured.fold).or_default();
            of_fold.entry(measured.epoch).or_default().set(metric, measured.value);
        }
    }
    Ok(by_fold)
}

/// Decides the decided rungs of a race again.
async fn rungs(
    conn: &mut Connection,
    record: &StudyRecord,
    study: &Study,
    racing: &Racing,
    stored: &[TrialRecord],
    replay: &mut Replay,
) -> Result<(), AppError> {
    let by_fold = measured(conn, record.study_id, study, racing, stored).await?;
    for rung in 0..racing.last_rung() {
        let stays = |trial: &TrialRecord| trial.rung.is_some_and(|at| at.rung == rung);
        let is_there = |trial: &&TrialRecord| {
            let has_come = trial.state != TrialState::Cancelled || !stays(trial);
            has_come && trial.rung.is_some_and(|at| at.rung >= rung)
        };
        let came: Vec<&TrialRecord> = stored.iter().filter(is_there).collect();
        let is_open = |trial: &&&TrialRecord| stays(trial) && !trial.state.is_final();
        if came.is_empty() || came.iter().any(|trial| is_open(&trial)) {
            break;
        }
        let value = |trial: &TrialRecord| {
            let (folds, end_epoch) = racing.folds(trial.generation, rung, study.validation, trial.epochs);
            let metrics: Option<Vec<FoldMetrics>> = folds
                .into_iter()
                .map(|fold| {
                    let key = TrialFold {
                        trial: trial.trial,
                        fold,
                    };
                    let mut metrics = FoldMetrics::default();
                    let before = by_fold.get(&key)?.range(..end_epoch);
                    before.for_each(|(_, measured)| metrics.note(*measured));
                    Some(metrics)
                })
                .collect();
            let metrics = metrics?;
            let further_keys = study.further_keys(&trial.params, &metrics, 0.0).ok().flatten()?;
            Some((study.objective.of_trial(&metrics, 1)?.mean, further_keys))
        };
        let stored = |trial: &TrialRecord| {
            let keys = study.further.iter().map(|further| {
                let value = trial.objectives.get(further.name())?;
                Some(further.goal().key(*value))
            });
            Some((trial.value?.mean, keys.collect::<Option<Vec<f64>>>()?))
        };
        let ended_here = |trial: &TrialRecord, state| stays(trial) && trial.state == state;
        let values: Vec<Option<(f64, Vec<f64>)>> = came
            .iter()
            .map(|trial| match trial.state {
                TrialState::Failed if stays(trial) => None,
                // A trial that was already whole.
                TrialState::Completed if stays(trial) => stored(trial),
                _ => value(trial),
            })
            .collect();
        let at_rung = came.iter().zip(&values).map(|(trial, value)| AtRung {
            trial: trial.trial,
            keys: value
                .as_ref()
                .map(|(value, further_keys)| study.keys(*value, further_keys)),
        });
        let promoted = racing.promote(&at_rung.collect::<Vec<_>>());
        for (trial, value) in came.iter().zip(&values) {
            let number = trial.trial;
            if ended_here(trial, TrialState::Completed) {
                continue;
            }
            let goes_on = promoted.binary_search(&number).is_ok();
            if goes_on == stays(trial) {
                let (stored, anew) = if goes_on {
                    ("was dropped", "goes on")
                } else {
                    ("went on", "is dropped")
                };
                replay.differs(format!(
                    "trial {number} {stored} at rung {rung}, and by its epochs it {anew}"
                ));
            }
            let compared = trial
                .rung
                .and_then(|at| at.compared)
                .filter(|_| ended_here(trial, TrialState::Pruned));
            if compared.is_some_and(|(stored, _)| Some(stored) != value.as_ref().map(|(value, _)| *value)) {
                replay.differs(format!(
                    "trial {number} has another value at rung {rung} than its epochs have"
                ));
            }
        }
        replay.rungs += 1;
    }
    Ok(())
}
