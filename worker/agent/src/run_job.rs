//! Runs one leased job: fetches its tables, trains, reports, and finishes it or hands it back.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{Instrument, Span, error, info, info_span, warn};
use trawl_domain::fold::Split;
use trawl_domain::job::Job;
use trawl_domain::lease::LeaseClaim;
use trawl_engine::{Control, TestMetrics};
use trawl_proto::{lease_claim, v1};

use super::artifacts::{members_of_best, weights};
use super::checkpoints::{self, CheckpointListed};
use super::connection::Backoff;
use super::dataset::DatasetError;
use super::fold_predictions::put_fold_predictions;
use super::job_error::JobError;
use super::leases::LeaseEnd;
use super::refit_artifacts::put_refit_artifacts;
use super::retry::{may_pass, write, write_unless};
use super::training::{Listener, Trained, Training};
use super::{Agent, Times};

/// The span of a step of a job.
macro_rules! step {
    ($name:literal) => {
        info_span!(target: trawl_telemetry::TARGET, $name)
    };
}

/// The span of a job, a child of that of its lease; its steps are its children.
pub(super) fn span(lease: &Span, leased: &v1::LeasedJob) -> Span {
    let (job, lease_id) = (leased.job.as_ref(), leased.lease.as_ref());
    info_span!(
        target: trawl_telemetry::TARGET, parent: lease, "job",
        job.id = lease_id.map(|lease| lease.job_id.as_str()),
        study.name = job.map(|job| job.study.as_str()),
        job.members = job.map(|job| job.members.len()),
        job.epochs = job.map(|job| job.end_epoch.saturating_sub(job.first_epoch)),
    )
}

/// Runs a job under its lease until it ends in any way.
pub(super) async fn run_job<T: Training>(agent: &Arc<Agent>, training: Arc<T>, leased: v1::LeasedJob, times: Times) {
    let (Ok(lease), Some(wire)) = (lease_claim(leased.lease.as_ref()), leased.job) else {
        warn!("a job came without a lease, or a lease without a job");
        return;
    };
    let began = Instant::now();
    let control = Control::new();
    agent.leases.hold(lease, began + times.lease_ttl, control.clone());
    let study = wire.study.clone();
    let run = Run {
        agent: Arc::clone(agent),
        training,
        lease,
        checkpoints: leased.checkpoints.iter().filter_map(CheckpointListed::of).collect(),
        before: leased.starts.iter().filter_map(CheckpointListed::of).collect(),
        control,
        times,
    };
    // A separate task: after a panic on this one, heartbeats would keep its lease for ever.
    let work = tokio::spawn(run.work(wire).in_current_span());
    let ended = work.await.unwrap_or(Err(JobError::Panicked));
    let end = agent.leases.end_of(lease);
    let ran_ms = began.elapsed().as_millis() as u64;
    if let Err(error) = &ended
        && error.is_of_worker()
    {
        error!(study.name = study, job.id = %lease.job_id, job.ran_ms = ran_ms, error = %error,
            "this worker can train no more: it has to end");
        agent.unhealthy.cancel();
    }
    match (ended, end) {
        (Ok(()), None) => info!(study.name = study, job.id = %lease.job_id, job.ran_ms = ran_ms, "job finished"),
        (_, Some(LeaseEnd::Lost)) => {
            info!(study.name = study, job.id = %lease.job_id, job.ran_ms = ran_ms, "job dropped: lease lost");
        }
        // A hung or lost training did not react to any later command.
        (Err(error), _) if error.is_of_worker() => {
            release(agent, lease, error.cause().as_str(), error.to_string()).await;
        }
        // Stopped just as the end was recorded.
        (Ok(()), Some(LeaseEnd::Drain)) => {
            info!(study.name = study, job.id = %lease.job_id, job.ran_ms = ran_ms, "job finished");
        }
        (Err(_), Some(LeaseEnd::Drain)) => {
            info!(study.name = study, job.id = %lease.job_id, job.ran_ms = ran_ms, "job handed back");
            release(agent, lease, "drain", String::new()).await;
        }
        (Err(error), None) => {
            warn!(study.name = study, job.id = %lease.job_id, attempt.cause = %error.cause(), error = %error,
                "job cannot be trained");
            release(agent, lease, error.cause().as_str(), error.to_string()).await;
        }
    }
    agent.leases.drop_lease(lease);
}

/// A job under its lease.
struct Run<T> {
    agent: Arc<Agent>,
    training: Arc<T>,
    lease: LeaseClaim,
    /// Checkpoints of earlier attempts, the newest first.
    checkpoints: Vec<CheckpointListed>,
    /// Checkpoints with which earlier jobs of its members ended.
    before: Vec<CheckpointListed>,
    control: Control,
    times: Times,
}

impl<T: Training> Run<T> {
    async fn work(self, wire: v1::Job) -> Result<(), JobError> {
        let (agent, training, lease) = (&self.agent, &*self.training, self.lease);
        let job = Job::try_from(wire)?;
        info!(
            study.name = job.study,
            job.id = %lease.job_id,
            job.members = job.members.len(),
            job.trials = job.trials(),
            job.first_epoch = job.epochs.start,
            job.end_epoch = job.epochs.end,
            "job began"
        );
        let ready = prepare(agent, training, lease, &job).instrument(step!("fetch")).await?;
        let trained = self
            .train_with_checkpoints(ready, &job)
            .instrument(step!("train"))
            .await?;
        if !agent.reports.flush().instrument(step!("report")).await {
            return Err(JobError::Interrupted);
        }
        let row_losses = trained.as_ref().map_or_else(Vec::new, row_losses);
        let baselines = if job.measures_baselines() {
            let measuring = training.baselines(&agent.connection, lease, &job, self.control.clone());
            measuring.instrument(step!("baselines")).await?
        } else {
            Vec::new()
        };
        let test = match trained {
            Some(trained) => self.leave_files(&job, trained).await?,
            None => None,
        };
        let request = v1::FinishJobRequest {
            lease: Some(lease.into()),
            test_loss: test.map(|test| test.loss),
            test_accuracy: test.and_then(|test| test.accuracy),
            row_losses,
            baselines: baselines
                .into_iter()
                .map(|(baseline, values)| v1::JobBaseline {
                    baseline: baseline.to_string(),
                    values,
                })
                .collect(),
        };
        let finished = write(agent, lease, || {
            let (mut client, request) = (agent.connection.client(), request.clone());
            async move { Ok(client.finish_job(request).await?.into_inner().status) }
        });
        finished.instrument(step!("finish")).await
    }

    /// Sends the files of members that completed; returns the test metrics, if any.
    async fn leave_files(&self, job: &Job, trained: T::Trained) -> Result<Option<TestMetrics>, JobError> {
        let (agent, lease) = (&self.agent, self.lease);
        let test = trained.test().filter(|test| test.loss.is_finite());
        let limit = self.training.progress_limit();
        if let Some(ranking) = &job.ranking {
            let kept = members_of_best(ranking, &job.members, &trained);
            for file in weights(&kept, &job.members, &trained)? {
                file.put(agent, lease).await?;
            }
            if !kept.is_empty() && trained.leaves_held_out() {
                let of = (kept, job.members.clone());
                put_fold_predictions(agent, lease, limit, trained, of, self.control.clone()).await?;
            }
        } else if trained.leaves_artifacts() {
            put_refit_artifacts(agent, lease, limit, trained, self.control.clone()).await?;
        }
        // If no files were sent, the networks' device memory is already free for the next job.
        Ok(test)
    }

    /// Trains from the newest intact checkpoints, or from the beginning, and keeps checkpoints meanwhile. `None` if the
    /// job ended before its members did: then its last checkpoint is kept, if possible.
    async fn train_with_checkpoints(&self, ready: T::Ready, job: &Job) -> Result<Option<T::Trained>, JobError> {
        let (agent, lease) = (&self.agent, self.lease);
        let starts = checkpoints::starts(agent, lease, &self.checkpoints, &self.before).await?;
        let (sender, told) = mpsc::channel(1);
        let keeper = tokio::spawn(checkpoints::keep(
            Arc::clone(agent),
            lease,
            self.times.checkpoint_interval,
            self.control.clone(),
            told,
        ));
        // When a fit trains on all rows, none validates.
        let metrics = if job.split == Split::All { &[][..] } else { &job.metrics };
        let listener = Listener::new(agent.reports.clone(), lease, job.epochs.start, metrics, sender);
        let trained = self.training.train(ready, starts, listener, self.control.clone()).await;
        if let Err(JobError::Hung(_)) = trained {
            // The hung thread holds the sender for ever.
            keeper.abort();
        }
        // The last checkpoint is kept before the lease is handed back.
        let _ = keeper.await;
        trained
    }
}

/// Losses of single rows, by member; empty if no member has any.
fn row_losses<T: Trained>(trained: &T) -> Vec<Vec<u8>> {
    let of_members = trained.row_losses();
    if of_members.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let to_wire = |losses: &Vec<f32>| losses.iter().flat_map(|loss| loss.to_le_bytes()).collect();
    of_members.iter().map(to_wire).collect()
}

/// Prepares a job. Retries while the coordinator does not answer: that does not fail the job.
async fn prepare<T: Training>(agent: &Agent, training: &T, lease: LeaseClaim, job: &Job) -> Result<T::Ready, JobError> {
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        let status = match training.prepare(&agent.connection, lease, job).await {
            Err(DatasetError::Fetch(_, status) | DatasetError::TrialFile(_, status)) if may_pass(&status) => status,
            ready => return Ok(ready?),
        };
        if agent.leases.end_of(lease).is_some() {
            return Err(JobError::Interrupted);
        }
        agent.connection.failed("no dataset", &status);
        backoff.wait(&status).await;
    }
}

async fn release(agent: &Arc<Agent>, lease: LeaseClaim, cause: &str, error: String) {
    let request = v1::ReleaseJobRequest {
        lease: Some(lease.into()),
        cause: cause.to_owned(),
        error,
    };
    // A release needs no space.
    let released = write_unless(
        agent,
        lease,
        |end, _| end == LeaseEnd::Lost,
        || {
            let (mut client, request) = (agent.connection.client(), request.clone());
            async move { Ok(client.release_job(request).await?.into_inner().status) }
        },
    );
    if let Err(error) = released.await {
        // The lease runs out by itself.
        warn!(job.id = %lease.job_id, error = %error, "lease could not be handed back");
    }
}
