//! Notes of uploads under way.

use std::time::Duration;

use sqlx::PgPool;
use trawl_coordinator::store::{coordinators, pending_objects};
use trawl_e2e::{fresh_database, look_for};

use crate::migrated;

const KEY: &str = "datasets/1";
const DEAD: i32 = 1;
const ALIVE: i32 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_takes_over_the_note_of_a_dead_coordinator_keeps_it() -> anyhow::Result<()> {
    let url = fresh_database().await?;
    let pool = migrated(&url).await?;
    let hour = Duration::from_secs(3_600);
    let mut conn = pool.acquire().await?;
    pending_objects::begin(&mut conn, KEY, hour, DEAD, None).await?;
    assert!(coordinators::lock(&mut conn, ALIVE).await?);
    let mut taking_over = pool.begin().await?;
    pending_objects::begin(&mut taking_over, KEY, hour, ALIVE, None).await?;
    let others = PgPool::connect(&url).await?;
    let sweeping = tokio::spawn({
        let others = others.clone();
        async move { coordinators::give_up_uploads_of_dead(&mut *others.acquire().await?).await }
    });
    look_for("a sweep that waits for the note", async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waits: i64 = sqlx::query_scalar(waits).fetch_one(&others).await?;
        Ok((waits == 1).then_some(()))
    })
    .await?;
    taking_over.commit().await?;
    assert_eq!(sweeping.await??, 0);
    assert_eq!(pending_objects::lock_due(&mut *others.acquire().await?, 10).await?, []);
    Ok(())
}
