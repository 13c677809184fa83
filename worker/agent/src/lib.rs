//! The agent: asks for jobs, runs each under its lease, and hands everything back when it is told to stop.
//!
//! Training runs on threads of its own and knows nothing of all this: it emits events and looks for commands. Around it,
//! [`leases`] keeps what is held, [`heartbeat`] renews it, [`reports`] carries epochs and keeps what is not acknowledged;
//! [`progress`] notices a training that hangs. [`trainer`] has an engine train, on rows that [`dataset`] brings, from files that
//! [`file_cache`] keeps.
//!
//! All of it but the training itself runs in the simulation of the protocol too, which replays a run from its seed: so each
//! `select!` looks at its branches in their order, and nothing asks for a clock or for random numbers but tokio's and its own.

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

/// How long one call waits for a job; then it asks again.
const LEASE_WAIT: Duration = Duration::from_secs(20);
/// How long jobs may take to be handed back once the worker stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What the operator decides, and what the machine is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Chosen at the start of the process.
    pub worker_id: WorkerId,
    /// Host name.
    pub host: String,
    /// Jobs that train at once.
    pub slots: u32,
    /// Name of the device that they train on, as `cpu` or `cuda:0`.
    pub device_name: String,
    /// How long it looks for a coordinator that takes it; for ever, if nothing is said.
    pub register_within: Option<Duration>,
}

/// No coordinator took the worker in the time that its operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not registered within {} s: {why}", within.as_secs())]
pub struct NotRegistered {
    within: Duration,
    why: String,
}

/// Why the agent stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// A training hangs, or the device is lost: the process is of no use any more. It must not wait for what it leaves behind.
    Unhealthy,
}

/// The parts that a job needs, shared by all of them.
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
/// No coordinator takes the worker in time.
pub async fn run<T: Training>(
    settings: Settings,
    connection: Connection,
    training: T,
    stop: CancellationToken,
) -> Result<Ended, NotRegistered> {
    let tasks = TaskTracker::new();
    // What jobs need to end well lives until they have.
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
    info!(jobs = leases.len(), "stopping: leases are handed back");
    leases.interrupt_all(LeaseEnd::Drain);
    jobs.close();
    if tokio::time::timeout(DRAIN_WITHIN, jobs.wait()).await.is_err() {
        warn!(
            jobs = leases.len(),
            "stopping: some leases were not handed back and will run out"
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
        warn!("stopping: the coordinator could not be told");
    }
    // What hung only now, while the others were handed back, is as much in the way.
    Ok(if agent.unhealthy.is_cancelled() {
        Ended::Unhealthy
    } else {
        Ended::Told
    })
}

/// How the coordinator wants workers to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Times {
    lease_ttl: Duration,
    heartbeat_interval: Duration,
    checkpoint_interval: Duration,
}

/// Makes the worker known, as soon as the coordinator is there; `None` if it is told to stop before.
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
                info!(worker.id = %settings.worker_id, worker.device = settings.device_name,
                    worker.slots = settings.slots, "worker registered");
                return Ok(Some(times));
            }
            Err(status) => {
                connection.failed(status.code());
                if let Some(within) = settings.register_within.filter(|within| began.elapsed() >= *within) {
                    let why = status_message(&status);
                    return Err(NotRegistered { within, why });
                }
                warn!(error = status_message(&status), code = %status.code(), "cannot register; trying again");
                status
            }
        };
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
        // All free slots at once: the one in hand, and those beside it.
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
        let lease = info_span!(target: trawl_traces::TARGET, "lease", otel.kind = "client");
        let mut client = agent.connection.patient_client();
        let leased = match client.lease_jobs(request).instrument(lease.clone()).await {
            Ok(answer) => {
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
            // There are as many permits as were asked for: nobody else takes any.
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

/// A coordinator with another database does not know this worker any more.
async fn recover(agent: &Agent, status: &tonic::Status) {
    if status.code() != Code::NotFound {
        agent.connection.failed(status.code());
        warn!(error = status.message(), code = %status.code(), "no jobs; trying again");
        return;
    }
    match try_register(&agent.settings, &agent.connection).await {
        Ok(_) => info!("worker registered again"),
        Err(status) => warn!(error = status.message(), code = %status.code(), "cannot register again"),
    }
}
