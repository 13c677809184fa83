//! Faults of all kinds in random order, one after the other, under one load.

use std::time::Duration;

use rustix::process::Signal;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::{Row, Scene, SceneSettings, Settings};

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

/// Injects so many faults, each of a kind by chance: first each of these kinds once.
///
/// # Errors
/// A part of the scene does not come back.
pub async fn soak(settings: &Settings, kinds: &[Kind], faults: usize) -> anyhow::Result<Row> {
    let scene_settings = SceneSettings {
        lease_ttl: Duration::from_secs(2),
        ..SceneSettings::new("soak")
    };
    let mut scene = Scene::start(scene_settings, settings).await?;
    scene.load.fates().set(150, 80);
    scene.load.acknowledged(20).await?;
    let order = scene.chance.permutation(kinds.len());
    let mut injected = Vec::new();
    for number in 0..faults {
        let kind = match order.get(number) {
            Some(place) => kinds[*place as usize],
            None => kinds[scene.chance.below(kinds.len() as u64) as usize],
        };
        scene.pause(PAUSE_MAX).await;
        inject(&mut scene, kind).await?;
        injected.push(kind);
    }
    let vanished: usize = scene.load.fates().vanished().iter().sum();
    let silenced = scene.load.fates().silenced();
    let mut row = scene.end(injected.len() + vanished + silenced).await?.row;
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

async fn inject(scene: &mut Scene, kind: Kind) -> anyhow::Result<()> {
    match kind {
        Kind::KillWorker => {
            // One that has a job, as soon as there is one.
            while !scene.kill_worker().await? {
                scene.load.acknowledged(1).await?;
            }
        }
        Kind::StopWorker => {
            let index = scene.chance.below(scene.real.len() as u64) as usize;
            scene.real[index].process.signal(Signal::STOP)?;
            sleep(2 * scene.settings.lease_ttl).await;
            scene.real[index].process.signal(Signal::CONT)?;
        }
        Kind::KillCoordinator => {
            scene.kill_coordinator()?;
            scene.pause(AWAY_MAX).await;
            scene.start_coordinator().await?;
        }
        Kind::LoseAnswers => {
            let bytes = scene.chance.below(4 << 10);
            scene.gate.hold_answers_after(bytes);
            scene.pause(HELD_MAX).await;
            scene.gate.cut();
        }
        Kind::StopPostgres | Kind::KillPostgres => {
            if kind == Kind::StopPostgres {
                scene.postgres.stop_immediately()?;
            } else {
                scene.postgres.kill_postmaster()?;
            }
            scene.pause(AWAY_MAX).await;
            scene.postgres.start_again().await?;
        }
        Kind::KillConnections => {
            let mut admin = PgConnection::connect(&scene.database_url).await?;
            let kill =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trawl-coordinator'";
            admin.execute(kill).await?;
        }
        Kind::LockTable => {
            let table = TABLES[scene.chance.below(TABLES.len() as u64) as usize];
            let mut somebody = PgConnection::connect(&scene.database_url).await?;
            let mut transaction = somebody.begin().await?;
            let lock = format!("LOCK TABLE trawl_store.{table} IN ACCESS EXCLUSIVE MODE");
            transaction.execute(AssertSqlSafe(lock)).await?;
            scene.pause(LOCKED_MAX).await;
            transaction.rollback().await?;
        }
    }
    // It goes on.
    scene.load.acknowledged(20).await
}
