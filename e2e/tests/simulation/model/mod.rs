//! The model of the store: what each step of the workers' protocol does to the rows, without Postgres. It is the specification:
//! plain state, one step after the other, and the time is a parameter.
//!
//! It has one study of trials, without a refit. Sampling, plan, values and budgets are `trawl-domain`'s, the real ones. Not in it:
//! cancelling and deleting studies, several studies, refits, the sweep of files that nobody lists, the owner of a worker's id, and
//! the removal of old workers and attempts.

mod finish;
mod leases;
mod race;
mod rows;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use anyhow::Context;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use trawl_coordinator::app::AppError;
use trawl_coordinator::store::checkpoints::CheckpointRecord;
use trawl_dataset::{FileHash, Part};
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::failure::FailureCause;
use trawl_domain::id::{JobId, LeaseToken, WorkerId};
use trawl_domain::job::{PlannedJob, TrialFold, plan_window};
use trawl_domain::metric::{FoldMetrics, Metrics, TrialValue};
use trawl_domain::space::Params;
use trawl_domain::state::{StudyState, TrialState};
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;
use uuid::Uuid;

pub(crate) use rows::{Rows, told};
pub(crate) use store::{ModelStore, Mood, NO_QUOTAS, Shared, share};

/// The rows of one study, and the workers.
#[derive(Debug)]
pub(crate) struct Model {
    study: Study,
    train: Part<FileHash>,
    ttl: Duration,
    ids: ChaCha8Rng,
    state: StudyState,
    epochs_reported: u64,
    workers: BTreeMap<WorkerId, Worker>,
    /// In the order of the queue.
    jobs: Vec<Job>,
    trials: Vec<Trial>,
    folds: BTreeMap<TrialFold, Fold>,
    reports: BTreeMap<(TrialFold, u32), Report>,
    artifacts: BTreeMap<(u32, String), Artifact>,
    /// Objects that are noted, and listed nowhere yet.
    noted: BTreeSet<String>,
}

#[derive(Debug)]
struct Worker {
    last_seen: Duration,
    stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobState {
    Queued,
    Leased,
    Completed,
    Failed,
}

impl JobState {
    /// As the real tables have it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Leased => "leased",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

#[derive(Debug)]
struct Job {
    job_id: JobId,
    /// In the order of a report's values.
    members: Vec<TrialFold>,
    /// Those that it trains.
    epochs: Range<u32>,
    /// Those that its members have in the end.
    whole_epochs: u32,
    state: JobState,
    attempts: u32,
    lease_epoch: u32,
    lease: Option<Lease>,
    history: Vec<Attempt>,
    /// The last two, the newest at the end.
    checkpoints: Vec<CheckpointRecord>,
    last_error: Option<String>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    token: LeaseToken,
    worker_id: WorkerId,
    expires_at: Duration,
}

#[derive(Debug)]
struct Attempt {
    token: LeaseToken,
    worker_id: WorkerId,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Ended {
    at: Duration,
    outcome: &'static str,
    failure: Option<(FailureCause, String)>,
}

#[derive(Debug)]
struct Trial {
    params: Params,
    epochs: u32,
    generation: u32,
    rung: Option<u32>,
    /// Its value where it was last compared, and with how many.
    compared: Option<(f64, u32)>,
    state: TrialState,
    attempts: u32,
    value: Option<TrialValue>,
    error: Option<String>,
}

#[derive(Clone, Debug)]
struct Fold {
    /// The job that trains it, or that trained it last.
    job: Option<JobId>,
    /// The job that trained it before.
    checkpoint_job: Option<JobId>,
    end_epoch: u32,
    state: TrialState,
    epochs: u32,
    train_loss: Option<f64>,
    metrics: FoldMetrics,
    best_epoch: Option<u32>,
    error: Option<String>,
    diverged_at: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Report {
    train_loss: f64,
    metrics: Metrics,
}

#[derive(Debug)]
struct Artifact {
    job_id: JobId,
    kind: ArtifactKind,
    bytes: u64,
    sha256: FileHash,
}

impl Model {
    /// A study that was just submitted, with its first window planned. Ids are drawn from `seed`.
    pub(crate) fn new(study: Study, train: Part<FileHash>, ttl: Duration, seed: u64) -> anyhow::Result<Self> {
        anyhow::ensure!(study.refit.is_none(), "refits are not in the model");
        let mut ids = ChaCha8Rng::seed_from_u64(seed);
        let window = plan_window(&study, 0, &[])
            .map_err(|violation| anyhow::anyhow!("{}: {}", violation.field, violation.description))?
            .context("a study without trials")?;
        anyhow::ensure!(
            window.trials.len() == study.max_trials as usize,
            "studies of more than one window are not in the model"
        );
        let jobs: Vec<Job> = window
            .jobs
            .into_iter()
            .map(|planned| Job::new(JobId(id(&mut ids)), planned))
            .collect();
        let folds = jobs
            .iter()
            .flat_map(|job| {
                job.members
                    .iter()
                    .map(|fold| (*fold, Fold::new(Some(job.job_id), job.epochs.end)))
            })
            .collect();
        let trials = window.trials.into_iter().map(|trial| Trial {
            params: trial.params,
            epochs: trial.epochs,
            generation: trial.generation,
            rung: trial.rung,
            compared: None,
            state: TrialState::Queued,
            attempts: 0,
            value: None,
            error: None,
        });
        Ok(Self {
            trials: trials.collect(),
            study,
            train,
            ttl,
            ids,
            state: StudyState::Running,
            epochs_reported: 0,
            workers: BTreeMap::new(),
            jobs,
            folds,
            reports: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            noted: BTreeSet::new(),
        })
    }

    /// Pauses the study, or resumes it; nothing if it ended.
    pub(crate) fn pause(&mut self, pause: bool) {
        let (from, to) = match pause {
            true => (StudyState::Running, StudyState::Paused),
            false => (StudyState::Paused, StudyState::Running),
        };
        if self.state == from {
            self.state = to;
            if !pause {
                // A fold that ended meanwhile may have been the last at a rung.
                let generations = self.trials.iter().filter(|trial| !trial.state.is_final());
                let generations: BTreeSet<u32> = generations.map(|trial| trial.generation).collect();
                self.race(&generations);
                self.finish_study();
            }
        }
    }

    /// True once nothing follows.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_final()
    }

    /// Makes a worker known, or known again.
    pub(crate) fn register(&mut self, now: Duration, worker_id: WorkerId) {
        let worker = Worker {
            last_seen: now,
            stopped: false,
        };
        self.workers.insert(worker_id, worker);
    }

    /// Notes that a worker said goodbye.
    pub(crate) fn unregister(&mut self, worker_id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.stopped = true;
        }
    }

    fn seen(&mut self, now: Duration, worker_id: WorkerId) -> Result<(), AppError> {
        let worker = self.workers.get_mut(&worker_id);
        let worker = worker.ok_or_else(|| AppError::NotFound(format!("worker {worker_id} is not registered")))?;
        worker.last_seen = now;
        worker.stopped = false;
        Ok(())
    }

    fn new_id(&mut self) -> Uuid {
        id(&mut self.ids)
    }
}

impl Job {
    fn new(job_id: JobId, planned: PlannedJob) -> Self {
        Self {
            job_id,
            members: planned.folds,
            epochs: planned.epochs,
            whole_epochs: planned.whole_epochs,
            state: JobState::Queued,
            attempts: 0,
            lease_epoch: 0,
            lease: None,
            history: Vec::new(),
            checkpoints: Vec::new(),
            last_error: None,
        }
    }
}

impl Fold {
    fn new(job: Option<JobId>, end_epoch: u32) -> Self {
        Self {
            job,
            checkpoint_job: None,
            end_epoch,
            state: TrialState::Queued,
            epochs: 0,
            train_loss: None,
            metrics: FoldMetrics::default(),
            best_epoch: None,
            error: None,
            diverged_at: None,
        }
    }
}

fn id(rng: &mut ChaCha8Rng) -> Uuid {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn invalid(field: &str, description: impl Into<String>) -> AppError {
    let mut violations = Violations::new();
    violations.add(field, description);
    AppError::Invalid(violations)
}
