//! Probes of the object store: the coordinator is ready only once one has passed, and `/readyz` asks again.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::{App, AppError, upload};
use crate::files::ProbeError;
use crate::store::pending_objects;

/// Time limit of the first probe, as of Postgres.
const FIRST_WITHIN: Duration = Duration::from_secs(60);
/// Time between two tries of it.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Age up to which a probe is used again; the store is not asked more often.
const PROBE_MAX_AGE: Duration = Duration::from_secs(5);

/// When the last probe began, and whether it passed. One task probes at a time.
#[derive(Debug, Default)]
pub(super) struct LastProbe(Mutex<Option<(Instant, bool)>>);

/// Waits until the object store passes a probe. A full one does: without a coordinator, nobody could make room.
///
/// # Errors
/// [`ProbeError::Refused`] at once; [`ProbeError::Away`] after a minute.
pub async fn wait_for_files(app: &App) -> Result<(), ProbeError> {
    let deadline = Instant::now() + FIRST_WITHIN;
    let mut told = String::new();
    loop {
        match probe(app).await {
            Err(ProbeError::Away(reason)) if Instant::now() < deadline => {
                if reason != told {
                    warn!(error = %reason, "waiting for the object store");
                    told = reason;
                }
                sleep(AGAIN_AFTER).await;
            }
            Err(ProbeError::Full(reason)) => {
                warn!(error = %reason, "the object store is full");
                return Ok(());
            }
            ended => return ended,
        }
    }
}

/// True if the object store passed the last probe, which is some seconds old at most. A full one does, too.
pub async fn files_answer(app: &App) -> bool {
    let mut last = app.last_probe.0.lock().await;
    if let Some((began_at, passed)) = *last
        && began_at.elapsed() < PROBE_MAX_AGE
    {
        return passed;
    }
    let began_at = Instant::now();
    let passed = match probe(app).await {
        Ok(()) | Err(ProbeError::Full(_)) => true,
        Err(ProbeError::Refused(reason) | ProbeError::Away(reason)) => {
            error!(error = reason, "the object store does not answer");
            false
        }
    };
    if passed && last.is_some_and(|(_, passed)| !passed) {
        info!("the object store answers again");
    }
    *last = Some((began_at, passed));
    passed
}

async fn probe(app: &App) -> Result<(), ProbeError> {
    let of_database = |error: AppError| ProbeError::Away(format!("a probe cannot be noted: {error}"));
    let key = format!("probes/{}", app.number.cast_unsigned());
    // Noted first, so that the object is swept if the coordinator dies meanwhile.
    note(app, &key).await.map_err(of_database)?;
    let probed = app.files.probe(&key).await;
    if matches!(probed, Ok(()) | Err(ProbeError::Full(_))) {
        end_note(app, &key).await.map_err(of_database)?;
    }
    probed
}

async fn note(app: &App, key: &str) -> Result<(), AppError> {
    upload::note(app, &mut *app.pool.acquire().await?, key, None).await
}

async fn end_note(app: &App, key: &str) -> Result<(), AppError> {
    pending_objects::end(&mut *app.pool.acquire().await?, key).await?;
    Ok(())
}
