//! The coordinator's actions. Each step of a trial's life has a file: [`submit_study`] → [`plan_trials`] →
//! [`lease_job`] → [`write_reports`] → [`finish_job`] → `finish_trials` → `race_trials` → `finish_study` →
//! [`refit_study`]. Other files serve the users' other requests, take back the jobs of lost workers
//! ([`expire_leases`]), authenticate callers ([`auth`]) and limit their rate ([`rate_limit`]).

pub mod auth;
pub mod bound_readers;
pub mod cancel_study;
pub mod coordinator_lock;
pub mod dataset_dir;
pub mod delete_study;
mod differences;
pub mod expire_leases;
mod finish_job;
mod finish_study;
mod finish_trials;
mod fold_curves;
pub mod gauges;
pub mod grow_study;
pub mod issue_token;
pub mod judge_winner;
pub mod keep_artifact;
pub mod keep_checkpoint;
mod keep_row_losses;
pub mod lease_job;
pub mod outline;
pub mod pause_study;
pub mod plan_trials;
mod prior_results;
pub mod probe_files;
pub mod quotas;
mod race_trials;
pub mod rate_limit;
mod read_dataset;
pub mod read_study;
pub mod refit_study;
pub mod register_dataset;
pub mod register_worker;
pub mod release_job;
pub mod renew_lease;
pub mod replay_study;
pub mod report_order;
pub mod retire;
mod retry_or_fail_job;
pub mod retry_trials;
mod study_cache;
pub mod submit_study;
pub mod sweep_objects;
pub mod upload;
pub mod write_reports;

pub use finish_job::{JobResults, TestMetrics, finish_job};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
use tracing::error;
use trawl_domain::id::StudyId;
use trawl_domain::lease::{LeaseClaim, LeaseLost};
use trawl_domain::state::StudyState;
use trawl_domain::violation::{Violation, Violations};
use uuid::Uuid;

use dataset_dir::DatasetDir;
use quotas::{BytesKept, Quotas};
use study_cache::StudyCache;

use crate::files::{Files, FilesError};
use crate::metrics::Metrics;
use crate::store::leases::{self, HeldLease, Outcome};
use crate::store::studies::{self, StudyRecord, StudyRef};
use crate::store::trials::TrialRecord;
use crate::store::{Connection, StoreError};

/// Steps of workers, other than heartbeats and reports, that run at once. With the turns of users they leave
/// connections to Postgres for heartbeats and reports: no lease runs out because many workers ask for jobs.
const WORKERS_STEPS_AT_ONCE: usize = 4;
/// Datasets of studies that are read and checked at once; further ones wait. One takes 272 MiB at most: four bytes for
/// each number, and the second look at its columns.
const DATASETS_READ_AT_ONCE: usize = 1;
/// Time limit of a file from its first byte to its last: the largest one at 600 KiB a second.
pub const UPLOAD_WITHIN: Duration = Duration::from_secs(3_600);
/// Time after which an upload is swept: the time limit of the upload, and time to store and list the file.
const UPLOAD_SWEPT_AFTER: Duration = UPLOAD_WITHIN.saturating_add(Duration::from_secs(900));
/// Time limit of Postgres for a trivial query; renewals fare no better.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The operator's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder below which requests may name dataset files; without one, no path of a request is read.
    pub dataset_dir: Option<DatasetDir>,
    /// Folders that may hold FashionMNIST, in this order.
    pub fashion_mnist_dirs: Vec<PathBuf>,
    /// Time limit of a lease from its grant or renewal.
    pub lease_ttl: Duration,
    /// Time between two checkpoints of a job.
    pub checkpoint_interval: Duration,
    /// Limits of what studies take.
    pub quotas: Quotas,
    /// Time limit of a reader's transaction.
    pub reader_transaction_limit: Duration,
}

impl Settings {
    /// Time between two heartbeats: two may be lost before a lease is.
    pub fn heartbeat_interval(&self) -> Duration {
        self.lease_ttl / 3
    }
}

/// Why an action was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request breaks rules.
    #[error(transparent)]
    Invalid(#[from] Violations),
    /// The request names something that does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The request names something that exists already.
    #[error("{0}")]
    AlreadyExists(String),
    /// Another study has the name.
    #[error("there is another study '{name}', which is {state}; it differs in {}", fields(.differences))]
    OtherStudy {
        /// The name.
        name: String,
        /// State of the stored study.
        state: StudyState,
        /// The fields in which the two differ, with both values.
        differences: Violations,
    },
    /// The request names something that belongs to another caller.
    #[error("{0}")]
    Forbidden(String),
    /// The lease is not, or no longer, held; nothing was written.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// The request does not fit the state of its object.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store has no answer.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The request needs more than a quota has left.
    #[error("{0}")]
    Exhausted(String),
    /// The request may succeed later.
    #[error("{0}")]
    Unavailable(&'static str),
    /// An internal error.
    #[error("{0}")]
    Internal(String),
}

impl From<sqlx::Error> for AppError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl AppError {
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.add(field, description);
        Self::Invalid(violations)
    }

    /// A message for people, if the error is a lack of space.
    pub fn lack_of_space(&self) -> Option<String> {
        match self {
            Self::Exhausted(reason) => Some(reason.clone()),
            Self::Files(error) if error.is_full() => Some("the object store is full".to_owned()),
            Self::Store(error) if error.is_disk_full() => Some("the disk of the database is full".to_owned()),
            _ => None,
        }
    }

    /// The error for a stored study that this version of trawl would not have accepted.
    fn stored_study(study_id: StudyId, violation: &Violation) -> Self {
        Self::Internal(format!(
            "study {study_id}: {}: {}",
            violation.field, violation.description
        ))
    }
}

/// The coordinator's parts, shared by all requests.
#[derive(Debug)]
pub struct App {
    pool: PgPool,
    files: Files,
    settings: Settings,
    /// Distinguishes this coordinator from others on the same database.
    number: i32,
    /// One permit for each step of a worker that may be under way.
    worker_steps: Semaphore,
    /// Held while a study is planned: two tasks that plan one study would compute the same thing.
    planning: tokio::sync::Mutex<()>,
    /// Held while a winner is judged, so that one search is judged at a time.
    judging: tokio::sync::Mutex<()>,
    /// One permit for each dataset that may be read.
    dataset_reading: Arc<Semaphore>,
    bytes_kept: BytesKept,
    study_cache: StudyCache,
    ids: Mutex<ChaCha20Rng>,
    metrics: Metrics,
    last_counts: gauges::LastCounts,
    last_probe: probe_files::LastProbe,
    /// Wakes the calls that wait for jobs, in their order of arrival.
    jobs_queued: Notify,
    /// Counts up when a study changes.
    studies_changed: watch::Sender<u64>,
}

impl App {
    /// The coordinator over a migrated database and an object store. Ids are drawn from `entropy`.
    pub fn new(pool: PgPool, files: Files, settings: Settings, entropy: [u8; 32]) -> Self {
        let mut ids = ChaCha20Rng::from_seed(entropy);
        Self {
            pool,
            files,
            settings,
            number: ids.next_u32().cast_signed(),
            worker_steps: Semaphore::new(WORKERS_STEPS_AT_ONCE),
            planning: tokio::sync::Mutex::default(),
            dataset_reading: Arc::new(Semaphore::new(DATASETS_READ_AT_ONCE)),
            bytes_kept: BytesKept::default(),
            judging: tokio::sync::Mutex::default(),
            study_cache: StudyCache::default(),
            ids: Mutex::new(ids),
            metrics: Metrics::new(),
            last_counts: gauges::LastCounts::default(),
            last_probe: probe_files::LastProbe::default(),
            jobs_queued: Notify::new(),
            studies_changed: watch::Sender::new(0),
        }
    }

    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// This coordinator's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Notifies when jobs may be waiting.
    pub fn jobs_queued(&self) -> &Notify {
        &self.jobs_queued
    }

    /// Notifies when a study changes.
    pub fn studies_changed(&self) -> watch::Receiver<u64> {
        self.studies_changed.subscribe()
    }

    /// True if Postgres answers soon: while nobody gets a connection, no lease is renewed either. The wait is no longer
    /// than a worker's wait for a heartbeat, so that this notices every outage in which heartbeats were lost.
    pub async fn is_database_up(&self) -> bool {
        // Heartbeats need this table: while somebody holds a lock on all of it, no lease can be renewed.
        let answer = sqlx::query("SELECT FROM trawl_store.leases LIMIT 1").execute(&self.pool);
        let within = DATABASE_ANSWERS_WITHIN.min(self.settings.heartbeat_interval() / 2);
        let what = "Postgres does not answer";
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error!(error = %error, "{what}"),
            Err(_) => error!(error = format!("no answer within {} ms", within.as_millis()), "{what}"),
        }
        false
    }

    /// Waits for the turn of a worker's step.
    pub(crate) async fn worker_turn(&self) -> Result<SemaphorePermit<'_>, AppError> {
        let turn = self.worker_steps.acquire().await;
        turn.map_err(|_| AppError::Unavailable("the coordinator stops"))
    }

    fn signal_jobs(&self) {
        self.jobs_queued.notify_waiters();
    }

    fn signal_studies(&self) {
        self.studies_changed.send_modify(|count| *count += 1);
    }

    fn new_id(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, AppError> {
        let asked_at = Instant::now();
        let tx = self.pool.begin().await;
        self.metrics.database_waited(asked_at.elapsed());
        Ok(tx?)
    }

    async fn find_study(&self, study: &str) -> Result<StudyRecord, AppError> {
        let mut conn = self.pool.acquire().await?;
        studies::find(&mut conn, StudyRef::from(study))
            .await?
            .ok_or_else(|| study_not_found(study))
    }
}

/// Locks a live lease.
///
/// # Errors
/// [`AppError::LeaseLost`]
async fn hold(conn: &mut Connection, claim: LeaseClaim) -> Result<HeldLease, AppError> {
    Ok(leases::lock(conn, claim).await?.ok_or(LeaseLost)?)
}

/// The same for actions that end a lease; `None` if this lease already ended in that way: the request is repeated, because its answer was lost.
///
/// # Errors
/// [`AppError::LeaseLost`]
async fn hold_or_ended(
    conn: &mut Connection,
    claim: LeaseClaim,
    outcome: Outcome<'_>,
) -> Result<Option<HeldLease>, AppError> {
    match hold(conn, claim).await {
        Err(AppError::LeaseLost(_)) if leases::ended_as(conn, claim, outcome).await? => Ok(None),
        held => held.map(Some),
    }
}

fn study_not_found(study: &str) -> AppError {
    // The name goes back to its sender, but not to the log at length.
    let shown: String = study.chars().take(80).collect();
    AppError::NotFound(format!("there is no study '{shown}'"))
}

/// The first few fields, as a sentence lists them.
fn fields(violations: &Violations) -> String {
    /// All of them are in the details.
    const FIELDS_MAX: usize = 3;
    let fields = violations.iter().map(|violation| violation.field.as_str());
    let named: Vec<&str> = fields.take(FIELDS_MAX).collect();
    match violations.iter().count() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A record's study, as it was submitted.
fn load_spec(record: &StudyRecord) -> Result<trawl_proto::v1::Study, AppError> {
    trawl_proto::from_json(&record.spec)
        .map_err(|error| AppError::Internal(format!("study {}: spec: {error}", record.study_id)))
}

fn not_in_state(record: &StudyRecord, wish: &str) -> AppError {
    AppError::FailedPrecondition(format!(
        "study '{}' is {} and cannot be {wish}",
        record.name, record.state
    ))
}

/// What a transaction did to studies; signalled after the commit.
#[derive(Debug, Default)]
struct Notifications {
    queued_jobs: bool,
    ended_study: Option<EndedStudy>,
}

/// A study that ended, and its best trial.
#[derive(Debug)]
struct EndedStudy {
    record: StudyRecord,
    best: Option<TrialRecord>,
}
