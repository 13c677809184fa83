//! Leases: the right of one worker to run a job, for a time.

use crate::id::{JobId, LeaseToken};

/// A worker's proof of a lease, sent with every write for a job. The database decides whether the lease is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseClaim {
    /// The job.
    pub job_id: JobId,
    /// The fencing token of the lease.
    pub token: LeaseToken,
}

/// The lease is not, or no longer, held; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is lost")]
pub struct LeaseLost;
