//! What the agent asks of training, which is libtorch's ([`super::Libtorch`]) or, where the protocol is simulated, a script's
//! (`e2e/tests/simulation/script.rs`).

use std::fmt::Debug;
use std::time::Duration;

use tokio::sync::mpsc;
use trawl_domain::job::Job;
use trawl_domain::metric::FoldMetrics;
use trawl_proto::v1;

use super::checkpoints::Checkpoint;
use super::connection::Connection;
use super::reports::{JobEpoch, Reports};
use super::run_job::JobError;
use crate::analysis::Subject;
use crate::dataset::DatasetError;
use crate::trainer::{Event, Interrupter, MemberLosses, TestMetrics, TrainError};

/// Trains jobs.
pub trait Training: Debug + Send + Sync + 'static {
    /// A job with all that its training needs.
    type Ready: Send + 'static;
    /// A job that was trained.
    type Trained: Trained;

    /// How long it may go on without a sign of progress.
    fn progress_limit(&self) -> Duration;

    /// Brings what the training of a job needs, in part from the coordinator. It is asked again while that does not answer.
    ///
    /// # Errors
    /// It cannot be had.
    fn prepare(
        &self,
        connection: &Connection,
        job: &Job,
    ) -> impl Future<Output = Result<Self::Ready, DatasetError>> + Send;

    /// Trains a job from this checkpoint on, or else from its beginning, until it ends or the interrupter says so.
    ///
    /// # Errors
    /// It was interrupted, or it failed.
    fn train(
        &self,
        ready: Self::Ready,
        checkpoint: Option<Vec<u8>>,
        listener: Listener,
        interrupter: Interrupter,
    ) -> impl Future<Output = Result<Self::Trained, JobError>> + Send;
}

/// A job that was trained.
pub trait Trained: Send + 'static {
    /// What the test rows say of the job's first member; `None` without test rows that have targets, or if it diverged.
    fn test(&self) -> Option<TestMetrics>;

    /// What the validation rows say of each member; `None` without any, or for a member that diverged.
    fn metrics(&self) -> &[Option<FoldMetrics>];

    /// The weights of a member, as a file.
    ///
    /// # Errors
    /// They cannot be had.
    fn weights(&self, member: usize) -> Result<Vec<u8>, TrainError>;

    /// What is to be looked into once a refit's fit on all training rows ended; `None` for any other job, for one that diverged, and
    /// where the loss on the test rows is not finite.
    ///
    /// # Errors
    /// Its weights cannot be had.
    fn into_subject(self) -> Result<Option<Subject>, TrainError>;
}

/// Hears what training tells, and passes it on under the job's lease.
#[derive(Debug)]
pub struct Listener {
    reports: Reports,
    lease: v1::Lease,
    checkpoints: mpsc::Sender<Checkpoint>,
}

impl Listener {
    pub(super) fn new(reports: Reports, lease: v1::Lease, checkpoints: mpsc::Sender<Checkpoint>) -> Self {
        Self {
            reports,
            lease,
            checkpoints,
        }
    }

    /// The job's lease.
    pub fn lease(&self) -> &v1::Lease {
        &self.lease
    }

    /// Hears an event; waits while too many reports are unacknowledged.
    pub async fn hear(&self, event: Event<'_>) {
        match event {
            // Nobody takes it once the lease is gone.
            Event::Checkpoint { epochs, content } => drop(self.checkpoints.send(Checkpoint { epochs, content }).await),
            Event::Epoch {
                epoch,
                losses,
                diverged,
            } => self.reports.push(job_epoch(&self.lease, epoch, losses, diverged)).await,
        }
    }

    /// The same for threads that train.
    pub fn hear_blocking(&self, event: Event<'_>) {
        match event {
            Event::Checkpoint { epochs, content } => {
                drop(self.checkpoints.blocking_send(Checkpoint { epochs, content }));
            }
            Event::Epoch {
                epoch,
                losses,
                diverged,
            } => self
                .reports
                .push_blocking(job_epoch(&self.lease, epoch, losses, diverged)),
        }
    }
}

fn job_epoch(lease: &v1::Lease, epoch: u32, losses: &[MemberLosses], diverged: &[usize]) -> JobEpoch {
    JobEpoch {
        lease: lease.clone(),
        epoch,
        losses: losses.to_vec(),
        diverged: diverged.to_vec(),
    }
}
