//! Load: scripted workers that lease, renew, report, leave checkpoints and files and finish, on studies that follow each other
//! for as long as a test wants. What they report are the losses of an undisturbed run, so real workers may train beside them.

mod behaviour;
mod reference;
mod reporter;
mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::history::{Attempt, Findings, History, check};
use crate::system::{Client, look_for};

pub use behaviour::Behaviours;
pub use reference::{Reference, Size};

/// Time between two looks at how many jobs are queued.
const FEED_INTERVAL: Duration = Duration::from_millis(200);
/// Pace of the last studies, once the faults are over.
const LAST_PACE_MS: u64 = 2;

/// Settings of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadSettings {
    /// Scripted workers, each with one job at a time.
    pub workers: u32,
    /// Time that a scripted worker takes for an epoch.
    pub epoch_ms: u64,
    /// A study more is submitted when fewer jobs than these are queued.
    pub queued_min: u32,
    /// Time limit of a lease.
    pub lease_ttl: Duration,
    /// The seed of the workers' behaviours.
    pub seed: u64,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    feeder: JoinSet<()>,
    stop_feeding: watch::Sender<bool>,
}

/// What the scripted workers share.
#[derive(Debug)]
struct Shared {
    settings: LoadSettings,
    history: History,
    /// The origin of the history by the database's clock, in seconds.
    origin_s: f64,
    reference: Arc<Reference>,
    behaviours: Behaviours,
    /// Ways to the coordinator: workers take them in turn.
    ways: Vec<Client>,
    owner: PgPool,
    epoch_ms: AtomicU64,
    next_worker: AtomicU32,
}

/// A load that has ended.
#[derive(Debug)]
pub struct Ended {
    /// What the history shows.
    pub findings: Findings,
    /// The leases that the database granted.
    pub attempts: Vec<Attempt>,
    /// Studies that were compared with the undisturbed run.
    pub studies: usize,
}

impl Load {
    /// Starts one on a trawl that has no studies.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn start(
        settings: LoadSettings,
        reference: Arc<Reference>,
        ways: Vec<Client>,
        owner: PgPool,
    ) -> anyhow::Result<Self> {
        let history = History::default();
        let clock: f64 = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&owner)
            .await?;
        let shared = Arc::new(Shared {
            origin_s: clock - history.now().as_secs_f64(),
            history,
            settings,
            reference,
            behaviours: Behaviours::default(),
            ways,
            owner,
            epoch_ms: AtomicU64::new(settings.epoch_ms),
            next_worker: AtomicU32::new(0),
        });
        let mut workers = JoinSet::new();
        for _ in 0..settings.workers {
            workers.spawn(script::play(Arc::clone(&shared)));
        }
        let (stop_feeding, stopped) = watch::channel(false);
        let mut feeder = JoinSet::new();
        feeder.spawn(feed(Arc::clone(&shared), stopped));
        Ok(Self {
            shared,
            workers,
            feeder,
            stop_feeding,
        })
    }

    /// Its history.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// What becomes of its workers.
    pub fn behaviours(&self) -> &Behaviours {
        &self.shared.behaviours
    }

    /// The undisturbed run.
    pub fn reference(&self) -> &Reference {
        &self.shared.reference
    }

    /// Waits until so many epochs of jobs more are acknowledged.
    ///
    /// # Errors
    /// They are not.
    pub async fn acknowledged(&self, more: usize) -> anyhow::Result<()> {
        let before = self.history().acknowledged();
        look_for("acknowledgements", async || {
            Ok((self.history().acknowledged() >= before + more).then_some(()))
        })
        .await
    }

    /// Lets all studies come to their end, and compares the rows with the history and the undisturbed run.
    ///
    /// # Errors
    /// A study does not end, or Postgres does not answer.
    pub async fn end(mut self) -> anyhow::Result<Ended> {
        let shared = Arc::clone(&self.shared);
        shared.behaviours.set(0, 0);
        self.stop_feeding.send_replace(true);
        while let Some(fed) = self.feeder.join_next().await {
            fed?;
        }
        shared.epoch_ms.store(LAST_PACE_MS, Ordering::Relaxed);
        let running = "SELECT count(*) FROM trawl_store.studies WHERE finished_at IS NULL";
        look_for("the end of all studies", async || {
            let running: i64 = sqlx::query_scalar(running).fetch_one(&shared.owner).await?;
            Ok((running == 0).then_some(()))
        })
        .await?;
        // Calls on their way now find no job any more.
        self.workers.shutdown().await;
        let attempts = Attempt::all(&shared.owner, shared.origin_s).await?;
        let mut findings = check(&shared.history.operations(), &attempts);
        let studies: Vec<String> = sqlx::query_scalar("SELECT name FROM trawl.studies")
            .fetch_all(&shared.owner)
            .await?;
        for study in &studies {
            let difference = shared.reference.first_difference(&shared.ways[0], study).await?;
            findings.broken.extend(difference);
        }
        Ok(Ended {
            findings,
            attempts,
            studies: studies.len(),
        })
    }
}

/// Submits studies while few jobs are queued, until it is stopped.
async fn feed(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut looks = tokio::time::interval(FEED_INTERVAL);
    let mut number = 0;
    while !*stopped.borrow() {
        // A coordinator that is away is asked again; a study that came through unnoticed is answered with itself.
        if feed_one(&shared, number).await.unwrap_or(false) {
            number += 1;
        }
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn feed_one(shared: &Shared, number: u32) -> anyhow::Result<bool> {
    let queued: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl_store.jobs WHERE state = 'queued'")
        .fetch_one(&shared.owner)
        .await?;
    if queued >= i64::from(shared.settings.queued_min) {
        return Ok(false);
    }
    let study = shared.reference.study(&format!("load-{number}"))?;
    shared.ways[0].submit(study).await?;
    Ok(true)
}
