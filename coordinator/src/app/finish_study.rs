//! Finish: ends a study whose trials all ended, or starts the refit that its `refit` section asks for.

use trawl_domain::id::StudyId;
use trawl_domain::state::{StudyState, TrialState};
use trawl_domain::study::Study;

use super::refit_study::start_refit;
use super::{App, AppError, Effects};
use crate::store::studies::StudyRecord;
use crate::store::{Connection, refits, studies, trials};

/// Moves a study on if nothing of its present state is left to do.
pub(super) async fn finish_study(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
) -> Result<Effects, AppError> {
    let record = studies::lock(conn, study_id).await?;
    match record.state {
        // A study that found no space for the files of its refit.
        StudyState::Paused
            if refits::of_study(conn, study_id)
                .await?
                .iter()
                .any(|refit| refit.ends_study) =>
        {
            finish_refitting(conn, study_id).await
        }
        StudyState::Running | StudyState::Paused if record.trials_ended() == record.max_trials => {
            finish_search(app, conn, study, &record).await
        }
        StudyState::Refitting => finish_refitting(conn, study_id).await,
        _ => Ok(Effects::default()),
    }
}

async fn finish_search(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    record: &StudyRecord,
) -> Result<Effects, AppError> {
    let id = record.study_id;
    let from = [StudyState::Running, StudyState::Paused];
    // Its refit begins when it is resumed.
    let waits = record.state == StudyState::Paused;
    let Some(best) = trials::best(conn, id, 1).await?.into_iter().next() else {
        studies::move_state(conn, id, &from, StudyState::Failed, Some("no trial completed")).await?;
        return Ok(Effects {
            queued_jobs: false,
            ended_study: Some(id),
        });
    };
    if study.refit.is_none() {
        studies::move_state(conn, id, &from, StudyState::Completed, None).await?;
        return Ok(Effects {
            queued_jobs: false,
            ended_study: Some(id),
        });
    }
    if waits {
        return Ok(Effects::default());
    }
    studies::move_state(conn, id, &from, StudyState::Refitting, None).await?;
    start_refit(app, conn, study, id, &best, true).await?;
    Ok(Effects {
        queued_jobs: true,
        ended_study: None,
    })
}

async fn finish_refitting(conn: &mut Connection, id: StudyId) -> Result<Effects, AppError> {
    let refits = refits::of_study(conn, id).await?;
    let Some(last) = refits
        .into_iter()
        .find(|refit| refit.ends_study && refit.state.is_final())
    else {
        return Ok(Effects::default());
    };
    let from = [StudyState::Refitting, StudyState::Paused];
    if last.state == TrialState::Completed {
        studies::move_state(conn, id, &from, StudyState::Completed, None).await?;
    } else {
        let error = format!(
            "refit {}: {}",
            last.refit,
            last.error.as_deref().unwrap_or(last.state.as_str())
        );
        studies::move_state(conn, id, &from, StudyState::Failed, Some(&error)).await?;
    }
    Ok(Effects {
        queued_jobs: false,
        ended_study: Some(id),
    })
}
