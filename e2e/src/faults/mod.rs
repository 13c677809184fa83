//! The faults that are injected at random moments under load, each a row of one table.
//!
//! # How a row is added
//!
//! 1. Write `async fn NAME(settings: &Settings) -> anyhow::Result<Outcome>` in the file of its family: start a [`FaultFixture`] (a
//!    Postgres, a coordinator, scripted workers under load, workers that really train), inject the fault, and close the fixture
//!    with [`FaultFixture::end`]. That lets every study come to its end, holds the history of all operations against SQL and the rows
//!    against the undisturbed run's, and makes the [`Row`]. The row notes its own measurements by [`Row::see`], and its expectations by
//!    [`Row::expect`], which may fail it. If the machine lacks something, return `Outcome::Skipped(why)`.
//!    A row that needs no fixture makes its [`Row`] by `Row::new(injected)`.
//! 2. Add a line to [`FAULTS`], at its place in the table; its name is what `FAULTS=name` picks.
//!
//! Everything random derives from [`Settings::chance`], and every wait is bounded by [`look_for`](crate::look_for).

mod access;
mod acknowledgements;
mod checkpoints;
mod clocks;
mod coordinator;
mod disks;
mod fixture;
mod floods;
mod long_transaction;
mod network;
mod postgres;
mod slow_readers;
mod soak;
mod table;
mod training;
mod workers;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use trawl_domain::seed::{Purpose, Seed, Stream};

use crate::history::Findings;
use crate::load::Reference;

pub use disks::put_reports_on;
pub use fixture::{Closed, FaultFixture, FixtureSettings, RealWorker};
pub use soak::{KINDS, Kind, soak};
pub use table::{failed, heading, line, named_line};
pub use training::leave_memory;

/// What all rows of a run have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of everything random.
    pub seed: u64,
    /// The undisturbed run.
    pub reference: Arc<Reference>,
    /// How long a user's transaction stays open.
    pub long_transaction: Duration,
    /// Deaths of workers from which the time of recovery is taken.
    pub kills: usize,
}

impl Settings {
    /// Random numbers of one row, or of one part of it.
    pub fn chance(&self, name: &str) -> Stream {
        Seed(self.seed).stream(Purpose::Param { trial: 0, name })
    }
}

/// What came of a row.
#[derive(Debug)]
pub enum Outcome {
    /// It was done.
    Done(Row),
    /// This machine cannot do it, and why.
    Skipped(String),
}

/// A row of the table.
#[derive(Debug, Default)]
pub struct Row {
    /// How often the fault was injected.
    pub injected: usize,
    /// What the history shows.
    pub findings: Findings,
    /// What was measured, in words.
    pub seen: Vec<String>,
    /// Failed expectations, in words.
    pub failures: Vec<String>,
}

impl Row {
    /// A row of a fault that was injected so often.
    pub fn new(injected: usize) -> Self {
        Self {
            injected,
            ..Self::default()
        }
    }

    /// Notes what was measured.
    pub fn see(&mut self, seen: impl Into<String>) {
        self.seen.push(seen.into());
    }

    /// Fails the row unless it is so.
    pub fn expect(&mut self, is_so: bool, what: impl FnOnce() -> String) {
        if !is_so {
            self.failures.push(what());
        }
    }

    /// True if nothing was lost, doubled or wrongly accepted, and all is as expected.
    pub fn holds(&self) -> bool {
        let Findings {
            lost,
            doubled,
            stale_accepted,
            broken,
            ..
        } = &self.findings;
        (*lost, *doubled, *stale_accepted) == (0, 0, 0) && broken.is_empty() && self.failures.is_empty()
    }
}

/// A run of a row.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<Outcome>> + 'a>>;

/// One fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What picks it.
    pub name: &'static str,
    /// What is injected.
    pub what: &'static str,
    /// Injects it, and says what came of it.
    pub run: fn(&Settings) -> Run<'_>,
}

/// All faults, in the order of the table.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "worker-killed",
        what: "worker killed: between epochs, amid a checkpoint or an upload, before its result",
        run: |settings| Box::pin(workers::killed(settings)),
    },
    Fault {
        name: "worker-stopped",
        what: "worker silent for twice the time limit, then goes on just before its result",
        run: |settings| Box::pin(workers::stopped(settings)),
    },
    Fault {
        name: "acknowledgement-lost",
        what: "acknowledgement lost after the commit",
        run: |settings| Box::pin(acknowledgements::lost(settings)),
    },
    Fault {
        name: "coordinator-killed",
        what: "coordinator killed while claiming, committing, sweeping, sampling",
        run: |settings| Box::pin(coordinator::killed(settings)),
    },
    Fault {
        name: "coordinator-away",
        what: "coordinator away for 0, 20, 60 s",
        run: |settings| Box::pin(coordinator::away(settings)),
    },
    Fault {
        name: "postgres-crashed",
        what: "Postgres crashed, by -m immediate and kill -9",
        run: |settings| Box::pin(postgres::crashed(settings)),
    },
    Fault {
        name: "postgres-connections",
        what: "connections to Postgres killed, or used up",
        run: |settings| Box::pin(postgres::connections(settings)),
    },
    Fault {
        name: "postgres-locked",
        what: "a table locked for 10 s",
        run: |settings| Box::pin(postgres::locked(settings)),
    },
    Fault {
        name: "long-transaction",
        what: "a user's long transaction",
        run: |settings| Box::pin(long_transaction::held_open(settings)),
    },
    Fault {
        name: "network-black-hole",
        what: "network black hole, loss one way and the other",
        run: |settings| Box::pin(network::black_hole(settings)),
    },
    Fault {
        name: "network-slow-link",
        what: "a link of 64 kbit/s",
        run: |settings| Box::pin(network::slow_link(settings)),
    },
    Fault {
        name: "slow-reader",
        what: "clients that never read an answer",
        run: |settings| Box::pin(slow_readers::never_read(settings)),
    },
    Fault {
        name: "clocks",
        what: "clock an hour off, either way, on workers and coordinator",
        run: |settings| Box::pin(clocks::an_hour_off(settings)),
    },
    Fault {
        name: "checkpoint-broken",
        what: "checkpoint cut short or flipped",
        run: |settings| Box::pin(checkpoints::broken(settings)),
    },
    Fault {
        name: "disk-full-store",
        what: "the object store's disk full, amid checkpoints",
        run: |settings| Box::pin(disks::of_store(settings)),
    },
    Fault {
        name: "disk-full-postgres",
        what: "the disk of Postgres's reports full",
        run: |settings| Box::pin(disks::of_postgres(settings)),
    },
    Fault {
        name: "training-failed",
        what: "no number, and out of memory, in training",
        run: |settings| Box::pin(training::failed(settings)),
    },
    Fault {
        name: "training-panicked",
        what: "a panic in training",
        run: |settings| Box::pin(training::panicked(settings)),
    },
    Fault {
        name: "training-hung",
        what: "a training thread that stands still",
        run: |settings| Box::pin(training::hung(settings)),
    },
    Fault {
        name: "idle-streams",
        what: "1,000 idle streams",
        run: |settings| Box::pin(floods::idle(settings)),
    },
    Fault {
        name: "bombs",
        what: "messages of a million bytes of empty parts, and 100,000 deep",
        run: |settings| Box::pin(floods::bombs(settings)),
    },
    Fault {
        name: "malformed",
        what: "a million malformed requests",
        run: |settings| Box::pin(floods::malformed(settings)),
    },
    Fault {
        name: "access",
        what: "a wrong role, a forged, expired, replayed, malformed token and none, on every RPC",
        run: |_| Box::pin(access::refused()),
    },
];
