//! Grow: gives a study more trials, either planned as if from the start, or with configurations that a user chose. An
//! ended study goes on, and its results stay.

use prost_types::Struct;
use tokio::task::block_in_place;
use tracing::info;
use trawl_domain::job::plan_chosen;
use trawl_domain::limits::{LEARNING_TRIALS_MAX, TRIALS_MAX};
use trawl_domain::search::Sampler;
use trawl_domain::space::Params;
use trawl_domain::state::StudyState;
use trawl_domain::study::{Growth, Study};
use trawl_domain::violation::Violations;
use trawl_proto::study::chosen;

use super::plan_trials::store_window;
use super::read_study::{StudyView, get_study};
use super::{App, AppError, not_in_state, quotas};
use crate::store::jobs::Turn;
use crate::store::studies::StudyRecord;
use crate::store::{Connection, refits, studies, trials};

/// Raises a study's number of trials. Repeated with the same number, it does nothing.
///
/// # Errors
/// [`AppError::Invalid`] if it already has more, or may not have so many; [`AppError::FailedPrecondition`] if it cannot go on.
pub async fn extend_study(app: &App, study: &str, max_trials: u32) -> Result<StudyView, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, found.study_id).await?;
    let loaded = app.study_of(&record)?;
    let before = &loaded.study;
    // The space may have fewer configurations.
    let there_are = before.sampler.trials_max(&before.space);
    let there_are = there_are.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
    let max_trials = max_trials.min(there_are.max(record.max_trials));
    if max_trials != record.max_trials {
        let after = extended(before, max_trials)?;
        go_on(&mut tx, &record).await?;
        let more = after.max_trials - before.max_trials;
        studies::grow(&mut tx, record.study_id, more, 0).await?;
        reserve(app, &mut tx, &record, before, &after).await?;
        tx.commit().await?;
        info!(study.id = %record.study_id, study.name = record.name, study.max_trials = after.max_trials, "study extended");
        app.signal_jobs();
        app.signal_studies();
    } else {
        drop(tx);
    }
    get_study(app, study).await
}

/// The study with `max_trials` trials.
fn extended(before: &Study, max_trials: u32) -> Result<Study, AppError> {
    let invalid = |description: String| Err(AppError::invalid("max_trials", description));
    let (now, learns) = (before.max_trials, before.sampler.generations().is_some());
    let most = if learns { LEARNING_TRIALS_MAX } else { TRIALS_MAX };
    if max_trials < now {
        return invalid(format!(
            "must be above {now}, as many as it has, and {max_trials} is not"
        ));
    }
    if max_trials > most {
        let learns = if learns { " where the sampler learns" } else { "" };
        return invalid(format!("must be at most {most}{learns}, and {max_trials} is not"));
    }
    let mut after = before.clone();
    after.growth.ends_before.push(now);
    after.max_trials = max_trials;
    Ok(after)
}

/// Adds trials with configurations that a user chose, ahead of all waiting ones; returns the numbers of all given ones. One given
/// identically before is already there: the request was repeated.
///
/// # Errors
/// [`AppError::Invalid`] if a configuration is outside the study's space; [`AppError::FailedPrecondition`] if it cannot go on.
pub async fn enqueue_trials(app: &App, study: &str, given: &[Struct]) -> Result<(Vec<u32>, StudyView), AppError> {
    let found = app.find_study(study).await?;
    if given.is_empty() {
        return Err(AppError::invalid("trials", "is empty: give at least one configuration"));
    }
    let submitted = app.study_of(&found)?;
    let mut violations = Violations::new();
    // Completing a partial configuration may take many draws.
    let given = block_in_place(|| {
        let study = &submitted.study;
        chosen::check(given, study.seed, &study.space, found.next_trial, &mut violations)
    });
    if !violations.is_empty() {
        return Err(violations.into());
    }
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, found.study_id).await?;
    let loaded = app.study_of(&record)?;
    let before = &loaded.study;
    if before.sampler == Sampler::Grid {
        return Err(AppError::FailedPrecondition(format!(
            "study '{}' is a grid, which trains every configuration by itself",
            record.name
        )));
    }
    if (record.next_trial as usize) < before.chosen.len() {
        return Err(AppError::FailedPrecondition(format!(
            "study '{}' has not planned its own trials yet; try again later",
            record.name
        )));
    }
    let there = trials::chosen_as(&mut tx, record.study_id, &given).await?;
    let mut new: Vec<Params> = Vec::new();
    let numbers = given.into_iter().zip(there).map(|(params, there)| {
        there.unwrap_or_else(|| {
            let place = new.iter().position(|other| *other == params).unwrap_or(new.len());
            if place == new.len() {
                new.push(params);
            }
            record.next_trial + place as u32
        })
    });
    let numbers: Vec<u32> = numbers.collect();
    if !new.is_empty() {
        let more = new.len() as u32;
        let most = if before.sampler.generations().is_some() {
            LEARNING_TRIALS_MAX
        } else {
            TRIALS_MAX
        };
        if record.max_trials.saturating_add(more) > most {
            return Err(AppError::invalid(
                "trials",
                format!("are too many: a study has at most {most}"),
            ));
        }
        let after = Study {
            max_trials: record.max_trials + more,
            growth: Growth {
                enqueued: record.growth.enqueued + more,
                ..record.growth.clone()
            },
            ..before.clone()
        };
        go_on(&mut tx, &record).await?;
        studies::grow(&mut tx, record.study_id, more, more).await?;
        reserve(app, &mut tx, &record, before, &after).await?;
        let window = plan_chosen(&after, record.next_trial, &new);
        let window = window.map_err(|violation| AppError::stored_study(record.study_id, &violation))?;
        store_window(app, &mut tx, &after, &record, &window, Turn::First).await?;
        tx.commit().await?;
        info!(study.id = %record.study_id, study.name = record.name, plan.trials = more, "trials enqueued");
        app.signal_jobs();
        app.signal_studies();
    } else {
        drop(tx);
    }
    Ok((numbers, get_study(app, study).await?))
}

/// Reopens a locked study if it ended.
pub(super) async fn go_on(conn: &mut Connection, record: &StudyRecord) -> Result<(), AppError> {
    studies::forget_time(conn, record.study_id).await?;
    let refits = refits::of_study(conn, record.study_id).await?;
    let is_ending = refits.iter().any(|refit| refit.ends_study && !refit.state.is_final());
    match record.state {
        StudyState::Cancelled => Err(AppError::FailedPrecondition(format!(
            "study '{}' is cancelled, and so are trials of it: submit it under another name",
            record.name
        ))),
        StudyState::Refitting => Err(not_in_state(record, "given trials before that ended")),
        StudyState::Paused if is_ending => Err(not_in_state(record, "given trials before its refit ended")),
        StudyState::Running | StudyState::Paused => Ok(()),
        StudyState::Completed | StudyState::Failed => Ok(studies::reopen(conn, record.study_id).await?),
    }
}

/// Charges the quotas for the study's additional epoch reports.
pub(super) async fn reserve(
    app: &App,
    conn: &mut Connection,
    record: &StudyRecord,
    before: &Study,
    after: &Study,
) -> Result<(), AppError> {
    let mut more = after
        .search_epoch_reports_max()
        .saturating_sub(before.search_epoch_reports_max());
    if record.state.is_final() {
        // Another trial may be the best one at its end, and be refitted.
        more += after.refit_epoch_reports();
    }
    let asked = studies::reserve_epochs(conn, record.study_id, more).await?;
    let quota = app.settings.quotas.study_epoch_reports;
    if asked > quota {
        return Err(AppError::Exhausted(format!(
            "the study's quota of epoch reports does not suffice: with these trials it would ask for {asked} of {quota} \
             (--study-epoch-reports-max)"
        )));
    }
    quotas::hold(app, conn).await
}
