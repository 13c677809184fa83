//! Retry: trains trials again that failed without fault of their configurations, as when a worker or the data was at fault.

use tracing::info;
use trawl_domain::state::TrialState;
use trawl_domain::study::Study;
use trawl_domain::text::shown;

use super::grow_study::{go_on, reserve};
use super::read_study::{StudyView, get_study};
use super::{App, AppError};
use crate::store::racers::{self, Racer};
use crate::store::studies::StudyRecord;
use crate::store::{Connection, folds, proposals, studies, trials};

/// Length up to which a note lists trials.
const TRIALS_CHARS_MAX: usize = 200;

/// Result of a retry.
#[derive(Debug)]
pub struct Retried {
    /// Trials that are trained again.
    pub trials: Vec<u32>,
    /// Trials that are not, with the reason; a sentence each.
    pub notes: Vec<String>,
    /// The study.
    pub study: StudyView,
}

/// Queues a study's trials again that failed without diverging; an ended study goes on. Decisions made without them
/// stay: a trial is left out if others were compared or proposed without it.
///
/// # Errors
/// [`AppError::FailedPrecondition`] if it cannot go on.
pub async fn retry_trials(app: &App, study: &str) -> Result<Retried, AppError> {
    let found = app.find_study(study).await?;
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, found.study_id).await?;
    let loaded = app.study_of(&record)?;
    let failed = trials::given_up(&mut tx, record.study_id).await?;
    let mut notes = Vec::new();
    let mut leave = |left: Vec<u32>, why: &str| {
        let numbers: Vec<String> = left.iter().map(u32::to_string).collect();
        if !left.is_empty() {
            let numbers = shown(&numbers.join(", "), TRIALS_CHARS_MAX);
            notes.push(format!("trials {numbers} are left as they are: {why}"));
        }
    };
    let known = known_trials(&mut tx, &loaded.study, &record).await?;
    let (late, open): (Vec<u32>, Vec<u32>) = failed.into_iter().partition(|trial| *trial < known);
    leave(late, "later trials were proposed knowing that they failed");
    let (decided, again) = apart(&mut tx, &loaded.study, &record, open).await?;
    leave(decided, "their rung was decided without them");
    if again.is_empty() {
        drop(tx);
    } else {
        go_on(&mut tx, &record).await?;
        reserve(app, &mut tx, &record, &loaded.study, &loaded.study).await?;
        let reports = folds::revive(&mut tx, record.study_id, &again).await?;
        trials::revive(&mut tx, record.study_id, &again).await?;
        studies::uncount_failed(&mut tx, record.study_id, again.len() as u32).await?;
        studies::uncount_reports(&mut tx, record.study_id, reports).await?;
        studies::set_folds_wait(&mut tx, record.study_id, true).await?;
        tx.commit().await?;
        info!(study.id = %record.study_id, study.name = record.name, plan.trials = again.len(), "trials are trained again");
        app.signal_jobs();
        app.signal_studies();
    }
    Ok(Retried {
        trials: again,
        notes,
        study: get_study(app, study).await?,
    })
}

/// The number of first trials whose results some proposal knows.
async fn known_trials(conn: &mut Connection, study: &Study, record: &StudyRecord) -> Result<u32, AppError> {
    let Some(generations) = study.sampler.generations() else {
        return Ok(0);
    };
    let last = proposals::last_proposed(conn, record.study_id).await?;
    Ok(last.map_or(0, |last| generations.known_trials(generations.of(last))))
}

/// Splits failed trials, ascending: first those whose rung was decided without them, then the rest.
async fn apart(
    conn: &mut Connection,
    study: &Study,
    record: &StudyRecord,
    failed: Vec<u32>,
) -> Result<(Vec<u32>, Vec<u32>), AppError> {
    if study.racing.is_none() {
        return Ok((Vec::new(), failed));
    }
    let (mut decided, mut open) = (Vec::new(), Vec::new());
    let (mut heat, mut racers) = (0..0, Vec::new());
    for trial in failed {
        if !heat.contains(&trial) {
            let mut heats = study.heats(study.generations.of(trial));
            heat = heats.find(|heat| heat.contains(&trial)).unwrap_or(0..0);
            racers = racers::racers(conn, record.study_id, &heat).await?;
        }
        let rung = racers.iter().find(|racer| racer.trial == trial).map(|racer| racer.rung);
        let beyond =
            |racer: &Racer, rung| racer.rung > rung || (racer.rung == rung && racer.state == TrialState::Pruned);
        match rung {
            Some(rung) if racers.iter().any(|racer| beyond(racer, rung)) => decided.push(trial),
            _ => open.push(trial),
        }
    }
    Ok((decided, open))
}
