//! Runs one leased job: fetches its tables, trains, reports, and finishes it or hands it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Instrument, Span, error, info, info_span, warn};
use trawl_domain::failure::FailureCause;
use trawl_domain::job::Job;
use trawl_engine::{Control, EngineError};
use trawl_proto::{retry_after, v1};

use super::artifacts::{put_weights, weights_of_best};
use super::checkpoints;
use super::connection::Backoff;
use super::dataset::DatasetError;
use super::leases::LeaseEnd;
use super::progress::Progress;
use super::refit_artifacts::put_refit_artifacts;
use super::training::{Listener, Trained as _, Training};
use super::{Agent, Times};

/// Name of the threads that train, by which people find them in a debugger or in /proc.
const TRAINER_THREAD: &str = "trawl-trainer";

/// The span of a step of a job.
macro_rules! step {
    ($name:literal) => {
        info_span!(target: trawl_traces::TARGET, $name)
    };
}

/// Why a job did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The coordinator sent what this worker does not understand.
    #[error("the job is not understood: {0}")]
    BadJob(#[from] trawl_domain::violation::Violations),
    /// Its tables cannot be had.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] EngineError),
    /// Something of the job panicked.
    #[error("the job panicked")]
    Panicked,
    /// There is no thread to be had.
    #[error("no thread to train on: {0}")]
    Thread(#[source] std::io::Error),
    /// Training stands still, and nothing can end its thread.
    #[error("training made no step for {} s", .0.as_secs_f64())]
    Hung(Duration),
    /// The coordinator refused its end, or a file of it.
    #[error("the coordinator refused: {}", .0.message())]
    Refused(#[source] Box<Status>),
}

impl JobError {
    fn cause(&self) -> FailureCause {
        match self {
            Self::BadJob(_) | Self::Dataset(DatasetError::Read(..)) | Self::Train(EngineError::BadJob(_)) => {
                FailureCause::BadInput
            }
            Self::Train(EngineError::OutOfMemory(_))
            | Self::Dataset(DatasetError::Device(EngineError::OutOfMemory(_))) => FailureCause::OutOfMemory,
            Self::Hung(_) => FailureCause::Hung,
            _ => FailureCause::Error,
        }
    }

    /// True if no other job can be trained by this process. A thread that hangs stays, and with it a slot, a core and memory; a
    /// device that is lost answers no other job either.
    fn is_of_worker(&self) -> bool {
        matches!(
            self,
            Self::Hung(_)
                | Self::Train(EngineError::DeviceLost(_))
                | Self::Dataset(DatasetError::Device(EngineError::DeviceLost(_)))
        )
    }
}

/// The span of a job, a child of that of its lease; its steps are its children.
pub(super) fn span(lease: &Span, leased: &v1::LeasedJob) -> Span {
    let (job, lease_id) = (leased.job.as_ref(), leased.lease.as_ref());
    info_span!(
        target: trawl_traces::TARGET, parent: lease, "job",
        job.id = lease_id.map(|lease| lease.job_id.as_str()),
        study.name = job.map(|job| job.study.as_str()),
        job.members = job.map(|job| job.members.len()),
        job.epochs = job.map(|job| job.epochs),
    )
}

/// Runs a job under its lease, to whatever end.
pub(super) async fn run_job<T: Training>(agent: &Arc<Agent>, training: Arc<T>, leased: v1::LeasedJob, times: Times) {
    let (Some(lease), Some(wire)) = (leased.lease, leased.job) else {
        warn!("a job came without a lease, or a lease without a job");
        return;
    };
    let began = Instant::now();
    let control = Control::new();
    agent.leases.hold(&lease, began + times.lease_ttl, control.clone());
    info!(
        job.id = lease.job_id,
        study.name = wire.study,
        job.members = wire.members.len(),
        job.epochs = wire.epochs,
        "job began"
    );
    let run = Run {
        agent: Arc::clone(agent),
        training,
        lease: lease.clone(),
        checkpoints: leased.checkpoints,
        control,
        times,
    };
    // A task of its own: if it panics, heartbeats would keep its lease for ever.
    let work = tokio::spawn(run.work(wire).in_current_span());
    let ended = work.await.unwrap_or(Err(JobError::Panicked));
    let end = agent.leases.end_of(&lease);
    let ran_ms = began.elapsed().as_millis() as u64;
    if let Err(error) = &ended
        && error.is_of_worker()
    {
        error!(job.id = lease.job_id, job.ran_ms = ran_ms, error = %error, "this worker can train no more: it has to end");
        agent.unfit.cancel();
    }
    match (ended, end) {
        (Ok(()), None) => info!(job.id = lease.job_id, job.ran_ms = ran_ms, "job finished"),
        (_, Some(LeaseEnd::Lost)) => warn!(job.id = lease.job_id, job.ran_ms = ran_ms, "job dropped: lease lost"),
        // Whatever else it was told meanwhile, it did not heed that.
        (Err(error), _) if error.is_of_worker() => {
            release(agent, &lease, error.cause().as_str(), error.to_string()).await;
        }
        // Told to stop just when the end was recorded.
        (Ok(()), Some(LeaseEnd::Drain)) => info!(job.id = lease.job_id, job.ran_ms = ran_ms, "job finished"),
        (Err(_), Some(LeaseEnd::Drain)) => {
            info!(job.id = lease.job_id, job.ran_ms = ran_ms, "job handed back");
            release(agent, &lease, "drain", String::new()).await;
        }
        (Err(error), None) => {
            warn!(job.id = lease.job_id, attempt.cause = %error.cause(), error = %error, "job cannot be trained");
            release(agent, &lease, error.cause().as_str(), error.to_string()).await;
        }
    }
    agent.leases.drop_lease(&lease);
}

/// What a job is trained under.
struct Run<T> {
    agent: Arc<Agent>,
    training: Arc<T>,
    lease: v1::Lease,
    /// Where earlier attempts were, the newest first.
    checkpoints: Vec<v1::Checkpoint>,
    control: Control,
    times: Times,
}

impl<T: Training> Run<T> {
    async fn work(self, wire: v1::Job) -> Result<(), JobError> {
        let (agent, training, lease) = (&self.agent, &*self.training, &self.lease);
        let job = Job::try_from(wire)?;
        let ready = prepare(agent, training, lease, &job).instrument(step!("fetch")).await?;
        let trained = self.train_with_checkpoints(ready).instrument(step!("train")).await?;
        if !agent.reports.flush().instrument(step!("report")).await {
            return Err(JobError::Interrupted);
        }
        let test = trained.test().filter(|test| test.loss.is_finite());
        if let Some(ranking) = &job.ranking {
            let weights = weights_of_best(ranking, &job.members, &trained)?;
            put_weights(agent, lease, weights).await?;
        }
        if trained.leaves_artifacts() {
            let limit = training.progress_limit();
            put_refit_artifacts(agent, lease, limit, trained, self.control.clone()).await?;
        } else {
            // What its networks take on the device is for the next job.
            drop(trained);
        }
        let request = v1::FinishJobRequest {
            lease: Some(lease.clone()),
            test_loss: test.map(|test| test.loss),
            test_accuracy: test.and_then(|test| test.accuracy),
        };
        let finished = insist(agent, lease, || {
            let (mut client, request) = (agent.connection.client(), request.clone());
            async move { client.finish_job(request).await }
        });
        note_status(agent, lease, finished.instrument(step!("finish")).await?.status)
    }

    /// Trains from the newest checkpoint that is whole, or else from the beginning, and keeps checkpoints meanwhile.
    async fn train_with_checkpoints(&self, ready: T::Ready) -> Result<T::Trained, JobError> {
        let (agent, lease) = (&self.agent, &self.lease);
        let checkpoint = checkpoints::newest_whole(agent, lease, &self.checkpoints).await?;
        let (sender, told) = mpsc::channel(1);
        let keeper = tokio::spawn(checkpoints::keep(
            Arc::clone(agent),
            lease.clone(),
            self.times.checkpoint_interval,
            self.control.clone(),
            told,
        ));
        let listener = Listener::new(agent.reports.clone(), lease.clone(), sender);
        let trained = self
            .training
            .train(ready, checkpoint, listener, self.control.clone())
            .await;
        if let Err(JobError::Hung(_)) = trained {
            // Its thread holds the sender for ever.
            keeper.abort();
        }
        // The last one is kept before the lease is handed back.
        let _ = keeper.await;
        trained
    }
}

/// Brings what a job needs. Tries again while the coordinator does not answer: that is no failure of the job.
async fn prepare<T: Training>(agent: &Agent, training: &T, lease: &v1::Lease, job: &Job) -> Result<T::Ready, JobError> {
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        let status = match training.prepare(&agent.connection, job).await {
            Err(DatasetError::Fetch(_, status)) if may_pass(&status) => status,
            ready => return Ok(ready?),
        };
        if agent.leases.end_of(lease).is_some() {
            return Err(JobError::Interrupted);
        }
        agent.connection.failed(status.code());
        warn!(job.id = lease.job_id, error = status.message(), code = %status.code(), "no dataset; trying again");
        backoff.wait(&status).await;
    }
}

/// Computes on a thread of its own, which shows its progress.
///
/// # Errors
/// There is no thread, it panicked, or it made no progress for `limit` and is given up.
pub(super) async fn on_thread<T: Send + 'static>(
    limit: Duration,
    progress: Progress,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    let (sends_end, end) = oneshot::channel();
    // Not one of the runtime's threads: it must not wait for one that hangs.
    let thread = std::thread::Builder::new().name(TRAINER_THREAD.to_owned());
    // Nobody waits for one that was given up.
    let work = move || drop(sends_end.send(work()));
    thread.spawn(work).map_err(JobError::Thread)?;
    tokio::select! {
        biased;
        // If it panicked, it dropped its sender.
        ended = end => ended.map_err(|_| JobError::Panicked),
        () = progress.ceased(limit) => Err(JobError::Hung(limit)),
    }
}

/// Notes that a lease is lost, if that is the answer to a write under it.
pub(super) fn note_status(agent: &Agent, lease: &v1::Lease, status: i32) -> Result<(), JobError> {
    if status == i32::from(v1::LeaseStatus::Held) {
        return Ok(());
    }
    agent.leases.lost(lease);
    Err(JobError::Interrupted)
}

/// Calls until there is an answer: what the outcome of a broken call was is not known, and a second copy changes nothing.
/// Gives up once the lease is lost, or is to be handed back while there is no space.
pub(super) async fn insist<T, F>(agent: &Agent, lease: &v1::Lease, call: impl Fn() -> F) -> Result<T, JobError>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    // There will be no space soon: the study was paused for it. Who is told to slow down is told when to come again.
    let is_full = |status: &Status| status.code() == Code::ResourceExhausted && retry_after(status).is_none();
    let gives_up = |end, status: &Status| end == LeaseEnd::Lost || is_full(status);
    insist_unless(agent, lease, gives_up, call).await
}

/// The same; `gives_up` decides it, by how the lease ends and why there was no answer.
async fn insist_unless<T, F>(
    agent: &Agent,
    lease: &v1::Lease,
    gives_up: impl Fn(LeaseEnd, &Status) -> bool,
    call: impl Fn() -> F,
) -> Result<T, JobError>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if may_pass(&status) => {
                if agent.leases.end_of(lease).is_some_and(|end| gives_up(end, &status)) {
                    return Err(JobError::Interrupted);
                }
                agent.connection.failed(status.code());
                warn!(job.id = lease.job_id, error = status.message(), code = %status.code(), "no answer; trying again");
                backoff.wait(&status).await;
            }
            Err(status) => return Err(JobError::Refused(Box::new(status))),
        }
    }
}

/// True for failures of the way or of the moment, which another try may not meet.
pub(super) fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

async fn release(agent: &Arc<Agent>, lease: &v1::Lease, cause: &str, error: String) {
    let request = v1::ReleaseJobRequest {
        lease: Some(lease.clone()),
        cause: cause.to_owned(),
        error,
    };
    // This needs no space.
    let released = insist_unless(
        agent,
        lease,
        |end, _| end == LeaseEnd::Lost,
        || {
            let (mut client, request) = (agent.connection.client(), request.clone());
            async move { client.release_job(request).await }
        },
    );
    if let Err(error) = released.await {
        // The lease runs out by itself.
        warn!(job.id = lease.job_id, error = %error, "lease could not be handed back");
    }
}
