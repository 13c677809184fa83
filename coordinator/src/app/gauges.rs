//! Gauges of the database's content, counted by one query, however many clients scrape and how often.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{App, AppError, quotas};
use crate::metrics::PoolUse;
use crate::store::fleet::{self, FleetCounts};
use crate::store::usage::{self, StudyUsage};

/// Age up to which a count is used again; the database is not asked more often.
const COUNTS_MAX_AGE: Duration = Duration::from_secs(5);
/// How long the count may take: Prometheus waits for 10 s.
const COUNT_WITHIN: Duration = Duration::from_secs(4);

/// The last count, and when it was asked for; no count if the database did not answer. One task counts at a time.
#[derive(Debug, Default)]
pub(super) struct LastCounts(Mutex<Option<(Instant, Option<Counts>)>>);

#[derive(Debug)]
struct Counts {
    fleet: FleetCounts,
    usage: StudyUsage,
}

/// All metrics in Prometheus's text form.
pub async fn metrics_text(app: &App) -> String {
    let mut last = app.last_counts.0.lock().await;
    let is_fresh = last
        .as_ref()
        .is_some_and(|(asked_at, _)| asked_at.elapsed() < COUNTS_MAX_AGE);
    if !is_fresh {
        *last = Some((Instant::now(), count(app).await));
    }
    let counts = last.as_ref().and_then(|(_, counts)| counts.as_ref());
    app.metrics.set_fleet(counts.map(|counts| &counts.fleet));
    for (quota, used, limit) in quotas::in_use(app, counts.map(|counts| counts.usage)) {
        app.metrics.set_quota(quota, used, limit);
    }
    app.metrics.set_pool(PoolUse {
        open: app.pool.size(),
        idle: u32::try_from(app.pool.num_idle()).unwrap_or(u32::MAX),
        max: app.pool.options().get_max_connections(),
    });
    app.metrics.render()
}

async fn count(app: &App) -> Option<Counts> {
    let counted = async {
        let mut conn = app.pool.acquire().await?;
        Ok::<_, AppError>(Counts {
            fleet: fleet::count(&mut conn).await?,
            usage: usage::of_studies(&mut conn).await?,
        })
    };
    let what = "jobs, studies and workers are not counted";
    match timeout(COUNT_WITHIN, counted).await {
        Ok(Ok(counts)) => return Some(counts),
        Ok(Err(error)) => warn!(error = %error, "{what}"),
        Err(_) => warn!(
            error = format!("no answer within {} s", COUNT_WITHIN.as_secs()),
            "{what}"
        ),
    }
    None
}
