//! Pause and resume. Nothing more is leased of a paused study, and workers are told at their next heartbeat to hand back what
//! they train of it, with a checkpoint from which it goes on once the study is resumed.

use tracing::info;
use trawl_domain::state::StudyState;

use super::read_study::{StudyView, get_study};
use super::{App, AppError, not_in_state};
use crate::store::studies;

/// Pauses a running study. One that is paused already stays so.
pub async fn pause_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    switch(app, study, StudyState::Running, StudyState::Paused).await
}

/// Resumes a paused study. One that runs already goes on.
pub async fn resume_study(app: &App, study: &str) -> Result<StudyView, AppError> {
    switch(app, study, StudyState::Paused, StudyState::Running).await
}

async fn switch(app: &App, study: &str, from: StudyState, to: StudyState) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut conn = app.pool.acquire().await?;
    if studies::move_state(&mut conn, found.study_id, &[from], to, None).await? {
        info!(study.id = %found.study_id, study.name = found.name, study.state = %to, "study switched");
        app.signal_jobs();
        app.signal_studies();
    } else if found.state != to {
        return Err(not_in_state(
            &found,
            if to == StudyState::Paused { "paused" } else { "resumed" },
        ));
    }
    drop(conn);
    get_study(app, study).await
}
