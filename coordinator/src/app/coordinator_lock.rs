//! The lock of a coordinator. While it is held, other coordinators of the database know that this one lives, and do not
//! sweep its uploads.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{App, AppError};
use crate::store::coordinators;

/// Time between two checks that the connection still stands.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How long Postgres may take to answer; this detects a connection that broke without being closed.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// A connection that holds this coordinator's lock.
#[derive(Debug)]
pub struct CoordinatorLock(PgConnection);

/// Takes the lock; called before the first upload.
///
/// # Errors
/// Postgres does not answer, or another connection has the lock.
pub async fn acquire(app: &App) -> Result<CoordinatorLock, AppError> {
    let mut conn = app.pool.acquire().await?.detach();
    if coordinators::lock(&mut conn, app.number).await? {
        Ok(CoordinatorLock(conn))
    } else {
        Err(AppError::Unavailable(
            "another connection still holds this coordinator's number",
        ))
    }
}

/// Holds the lock for ever, and takes it again when the connection broke. Meanwhile others may give up this
/// coordinator's uploads: these fail, and workers and clients send them again.
pub async fn hold(app: Arc<App>, lock: CoordinatorLock) {
    let mut lock = Some(lock);
    loop {
        sleep(CHECK_INTERVAL).await;
        if let Some(CoordinatorLock(conn)) = &mut lock
            && matches!(timeout(CHECK_WITHIN, conn.ping()).await, Ok(Ok(())))
        {
            continue;
        }
        lock = match acquire(&app).await {
            Ok(lock) => Some(lock),
            Err(error) => {
                warn!(error = %error, "other coordinators cannot see that this one lives; trying again");
                None
            }
        };
    }
}
