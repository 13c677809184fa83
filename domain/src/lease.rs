//! Leases: the right of one worker to run a job, for a time.

use crate::id::{JobId, LeaseToken};

/// What a worker shows with every write of a job. Whether the lease is live, the database knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseClaim {
    /// The job.
    pub job_id: JobId,
    /// The token that came with the lease.
    pub token: LeaseToken,
}

/// The lease is not, or no longer, held; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease is lost")]
pub struct LeaseLost;
