//! How busy slots were is computed from the leases that are stored.

use std::collections::HashMap;

use anyhow::Context as _;
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::submit_study::submit_study;
use trawl_coordinator::store::leases::slot_use;
use trawl_coordinator::store::studies::find;
use trawl_e2e::{fresh_database, studies};

use crate::{app, migrated};

/// Two slots, and leases of these seconds: a gap of five belongs to the search, and one of 300 does not.
const LEASES: &str = "
    INSERT INTO trawl_store.workers (worker_id, host, device, slots, version, lost_after, registered_at, last_seen_at, stopped_at)
    VALUES (md5('worker')::uuid, 'host', 'cpu', 2, '0', '15 seconds', '2026-01-01', '2026-01-03', '2026-01-03');

    INSERT INTO trawl_store.job_attempts (job_id, lease_epoch, token, worker_id, granted_at, ended_at, outcome)
    SELECT (SELECT job_id FROM trawl_store.jobs LIMIT 1), number, md5('token ' || number)::uuid, md5('worker')::uuid,
           '2026-01-02'::timestamptz + begins * interval '1 second', '2026-01-02'::timestamptz + ends * interval '1 second', 'finished'
    FROM (VALUES (1, 0, 100), (2, 0, 50), (3, 400, 450), (4, 455, 505)) AS leases (number, begins, ends);
";

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_a_search_is_no_idle_time() -> anyhow::Result<()> {
    let pool = migrated(&fresh_database().await?).await?;
    let study = studies::with_whole_paths(studies::small("paused", 2, 1)?);
    let study = studies::from_json(&study)?;
    submit_study(&app(pool.clone()), study, HashMap::new(), false, Caller::Anybody).await?;
    let mut conn = pool.acquire().await?;
    let record = find(&mut conn, "paused".into()).await?.context("a study")?;
    assert_eq!(slot_use(&mut conn, record.study_id).await?, None);
    sqlx::raw_sql(LEASES).execute(&pool).await?;
    let used = slot_use(&mut conn, record.study_id).await?.context("leases")?;
    assert!((used.slots - 2.0).abs() < 1e-9, "{used:?}");
    let (busy, there) = (250.0, 2.0 * (100.0 + 105.0));
    assert!((used.idle - (1.0 - busy / there)).abs() < 1e-9, "{used:?}");
    Ok(())
}
