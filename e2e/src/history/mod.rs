//! The log of operations: what every client of a faulty run asked for, under which lease, and the answer. Afterwards [`check()`]
//! compares it with the leases that the database granted. The rules of leases are the [`Observer`]'s, here as in the simulation.

mod attempts;
mod check;
mod observer;
mod recovery;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;
use trawl_domain::lease::LeaseClaim;
use trawl_proto::{lease_claim, v1};

pub use attempts::Attempt;
pub use check::{Findings, check};
pub use observer::Observer;
pub use recovery::{Percentiles, recoveries};

/// A job as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedTo {
    /// Name of the study.
    pub study: String,
    /// The lease.
    pub claim: LeaseClaim,
    /// Trial and fold of each member.
    pub members: Vec<(u32, u32)>,
}

impl LeasedTo {
    /// From what came with the lease; `None` if that names none.
    pub fn of(leased: &v1::LeasedJob) -> Option<Self> {
        let job = leased.job.clone().unwrap_or_default();
        let trial = |member: &v1::JobMember| match member.owner.and_then(|owner| owner.kind) {
            Some(v1::job_member_owner::Kind::Trial(trial)) => trial,
            _ => u32::MAX,
        };
        Some(Self {
            claim: lease_claim(leased.lease.as_ref()).ok()?,
            members: job.members.iter().map(|member| (trial(member), member.fold)).collect(),
            study: job.study,
        })
    }
}

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To be known.
    Register,
    /// For jobs; how many came.
    Lease(usize),
    /// To renew its lease.
    Heartbeat,
    /// To store this epoch of all of the job's members.
    Report(u32),
    /// To end the job.
    Finish,
    /// To keep a checkpoint after so many epochs.
    Checkpoint(u32),
    /// To keep a file.
    Artifact,
}

impl Action {
    /// True for what would change rows.
    pub fn is_write(self) -> bool {
        matches!(
            self,
            Self::Report(_) | Self::Finish | Self::Checkpoint(_) | Self::Artifact
        )
    }
}

/// The answer to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing, so far.
    Invoked,
    /// It is done.
    Ok,
    /// Its lease is lost, and nothing was written.
    LeaseLost,
    /// It was refused, and nothing was written.
    Failed(Code),
    /// The connection broke, or the coordinator could not say: it may be done or not.
    Unknown(Code),
}

impl Outcome {
    /// The outcome of a call that failed. A refused call was not carried out; any other error may be the network's.
    pub fn of_error(code: Code) -> Self {
        match code {
            Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition | Code::ResourceExhausted => {
                Self::Failed(code)
            }
            code => Self::Unknown(code),
        }
    }
}

/// One operation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Number of the client.
    pub worker: u32,
    /// What it asked for.
    pub action: Action,
    /// Under which lease.
    pub lease: Option<Arc<LeasedTo>>,
    /// When it asked, since the origin of the history.
    pub invoked: Duration,
    /// When the answer came, since the origin of the history.
    pub ended: Option<Duration>,
    /// The answer.
    pub outcome: Outcome,
}

impl Operation {
    /// True for a report of an epoch.
    pub fn is_report(&self) -> bool {
        matches!(self.action, Action::Report(_))
    }

    /// True once it is done.
    pub fn is_ok(&self) -> bool {
        self.outcome == Outcome::Ok
    }
}

/// A lease whose holder was killed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// The lease.
    pub claim: LeaseClaim,
    /// Since the origin of the history.
    pub at: Duration,
}

/// All operations of all clients, in the order in which they were invoked.
#[derive(Debug)]
pub struct History {
    origin: Instant,
    operations: Mutex<Vec<Operation>>,
    deaths: Mutex<Vec<Death>>,
    starts: Mutex<Vec<Duration>>,
    acknowledged: AtomicUsize,
}

/// An operation that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(usize);

impl Default for History {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            operations: Mutex::default(),
            deaths: Mutex::default(),
            starts: Mutex::default(),
            acknowledged: AtomicUsize::new(0),
        }
    }
}

impl History {
    /// How long ago it began.
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Notes what a client is about to ask for.
    pub fn invoke(&self, worker: u32, lease: Option<&Arc<LeasedTo>>, action: Action) -> Begun {
        let operation = Operation {
            worker,
            action,
            lease: lease.cloned(),
            invoked: self.now(),
            ended: None,
            outcome: Outcome::Invoked,
        };
        let mut operations = lock(&self.operations);
        operations.push(operation);
        Begun(operations.len() - 1)
    }

    /// Notes the answer.
    pub fn end(&self, begun: Begun, outcome: Outcome) {
        let now = self.now();
        if let Some(operation) = lock(&self.operations).get_mut(begun.0) {
            operation.ended = Some(now);
            operation.outcome = outcome;
            let is_acknowledged = operation.is_report() && operation.is_ok();
            self.acknowledged
                .fetch_add(usize::from(is_acknowledged), Ordering::Relaxed);
        }
    }

    /// Notes how many leases it got.
    pub fn leased(&self, begun: Begun, leases: usize) {
        if let Some(operation) = lock(&self.operations).get_mut(begun.0) {
            operation.action = Action::Lease(leases);
        }
        self.end(begun, Outcome::Ok);
    }

    /// Notes that the holder of a lease died just now.
    pub fn died(&self, claim: LeaseClaim) {
        let at = self.now();
        lock(&self.deaths).push(Death { claim, at });
    }

    /// All deaths so far.
    pub fn deaths(&self) -> Vec<Death> {
        lock(&self.deaths).clone()
    }

    /// Notes that a coordinator is about to be started again.
    pub fn starts_coordinator(&self) {
        lock(&self.starts).push(self.now());
    }

    /// When coordinators were started again.
    pub fn starts(&self) -> Vec<Duration> {
        lock(&self.starts).clone()
    }

    /// Reports that were acknowledged so far, each one epoch of a job.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// All operations so far.
    pub fn operations(&self) -> Vec<Operation> {
        lock(&self.operations).clone()
    }

    /// How long operations took that are like this and have ended, from the shortest to the longest.
    pub fn latencies(&self, is_counted: impl Fn(&Operation) -> bool) -> Vec<Duration> {
        let mut latencies: Vec<Duration> = lock(&self.operations)
            .iter()
            .filter(|operation| is_counted(operation))
            .filter_map(|operation| Some(operation.ended? - operation.invoked))
            .collect();
        latencies.sort_unstable();
        latencies
    }

    /// How late the reports were acknowledged that were sent in this time.
    pub fn acknowledgements(&self, sent: Range<Duration>) -> Percentiles {
        let is_meant =
            |operation: &Operation| operation.is_report() && operation.is_ok() && sent.contains(&operation.invoked);
        Percentiles::of(&self.latencies(is_meant))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
