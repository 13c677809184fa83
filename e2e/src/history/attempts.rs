//! The leases that a database granted, as its owner sees them.

use std::time::Duration;

use sqlx::PgPool;
use trawl_domain::id::{JobId, LeaseToken, WorkerId};
use trawl_domain::lease::LeaseClaim;
use uuid::Uuid;

/// A lease that was granted once. Times are by the database's clock, since the origin of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The lease.
    pub claim: LeaseClaim,
    /// Who got it.
    pub worker_id: WorkerId,
    /// When it was granted.
    pub granted: Duration,
    /// When it ended, and how.
    pub ended: Option<(Duration, String)>,
}

type Row = (Uuid, Uuid, Uuid, f64, Option<f64>, Option<String>);

impl Attempt {
    /// All of them, by job and in the order of their grants. `origin_s` is the origin of the history in seconds of the database's clock.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn all(owner: &PgPool, origin_s: f64) -> anyhow::Result<Vec<Self>> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT job_id, token, worker_id, extract(epoch FROM granted_at)::float8 - $1,
                    extract(epoch FROM ended_at)::float8 - $1, outcome
             FROM trawl_store.job_attempts ORDER BY job_id, lease_epoch",
        )
        .bind(origin_s)
        .fetch_all(owner)
        .await?;
        let time = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let attempt = |(job_id, token, worker_id, granted, ended, outcome): Row| Self {
            claim: LeaseClaim {
                job_id: JobId(job_id),
                token: LeaseToken(token),
            },
            worker_id: WorkerId(worker_id),
            granted: time(granted),
            ended: ended.map(time).zip(outcome),
        };
        Ok(rows.into_iter().map(attempt).collect())
    }

    /// True for one that ended in this way.
    pub fn ended_as(&self, outcome: &str) -> bool {
        self.ended.as_ref().is_some_and(|(_, ended)| ended == outcome)
    }
}
