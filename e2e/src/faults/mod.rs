//! The faults that are injected at random moments under load, each a row of one table: what the simulation of the protocol cannot show,
//! as real processes, Postgres, clocks and connections alone have it.
//!
//! # How a row is added
//!
//! A fault of which nothing is measured but what a history shows is a [`Kind`]. Another one is an
//! `async fn NAME(settings: &Settings) -> anyhow::Result<Outcome>` in a file of its own: start a [`FaultFixture`] (a Postgres, a
//! coordinator, scripted workers under load, workers that really train), inject the fault, and close the fixture with
//! [`FaultFixture::end`]. That lets every study come to its end, holds the history of all operations against SQL and the rows
//! against the undisturbed run's, and makes the [`Row`]. The row notes its own measurements by [`Row::see`], and its expectations by
//! [`Row::expect`], which may fail it. If the machine lacks something, return `Outcome::Skipped(why)`. Either has a line in [`FAULTS`];
//! its name is what `FAULTS=name` picks.
//!
//! Everything random derives from [`Settings::chance`], and every wait is bounded by [`look_for`](crate::look_for).

mod clocks;
mod fixture;
mod floods;
mod kinds;
mod long_transaction;
mod slow_readers;
mod table;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use trawl_domain::seed::{Purpose, Seed, Stream};

use crate::history::Findings;
use crate::load::Reference;

pub use fixture::{Closed, FaultFixture, FixtureSettings, RealWorker};
pub use kinds::{KINDS, Kind, soak};
pub use table::{failed, heading, line};

/// What all rows of a run have in common.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of everything random.
    pub seed: u64,
    /// The undisturbed run.
    pub reference: Arc<Reference>,
    /// How long a user's transaction stays open.
    pub long_transaction: Duration,
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

    /// True if no rule was broken, and all is as expected.
    pub fn holds(&self) -> bool {
        self.findings.broken.is_empty() && self.failures.is_empty()
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
        what: "a worker that trains gets SIGKILL",
        run: |settings| Box::pin(kinds::alone(settings, Kind::KillWorker)),
    },
    Fault {
        name: "worker-stopped",
        what: "a worker that trains stands still for twice the time limit, and goes on",
        run: |settings| Box::pin(kinds::alone(settings, Kind::StopWorker)),
    },
    Fault {
        name: "coordinator-killed",
        what: "the coordinator gets SIGKILL, and is away for up to 3 s",
        run: |settings| Box::pin(kinds::alone(settings, Kind::KillCoordinator)),
    },
    Fault {
        name: "answers-lost",
        what: "answers are held back and lost, many after their commit",
        run: |settings| Box::pin(kinds::alone(settings, Kind::LoseAnswers)),
    },
    Fault {
        name: "postgres-stopped",
        what: "Postgres stops by -m immediate, and is away for up to 3 s",
        run: |settings| Box::pin(kinds::alone(settings, Kind::StopPostgres)),
    },
    Fault {
        name: "postgres-killed",
        what: "the first process of Postgres gets SIGKILL, and it is away for up to 3 s",
        run: |settings| Box::pin(kinds::alone(settings, Kind::KillPostgres)),
    },
    Fault {
        name: "connections-killed",
        what: "all connections of the coordinator to Postgres are killed",
        run: |settings| Box::pin(kinds::alone(settings, Kind::KillConnections)),
    },
    Fault {
        name: "table-locked",
        what: "a table is locked for up to 3 s",
        run: |settings| Box::pin(kinds::alone(settings, Kind::LockTable)),
    },
    Fault {
        name: "long-transaction",
        what: "a user's long transaction",
        run: |settings| Box::pin(long_transaction::held_open(settings)),
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
];
