//! Finish: ends a study whose trials all ended, or starts the refit of its `refit` section.

use tracing::info;
use trawl_domain::id::StudyId;
use trawl_domain::state::{DIVERGED, StudyState, TrialState};
use trawl_domain::study::Study;
use trawl_domain::text::shown;

use super::refit_study::start_refit;
use super::{App, AppError, EndedStudy, Notifications};
use crate::store::studies::StudyRecord;
use crate::store::{Connection, refits, studies, trials};

/// Causes of failed trials in a study's error, and the length of each.
const CAUSES_TOLD_MAX: u32 = 3;
const CAUSE_CHARS_MAX: usize = 160;

/// Moves a study to its next state if its present one has nothing left to do.
pub(super) async fn finish_study(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    study_id: StudyId,
) -> Result<Notifications, AppError> {
    let record = studies::lock(conn, study_id).await?;
    match record.state {
        // A study that paused because its refit found no space for files.
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
        _ => Ok(Notifications::default()),
    }
}

async fn finish_search(
    app: &App,
    conn: &mut Connection,
    study: &Study,
    record: &StudyRecord,
) -> Result<Notifications, AppError> {
    let id = record.study_id;
    let from = [StudyState::Running, StudyState::Paused];
    // A paused study begins its refit when it is resumed.
    let waits = record.state == StudyState::Paused;
    let Some(best) = trials::best(conn, &[id], 1).await?.into_iter().next() else {
        let failures = trials::failures(conn, id, CAUSES_TOLD_MAX).await?;
        let error = no_trial_completed(record.max_trials, &failures);
        studies::move_state(conn, id, &from, StudyState::Failed, Some(&error)).await?;
        return ended(conn, id).await;
    };
    if study.refit.is_none() || has_refit(conn, study, id, best.trial).await? {
        studies::move_state(conn, id, &from, StudyState::Completed, None).await?;
        return ended(conn, id).await;
    }
    if waits {
        return Ok(Notifications::default());
    }
    studies::move_state(conn, id, &from, StudyState::Refitting, None).await?;
    start_refit(app, conn, study, id, &best, true).await?;
    Ok(Notifications {
        queued_jobs: true,
        ended_study: None,
    })
}

/// True if a refit of this trial has completed, as before the study grew. Another one would differ by its seed alone: the `refit` section
/// and a completed trial stay as they are.
async fn has_refit(conn: &mut Connection, study: &Study, id: StudyId, trial: u32) -> Result<bool, AppError> {
    let refits = refits::of_study(conn, id).await?;
    let kept = refits
        .iter()
        .rev()
        .find(|refit| refit.trial == trial && refit.state == TrialState::Completed);
    if let Some(kept) = kept {
        info!(study.id = %id, study.name = study.name, refit.number = kept.refit, trial.number = trial, "refit kept");
    }
    Ok(kept.is_some())
}

async fn finish_refitting(conn: &mut Connection, id: StudyId) -> Result<Notifications, AppError> {
    let refits = refits::of_study(conn, id).await?;
    let Some(last) = refits
        .into_iter()
        .find(|refit| refit.ends_study && refit.state.is_final())
    else {
        return Ok(Notifications::default());
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
    ended(conn, id).await
}

/// Notes the end of a study as it now is.
async fn ended(conn: &mut Connection, id: StudyId) -> Result<Notifications, AppError> {
    let ended = EndedStudy {
        record: studies::lock(conn, id).await?,
        best: trials::best(conn, &[id], 1).await?.into_iter().next(),
    };
    Ok(Notifications {
        queued_jobs: false,
        ended_study: Some(ended),
    })
}

/// The error of a study whose trials all ended without a value: the causes, the most frequent first, and a remedy.
fn no_trial_completed(trials: u32, failures: &[(String, u32)]) -> String {
    let mut causes: Vec<String> = failures
        .iter()
        .map(|(error, count)| match error.as_str() {
            DIVERGED => format!("{count} of {trials} {DIVERGED}"),
            "" => format!("{count} of {trials} failed"),
            error => format!("{count} of {trials} failed: {}", shown(error, CAUSE_CHARS_MAX)),
        })
        .collect();
    let told: u32 = failures.iter().map(|(_, count)| count).sum();
    if told < trials {
        causes.push(format!("{} of {trials} otherwise", trials - told));
    }
    let help = match failures.first() {
        Some((error, _)) if error == DIVERGED => "; lower learning_rate, or standardise features and target",
        _ => "",
    };
    format!("no trial completed: {}{help}", causes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_without_a_value_says_of_what_its_trials_failed() {
        let told = |trials, failures: &[(&str, u32)]| {
            let failures: Vec<_> = failures
                .iter()
                .map(|(error, count)| ((*error).to_owned(), *count))
                .collect();
            no_trial_completed(trials, &failures)
        };
        assert_eq!(
            told(6, &[("diverged", 6)]),
            "no trial completed: 6 of 6 diverged; lower learning_rate, or standardise features and target"
        );
        assert_eq!(
            told(
                9,
                &[("diverged", 4), ("the worker was lost", 3), ("a fold has no val_r2", 1)]
            ),
            "no trial completed: 4 of 9 diverged, 3 of 9 failed: the worker was lost, 1 of 9 failed: a fold has no val_r2, 1 of 9 \
             otherwise; lower learning_rate, or standardise features and target"
        );
        assert_eq!(
            told(2, &[("out of\nmemory", 2)]),
            "no trial completed: 2 of 2 failed: out of memory"
        );
    }
}
