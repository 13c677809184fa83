//! The leases that this worker holds. A worker fences itself: once its own monotonic clock shows that a lease may have
//! run out, it stops working under it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use trawl_domain::id::{JobId, LeaseToken};
use trawl_domain::lease::LeaseClaim;
use trawl_engine::Control;

/// Why a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseEnd {
    /// The lease is lost: no write is allowed any more.
    Lost,
    /// The worker stops, or the study was paused: the lease is handed back, with a checkpoint.
    Drain,
}

/// The leases that this worker holds, by fencing token: a lost one may still be there while its job comes a second time.
#[derive(Clone, Debug)]
pub(super) struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Mutex<BTreeMap<LeaseToken, Held>>,
    /// Signals a new lease, which should be renewed soon, because its age is unknown.
    came: Notify,
    /// The same for the fence.
    came_to_be_fenced: Notify,
}

#[derive(Debug)]
struct Held {
    job_id: JobId,
    valid_until: Instant,
    control: Control,
    end: Option<LeaseEnd>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            held: Mutex::default(),
            came: Notify::new(),
            came_to_be_fenced: Notify::new(),
        }))
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<LeaseToken, Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a new lease.
    pub(super) fn hold(&self, lease: LeaseClaim, valid_until: Instant, control: Control) {
        let held = Held {
            job_id: lease.job_id,
            valid_until,
            control,
            end: None,
        };
        self.held().insert(lease.token, held);
        self.0.came.notify_one();
        self.0.came_to_be_fenced.notify_one();
    }

    /// Forgets a lease that ended.
    pub(super) fn drop_lease(&self, lease: LeaseClaim) {
        self.held().remove(&lease.token);
    }

    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held().len()
    }

    /// All of them, for a heartbeat.
    pub(super) fn all(&self) -> Vec<LeaseClaim> {
        let held = self.held();
        held.iter()
            .map(|(token, held)| LeaseClaim {
                job_id: held.job_id,
                token: *token,
            })
            .collect()
    }

    /// Notes a renewal.
    pub(super) fn renewed(&self, lease: LeaseClaim, valid_until: Instant) {
        if let Some(held) = self.held().get_mut(&lease.token) {
            held.valid_until = valid_until;
        }
    }

    /// Stops the job of a lease that the coordinator reports as lost. The first reason stays.
    pub(super) fn lost(&self, lease: LeaseClaim) {
        if let Some(held) = self.held().get_mut(&lease.token) {
            held.stop(LeaseEnd::Lost);
        }
    }

    /// Stops the job of a lease that the coordinator recalls.
    pub(super) fn recalled(&self, lease: LeaseClaim) {
        if let Some(held) = self.held().get_mut(&lease.token) {
            held.stop(LeaseEnd::Drain);
        }
    }

    /// Stops the jobs whose leases may have run out by now; returns their number.
    pub(super) fn fence(&self, now: Instant) -> usize {
        let mut held = self.held();
        let overdue = held
            .values_mut()
            .filter(|held| held.end != Some(LeaseEnd::Lost) && held.valid_until <= now);
        overdue.map(|held| held.stop(LeaseEnd::Lost)).count()
    }

    /// When the next lease that is not lost may run out.
    pub(super) fn next_end(&self) -> Option<Instant> {
        let held = self.held();
        let live = held.values().filter(|held| held.end != Some(LeaseEnd::Lost));
        live.map(|held| held.valid_until).min()
    }

    /// Stops all jobs.
    pub(super) fn interrupt_all(&self, end: LeaseEnd) {
        self.held().values_mut().for_each(|held| held.stop(end));
    }

    /// Why the job of a lease was stopped.
    pub(super) fn end_of(&self, lease: LeaseClaim) -> Option<LeaseEnd> {
        self.held().get(&lease.token).and_then(|held| held.end)
    }

    /// Waits for a new lease.
    pub(super) async fn came(&self) {
        self.0.came.notified().await;
    }

    /// The same for the fence.
    pub(super) async fn came_to_be_fenced(&self) {
        self.0.came_to_be_fenced.notified().await;
    }
}

impl Held {
    fn stop(&mut self, end: LeaseEnd) {
        // A loss outranks a drain: a lost lease cannot be handed back.
        if self.end != Some(LeaseEnd::Lost) {
            self.end = Some(end);
        }
        match end {
            LeaseEnd::Lost => self.control.stop(),
            LeaseEnd::Drain => self.control.drain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lost_lease_says_nothing_of_the_next_one_of_its_job() {
        let lease = |token: u128| LeaseClaim {
            job_id: JobId(uuid::Uuid::nil()),
            token: LeaseToken(uuid::Uuid::from_u128(token)),
        };
        let (first, second) = (lease(1), lease(2));
        let leases = Leases::new();
        let until = Instant::now() + Duration::from_secs(10);
        leases.hold(first, until, Control::new());
        leases.lost(first);
        let control = Control::new();
        leases.hold(second, until, control.clone());
        // The first attempt ends late.
        leases.lost(first);
        assert_eq!(leases.end_of(first), Some(LeaseEnd::Lost));
        assert_eq!(leases.end_of(second), None);
        leases.drop_lease(first);
        assert_eq!(leases.all(), [second]);
        assert!(!control.must_end());
    }
}
