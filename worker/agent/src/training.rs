//! The agent's interface to training: implemented by an engine ([`super::Trainer`]) or, in the simulation of the
//! protocol, by a script (`e2e/tests/simulation/script.rs`).

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use trawl_domain::baseline::Baseline;
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
    /// A job, ready to be trained.
    type Ready: Send + 'static;
    /// A trained job.
    type Trained: Trained;

    /// Longest time without a sign of progress.
    fn progress_limit(&self) -> Duration;

    /// Loads all that the training of a job needs, in part from the coordinator. The agent calls it again while the coordinator does not answer.
    ///
    /// # Errors
    /// Something is unavailable.
    fn prepare(
        &self,
        connection: &Connection,
        lease: LeaseClaim,
        job: &Job,
    ) -> impl Future<Output = Result<Self::Ready, DatasetError>> + Send;

    /// Trains a job from its members' checkpoints, or from epoch 0, until it ends or is stopped. `None` if its members
    /// go on in other jobs: then its last event was a checkpoint.
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

    /// What the baselines reach on the folds of the study, in the metric by which the job's trials are ranked. A baseline that cannot be had is left out.
    ///
    /// # Errors
    /// It was interrupted, or nothing can be trained on the device any more.
    fn baselines(
        &self,
        connection: &Connection,
        lease: LeaseClaim,
        job: &Job,
        control: Control,
    ) -> impl Future<Output = Result<Vec<(Baseline, Vec<f64>)>, JobError>> + Send;
}

/// A trained job.
pub trait Trained: Send + 'static {
    /// Test metrics of the job's first member; `None` without test rows that have targets, or if it diverged.
    fn test(&self) -> Option<TestMetrics>;

    /// Validation metrics of each member; `None` without validation rows, or for a member that diverged.
    fn metrics(&self) -> &[Option<FoldMetrics>];

    /// Row losses of each member, of the metric that the job asks for.
    fn row_losses(&self) -> &[Vec<f32>];

    /// The weights of a member, as a file.
    ///
    /// # Errors
    /// They cannot be read.
    fn weights(&self, member: usize) -> Result<Vec<u8>, EngineError>;

    /// True if [`Self::held_out`] has predictions.
    fn leaves_held_out(&self) -> bool;

    /// Predictions of a member that did not diverge, for the rows held out of its training, as a file.
    ///
    /// # Errors
    /// It was stopped, or there is no such file.
    fn held_out(&self, member: usize, control: &Control) -> Result<Vec<u8>, SkippedArtifact>;

    /// True for a refit's fit on all training rows that did not diverge and has a finite loss on the test rows: its
    /// weights are kept, and so are the files of [`Self::analyse`].
    fn leaves_artifacts(&self) -> bool;

    /// Makes the other files of such a fit, one by one. `emit` takes each, may wait, and returns whether to make more.
    ///
    /// # Errors
    /// It was stopped, or the network gives no answers.
    fn analyse(&self, control: &Control, emit: &mut dyn FnMut(Artifact) -> bool) -> Result<(), SkippedArtifact>;
}

/// Receives the events of training, and reports them under the job's lease.
#[derive(Debug)]
pub struct Listener {
    reports: Reports,
    lease: LeaseClaim,
    /// Earlier epochs are reported already; they are trained again if no checkpoint was available.
    first_epoch: u32,
    /// Members that diverged in those epochs on this device; they are reported with the first reported epoch.
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

    /// Receives an event; waits while too many reports are unacknowledged.
    pub async fn hear(&self, event: Event<'_>) {
        match event {
            Event::Checkpoint { epochs, .. } if epochs < self.first_epoch => {}
            // The receiver is gone once the lease is lost.
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

    /// Reports members that diverged before the job's first epoch, if no member is left to reach that epoch.
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
