//! Plan: samples the next window of a study's trials, and queues their jobs; also queues the next jobs of folds that go on from a rung.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tracing::{debug, info, warn};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::job::{self, PlannedJob, WaitingFold, Window};
use trawl_domain::search::Past;
use trawl_domain::seed::FitOwner;
use trawl_domain::state::StudyState;
use trawl_domain::study::Study;

use super::finish_study::finish_study;
use super::{App, AppError};
use crate::store::folds::{self, NewFold};
use crate::store::jobs::{self, JobSplit, NewJob, Turn};
use crate::store::studies::StudyRecord;
use crate::store::{Connection, proposals, studies, trials};

/// Folds that are packed into jobs at once; further ones are packed by the next call.
const PACKED_AT_ONCE: u32 = 4_096;

/// Plans jobs of the oldest study that waits for some; false if none waits, or if another task is planning. Folds that go
/// on come before new trials. A sampler learns between two transactions, so that nothing waits for it.
pub async fn plan_next(app: &App) -> Result<bool, AppError> {
    let Ok(_alone) = app.planning.try_lock() else {
        return Ok(false);
    };
    let mut tx = app.begin().await?;
    let Some(study_id) = studies::next_to_plan(&mut tx).await? else {
        return Ok(false);
    };
    let record = studies::lock(&mut tx, study_id).await?;
    if record.state != StudyState::Running {
        return Ok(true);
    }
    let study = app.study_of(&record)?;
    let mut stored = None;
    if !pack_waiting(app, &mut tx, &study.study, &record).await? {
        let planned = match study.study.waits() {
            None => job::plan_window(&study.study, record.next_trial, &[]).map_err(|v| v.to_string()),
            Some(generations) => {
                let known = generations.known_trials(generations.of(record.next_trial));
                let history = proposals::history(&mut tx, study_id, known, study.study.objective).await?;
                if let Some(reason) = reason_to_stop(&mut tx, &study.study, study_id, known, &history.trials).await? {
                    info!(study.id = %study_id, study.name = record.name, stop.reason = %reason, "search stopped");
                    studies::stop_planning(&mut tx, study_id, &reason).await?;
                    let notifications = finish_study(app, &mut tx, &study.study, study_id).await?;
                    tx.commit().await?;
                    notifications.signal(app);
                    return Ok(true);
                }
                tx.rollback().await?;
                let learned_for = Arc::clone(&study);
                let next_trial = record.next_trial;
                let learning = spawn_blocking(move || {
                    let history = history.before(next_trial);
                    job::plan_window(&learned_for.study, next_trial, &history)
                });
                let learned = learning.await;
                tx = app.begin().await?;
                learned
                    .map_err(|error| error.to_string())
                    .and_then(|planned| planned.map_err(|v| v.to_string()))
            }
        };
        // Another coordinator may have planned the same first; or a user ended the study.
        let now = studies::lock(&mut tx, study_id).await?;
        let is_as_before = (now.next_trial, now.max_trials) == (record.next_trial, record.max_trials);
        if now.state != StudyState::Running || !is_as_before {
            return Ok(true);
        }
        // Trials that the sampler learned from are being trained again.
        if let Some(generations) = study.study.waits() {
            let known = generations.known_trials(generations.of(now.next_trial));
            if trials::are_open_before(&mut tx, study_id, known).await? {
                return Ok(true);
            }
        }
        match planned {
            Ok(Some(window)) => {
                store_window(app, &mut tx, &study.study, &now, &window, Turn::Last).await?;
                stored = Some(window);
            }
            Ok(None) if now.next_trial == now.max_trials => debug!(study.id = %study_id, "all trials are planned"),
            // Other studies would wait behind it for ever.
            planned => {
                let error = planned
                    .err()
                    .unwrap_or_else(|| "the sampler has nothing more to propose".to_owned());
                warn!(study.id = %study_id, study.name = now.name, error = %error, "study paused: it cannot be planned");
                studies::pause(
                    &mut tx,
                    study_id,
                    &format!("the next trials cannot be planned: {error}"),
                )
                .await?;
            }
        }
    }
    tx.commit().await?;
    if let Some(window) = stored {
        info!(study.id = %study_id, study.name = record.name, plan.trials = window.trials.len(), plan.jobs = window.jobs.len(),
            plan.first_trial = record.next_trial, "trials planned");
    }
    app.signal_jobs();
    app.signal_studies();
    Ok(true)
}

/// The reason to end the search early, if the results that the next generation may know give one.
async fn reason_to_stop(
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
    known: u32,
    history: &[Past],
) -> Result<Option<String>, AppError> {
    let Some(stop) = study.stops().filter(|stop| stop.looks_at_results()) else {
        return Ok(None);
    };
    let fold_epochs = match stop.fold_epochs {
        Some(_) => folds::epochs_of_trials(conn, study_id, known).await?,
        None => 0,
    };
    let known = history.partition_point(|past| past.trial < known);
    Ok(stop.reason(&history[..known], study.generations, fold_epochs))
}

/// Queues the jobs of folds that wait for one; false if none is noted as waiting. The study is locked.
async fn pack_waiting(app: &App, conn: &mut Connection, study: &Study, record: &StudyRecord) -> Result<bool, AppError> {
    let study_id = record.study_id;
    if !record.folds_wait {
        return Ok(false);
    }
    let waiting = folds::waiting(conn, study_id, PACKED_AT_ONCE).await?;
    let waiting = waiting.into_iter().map(|waiting| {
        let config = study
            .config(&waiting.params)
            .map_err(|v| AppError::stored_study(study_id, &v))?;
        Ok(WaitingFold {
            fold: waiting.fold,
            epochs: waiting.epochs..waiting.end_epoch,
            architecture: config.architecture,
        })
    });
    let waiting: Vec<WaitingFold> = waiting.collect::<Result<_, AppError>>()?;
    if waiting.len() < PACKED_AT_ONCE as usize {
        studies::set_folds_wait(conn, study_id, false).await?;
    }
    // The study no longer counts as having folds that wait.
    if waiting.is_empty() {
        return Ok(true);
    }
    let planned = job::pack(study, waiting);
    let new_jobs = queued(app, &planned);
    let members = |(new, planned): (&NewJob, &PlannedJob)| {
        let job_id = new.job_id;
        let folds: Vec<_> = (0..)
            .zip(&planned.folds)
            .map(|(member, fold)| (*fold, job_id, member))
            .collect();
        folds
    };
    let assigned: Vec<_> = new_jobs.iter().zip(&planned).flat_map(members).collect();
    jobs::insert(conn, study_id, None, &new_jobs, Turn::Last).await?;
    folds::assign(conn, study_id, &assigned).await?;
    info!(study.id = %study_id, study.name = record.name, plan.folds = assigned.len(), plan.jobs = new_jobs.len(), "folds go on");
    Ok(true)
}

/// Stores a window of a locked study, and queues its jobs.
pub(super) async fn store_window(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    record: &StudyRecord,
    window: &Window,
    turn: Turn,
) -> Result<(), AppError> {
    let study_id = record.study_id;
    let new_jobs = queued(app, &window.jobs);
    let mut new_folds = Vec::new();
    for (new, planned) in new_jobs.iter().zip(&window.jobs) {
        new_folds.extend((0..).zip(&planned.folds).map(|(member, fold)| NewFold {
            job: Some((new.job_id, member)),
            owner: FitOwner::Trial(fold.trial),
            fold: fold.fold,
            end_epoch: planned.epochs.end,
        }));
    }
    trials::insert(conn, study_id, &window.trials).await?;
    let chosen = window.trials.iter().filter(|trial| trial.chosen.is_some()).count();
    if chosen > 0 || study.space.is_finite() {
        trials::mark_twins(conn, study_id, record.next_trial).await?;
    }
    if let Some(learned) = &window.learned {
        let proposed = window.trials.len() - chosen;
        proposals::keep(conn, study_id, learned, proposed as u32).await?;
    }
    jobs::insert(conn, study_id, None, &new_jobs, turn).await?;
    folds::insert(conn, study_id, &new_folds).await?;
    let next_trial = record.next_trial + window.trials.len() as u32;
    studies::set_next_trial(conn, study_id, next_trial).await?;
    Ok(())
}

/// Planned jobs of trials, in the form in which they are stored.
fn queued(app: &App, planned: &[PlannedJob]) -> Vec<NewJob> {
    let new = |planned: &PlannedJob| NewJob {
        job_id: JobId(app.new_id()),
        members: planned.folds.len() as u32,
        epochs: planned.whole_epochs,
        range: (planned.epochs.start, planned.epochs.end),
        split: JobSplit::Validation,
    };
    planned.iter().map(new).collect()
}
