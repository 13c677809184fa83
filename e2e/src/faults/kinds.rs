//! Faults of eight kinds under load: one kind in its row of the table, all of them in random order in a soak. Meanwhile scripted workers
//! vanish amid their jobs, or fall silent and try to go on once their lease has ended.

use std::time::Duration;

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::{Closed, FaultFixture, FixtureSettings, Outcome, Row, Settings};
use crate::history::{Action, Operation, Percentiles, recoveries};

/// A kind of fault.
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

/// Faults of a row of one kind.
const FAULTS_OF_ROW: usize = 12;
/// Longest time between two faults.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const AWAY_MAX: Duration = Duration::from_secs(3);
const HELD_MAX: Duration = Duration::from_millis(500);
const LOCKED_MAX: Duration = Duration::from_secs(3);
const TABLES: [&str; 4] = ["leases", "job_reports", "jobs", "folds"];
/// No call but one for jobs takes longer: the coordinator answers within 30 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(35);
/// A job whose worker died is with another one after its time limit, a sweep, and on a busy machine a while until a worker is free.
const RECOVERY_MORE: Duration = Duration::from_secs(1 + 5);

/// Injects faults of one kind.
pub(super) async fn alone(settings: &Settings, kind: Kind) -> anyhow::Result<Outcome> {
    Ok(Outcome::Done(soak(settings, &[kind], FAULTS_OF_ROW).await?))
}

/// Injects so many faults: first one of each of these kinds, then random ones.
///
/// # Errors
/// A part of the fixture does not come back.
pub async fn soak(settings: &Settings, kinds: &[Kind], faults: usize) -> anyhow::Result<Row> {
    let fixture_settings = FixtureSettings {
        lease_ttl: Duration::from_secs(2),
        ..FixtureSettings::new("soak")
    };
    let ttl = fixture_settings.lease_ttl;
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
    let (history, behaviours) = (fixture.load.history(), fixture.load.behaviours());
    let (vanished, silenced) = (behaviours.vanished(), behaviours.silenced());
    let (deaths, starts) = (history.deaths(), history.starts());
    let waits_for_nothing = |operation: &Operation| !matches!(operation.action, Action::Lease(_));
    let longest = history.latencies(waits_for_nothing).last().copied().unwrap_or_default();
    let Closed { mut row, attempts } = fixture.end(injected.len() + vanished + silenced).await?;

    let counts = KINDS.map(|kind| (kind, injected.iter().filter(|other| **other == kind).count()));
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> = counts.map(|(kind, count)| format!("{count} {kind:?}")).collect();
    let recovered = Percentiles::of(&recoveries(&deaths, &attempts));
    row.see(format!(
        "{}, {vanished} workers vanished, {silenced} fell silent; recovery {recovered}; the longest call took {longest:?}",
        counts.join(", ")
    ));
    // No job is taken back while coordinator or Postgres is away, nor just afterwards.
    row.expect(
        kinds != [Kind::KillWorker] || recovered.max < ttl + RECOVERY_MORE,
        || format!("a job had no worker for {:?}", recovered.max),
    );
    row.expect(longest < ANSWERED_WITHIN, || format!("a call took {longest:?}"));
    // A lease from before a start of the coordinator got a full time limit more.
    let is_early = |ended: Duration| starts.iter().any(|start| ended > *start && ended < *start + ttl);
    let expired = attempts.iter().filter(|attempt| attempt.ended_as("expired"));
    let early = expired.filter_map(|attempt| attempt.ended.as_ref());
    let early = early.filter(|(ended, _)| is_early(*ended)).count();
    row.expect(early == 0, || {
        format!("{early} leases were taken back just after a coordinator began")
    });
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
