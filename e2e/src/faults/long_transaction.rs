//! A user's transaction that stays open, so that nothing that was deleted or changed since can be cleaned up.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::{FaultFixture, FixtureSettings, Outcome, Settings};
use crate::history::{Action, Operation, Percentiles};

/// How long claims are measured before it.
const UNDISTURBED_FOR: Duration = Duration::from_secs(60);
/// How much slower claims may be with it.
const RATIO_MAX: f64 = 3.0;

/// Measures claims without it, and then for all of its time.
pub(super) async fn held_open(settings: &Settings) -> anyhow::Result<Outcome> {
    let mut fixture_settings = FixtureSettings::new("long-transaction");
    fixture_settings.epoch_ms = 20;
    // Claims find a job at once.
    fixture_settings.queued_min = 64;
    let fixture = FaultFixture::start(fixture_settings, settings).await?;
    fixture.load.acknowledged(1_000).await?;

    let undisturbed_from = fixture.load.history().now();
    sleep(UNDISTURBED_FOR.min(settings.long_transaction)).await;
    let from = fixture.load.history().now();
    let mut user = PgConnection::connect(&fixture.database_url).await?;
    let mut transaction = user.begin().await?;
    transaction
        .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    let reports: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.epoch_reports")
        .fetch_one(&mut *transaction)
        .await?;
    sleep(settings.long_transaction).await;
    let to = fixture.load.history().now();
    let again: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.epoch_reports")
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;

    let claims = |from: Duration, to: Duration| {
        let is_claim = |operation: &Operation| {
            matches!(operation.action, Action::Lease(1..)) && (from..to).contains(&operation.invoked)
        };
        Percentiles::of(&fixture.load.history().latencies(is_claim))
    };
    let undisturbed = claims(undisturbed_from, from);
    let with_it = claims(from, to);
    let mut row = fixture.end(1).await?.row;
    let ratio = with_it.p99.as_secs_f64() / undisturbed.p99.as_secs_f64();
    row.see(format!(
        "open for {} s; claims undisturbed {undisturbed}, with it {with_it}: p99 {ratio:.2} times",
        settings.long_transaction.as_secs()
    ));
    row.expect(reports == again, || "its snapshot moved".into());
    row.expect(ratio < RATIO_MAX, || format!("claims took {ratio:.2} times as long"));
    Ok(Outcome::Done(row))
}
