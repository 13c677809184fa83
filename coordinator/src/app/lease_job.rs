//! Lease: hands queued jobs to a worker with free slots, each under a lease of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::info;
use trawl_domain::artifact::{Ranking, TRIALS_KEPT};
use trawl_domain::fold::Split;
use trawl_domain::id::{LeaseToken, StudyId};
use trawl_domain::job::{Job, JobMember};
use trawl_domain::limits::WORKER_SLOTS_MAX;
use trawl_domain::seed::Owner;
use trawl_domain::state::StudyState;

use super::register_worker::CallingWorker;
use super::steps::Steps;
use super::{App, AppError, load_study};
use crate::store::checkpoints::{self, CheckpointRecord};
use crate::store::jobs::{self, JobRecord, JobSplit, MemberRecord};
use crate::store::leases::{self, LeaseClaim};
use crate::store::{Connection, folds, refits, studies, trials, workers};

/// Longest wait that a worker may ask for.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// A waiting worker looks at the queue this often even if nothing woke it: a hint may be lost, a job must not be.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A job and the right to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedJob {
    /// The lease.
    pub lease: LeaseClaim,
    /// What to train.
    pub job: Job,
    /// Where earlier attempts were, the newest first.
    pub checkpoints: Vec<CheckpointRecord>,
}

/// Leases up to `slots` jobs, and waits up to `wait` for the first one.
///
/// # Errors
/// [`AppError::NotFound`] if the worker never registered, [`AppError::Forbidden`] if another caller did that.
pub async fn lease_jobs<S: Steps>(
    app: &S,
    worker: CallingWorker,
    slots: u32,
    wait: Duration,
) -> Result<Vec<LeasedJob>, AppError> {
    if !(1..=WORKER_SLOTS_MAX).contains(&slots) {
        return Err(AppError::invalid(
            "slots",
            format!("must be from 1 to {WORKER_SLOTS_MAX}"),
        ));
    }
    let deadline = Instant::now() + wait.min(WAIT_MAX);
    loop {
        // Before the look: what is queued after it wakes.
        let queued = app.jobs_queued().notified();
        let leased = app.try_lease(worker, slots).await?;
        if !leased.is_empty() || Instant::now() >= deadline {
            return Ok(leased);
        }
        tokio::select! {
            biased;
            () = queued => {}
            () = sleep_until(deadline.min(Instant::now() + LOOK_INTERVAL)) => {}
        }
    }
}

/// Leases up to `slots` jobs, those that are there or can be planned now.
pub(super) async fn try_lease(app: &App, worker: CallingWorker, slots: u32) -> Result<Vec<LeasedJob>, AppError> {
    let mut leased = measured_claim(app, worker, slots).await?;
    // Trials are planned when they are needed: now, that the queue ran dry.
    while leased.is_empty() && super::plan_trials::plan_next(app).await? {
        leased = measured_claim(app, worker, slots).await?;
        app.signal_jobs();
    }
    Ok(leased)
}

async fn measured_claim(app: &App, worker: CallingWorker, slots: u32) -> Result<Vec<LeasedJob>, AppError> {
    let began = Instant::now();
    let leased = claim(app, worker, slots).await?;
    app.metrics.claimed(leased.len(), began.elapsed());
    Ok(leased)
}

async fn claim(app: &App, worker: CallingWorker, slots: u32) -> Result<Vec<LeasedJob>, AppError> {
    let worker_id = worker.worker_id;
    let mut tx = app.begin().await?;
    worker.check(workers::seen(&mut tx, worker_id, worker.caller.owner().as_deref()).await?)?;
    let mut records = jobs::claim(&mut tx, slots, worker_id, app.settings.lease_ttl).await?;
    if records.is_empty() {
        tx.commit().await?;
        return Ok(Vec::new());
    }
    records.sort_by_key(|record| record.job_id);
    let ids: Vec<_> = records.iter().map(|record| record.job_id).collect();
    let mut members = jobs::members(&mut tx, &ids).await?;
    let mut leased = Vec::with_capacity(records.len());
    let mut checkpoints = checkpoints::of_jobs(&mut tx, &ids).await?;
    for record in &records {
        let of_job = members.split_off(
            members
                .iter()
                .take_while(|member| member.job_id == record.job_id)
                .count(),
        );
        let of_job = std::mem::replace(&mut members, of_job);
        let token = LeaseToken(app.new_id());
        leases::grant(&mut tx, record, token, worker_id, app.settings.lease_ttl).await?;
        let lease = LeaseClaim {
            job_id: record.job_id,
            token,
        };
        leased.push(LeasedJob {
            lease,
            job: job(&mut tx, record, of_job).await?,
            checkpoints: checkpoints
                .extract_if(.., |checkpoint| checkpoint.job_id == record.job_id)
                .collect(),
        });
        if let Some(refit) = record.refit {
            refits::start(&mut tx, record.study_id, refit).await?;
        }
    }
    folds::start(&mut tx, &ids).await?;
    trials::start(&mut tx, &ids).await?;
    if !may_run(&mut tx, &records).await? {
        // Paused or cancelled while its jobs were taken: the next look finds what is left.
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    tx.commit().await?;
    for (record, leased) in records.iter().zip(&leased) {
        info!(job.id = %record.job_id, job.members = record.members, lease.epoch = record.lease_epoch,
            study.name = leased.job.study, worker.id = %worker_id, "job leased");
    }
    app.signal_studies();
    Ok(leased)
}

/// True if no study of these jobs was paused or cancelled since they were taken; and none will be before the commit.
async fn may_run(conn: &mut Connection, records: &[JobRecord]) -> Result<bool, AppError> {
    let studies: Vec<_> = records.iter().map(|record| record.study_id).collect();
    let states = studies::share_states(conn, &studies).await?;
    Ok(records.iter().all(|record| {
        let state = states
            .iter()
            .find(|(study_id, _)| *study_id == record.study_id)
            .map(|(_, state)| *state);
        match record.refit {
            None => state == Some(StudyState::Running),
            Some(_) => state.is_some_and(|state| state != StudyState::Paused),
        }
    }))
}

/// What a claimed job trains: the configurations of its members, which are alike but for their hyperparameters.
async fn job(conn: &mut Connection, record: &JobRecord, members: Vec<MemberRecord>) -> Result<Job, AppError> {
    let stored = studies::get(conn, record.study_id).await?;
    let study = load_study(&stored)?;
    let mut architecture = None;
    let mut job_members = Vec::with_capacity(members.len());
    for member in members {
        let config = match member.owner {
            Owner::Trial(_) => study.config(&member.params),
            Owner::Refit(_) => study.refit_config(&member.params),
        };
        let config = config.map_err(|violation| AppError::stored_study(&stored, &violation))?;
        architecture.get_or_insert(config.architecture);
        job_members.push(JobMember {
            owner: member.owner,
            fold: member.fold,
            hyperparameters: config.hyperparameters,
        });
    }
    let architecture =
        architecture.ok_or_else(|| AppError::Internal(format!("job {} has no members", record.job_id)))?;
    let ranking = match record.refit {
        None => Some(Ranking {
            objective: study.objective,
            folds: study.validation.folds(),
            third_best: third_best(conn, record.study_id).await?,
        }),
        Some(_) => None,
    };
    Ok(Job {
        study: stored.name,
        seed: study.seed,
        format: study.format,
        train: stored.train,
        test: stored.test.filter(|_| record.split == JobSplit::All),
        inputs: match (record.split, study.refit) {
            (JobSplit::All, Some(refit)) => refit.inputs,
            _ => Vec::new(),
        },
        architecture,
        split: match record.split {
            JobSplit::Validation => Split::Validation(study.validation),
            JobSplit::All => Split::All,
        },
        members: job_members,
        ranking,
    })
}

/// The value that a trial has to reach for its files to be kept, once there are as many as that.
async fn third_best(conn: &mut Connection, study_id: StudyId) -> Result<Option<f64>, AppError> {
    let best = trials::best(conn, &[study_id], TRIALS_KEPT).await?;
    let last = best.get(TRIALS_KEPT as usize - 1);
    Ok(last.and_then(|trial| trial.value).map(|value| value.mean))
}
