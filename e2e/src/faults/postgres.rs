//! A Postgres that crashes, that throws its clients out, that has no connection left, or a table of which is locked.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::coordinator::{CLAIMS_CUT_OFF_MAX, expect_grace};
use super::{Closed, FaultFixture, FixtureSettings, Outcome, Row, Settings};
use crate::history::{Action, Operation, Outcome as Told, Percentiles, Stored};

/// No call takes longer: the coordinator answers within 30 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(35);

fn fixture_settings(name: &'static str) -> FixtureSettings {
    FixtureSettings {
        lease_ttl: Duration::from_secs(5),
        ..FixtureSettings::new(name)
    }
}

/// Crashes of the whole server.
pub(super) async fn crashed(settings: &Settings) -> anyhow::Result<Outcome> {
    const CRASHES: usize = 8;
    let mut fixture = FaultFixture::start(fixture_settings("postgres-crashed"), settings).await?;
    let (mut starts, mut returns) = (Vec::new(), Vec::new());
    for crash in 0..CRASHES {
        fixture.load.acknowledged(100).await?;
        fixture.pause(Duration::from_millis(500)).await;
        if crash % 2 == 0 {
            fixture.postgres.stop_immediately()?;
        } else {
            fixture.postgres.kill_postmaster()?;
        }
        fixture.pause(Duration::from_secs(2)).await;
        fixture.postgres.start_again().await?;
        starts.push(fixture.load.history().now());
        returns.push(back_to_work(&fixture).await?);
    }
    let (calls, ttl) = (Calls::of(&fixture), fixture.settings.lease_ttl);
    let Closed { mut row, stored, .. } = fixture.end(CRASHES).await?;
    row.see("by turns -m immediate and kill -9 of its first process, each away for 2 s and its start");
    row.expect(calls.unavailable > 0, || "no call was UNAVAILABLE".into());
    // Workers may have stopped by themselves meanwhile.
    expect_grace(&mut row, &stored, &starts, ttl);
    calls.tell(&mut row, returns);
    Ok(Outcome::Done(row))
}

/// Connections that are killed, and none left to be had.
pub(super) async fn connections(settings: &Settings) -> anyhow::Result<Outcome> {
    const KILLS: usize = 10;
    const USED_UP: usize = 3;
    let mut fixture = FaultFixture::start(fixture_settings("postgres-connections"), settings).await?;
    let mut admin = PgConnection::connect(&fixture.database_url).await?;
    let mut returns = Vec::new();
    for _ in 0..KILLS {
        fixture.load.acknowledged(50).await?;
        fixture.pause(Duration::from_millis(300)).await;
        terminate(&mut admin).await?;
        returns.push(back_to_work(&fixture).await?);
    }
    let mut taken_max = 0;
    for _ in 0..USED_UP {
        let mut taken = Vec::new();
        take_all(&fixture.database_url, &mut taken).await;
        // The coordinator's connections are killed and taken again and again, before it can have them back: it is quick.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            terminate(&mut admin).await?;
            take_all(&fixture.database_url, &mut taken).await;
        }
        taken_max = taken_max.max(taken.len());
        drop(taken);
        returns.push(back_to_work(&fixture).await?);
    }
    let calls = Calls::of(&fixture);
    let Closed { mut row, stored, .. } = fixture.end(KILLS + USED_UP).await?;
    row.see(format!(
        "{KILLS} times all connections killed, {USED_UP} times all used up for 3 s ({taken_max} taken)"
    ));
    row.expect(calls.unavailable > 0, || "no call was UNAVAILABLE".into());
    // A connection that is killed may cut off a claim after its commit.
    few_ran_out(&mut row, &stored, CLAIMS_CUT_OFF_MAX);
    calls.tell(&mut row, returns);
    Ok(Outcome::Done(row))
}

async fn terminate(admin: &mut PgConnection) -> anyhow::Result<()> {
    admin
        .execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trawl-coordinator'")
        .await?;
    Ok(())
}

/// Takes connections until there are no more.
async fn take_all(url: &str, taken: &mut Vec<PgConnection>) {
    while let Ok(connection) = PgConnection::connect(url).await {
        taken.push(connection);
    }
}

/// Tables that are locked by somebody for 10 s each.
pub(super) async fn locked(settings: &Settings) -> anyhow::Result<Outcome> {
    const TABLES: [&str; 3] = ["leases", "job_reports", "jobs"];
    const LOCKED_FOR: Duration = Duration::from_secs(10);
    let mut fixture_settings = fixture_settings("postgres-locked");
    fixture_settings.lease_ttl = Duration::from_secs(15);
    let fixture = FaultFixture::start(fixture_settings, settings).await?;
    let mut somebody = PgConnection::connect(&fixture.database_url).await?;
    let mut returns = Vec::new();
    for table in TABLES {
        fixture.load.acknowledged(100).await?;
        let mut transaction = somebody.begin().await?;
        let lock = format!("LOCK TABLE trawl_store.{table} IN ACCESS EXCLUSIVE MODE");
        transaction.execute(AssertSqlSafe(lock)).await?;
        sleep(LOCKED_FOR).await;
        transaction.rollback().await?;
        returns.push(back_to_work(&fixture).await?);
    }
    let calls = Calls::of(&fixture);
    let Closed { mut row, stored, .. } = fixture.end(TABLES.len()).await?;
    row.see("leases, job_reports and jobs for 10 s each");
    few_ran_out(&mut row, &stored, 0);
    calls.tell(&mut row, returns);
    Ok(Outcome::Done(row))
}

/// All workers live, and every lease outlives the fault: by another heartbeat, or by its grace.
fn few_ran_out(row: &mut Row, stored: &Stored, max: usize) {
    let expired = stored
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome.as_deref() == Some("expired"))
        .count();
    row.see(format!("{expired} leases ran out"));
    row.expect(expired <= max, || "leases of workers that live ran out".into());
}

/// Time from now to the next acknowledgement.
async fn back_to_work(fixture: &FaultFixture) -> anyhow::Result<Duration> {
    let started = Instant::now();
    fixture.load.acknowledged(1).await?;
    Ok(started.elapsed())
}

/// Notes errors and delays that clients met.
struct Calls {
    longest: Duration,
    unavailable: usize,
    other: usize,
}

impl Calls {
    fn of(fixture: &FaultFixture) -> Self {
        let history = fixture.load.history();
        let waits_for_nothing = |operation: &Operation| !matches!(operation.action, Action::Lease(_));
        let broke = |is_it: fn(Code) -> bool| {
            history.count(|operation| matches!(operation.outcome, Told::Unknown(code) if is_it(code)))
        };
        Self {
            longest: history.latencies(waits_for_nothing).last().copied().unwrap_or_default(),
            unavailable: broke(|code| code == Code::Unavailable),
            other: broke(|code| code != Code::Unavailable),
        }
    }

    fn tell(&self, row: &mut Row, mut returns: Vec<Duration>) {
        returns.sort_unstable();
        row.see(format!(
            "{} calls UNAVAILABLE, {} of another unknown outcome, the longest took {:.1} s; back at work after {}",
            self.unavailable,
            self.other,
            self.longest.as_secs_f64(),
            Percentiles::of(&returns)
        ));
        row.expect(self.longest < ANSWERED_WITHIN, || {
            format!("a call took {:.1} s", self.longest.as_secs_f64())
        });
    }
}
