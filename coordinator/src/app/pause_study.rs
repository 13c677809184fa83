//! Pause and resume. Nothing more is leased of a paused study, and workers are told at their next heartbeat to hand back what
//! they train of it, with a checkpoint from which it goes on once the study is resumed. A study whose files find no space pauses
//! by itself, and says why.

use tracing::{info, warn};
use trawl_domain::id::JobId;
use trawl_domain::state::StudyState;

use super::finish_study::finish_study;
use super::race_trials::race_trials;
use super::read_study::{StudyView, get_study};
use super::{App, AppError, not_in_state};
use crate::store::{artifacts, jobs, racers, studies};

/// Pauses a running study. One that is paused already stays so.
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

/// Resumes a paused study. One that runs already goes on.
pub async fn resume_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    if found.state == StudyState::Paused {
        jobs::rejoin(&mut tx, found.study_id).await?;
    }
    if studies::resume(&mut tx, found.study_id).await? {
        // Its trials may have come to a rung meanwhile, or its last one to its end.
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

/// Pauses the studies of jobs of which something found no space: without a pause, every worker would train what cannot be kept.
/// False if one of them is not paused now: the jobs of refits after the end of their study have to fail.
pub async fn pause_for_space(app: &App, jobs: &[JobId], reason: &str) -> bool {
    let paused = async {
        // In one transaction: nobody resumes them in between.
        let mut tx = app.begin().await?;
        let names = studies::pause_of_jobs(&mut tx, jobs, reason).await?;
        let waiting = jobs::of_paused_studies(&mut tx, jobs).await?;
        tx.commit().await?;
        Ok::<_, AppError>((names, waiting.len() == jobs.len()))
    };
    match paused.await {
        Ok((names, all_wait)) => {
            // There are none where they are paused already, or ended.
            for name in names {
                warn!(
                    study.name = name,
                    pause.reason = reason,
                    "study paused: there is no space"
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
