//! The agent: asks for jobs, runs each under its lease, and hands all of them back when it is stopped.
//!
//! Training runs on threads of its own and knows none of the rest: it emits events and polls for commands. Around it,
//! [`leases`] keeps the leases, [`heartbeat`] renews them, [`reports`] sends epochs and keeps those not acknowledged,
//! and [`progress`] notices hanging training. [`trainer`] runs an engine on rows from [`dataset`], which reads files
//! from [`file_cache`].
//!
//! All except the training also runs in the simulation of the protocol, which replays a run from its seed. So each
//! `select!` polls its branches in order, and the only clock and random numbers are tokio's and the agent's own.

mod artifacts;
mod checkpoints;
pub mod connection;
pub mod dataset;
pub mod file_cache;
mod fold_predictions;
mod heartbeat;
mod job_error;
mod leases;
mod pieces;
mod progress;
mod refit_artifacts;
mod reports;
mod retry;
mod run_job;
mod thread;
mod trainer;
mod training;
mod trial_files;

pub use checkpoints::Starts;
pub use job_error::JobError;
pub use trainer::Trainer;
pub use training::{Listener, Trained, Training};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Code;
use tracing::{Instrument, error, info, info_span, warn};
use trawl_domain::id::WorkerId;
use trawl_proto::dial::status_message;
use trawl_proto::v1;

use connection::{Backoff, Connection};
use leases::{LeaseEnd, Leases};
use reports::Reports;

/// Longest wait of one call for a job; then the agent calls again.
const LEASE_WAIT: Duration = Duration::from_secs(20);
/// Time limit for handing jobs back once the worker stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The operator's settings, and the machine's facts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chosen at the start of the process.
    pub worker_id: WorkerId,
    /// Host name.
    pub host: String,
    /// Jobs that train at once.
    pub slots: u32,
    /// Name of the device that jobs train on: `cpu` or `cuda:0`.
    pub device_name: String,
    /// Time limit for finding a coordinator that accepts the worker; without one, it looks for ever.
    pub register_within: Option<Duration>,
}

/// Why no coordinator accepted the worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// None did within the operator's time limit.
    #[error("not registered within {} s: {url}: {why}", .within.as_secs())]
    InTime {
        /// The time limit.
        within: Duration,
        /// The coordinator that was asked last.
        url: String,
        /// What it answered, or why it did not.
        why: String,
    },
    /// One refuses the role of the worker's token, which never changes.
    #[error(
        "{url} refuses this worker: {why}; it needs a token of the role worker: `trawl token create NAME --role worker` makes one, and --token-file names its file"
    )]
    Role {
        /// The coordinator.
        url: String,
        /// What it answered.
        why: String,
    },
}

/// Why the agent stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was stopped.
    Told,
    /// A training hangs, or the device is lost: the process has to end, without waiting for its threads.
    Unhealthy,
}

/// The parts that all jobs share.
#[derive(Debug)]
struct Agent {
    settings: Settings,
    connection: Connection,
    leases: Leases,
    reports: Reports,
    /// Cancelled when a training hangs or the device is lost.
    unhealthy: CancellationToken,
}

/// Works until `stop` is cancelled, a training hangs or the device is lost, then hands the leases back and says goodbye.
///
/// # Errors
/// No coordinator accepts the worker in time.
pub async fn run<T: Training>(
    settings: Settings,
    connection: Connection,
    training: T,
    stop: CancellationToken,
) -> Result<Ended, NotRegistered> {
    let tasks = TaskTracker::new();
    // Tasks that jobs need in order to end well; cancelled after the jobs.
    let background = CancellationToken::new();
    let leases = Leases::new();
    let Some(times) = register(&settings, &connection, &stop).await? else {
        return Ok(Ended::Told);
    };
    let (reports, carry) = reports::reports(
        settings.worker_id,
        connection.clone(),
        leases.clone(),
        background.clone(),
    );
    let agent = Arc::new(Agent {
        leases: leases.clone(),
        reports,
        connection,
        settings,
        unhealthy: CancellationToken::new(),
    });
    tasks.spawn(carry);
    tasks.spawn(heartbeat::heartbeat(Arc::clone(&agent), times, background.clone()));

    tasks.spawn(heartbeat::fence(leases.clone(), background.clone()));

    let jobs = TaskTracker::new();
    let training = Arc::new(training);
    tokio::select! {
        biased;
        () = take_jobs(&agent, &training, &jobs, times) => {}
        () = stop.cancelled() => {}
        () = agent.unhealthy.cancelled() => {}
    }
    info!(jobs = leases.len(), "worker stopping: leases are handed back");
    leases.interrupt_all(LeaseEnd::Drain);
    jobs.close();
    if tokio::time::timeout(DRAIN_WITHIN, jobs.wait()).await.is_err() {
        warn!(
            jobs = leases.len(),
            "worker stopping: some leases were not handed back and will run out"
        );
    }
    background.cancel();
    tasks.close();
    tasks.wait().await;
    let goodbye = v1::UnregisterWorkerRequest {
        worker_id: agent.settings.worker_id.to_string(),
    };
    let mut client = agent.connection.client();
    let said = tokio::time::timeout(Duration::from_secs(2), client.unregister_worker(goodbye)).await;
    if !matches!(said, Ok(Ok(_))) {
        warn!(coordinator.url = %agent.connection.url(), worker.id = %agent.settings.worker_id,
            "worker stopping: the coordinator could not be told");
    }
    // A training may have begun to hang while others were handed back.
    Ok(if agent.unhealthy.is_cancelled() {
        Ended::Unhealthy
    } else {
        Ended::Told
    })
}

/// The coordinator's intervals and limits for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    lease_ttl: Duration,
    heartbeat_interval: Duration,
    checkpoint_interval: Duration,
}

/// Registers the worker as soon as a coordinator answers; `None` if `stop` is cancelled first. A token that is unknown may be known later: a
/// coordinator reads new ones every second, and a database may be restored.
async fn register(
    settings: &Settings,
    connection: &Connection,
    stop: &CancellationToken,
) -> Result<Option<Times>, NotRegistered> {
    let began = Instant::now();
    let mut backoff = Backoff::new(settings.worker_id);
    loop {
        let status = match try_register(settings, connection).await {
            Ok(times) => {
                info!(coordinator.url = %connection.url(), worker.id = %settings.worker_id,
                    worker.device = settings.device_name, worker.slots = settings.slots, "worker registered");
                return Ok(Some(times));
            }
            Err(status) => status,
        };
        let (url, why) = (connection.url().to_owned(), status_message(&status));
        if status.code() == Code::PermissionDenied {
            return Err(NotRegistered::Role { url, why });
        }
        if let Some(within) = settings.register_within.filter(|within| began.elapsed() >= *within) {
            return Err(NotRegistered::InTime { within, url, why });
        }
        connection.failed("cannot register", &status);
        tokio::select! {
            biased;
            () = backoff.wait(&status) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

async fn try_register(settings: &Settings, connection: &Connection) -> Result<Times, tonic::Status> {
    let request = v1::RegisterWorkerRequest {
        worker_id: settings.worker_id.to_string(),
        host: settings.host.clone(),
        device: settings.device_name.clone(),
        slots: settings.slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: trawl_proto::WORKER_PROTOCOL,
    };
    let answer = connection.client().register_worker(request).await?.into_inner();
    connection.answered();
    let time = |field: Option<prost_types::Duration>| {
        field
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| tonic::Status::internal("the coordinator named no time"))
    };
    Ok(Times {
        lease_ttl: time(answer.lease_ttl)?,
        heartbeat_interval: time(answer.heartbeat_interval)?,
        checkpoint_interval: time(answer.checkpoint_interval)?,
    })
}

/// Asks for jobs while there are free slots, for ever.
async fn take_jobs<T: Training>(agent: &Arc<Agent>, training: &Arc<T>, jobs: &TaskTracker, times: Times) {
    let slots = Arc::new(Semaphore::new(agent.settings.slots as usize));
    let mut backoff = Backoff::new(agent.settings.worker_id);
    loop {
        let Ok(free) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        // All free slots at once: this one, and the others.
        let wanted = 1 + slots.available_permits() as u32;
        drop(free);
        let request = v1::LeaseJobsRequest {
            worker_id: agent.settings.worker_id.to_string(),
            slots: wanted,
            wait: Some(prost_types::Duration {
                seconds: LEASE_WAIT.as_secs() as i64,
                nanos: 0,
            }),
        };
        let lease = info_span!(target: trawl_telemetry::TARGET, "lease", otel.kind = "client");
        let mut client = agent.connection.patient_client();
        let leased = match client.lease_jobs(request).instrument(lease.clone()).await {
            Ok(answer) => {
                agent.connection.answered();
                backoff.reset();
                answer.into_inner().jobs
            }
            Err(status) => {
                recover(agent, &status).await;
                backoff.wait(&status).await;
                continue;
            }
        };
        for job in leased {
            // The permits exist, because no other task takes any.
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                error!("more jobs came than were asked for");
                break;
            };
            let (agent, training) = (Arc::clone(agent), Arc::clone(training));
            let span = run_job::span(&lease, &job);
            let run = async move {
                run_job::run_job(&agent, training, job, times).await;
                drop(slot);
            };
            jobs.spawn(run.instrument(span));
        }
    }
}

/// A coordinator with another database does not know this worker.
async fn recover(agent: &Agent, status: &tonic::Status) {
    if status.code() != Code::NotFound {
        agent.connection.failed("no jobs", status);
        return;
    }
    match try_register(&agent.settings, &agent.connection).await {
        Ok(_) => {
            info!(coordinator.url = %agent.connection.url(), worker.id = %agent.settings.worker_id, "worker registered again");
        }
        Err(status) => agent.connection.failed("cannot register again", &status),
    }
}
