//! Presence: shows the other coordinators of the database that this one lives, so that none sweeps what it is just uploading.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{App, AppError};
use crate::store::coordinators;

/// Time between two looks whether the connection still stands.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// How long Postgres may take to answer; a connection that nobody closed is noticed by that.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// A connection that holds this coordinator's lock.
#[derive(Debug)]
pub struct Presence(PgConnection);

/// Appears: before the first upload.
///
/// # Errors
/// Postgres has no answer.
pub async fn appear(app: &App) -> Result<Presence, AppError> {
    let mut conn = app.pool.acquire().await?.detach();
    if coordinators::appear(&mut conn, app.number).await? {
        Ok(Presence(conn))
    } else {
        Err(AppError::Unavailable(
            "another connection still holds this coordinator's number",
        ))
    }
}

/// Stays for ever, and appears again when the connection broke. Meanwhile others may give up uploads of this coordinator; they
/// fail then, and are sent again.
pub async fn stay(app: Arc<App>, presence: Presence) {
    let mut presence = Some(presence);
    loop {
        sleep(LOOK_INTERVAL).await;
        if let Some(Presence(conn)) = &mut presence
            && matches!(timeout(LOOK_WITHIN, conn.ping()).await, Ok(Ok(())))
        {
            continue;
        }
        presence = match appear(&app).await {
            Ok(presence) => Some(presence),
            Err(error) => {
                warn!(error = %error, "other coordinators cannot see that this one lives; trying again");
                None
            }
        };
    }
}
