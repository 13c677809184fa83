//! Lease: hands queued jobs to a worker with free slots, each under a lease of its own.

use std::collections::HashMap;

use tokio::time::Instant;
use tracing::info;
use trawl_domain::artifact::{Ranking, TRIALS_KEPT};
use trawl_domain::fold::Split;
use trawl_domain::id::{JobId, LeaseToken, StudyId};
use trawl_domain::job::{Job, JobMember};
use trawl_domain::lease::LeaseClaim;
use trawl_domain::seed::FitOwner;
use trawl_domain::state::StudyState;

use super::register_worker::CallingWorker;
use super::study_cache::LoadedStudy;
use super::{App, AppError, keep_row_losses};
use crate::store::checkpoints::{self, CheckpointRecord};
use crate::store::jobs::{self, JobRecord, JobSplit, MemberRecord};
use crate::store::leases;
use crate::store::{Connection, folds, refits, studies, trials, workers};

/// A job and the right to run it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedJob {
    /// The lease.
    pub lease: LeaseClaim,
    /// What to train.
    pub job: Job,
    /// Checkpoints of earlier attempts, the newest first.
    pub checkpoints: Vec<CheckpointRecord>,
    /// Checkpoints with which earlier jobs of its members ended.
    pub starts: Vec<CheckpointRecord>,
}

/// Leases up to `slots` jobs that are queued or can be planned now.
pub async fn try_lease(app: &App, worker: CallingWorker, slots: u32) -> Result<Vec<LeasedJob>, AppError> {
    let mut leased = measured_claim(app, worker, slots).await?;
    // Trials are planned on demand: now that the queue is empty.
    while leased.is_empty() && super::plan_trials::plan_next(app).await? {
        leased = measured_claim(app, worker, slots).await?;
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
    let tokens: Vec<_> = records.iter().map(|_| LeaseToken(app.new_id())).collect();
    leases::grant(&mut tx, &records, &tokens, worker_id, app.settings.lease_ttl).await?;
    let leased = jobs_of(app, &mut tx, &records, &tokens).await?;
    folds::start(&mut tx, &ids).await?;
    trials::start(&mut tx, &ids).await?;
    if records.iter().any(|record| record.refit.is_some()) {
        refits::start(&mut tx, &ids).await?;
    }
    if !may_run(&mut tx, &records).await? {
        // A study was paused or cancelled while its jobs were taken: the next look finds the rest.
        tx.rollback().await?;
        return Ok(Vec::new());
    }
    tx.commit().await?;
    for (record, leased) in records.iter().zip(&leased) {
        info!(study.id = %record.study_id, study.name = leased.job.study, job.id = %record.job_id, job.members = record.members,
            job.trials = leased.job.trials(), refit.number = record.refit, lease.epoch = record.lease_epoch,
            worker.id = %worker_id, "job leased");
    }
    app.signal_studies();
    Ok(leased)
}

/// True if no study of these jobs was paused or cancelled since they were taken; none can be before the commit.
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

/// The jobs that workers get, read together.
async fn jobs_of(
    app: &App,
    conn: &mut Connection,
    records: &[JobRecord],
    tokens: &[LeaseToken],
) -> Result<Vec<LeasedJob>, AppError> {
    let ids: Vec<_> = records.iter().map(|record| record.job_id).collect();
    let mut members: HashMap<JobId, Vec<MemberRecord>> = HashMap::new();
    for member in jobs::members(conn, &ids).await? {
        members.entry(member.job_id).or_default().push(member);
    }
    let before = members.values().flatten().filter_map(|member| member.checkpoint_job);
    let with_before: Vec<JobId> = ids.iter().copied().chain(before).collect();
    let checkpoints = checkpoints::of_jobs(conn, &with_before).await?;
    let mut study_ids: Vec<_> = records.iter().map(|record| record.study_id).collect();
    study_ids.sort_unstable();
    study_ids.dedup();
    let studies = app.studies(conn, &study_ids).await?;
    let third_best = third_best(conn, &study_ids).await?;
    let jobs = records.iter().zip(tokens).map(|(record, token)| {
        let study = studies.get(&record.study_id);
        let study = study.ok_or_else(|| AppError::Internal(format!("study {} is not there", record.study_id)))?;
        let members = members.remove(&record.job_id).unwrap_or_default();
        let is_start = |checkpoint: &&CheckpointRecord| {
            let from = Some(checkpoint.job_id);
            checkpoint.epochs == record.first_epoch && members.iter().any(|member| member.checkpoint_job == from)
        };
        Ok(LeasedJob {
            lease: LeaseClaim {
                job_id: record.job_id,
                token: *token,
            },
            checkpoints: checkpoints
                .iter()
                .filter(|checkpoint| checkpoint.job_id == record.job_id)
                .cloned()
                .collect(),
            starts: {
                let mut starts: Vec<_> = checkpoints.iter().filter(is_start).cloned().collect();
                // Each job's newest checkpoint comes first.
                starts.dedup_by_key(|start| start.job_id);
                starts
            },
            job: job(record, study, members, third_best.get(&record.study_id).copied())?,
        })
    });
    jobs.collect()
}

/// The job that a worker gets: the configurations of its members differ only in their hyperparameters.
fn job(
    record: &JobRecord,
    loaded: &LoadedStudy,
    members: Vec<MemberRecord>,
    third_best: Option<f64>,
) -> Result<Job, AppError> {
    let study = &loaded.study;
    let mut architecture = None;
    let mut job_members = Vec::with_capacity(members.len());
    for member in members {
        let config = match member.owner {
            FitOwner::Trial(_) => study.config(&member.params),
            FitOwner::Refit(_) => study.refit_config(&member.params, record.epochs),
        };
        let config = config.map_err(|violation| AppError::stored_study(record.study_id, &violation))?;
        architecture.get_or_insert(config.architecture);
        job_members.push(JobMember {
            owner: member.owner,
            fold: member.fold,
            hyperparameters: config.hyperparameters,
        });
    }
    let architecture =
        architecture.ok_or_else(|| AppError::Internal(format!("job {} has no members", record.job_id)))?;
    let ranking = record.refit.is_none().then(|| Ranking {
        objective: study.objective,
        folds: study.validation.folds(),
        third_best,
    });
    Ok(Job {
        study: study.name.clone(),
        seed: study.seed,
        format: study.format.clone(),
        train: loaded.train,
        validation: loaded.validation,
        test: loaded.test.filter(|_| record.split == JobSplit::All),
        inputs: match (record.split, &study.refit) {
            (JobSplit::All, Some(refit)) => refit.inputs.clone(),
            _ => Vec::new(),
        },
        engine: study.training.engine.engine(),
        architecture,
        epochs: record.first_epoch..record.end_epoch,
        split: match record.split {
            JobSplit::All if record.trains() => Split::All,
            // The kept networks come from folds of this split.
            JobSplit::All | JobSplit::Validation => Split::Validation(study.validation),
        },
        ensemble_folds: (!record.trains()).then(|| study.validation.folds()),
        members: job_members,
        metrics: study.metrics(),
        f1_class: study.f1_class.clone(),
        class_weights: study.training.class_weights.clone(),
        calibrate_folds: match (record.split, &study.refit) {
            (JobSplit::All, Some(refit)) if refit.calibrates => Some(study.validation.folds()),
            _ => None,
        },
        ranking,
        row_losses: keep_row_losses::wanted(loaded, record),
    })
}

/// The value that a trial of each study must reach for its files to be kept: the third best, once there are three.
async fn third_best(conn: &mut Connection, studies: &[StudyId]) -> Result<HashMap<StudyId, f64>, AppError> {
    let best = trials::best(conn, studies, TRIALS_KEPT).await?;
    let of_studies = best.chunk_by(|a, b| a.study_id == b.study_id);
    let last = of_studies.filter_map(|best| best.get(TRIALS_KEPT as usize - 1));
    Ok(last
        .filter_map(|trial| Some((trial.study_id, trial.value?.mean)))
        .collect())
}
