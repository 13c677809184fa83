//! Pause and resume. No job of a paused study is leased any more, and the next heartbeat asks workers to hand its jobs
//! back, with checkpoints to go on from when the study is resumed. A study whose files find no space pauses by itself,
//! and gives the reason.

use tracing::{info, warn};
use trawl_domain::id::JobId;
use trawl_domain::state::StudyState;

use super::finish_study::finish_study;
use super::race_trials::race_trials;
use super::read_study::{StudyView, get_study};
use super::{App, AppError, not_in_state};
use crate::store::{artifacts, jobs, racers, studies};

/// Pauses a running study. A paused one stays paused.
pub async fn pause_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    let from = [StudyState::Running];
    if studies::move_state(&mut conn, found.study_id, &from, StudyState::Paused, None).await? {
        info!(study.id = %found.study_id, study.name = found.name, "study paused");
        app.signal_studies();
    } else if found.state != StudyState::Paused {
        return Err(not_in_state(&found, "paused"));
    }
    drop(conn);
    get_study(app, study).await
}

/// Resumes a paused study. A running one goes on.
pub async fn resume_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    if found.state == StudyState::Paused {
        jobs::rejoin(&mut tx, found.study_id).await?;
    }
    if studies::resume(&mut tx, found.study_id).await? {
        // Trials may have reached a rung meanwhile, or the last trial its end.
        let record = studies::lock(&mut tx, found.study_id).await?;
        let study = &app.study_of(&record)?.study;
        if study.racing.is_some() {
            let generations = racers::open_generations(&mut tx, found.study_id).await?;
            race_trials(&mut tx, study, &record, &generations).await?;
            artifacts::keep_best_trials(&mut tx, found.study_id).await?;
        }
        finish_study(app, &mut tx, study, found.study_id).await?;
        tx.commit().await?;
        info!(study.id = %found.study_id, study.name = found.name, "study resumed");
        app.signal_jobs();
        app.signal_studies();
    } else if found.state != StudyState::Running {
        return Err(not_in_state(&found, "resumed"));
    }
    get_study(app, study).await
}

/// Pauses the studies of jobs that found no space for a file: otherwise every worker would train for results that cannot be kept.
/// False if one of the studies is not paused now, as when a refit runs after the end of its study: such jobs have to fail.
pub async fn pause_for_space(app: &App, jobs: &[JobId], reason: &str) -> bool {
    let paused = async {
        // One transaction, so that nobody resumes them in between.
        let mut tx = app.begin().await?;
        let names = studies::pause_of_jobs(&mut tx, jobs, reason).await?;
        let waiting = jobs::of_paused_studies(&mut tx, jobs).await?;
        tx.commit().await?;
        Ok::<_, AppError>((names, waiting.len() == jobs.len()))
    };
    match paused.await {
        Ok((names, all_wait)) => {
            // Empty if they are already paused, or ended.
            for name in names {
                warn!(
                    study.name = name,
                    pause.reason = reason,
                    "study paused: there is no space; `trawl resume` lets it go on"
                );
            }
            app.signal_studies();
            all_wait
        }
        Err(error) => {
            warn!(pause.reason = reason, error = %error, "studies cannot be paused");
            true
        }
    }
}
