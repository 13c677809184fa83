//! The leases that this worker holds. A worker fences itself: once it cannot be sure any more that a lease is live, by its
//! own monotonic clock, it stops to work under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use trawl_proto::v1;

use crate::trainer::Interrupter;

/// Why a job stops before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseEnd {
    /// The lease is lost: nothing may be written any more.
    Lost,
    /// The worker stops, or the study was paused: the lease is handed back, with a checkpoint.
    Drain,
}

/// The leases that this worker holds, by job.
#[derive(Clone, Debug)]
pub(super) struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<BTreeMap<String, Held>>,
    /// A lease came: it wants to be renewed soon, because nobody knows how old it is.
    came: Notify,
}

#[derive(Debug)]
struct Held {
    token: String,
    valid_until: Instant,
    interrupter: Interrupter,
    end: Option<LeaseEnd>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            held: Mutex::default(),
            came: Notify::new(),
        }))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new lease.
    pub(super) fn hold(&self, lease: &v1::Lease, valid_until: Instant, interrupter: Interrupter) {
        let held = Held {
            token: lease.token.clone(),
            valid_until,
            interrupter,
            end: None,
        };
        self.held().insert(lease.job_id.clone(), held);
        self.0.came.notify_one();
    }

    /// Forgets a lease that ended.
    pub(super) fn drop_lease(&self, lease: &v1::Lease) {
        self.held().remove(&lease.job_id);
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held().len()
    }

    /// All of them, for a heartbeat.
    pub(super) fn all(&self) -> Vec<v1::Lease> {
        let held = self.held();
        held.iter()
            .map(|(job_id, held)| v1::Lease {
                job_id: job_id.clone(),
                token: held.token.clone(),
            })
            .collect()
    }

    /// Notes a renewal.
    pub(super) fn renewed(&self, job_id: &str, valid_until: Instant) {
        if let Some(held) = self.held().get_mut(job_id) {
            held.valid_until = valid_until;
        }
    }

    /// Stops the job of a lease that the coordinator calls lost. The first reason stays.
    pub(super) fn lost(&self, job_id: &str) {
        if let Some(held) = self.held().get_mut(job_id) {
            held.stop(LeaseEnd::Lost);
        }
    }

    /// Stops the job of a lease that the coordinator wants back.
    pub(super) fn recalled(&self, job_id: &str) {
        if let Some(held) = self.held().get_mut(job_id) {
            held.stop(LeaseEnd::Drain);
        }
    }

    /// Stops the jobs whose leases may have run out by now; how many there were.
    pub(super) fn fence(&self, now: Instant) -> usize {
        let mut held = self.held();
        let overdue = held
            .values_mut()
            .filter(|held| held.end != Some(LeaseEnd::Lost) && held.valid_until <= now);
        overdue.map(|held| held.stop(LeaseEnd::Lost)).count()
    }

    /// Stops all jobs.
    pub(super) fn interrupt_all(&self, end: LeaseEnd) {
        self.held().values_mut().for_each(|held| held.stop(end));
    }

    /// Why the job of a lease was told to stop.
    pub(super) fn end_of(&self, lease: &v1::Lease) -> Option<LeaseEnd> {
        self.held().get(&lease.job_id).and_then(|held| held.end)
    }

    /// Waits for a new lease.
    pub(super) async fn came(&self) {
        self.0.came.notified().await;
    }
}

impl Held {
    fn stop(&mut self, end: LeaseEnd) {
        // A loss outranks a drain: what is lost cannot be handed back.
        if self.end != Some(LeaseEnd::Lost) {
            self.end = Some(end);
        }
        match end {
            LeaseEnd::Lost => self.interrupter.interrupt(),
            LeaseEnd::Drain => self.interrupter.leave(),
        }
    }
}
