//! Gauges of the database's content, counted by one query, however many clients scrape and how often.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{App, AppError};
use crate::metrics::PoolUse;
use crate::store::fleet::{self, FleetCounts};

/// Age up to which a count is used again; the database is not asked more often.
const COUNTS_MAX_AGE: Duration = Duration::from_secs(5);
/// How long the count may take: Prometheus waits for 10 s.
const COUNT_WITHIN: Duration = Duration::from_secs(4);

/// The last count, and when it was asked for; no count if the database did not answer. One task counts at a time.
#[derive(Debug, Default)]
pub(super) struct LastCounts(Mutex<Option<(Instant, Option<FleetCounts>)>>);

/// All metrics in Prometheus's text form.
pub async fn metrics_text(app: &App) -> String {
    let mut last = app.last_counts.0.lock().await;
    let is_fresh = last
        .as_ref()
        .is_some_and(|(asked_at, _)| asked_at.elapsed() < COUNTS_MAX_AGE);
    if !is_fresh {
        *last = Some((Instant::now(), count(app).await));
    }
    app.metrics
        .set_fleet(last.as_ref().and_then(|(_, counts)| counts.as_ref()));
    app.metrics.set_pool(PoolUse {
        open: app.pool.size(),
        idle: u32::try_from(app.pool.num_idle()).unwrap_or(u32::MAX),
        max: app.pool.options().get_max_connections(),
    });
    app.metrics.render()
}

async fn count(app: &App) -> Option<FleetCounts> {
    let counted = async {
        let mut conn = app.pool.acquire().await?;
        Ok::<_, AppError>(fleet::count(&mut conn).await?)
    };
    match timeout(COUNT_WITHIN, counted).await {
        Ok(Ok(counts)) => Some(counts),
        Ok(Err(error)) => {
            warn!(error = %error, "jobs, studies and workers cannot be counted");
            None
        }
        Err(_) => {
            warn!(
                count.limit_ms = COUNT_WITHIN.as_millis() as u64,
                "jobs, studies and workers were not counted in time"
            );
            None
        }
    }
}
