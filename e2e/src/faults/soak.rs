//! Faults of all kinds in random order, one after the other, under one load.

use std::time::Duration;

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::{FaultFixture, FixtureSettings, Row, Settings};

/// A kind of fault. Workers that vanish, or fall silent and come back too late, are there all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A worker that trains gets SIGKILL.
    KillWorker,
    /// A worker that trains gets SIGSTOP, and SIGCONT after twice the time limit of a lease.
    StopWorker,
    /// The coordinator gets SIGKILL and comes back.
    KillCoordinator,
    /// Answers are held back for a while, and then lost.
    LoseAnswers,
    /// Postgres stops at once and comes back.
    StopPostgres,
    /// The first process of Postgres gets SIGKILL, and Postgres comes back.
    KillPostgres,
    /// All connections of the coordinator to Postgres are killed.
    KillConnections,
    /// A table is locked for a while.
    LockTable,
}

/// All of them.
pub const KINDS: [Kind; 8] = [
    Kind::KillWorker,
    Kind::StopWorker,
    Kind::KillCoordinator,
    Kind::LoseAnswers,
    Kind::StopPostgres,
    Kind::KillPostgres,
    Kind::KillConnections,
    Kind::LockTable,
];

/// Longest time between two faults.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const AWAY_MAX: Duration = Duration::from_secs(3);
const HELD_MAX: Duration = Duration::from_millis(500);
const LOCKED_MAX: Duration = Duration::from_secs(3);
const TABLES: [&str; 4] = ["leases", "job_reports", "jobs", "folds"];

/// Injects so many faults: first one of each of these kinds, then random ones.
///
/// # Errors
/// A part of the fixture does not come back.
pub async fn soak(settings: &Settings, kinds: &[Kind], faults: usize) -> anyhow::Result<Row> {
    let fixture_settings = FixtureSettings {
        lease_ttl: Duration::from_secs(2),
        ..FixtureSettings::new("soak")
    };
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    fixture.load.behaviours().set(150, 80);
    fixture.load.acknowledged(20).await?;
    let order = fixture.chance.permutation(kinds.len());
    let mut injected = Vec::new();
    for number in 0..faults {
        let kind = match order.get(number) {
            Some(place) => kinds[*place as usize],
            None => kinds[fixture.chance.below(kinds.len() as u64) as usize],
        };
        fixture.pause(PAUSE_MAX).await;
        inject(&mut fixture, kind).await?;
        injected.push(kind);
    }
    let vanished: usize = fixture.load.behaviours().vanished().iter().sum();
    let silenced = fixture.load.behaviours().silenced();
    let mut row = fixture.end(injected.len() + vanished + silenced).await?.row;
    let counts = KINDS.map(|kind| injected.iter().filter(|other| **other == kind).count());
    let counts: Vec<String> = KINDS
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind:?}"))
        .collect();
    row.see(format!(
        "{}, {vanished} workers vanished, {silenced} fell silent",
        counts.join(", ")
    ));
    Ok(row)
}

async fn inject(fixture: &mut FaultFixture, kind: Kind) -> anyhow::Result<()> {
    match kind {
        Kind::KillWorker => {
            // One that has a job, as soon as there is one.
            while !fixture.kill_worker().await? {
                fixture.load.acknowledged(1).await?;
            }
        }
        Kind::StopWorker => {
            let index = fixture.chance.below(fixture.real.len() as u64) as usize;
            fixture.real[index].process.signal(Signal::STOP)?;
            sleep(2 * fixture.settings.lease_ttl).await;
            fixture.real[index].process.signal(Signal::CONT)?;
        }
        Kind::KillCoordinator => {
            fixture.kill_coordinator()?;
            fixture.pause(AWAY_MAX).await;
            fixture.start_coordinator().await?;
        }
        Kind::LoseAnswers => {
            let bytes = fixture.chance.below(4 << 10);
            fixture.proxy.hold_answers_after(bytes);
            fixture.pause(HELD_MAX).await;
            fixture.proxy.cut();
        }
        Kind::StopPostgres | Kind::KillPostgres => {
            if kind == Kind::StopPostgres {
                fixture.postgres.stop_immediately()?;
            } else {
                fixture.postgres.kill_postmaster()?;
            }
            fixture.pause(AWAY_MAX).await;
            fixture.postgres.start_again().await?;
        }
        Kind::KillConnections => {
            let mut admin = PgConnection::connect(&fixture.database_url).await?;
            let kill =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trawl-coordinator'";
            admin.execute(kill).await?;
        }
        Kind::LockTable => {
            let table = TABLES[fixture.chance.below(TABLES.len() as u64) as usize];
            let mut somebody = PgConnection::connect(&fixture.database_url).await?;
            let mut transaction = somebody.begin().await?;
            let lock = format!("LOCK TABLE trawl_store.{table} IN ACCESS EXCLUSIVE MODE");
            transaction.execute(AssertSqlSafe(lock)).await?;
            fixture.pause(LOCKED_MAX).await;
            transaction.rollback().await?;
        }
    }
    // It goes on.
    fixture.load.acknowledged(20).await
}
