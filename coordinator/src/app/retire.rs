//! Retire: forgets workers and tokens some time after they ended.

use tracing::info;
use trawl_domain::limits::{ENDED_TOKEN_DAYS, STOPPED_WORKER_DAYS, UNSEEN_WORKER_DAYS};

use super::{App, AppError};
use crate::store::{tokens, workers};

/// Forgets workers and tokens that ended long enough ago.
pub async fn forget_ended(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    let workers = workers::remove_old(&mut conn, UNSEEN_WORKER_DAYS, STOPPED_WORKER_DAYS).await?;
    let tokens = tokens::remove_ended(&mut conn, ENDED_TOKEN_DAYS).await?;
    if workers + tokens > 0 {
        info!(
            workers.removed = workers,
            tokens.removed = tokens,
            "ended workers and tokens forgotten"
        );
    }
    Ok(())
}
