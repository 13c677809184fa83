//! What the agent asks of training, which is an engine's ([`super::Trainer`]) or, where the protocol is simulated, a script's
//! (`e2e/tests/simulation/script.rs`).

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use trawl_domain::job::Job;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::metric::{FoldMetrics, Metric};
use trawl_engine::analysis::{Artifact, SkippedArtifact};
use trawl_engine::{Control, EngineError, Event, MemberLosses, TestMetrics};

use super::checkpoints::{Checkpoint, Starts};
use super::connection::Connection;
use super::dataset::DatasetError;
use super::job_error::JobError;
use super::reports::{JobEpoch, Reports};

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
        lease: LeaseClaim,
        job: &Job,
    ) -> impl Future<Output = Result<Self::Ready, DatasetError>> + Send;

    /// Trains a job from where its members were, or else from epoch 0, until it ends or is told to. `None` if its members are to go on in
    /// other jobs: the last that it told was a checkpoint.
    ///
    /// # Errors
    /// It was interrupted, or it failed.
    fn train(
        &self,
        ready: Self::Ready,
        starts: Starts,
        listener: Listener,
        control: Control,
    ) -> impl Future<Output = Result<Option<Self::Trained>, JobError>> + Send;
}

/// A job that was trained.
pub trait Trained: Send + 'static {
    /// What the test rows say of the job's first member; `None` without test rows that have targets, or if it diverged.
    fn test(&self) -> Option<TestMetrics>;

    /// What the validation rows say of each member; `None` without any, or for a member that diverged.
    fn metrics(&self) -> &[Option<FoldMetrics>];

    /// For each member what each row leaves as its loss, of what the job asks for.
    fn row_losses(&self) -> &[Vec<f32>];

    /// The weights of a member, as a file.
    ///
    /// # Errors
    /// They cannot be had.
    fn weights(&self, member: usize) -> Result<Vec<u8>, EngineError>;

    /// True if [`Self::held_out`] has answers.
    fn leaves_held_out(&self) -> bool;

    /// What a member, which did not diverge, answers for the rows that were held out of its training, as a file.
    ///
    /// # Errors
    /// It was told to stop, or there is no such file.
    fn held_out(&self, member: usize, control: &Control) -> Result<Vec<u8>, SkippedArtifact>;

    /// True for a refit's fit on all training rows that did not diverge and whose loss on the test rows is finite: its weights are kept,
    /// and what [`Self::analyse`] makes of it.
    fn leaves_artifacts(&self) -> bool;

    /// Makes what such a fit leaves beside its weights, file by file. `emit` takes each, may wait, and says whether there shall be more.
    ///
    /// # Errors
    /// It was told to stop, or the network gives no answers.
    fn analyse(&self, control: &Control, emit: &mut dyn FnMut(Artifact) -> bool) -> Result<(), SkippedArtifact>;
}

/// Hears what training tells, and passes it on under the job's lease.
#[derive(Debug)]
pub struct Listener {
    reports: Reports,
    lease: LeaseClaim,
    /// Epochs before it are reported, and are trained again where no checkpoint could be had.
    first_epoch: u32,
    /// Members that diverged in those, on this device: they are told with the first epoch that is reported.
    diverged_early: Mutex<Vec<usize>>,
    metrics: Arc<[Metric]>,
    checkpoints: mpsc::Sender<Checkpoint>,
}

impl Listener {
    pub(super) fn new(
        reports: Reports,
        lease: LeaseClaim,
        first_epoch: u32,
        metrics: &[Metric],
        checkpoints: mpsc::Sender<Checkpoint>,
    ) -> Self {
        Self {
            reports,
            lease,
            first_epoch,
            diverged_early: Mutex::default(),
            metrics: metrics.into(),
            checkpoints,
        }
    }

    /// The job's lease.
    pub fn lease(&self) -> LeaseClaim {
        self.lease
    }

    /// Hears an event; waits while too many reports are unacknowledged.
    pub async fn hear(&self, event: Event<'_>) {
        match event {
            Event::Checkpoint { epochs, .. } if epochs < self.first_epoch => {}
            // Nobody takes it once the lease is gone.
            Event::Checkpoint { epochs, content } => drop(self.checkpoints.send(Checkpoint { epochs, content }).await),
            Event::Epoch { epoch, diverged, .. } if epoch < self.first_epoch => self.keep(diverged),
            Event::Epoch {
                epoch,
                losses,
                diverged,
            } => self.reports.push(self.epoch(epoch, losses, diverged)).await,
        }
    }

    /// The same for threads that train.
    pub fn hear_blocking(&self, event: Event<'_>) {
        match event {
            Event::Checkpoint { epochs, .. } if epochs < self.first_epoch => {}
            Event::Checkpoint { epochs, content } => {
                drop(self.checkpoints.blocking_send(Checkpoint { epochs, content }));
            }
            Event::Epoch { epoch, diverged, .. } if epoch < self.first_epoch => self.keep(diverged),
            Event::Epoch {
                epoch,
                losses,
                diverged,
            } => self.reports.push_blocking(self.epoch(epoch, losses, diverged)),
        }
    }

    /// Tells of members that diverged before the job's first epoch, where none is left that would come to it.
    pub fn end_blocking(&self) {
        if !self.early().is_empty() {
            self.reports.push_blocking(self.epoch(self.first_epoch, &[], &[]));
        }
    }

    fn keep(&self, diverged: &[usize]) {
        self.early().extend_from_slice(diverged);
    }

    fn early(&self) -> MutexGuard<'_, Vec<usize>> {
        self.diverged_early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn epoch(&self, epoch: u32, losses: &[MemberLosses], diverged: &[usize]) -> JobEpoch {
        let mut all = std::mem::take(&mut *self.early());
        all.extend_from_slice(diverged);
        all.sort_unstable();
        JobEpoch {
            lease: self.lease,
            epoch,
            metrics: Arc::clone(&self.metrics),
            losses: losses.to_vec(),
            diverged: all,
        }
    }
}
