//! Leases of the model: granted, renewed, written under, ended.

use std::time::Duration;

use trawl_coordinator::app::AppError;
use trawl_coordinator::app::keep_artifact::ArtifactHead;
use trawl_coordinator::app::keep_checkpoint::{CheckpointHead, not_found};
use trawl_coordinator::app::lease_job::LeasedJob;
use trawl_coordinator::app::renew_lease::Renewed;
use trawl_coordinator::app::report_order::{JobReport, Written};
use trawl_coordinator::store::checkpoints::CheckpointRecord;
use trawl_domain::artifact::{ArtifactKind, Ranking, TRIALS_KEPT};
use trawl_domain::fold::Split;
use trawl_domain::id::{JobId, LeaseToken, WorkerId};
use trawl_domain::job::{self, JobMember, TrialFold};
use trawl_domain::lease::{LeaseClaim, LeaseLost};
use trawl_domain::metric::Metrics;
use trawl_domain::seed::FitOwner;
use trawl_domain::state::{DIVERGED, StudyState, TrialState};

use super::{Artifact, Attempt, JobState, Lease, Model, Report, invalid};

/// Checkpoints of a job that are kept.
const CHECKPOINTS_KEPT: usize = 2;

impl Model {
    /// Leases up to `slots` queued jobs in the order of the queue. A job that this worker has just lost, or could not train, is
    /// left to others for the length of a lease, as long as another worker lives.
    pub(crate) fn lease(&mut self, now: Duration, worker_id: WorkerId, slots: u32) -> Result<Vec<LeasedJob>, AppError> {
        self.seen(now, worker_id)?;
        if self.state != StudyState::Running {
            return Ok(Vec::new());
        }
        let ttl = self.ttl;
        let others = self
            .workers
            .iter()
            .any(|(other, state)| *other != worker_id && !state.stopped && state.last_seen + ttl > now);
        let just_failed = |job: &super::Job| {
            job.history.last().is_some_and(|attempt| {
                attempt.worker_id == worker_id
                    && attempt
                        .ended
                        .as_ref()
                        .is_some_and(|ended| ended.failure.is_some() && ended.at + ttl > now)
            })
        };
        let free = |job: &super::Job| job.state == JobState::Queued && !(others && just_failed(job));
        let take = |model: &Self| -> Vec<usize> {
            let queue = 0..model.jobs.len();
            queue
                .filter(|place| free(&model.jobs[*place]))
                .take(slots as usize)
                .collect()
        };
        let mut taken = take(self);
        while taken.is_empty() && self.pack_waiting()? {
            taken = take(self);
        }
        taken
            .into_iter()
            .map(|place| self.grant(now, worker_id, place))
            .collect()
    }

    fn grant(&mut self, now: Duration, worker_id: WorkerId, place: usize) -> Result<LeasedJob, AppError> {
        let token = LeaseToken(self.new_id());
        let trained = self.job(place)?;
        let starts = self.starts(place);
        let job = &mut self.jobs[place];
        job.state = JobState::Leased;
        job.attempts += 1;
        job.lease_epoch += 1;
        job.lease = Some(Lease {
            token,
            worker_id,
            expires_at: now + self.ttl,
        });
        job.history.push(Attempt {
            token,
            worker_id,
            ended: None,
        });
        for member in &job.members {
            if let Some(fold) = self.folds.get_mut(member)
                && fold.state == TrialState::Queued
            {
                fold.state = TrialState::Running;
            }
            let trial = &mut self.trials[member.trial as usize];
            trial.attempts = trial.attempts.max(job.attempts);
            if trial.state == TrialState::Queued {
                trial.state = TrialState::Running;
            }
        }
        Ok(LeasedJob {
            lease: LeaseClaim {
                job_id: job.job_id,
                token,
            },
            job: trained,
            checkpoints: job.checkpoints.iter().rev().cloned().collect(),
            starts,
        })
    }

    /// The jobs that trained members of a job before.
    fn jobs_before(&self, place: usize) -> Vec<&super::Job> {
        let members = &self.jobs[place].members;
        let before: Vec<_> = members
            .iter()
            .filter_map(|member| self.folds[member].checkpoint_job)
            .collect();
        self.jobs.iter().filter(|job| before.contains(&job.job_id)).collect()
    }

    /// Where those jobs ended.
    fn starts(&self, place: usize) -> Vec<CheckpointRecord> {
        let first_epoch = self.jobs[place].epochs.start;
        let newest = |job: &super::Job| {
            let mut kept = job.checkpoints.iter().rev();
            kept.find(|checkpoint| checkpoint.epochs == first_epoch).cloned()
        };
        self.jobs_before(place).into_iter().filter_map(newest).collect()
    }

    /// What a job trains.
    fn job(&self, place: usize) -> Result<job::Job, AppError> {
        let mut architecture = None;
        let mut members = Vec::new();
        for member in &self.jobs[place].members {
            let config = self.study.config(&self.trials[member.trial as usize].params);
            let config = config.map_err(|violation| AppError::Internal(violation.description))?;
            architecture.get_or_insert(config.architecture);
            members.push(JobMember {
                owner: FitOwner::Trial(member.trial),
                fold: member.fold,
                hyperparameters: config.hyperparameters,
            });
        }
        let third_best = self.best_trials().get(TRIALS_KEPT as usize - 1).copied();
        Ok(job::Job {
            study: self.study.name.clone(),
            seed: self.study.seed,
            format: self.study.format.clone(),
            train: self.train,
            validation: None,
            test: None,
            engine: self.study.training.engine.engine(),
            architecture: architecture.ok_or_else(|| AppError::Internal("a job without members".to_owned()))?,
            epochs: self.jobs[place].epochs.clone(),
            split: Split::Validation(self.study.validation),
            members,
            inputs: Vec::new(),
            metrics: self.study.metrics(),
            f1_class: None,
            class_weights: self.study.training.class_weights.clone(),
            calibrate_folds: None,
            ensemble_folds: None,
            ranking: Some(Ranking {
                objective: self.study.objective,
                folds: self.study.validation.folds(),
                third_best: third_best
                    .and_then(|trial| self.trials[trial as usize].value)
                    .map(|value| value.mean),
            }),
            row_losses: self
                .study
                .row_losses()
                .filter(|_| self.jobs[place].epochs.end == self.jobs[place].whole_epochs),
        })
    }

    /// Renews those leases of this worker that nobody took back.
    pub(crate) fn renew(
        &mut self,
        now: Duration,
        worker_id: WorkerId,
        claims: &[LeaseClaim],
    ) -> Result<Vec<Renewed>, AppError> {
        self.seen(now, worker_id)?;
        let (ttl, paused) = (self.ttl, self.state == StudyState::Paused);
        let renewed = claims.iter().map(|claim| {
            let job = self.jobs.iter_mut().find(|job| job.job_id == claim.job_id);
            let lease = job.and_then(|job| job.lease.as_mut());
            match lease.filter(|lease| lease.token == claim.token && lease.worker_id == worker_id) {
                Some(lease) => {
                    lease.expires_at = now + ttl;
                    if paused { Renewed::Recalled } else { Renewed::Held }
                }
                None => Renewed::Lost,
            }
        });
        Ok(renewed.collect())
    }

    /// Gives every lease a full time limit more.
    pub(crate) fn grace(&mut self, now: Duration) {
        for lease in self.jobs.iter_mut().filter_map(|job| job.lease.as_mut()) {
            lease.expires_at = lease.expires_at.max(now + self.ttl);
        }
    }

    /// The place of the job whose lease this is, if it is live.
    pub(super) fn live(&self, now: Duration, claim: LeaseClaim) -> Option<usize> {
        self.jobs.iter().position(|job| {
            job.job_id == claim.job_id
                && job
                    .lease
                    .is_some_and(|lease| lease.token == claim.token && lease.expires_at > now)
        })
    }

    /// Writes epochs whose leases are live and that come in their order, each key once: the first one stays. What became of each
    /// report.
    pub(crate) fn write_reports(&mut self, now: Duration, reports: &[JobReport]) -> Vec<Written> {
        reports.iter().map(|report| self.write_report(now, report)).collect()
    }

    fn write_report(&mut self, now: Duration, new: &JobReport) -> Written {
        let Some(place) = self.live(now, new.lease) else {
            return Written::LeaseLost;
        };
        let members = self.jobs[place].members.clone();
        if new.members.iter().any(|of| of.member as usize >= members.len()) {
            return Written::Refused("members");
        }
        if new.first_epoch + new.epochs() > self.jobs[place].epochs.end {
            return Written::Refused("first_epoch");
        }
        let running = (0..).zip(&members);
        let running = running.filter(|(_, member)| self.folds[*member].state == TrialState::Running);
        let running: Vec<(u32, TrialFold)> = running.map(|(place, member)| (place, *member)).collect();
        if running.is_empty() {
            return Written::Durable;
        }
        if running
            .iter()
            .any(|(_, member)| new.first_epoch > self.reported(*member))
        {
            return Written::Ahead;
        }
        if running.iter().any(|(place, _)| new.of_member(*place).is_none()) {
            return Written::Refused("members");
        }
        for (place, member) in running {
            let Some(of) = new.of_member(place) else { continue };
            let reported = self.reported(member);
            let epochs = of.train_loss.len();
            for (epoch, train_loss) in of.train_loss.iter().enumerate() {
                let named = new.metrics.iter().enumerate();
                let measured = named.filter_map(|(place, metric)| Some((*metric, of.val[place * epochs + epoch]?)));
                let metrics: Metrics = measured.collect();
                self.reports
                    .entry((member, new.first_epoch + epoch as u32))
                    .or_insert_with(|| {
                        self.epochs_reported += 1;
                        Report {
                            train_loss: *train_loss,
                            metrics,
                        }
                    });
            }
            if let Some(fold) = self.folds.get_mut(&member).filter(|_| of.diverged) {
                fold.state = TrialState::Failed;
                fold.error = Some(DIVERGED.to_owned());
                fold.diverged_at = Some(reported.max(new.first_epoch + epochs as u32));
            }
        }
        Written::Durable
    }

    /// Epochs of a fold that are reported.
    fn reported(&self, member: TrialFold) -> u32 {
        self.reports.range((member, 0)..=(member, u32::MAX)).count() as u32
    }

    /// Notes a checkpoint that the job may have: no larger than its networks allow, after epochs that all of its running members
    /// reported.
    pub(crate) fn note_checkpoint(&mut self, now: Duration, head: CheckpointHead) -> Result<Option<String>, AppError> {
        let Some(place) = self.live(now, head.lease) else {
            return Ok(None);
        };
        let job = self.job(place)?;
        let bytes_max = job.architecture.checkpoint_bytes_max(job.members.len() as u32);
        if !(1..=bytes_max).contains(&head.announced.bytes) {
            return Err(invalid(
                "bytes",
                format!("must be from 1 to {bytes_max}, for the networks of this job"),
            ));
        }
        let members = &self.jobs[place].members;
        let running = members
            .iter()
            .filter(|member| self.folds[member].state == TrialState::Running);
        let reported = running.map(|member| self.reported(*member)).min();
        let epochs_max = reported.unwrap_or(job.epochs.end);
        if head.epochs > epochs_max {
            return Err(invalid(
                "epochs",
                format!("must be at most {epochs_max}: so many are reported"),
            ));
        }
        Ok(self.note(now, head.lease, "checkpoints"))
    }

    /// Notes an object before its first byte, under a live lease.
    pub(crate) fn note(&mut self, now: Duration, claim: LeaseClaim, folder: &str) -> Option<String> {
        self.live(now, claim)?;
        let object_key = format!("{folder}/{}", self.new_id());
        self.noted.insert(object_key.clone());
        Some(object_key)
    }

    /// Forgets an object that was noted.
    pub(crate) fn give_up(&mut self, object_key: &str) {
        self.noted.remove(object_key);
    }

    /// Lists a checkpoint as the newest one of its job.
    pub(crate) fn list_checkpoint(
        &mut self,
        now: Duration,
        head: CheckpointHead,
        object_key: &str,
    ) -> Result<bool, AppError> {
        let Some(place) = self.live(now, head.lease) else {
            return Ok(false);
        };
        self.end_note(object_key)?;
        let checkpoints = &mut self.jobs[place].checkpoints;
        checkpoints.push(CheckpointRecord {
            job_id: head.lease.job_id,
            number: checkpoints.last().map_or(0, |last| last.number + 1),
            epochs: head.epochs,
            object_key: object_key.to_owned(),
            bytes: head.announced.bytes,
            sha256: head.announced.sha256,
        });
        if checkpoints.len() > CHECKPOINTS_KEPT {
            checkpoints.remove(0);
        }
        Ok(true)
    }

    /// The checkpoint of this number, of a job whose lease is live, or of one that trained a member of it before.
    pub(crate) fn find_checkpoint(
        &self,
        now: Duration,
        claim: LeaseClaim,
        job_id: JobId,
        number: u32,
    ) -> Result<CheckpointRecord, AppError> {
        let place = self.live(now, claim).ok_or(LeaseLost)?;
        let mut jobs = self.jobs_before(place);
        jobs.push(&self.jobs[place]);
        let mut checkpoints = jobs
            .into_iter()
            .filter(|job| job.job_id == job_id)
            .flat_map(|job| &job.checkpoints);
        let found = checkpoints.find(|checkpoint| checkpoint.number == number);
        found.cloned().ok_or_else(|| not_found(number))
    }

    /// Whether an artifact is one that the job leaves; `None` if the lease is lost.
    pub(crate) fn check_artifact(&self, now: Duration, head: &ArtifactHead) -> Result<Option<u32>, AppError> {
        let Some(place) = self.live(now, head.lease) else {
            return Ok(None);
        };
        let member = head
            .member
            .and_then(|member| self.jobs[place].members.get(member as usize));
        let member =
            member.ok_or_else(|| invalid("member", "must be a member of the job, whose trial the file is of"))?;
        if head.kind != ArtifactKind::Weights {
            return Err(invalid("kind", "must be weights: trials leave nothing else"));
        }
        let name = format!("fold-{}.safetensors", member.fold);
        if head.name != name {
            return Err(invalid("name", format!("must be {name} for this kind")));
        }
        Ok(Some(member.trial))
    }

    /// Lists an artifact in the place of one of that name.
    pub(crate) fn list_artifact(
        &mut self,
        now: Duration,
        head: &ArtifactHead,
        object_key: &str,
    ) -> Result<bool, AppError> {
        let Some(trial) = self.check_artifact(now, head)? else {
            return Ok(false);
        };
        self.end_note(object_key)?;
        let artifact = Artifact {
            job_id: head.lease.job_id,
            kind: head.kind,
            bytes: head.announced.bytes,
            sha256: head.announced.sha256,
        };
        self.artifacts.insert((trial, head.name.clone()), artifact);
        Ok(true)
    }

    fn end_note(&mut self, object_key: &str) -> Result<(), AppError> {
        match self.noted.remove(object_key) {
            true => Ok(()),
            false => Err(AppError::Unavailable("the upload took too long; send it again")),
        }
    }
}
