//! Judge: once a search has ended, computes what its best trial is worth and which parameters mattered.
//!
//! The results are computed from stored data, outside transactions, because this takes up to some seconds. If a
//! coordinator dies meanwhile, the next tick of any coordinator does it. Two that compute at once get the same results.

use std::collections::{BTreeMap, HashMap};

use tokio::task::spawn_blocking;
use tracing::{info, warn};
use trawl_domain::id::StudyId;
use trawl_domain::importance::{Measured, importance};
use trawl_domain::metric::{Goal, Metric};
use trawl_domain::pareto;
use trawl_domain::seed::{FitOwner, Purpose};
use trawl_domain::state::TrialState;
use trawl_domain::study::Study;
use trawl_domain::winner::{
    Contender, Corrected, Interval, RowLosses, TRIALS_MAX, mean_interval, separation, trials_that_fit,
};

use super::{App, AppError};
use crate::store::folds::FoldRecord;
use crate::store::row_losses::FoldLosses;
use crate::store::trials::TrialRecord;
use crate::store::winners::{CorrectedValue, ImportanceRecord, WinnerRecord};
use crate::store::{Connection, curves, folds, objectives, refits, row_losses, studies, trials, winners};

/// Studies that are looked up at a time.
const STUDIES_AT_ONCE: u32 = 16;
/// The importance of parameters is computed from this number of trials, the first ones.
const IMPORTANCE_TRIALS_MAX: u32 = 10_000;
/// The front's growth is computed up to this number of completed trials.
const FRONT_TRIALS_MAX: u32 = 10_000;
/// Trials that are read at a time.
const PAGE_TRIALS: u32 = 512;

/// Judges the best trials of ended searches, and the test losses of refits.
pub async fn judge_winners(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let studies = winners::studies_to_judge(&mut conn, STUDIES_AT_ONCE).await?;
    drop(conn);
    for study_id in studies {
        if let Err(error) = judge_if_open(app, study_id).await {
            warn!(study.id = %study_id, error = %error, "winner cannot be judged; the next tick tries again");
        }
    }
    judge_refits(app, None).await
}

/// Judges a study's open parts now, because a user asks for the study.
pub(super) async fn judge_now(app: &App, study_id: StudyId) -> Result<(), AppError> {
    judge_if_open(app, study_id).await?;
    judge_refits(app, Some(study_id)).await
}

async fn judge_if_open(app: &App, study_id: StudyId) -> Result<(), AppError> {
    if !is_open(app, study_id).await? {
        return Ok(());
    }
    let _turn = app.judging.lock().await;
    // Another task may have done it meanwhile.
    if is_open(app, study_id).await? {
        judge(app, study_id).await?;
    }
    Ok(())
}

async fn is_open(app: &App, study_id: StudyId) -> Result<bool, AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(winners::is_to_judge(&mut conn, study_id).await?)
}

/// Judges the refits of one study, or of all.
async fn judge_refits(app: &App, study_id: Option<StudyId>) -> Result<(), AppError> {
    loop {
        let mut conn = app.pool.acquire().await?;
        let Some(test) = row_losses::of_open_refit(&mut conn, study_id).await? else {
            return Ok(());
        };
        let loaded = app.study(&mut conn, test.study_id).await?;
        drop(conn);
        let (refit, losses) = (test.refit, test.losses);
        let is_measured = test.completed;
        let interval = spawn_blocking(move || {
            let mut stream = loaded.study.seed.stream(Purpose::TestRows { refit });
            is_measured.then(|| mean_interval(&losses, &mut stream)).flatten()
        });
        let interval = interval.await.map_err(|error| AppError::Internal(error.to_string()))?;
        let mut tx = app.begin().await?;
        // A single row gives no interval.
        if let Some(interval) = interval {
            refits::keep_test_interval(&mut tx, test.study_id, refit, interval).await?;
        }
        row_losses::remove(&mut tx, test.fold_id).await?;
        tx.commit().await?;
        app.signal_studies();
    }
}

/// Results computed for a study.
struct Judged {
    winner: WinnerRecord,
    importance: Option<ImportanceRecord>,
    /// After each completed trial, where there are several objectives.
    hypervolumes: Vec<(u32, f64)>,
}

async fn judge(app: &App, study_id: StudyId) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let Some(record) = studies::get(&mut conn, &[study_id]).await?.into_iter().next() else {
        return Ok(());
    };
    let loaded = app.study_of(&record)?;
    let best = trials::best(&mut conn, &[study_id], TRIALS_MAX as u32).await?;
    let numbers: Vec<u32> = best.iter().map(|trial| trial.trial).collect();
    let folds = folds::of_owners(&mut conn, study_id, &numbers, None).await?;
    let with_losses = loaded.study.folds_with_row_losses();
    let of_rows = loaded.study.fold_sizes.iter().take(with_losses as usize);
    let rows: u32 = of_rows.map(|size| size.validate).sum();
    let fit = numbers.len().min(trials_that_fit(rows as usize));
    let losses = row_losses::of_trials(&mut conn, study_id, &numbers[..fit]).await?;
    let (measured, rung) = measured(&mut conn, &loaded.study, study_id).await?;
    let keys = objectives::all_keys(&mut conn, study_id, FRONT_TRIALS_MAX).await?;
    drop(conn);
    let judged = spawn_blocking(move || {
        let judged = compute(&loaded.study, &best, &folds, losses, &measured, rung)?;
        Some(Judged {
            hypervolumes: hypervolumes(&keys),
            ..judged
        })
    });
    let judged = judged.await.map_err(|error| AppError::Internal(error.to_string()))?;
    // A study deleted meanwhile has no trials.
    let Some(judged) = judged else { return Ok(()) };
    let mut tx = app.begin().await?;
    if winners::insert(&mut tx, &record, &judged.winner).await? {
        if let Some(importance) = &judged.importance {
            winners::insert_importance(&mut tx, study_id, importance).await?;
        }
        winners::insert_hypervolumes(&mut tx, study_id, &judged.hypervolumes).await?;
    }
    tx.commit().await?;
    info!(study.id = %study_id, study.name = record.name, trial.number = judged.winner.trial, "winner judged");
    app.signal_studies();
    Ok(())
}

fn compute(
    study: &Study,
    best: &[TrialRecord],
    folds: &[FoldRecord],
    losses: Vec<FoldLosses>,
    measured: &[Measured],
    rung: Option<u32>,
) -> Option<Judged> {
    let numbers: Vec<u32> = best.iter().map(|trial| trial.trial).collect();
    let contenders: Vec<Contender> = numbers.iter().map(|trial| contender(study, *trial, folds)).collect();
    let separation = separation(&contenders, study.test_ratio());
    let importance = importance(&study.space, measured).map(|importance| ImportanceRecord {
        importance,
        trials: measured.len() as u32,
        rung,
    });
    Some(Judged {
        winner: WinnerRecord {
            trial: *numbers.first()?,
            corrected: corrected(study, &numbers, losses),
            p_better: separation.p_better,
            not_separable_from: separation.not_separable_from,
        },
        importance,
        hypervolumes: Vec::new(),
    })
}

/// The hypervolume of the front after each trial, as far as it can be computed, from the trials' rank keys.
fn hypervolumes(keys: &[(u32, Vec<f64>)]) -> Vec<(u32, f64)> {
    let points: Vec<&[f64]> = keys.iter().map(|(_, keys)| &keys[..]).collect();
    let volumes = keys.iter().zip(pareto::hypervolumes(&points));
    volumes
        .filter_map(|((trial, _), volume)| Some((*trial, volume?)))
        .collect()
}

fn contender(study: &Study, trial: u32, folds: &[FoldRecord]) -> Contender {
    let of_trial = folds.iter().filter(|fold| fold.owner == FitOwner::Trial(trial));
    let values = of_trial.filter_map(|fold| study.objective.of_fold(fold.metrics));
    let keys: Vec<f64> = values.map(|value| study.objective.rank_key(value)).collect();
    let seeds = study.validation.seeds as usize;
    let splits = keys.len() / seeds;
    // Other initial weights on the same rows say nothing about other rows.
    let over_seeds = |split: usize| keys.iter().skip(split).step_by(splits).sum::<f64>() / seeds as f64;
    Contender {
        trial,
        fold_keys: (0..splits).map(over_seeds).collect(),
    }
}

/// The winner's value, corrected for the bias of choosing the best; `None` if the winner left no losses. Trials without
/// losses, as from a worker that does not send them, are not contenders.
fn corrected(study: &Study, ranked: &[u32], losses: Vec<FoldLosses>) -> Option<CorrectedValue> {
    let metric = study.row_losses()?;
    let mut by_trial: HashMap<u32, (u32, Vec<f32>)> = HashMap::new();
    for of_fold in losses {
        let (folds, rows) = by_trial.entry(of_fold.trial).or_default();
        *folds += 1;
        rows.extend(of_fold.losses);
    }
    by_trial.retain(|_, (folds, _)| *folds == study.folds_with_row_losses());
    if !by_trial.contains_key(ranked.first()?) {
        return None;
    }
    let of_ranked = ranked.iter().filter_map(|trial| by_trial.remove(trial));
    let of_ranked: Vec<Vec<f32>> = of_ranked.map(|(_, rows)| rows).collect();
    let contenders = of_ranked.len() as u32;
    let corrected = RowLosses::new(&of_ranked)?.corrected(&mut study.seed.stream(Purpose::WinnerRows))?;
    Some(value_of(metric, study.objective.goal, corrected, contenders))
}

/// Converts losses to the metric; for an accuracy, low and high swap.
fn value_of(metric: Metric, goal: Goal, corrected: Corrected, contenders: u32) -> CorrectedValue {
    let ends = [corrected.interval.low, corrected.interval.high].map(|loss| metric.of_mean_loss(loss));
    let [low, high] = match goal {
        Goal::Minimize => ends,
        Goal::Maximize => [ends[1], ends[0]],
    };
    CorrectedValue {
        value: metric.of_mean_loss(corrected.loss),
        interval: Interval { low, high },
        contenders,
    }
}

/// The measurements that the importance of parameters is computed from, and their rung. With racing, these are all
/// trials at the first rung, since only promising trials become whole; otherwise, whole trials.
async fn measured(
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
) -> Result<(Vec<Measured>, Option<u32>), AppError> {
    let mut all = Vec::new();
    for first in (0..study.max_trials.min(IMPORTANCE_TRIALS_MAX)).step_by(PAGE_TRIALS as usize) {
        let page = trials::page(conn, study_id, first, PAGE_TRIALS).await?;
        all.extend(if study.racing.is_some() {
            at_first_rung(conn, study, study_id, page).await?
        } else {
            let whole = page.into_iter().filter(|trial| trial.state == TrialState::Completed);
            let keyed =
                whole.filter_map(|trial| Some((Vec::new(), study.objective.rank_key(trial.value?.mean), trial)));
            keyed.collect()
        });
    }
    Ok((centred(all), study.racing.as_ref().map(|_| 0)))
}

/// The folds that a trial was measured on, its mean key there, and the trial.
type Keyed = (Vec<u32>, f64, TrialRecord);

/// Trials after the last epoch of the first rung, if they reached it.
async fn at_first_rung(
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
    page: Vec<TrialRecord>,
) -> Result<Vec<Keyed>, AppError> {
    let Some(racing) = &study.racing else {
        return Ok(Vec::new());
    };
    let at = |trial: &TrialRecord| racing.folds(trial.generation, 0, study.validation, trial.epochs);
    let numbers: Vec<u32> = page.iter().map(|trial| trial.trial).collect();
    let mut epochs: Vec<u32> = page.iter().map(|trial| at(trial).1 - 1).collect();
    epochs.sort_unstable();
    epochs.dedup();
    let metric = study.objective.metric;
    let measured = curves::metric_of_trials(conn, study_id, &numbers, metric, Some(&epochs)).await?;
    let values: BTreeMap<(u32, u32, u32), f64> = measured
        .into_iter()
        .map(|measured| {
            (
                (measured.fold.trial, measured.fold.fold, measured.epoch),
                measured.value,
            )
        })
        .collect();
    let keyed = page.into_iter().filter_map(|trial| {
        let (folds, end) = at(&trial);
        let of_folds = folds
            .iter()
            .map(|fold| values.get(&(trial.trial, *fold, end - 1)).copied());
        let of_folds: Vec<f64> = of_folds.collect::<Option<_>>()?;
        let mean = of_folds.iter().sum::<f64>() / of_folds.len() as f64;
        Some((folds, study.objective.rank_key(mean), trial))
    });
    Ok(keyed.collect())
}

/// Generations begin with different folds, and some folds are harder. So a trial counts by its distance from the mean
/// of trials measured on the same folds.
fn centred(all: Vec<Keyed>) -> Vec<Measured> {
    let mut means: BTreeMap<Vec<u32>, (f64, f64)> = BTreeMap::new();
    for (folds, key, _) in &all {
        let (sum, count) = means.entry(folds.clone()).or_default();
        *sum += key;
        *count += 1.0;
    }
    let measured = all.into_iter().map(|(folds, key, trial)| Measured {
        key: key - means.get(&folds).map_or(0.0, |(sum, count)| sum / count),
        trial: trial.trial,
        params: trial.params,
    });
    measured.collect()
}
