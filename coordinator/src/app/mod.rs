//! What the coordinator does. One file a step of a trial's way:
//! [`submit_study`] → [`plan_trials`] → [`lease_job`] → [`write_reports`] → [`finish_job`] → `finish_trials` → `race_trials` →
//! `finish_study` → [`refit_study`]; beside it the users' other wishes, lost workers in [`expire_leases`], and who calls, and how
//! often, in [`auth`] and [`rate_limit`].

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

pub use finish_job::{TestMetrics, finish_job};

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::Instant;
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
use crate::store::{Connection, StoreError};

/// Steps of workers that are carried out at once, but for heartbeats and reports: with the turns of users they leave connections to
/// Postgres for those, so that no lease runs out because many ask for jobs.
const WORKERS_STEPS_AT_ONCE: usize = 4;
/// Datasets of studies that are read at once, to be checked; further ones wait. One takes 272 MiB at most: four bytes for
/// each number, and what a second look at its columns takes.
const DATASETS_READ_AT_ONCE: usize = 1;
/// How long a file may take from its first byte to its last: the largest one at 600 KiB a second.
pub const UPLOAD_WITHIN: Duration = Duration::from_secs(3_600);
/// After this time an upload is swept: longer than it may take with the time to store and to list it.
const UPLOAD_SWEPT_AFTER: Duration = UPLOAD_WITHIN.saturating_add(Duration::from_secs(900));
/// How soon Postgres has to answer a question that takes no time; renewals fare no better.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// What the operator decides.
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
    /// What studies may take.
    pub quotas: Quotas,
    /// How long a transaction of somebody who reads results may last.
    pub reader_transaction_limit: Duration,
}

impl Settings {
    /// Time between two heartbeats: two may be lost before a lease is.
    pub fn heartbeat_interval(&self) -> Duration {
        self.lease_ttl / 3
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The request breaks rules.
    #[error(transparent)]
    Invalid(#[from] Violations),
    /// It names what is not there.
    #[error("{0}")]
    NotFound(String),
    /// It names what is there already.
    #[error("{0}")]
    AlreadyExists(String),
    /// Another study has the name.
    #[error("there is another study '{name}', which is {state}; it differs in {}", fields(.differences))]
    OtherStudy {
        /// The name.
        name: String,
        /// State of the one that is here.
        state: StudyState,
        /// The fields in which the two differ, and what each is in both.
        differences: Violations,
    },
    /// It names what is somebody else's.
    #[error("{0}")]
    Forbidden(String),
    /// The lease is not, or no longer, held; nothing was written.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// It does not fit the state of what it names.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The store has no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store has no answer.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// It is more than a quota has left.
    #[error("{0}")]
    Exhausted(String),
    /// It may go through when it is tried again.
    #[error("{0}")]
    Unavailable(&'static str),
    /// A mistake of trawl.
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

    /// Why there is no space for more, if that is what is wrong: for people.
    pub fn lack_of_space(&self) -> Option<String> {
        match self {
            Self::Exhausted(reason) => Some(reason.clone()),
            Self::Files(error) if error.is_full() => Some("the object store is full".to_owned()),
            Self::Store(error) if error.is_disk_full() => Some("the disk of the database is full".to_owned()),
            _ => None,
        }
    }

    /// A stored study that this version of trawl would not have accepted.
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
    /// What tells this coordinator from others on the same database.
    number: i32,
    /// One permit for each step of a worker that may be under way.
    worker_steps: Semaphore,
    /// Held while a study is planned: two tasks that plan one study would compute the same twice.
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
    /// Wakes the calls that wait for jobs, in the order in which they came.
    jobs_queued: Notify,
    /// Counts up when some study changed.
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
            jobs_queued: Notify::new(),
            studies_changed: watch::Sender::new(0),
        }
    }

    /// What the operator decided.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What Prometheus is told.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells when jobs may be waiting.
    pub fn jobs_queued(&self) -> &Notify {
        &self.jobs_queued
    }

    /// Tells when some study changed.
    pub fn studies_changed(&self) -> watch::Receiver<u64> {
        self.studies_changed.subscribe()
    }

    /// True if Postgres answers, and soon: while nobody gets a connection to it, no lease is renewed either. It waits no longer than a
    /// worker does for a heartbeat, because an outage in which those were lost must not pass while this waits for its end.
    pub async fn is_database_up(&self) -> bool {
        // The table that heartbeats need: while somebody has all of it locked, no lease can be renewed.
        let answer = sqlx::query("SELECT FROM trawl_store.leases LIMIT 1").execute(&self.pool);
        let within = DATABASE_ANSWERS_WITHIN.min(self.settings.heartbeat_interval() / 2);
        tokio::time::timeout(within, answer)
            .await
            .is_ok_and(|answer| answer.is_ok())
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

/// Locks a lease, which has to be live.
///
/// # Errors
/// [`AppError::LeaseLost`]
async fn hold(conn: &mut Connection, claim: LeaseClaim) -> Result<HeldLease, AppError> {
    Ok(leases::lock(conn, claim).await?.ok_or(LeaseLost)?)
}

/// The same for what ends a lease; `None` if this very lease ended in that way: the request came before, and its answer was lost.
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
    // The name is repeated to its sender, not to the log at length.
    let shown: String = study.chars().take(80).collect();
    AppError::NotFound(format!("there is no study '{shown}'"))
}

/// The first fields of some, as a sentence lists them.
fn fields(violations: &Violations) -> String {
    /// More of them are in the details.
    const FIELDS_MAX: usize = 3;
    let fields = violations.iter().map(|violation| violation.field.as_str());
    let named: Vec<&str> = fields.take(FIELDS_MAX).collect();
    match violations.iter().count() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// The study that a record holds, as it was submitted.
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

/// What a transaction did to studies: signalled once it is committed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notifications {
    queued_jobs: bool,
    ended_study: Option<StudyId>,
}
