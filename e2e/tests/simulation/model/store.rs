//! The model behind the seam: the steps of one coordinator on rows that all coordinators share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::debug;
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::keep_artifact::{ArtifactHead, no_trial_file};
use trawl_coordinator::app::keep_checkpoint::CheckpointHead;
use trawl_coordinator::app::lease_job::LeasedJob;
use trawl_coordinator::app::quotas::Quotas;
use trawl_coordinator::app::register_worker::CallingWorker;
use trawl_coordinator::app::release_job::ReleaseReason;
use trawl_coordinator::app::renew_lease::Renewed;
use trawl_coordinator::app::report_order::{JobReport, Written};
use trawl_coordinator::app::upload::UploadStore;
use trawl_coordinator::app::{AppError, JobResults, Settings};
use trawl_coordinator::files::Files;
use trawl_coordinator::metrics::Metrics;
use trawl_coordinator::protocol::{Answer, WorkerStore};
use trawl_coordinator::store::artifacts::ArtifactRecord;
use trawl_coordinator::store::checkpoints::CheckpointRecord;
use trawl_coordinator::store::workers::NewWorker;
use trawl_dataset::FileHash;
use trawl_domain::id::JobId;
use trawl_domain::lease::{LeaseClaim, LeaseLost};
use trawl_e2e::history::Observer;

use super::Model;

/// No limits: refusals have tests of their own.
pub(crate) const NO_QUOTAS: Quotas = Quotas {
    studies: u64::MAX,
    epoch_reports: u64::MAX,
    study_epoch_reports: u64::MAX,
    bytes: u64::MAX,
    study_bytes: u64::MAX,
};

/// State of the store at the moment, for all coordinators.
#[derive(Debug)]
pub(crate) struct Mood {
    /// Random numbers of the settings below.
    pub(crate) rng: ChaCha8Rng,
    /// A step takes up to this before its transaction, and up to this after it.
    pub(crate) half_step_max: Duration,
    /// Shares of steps that fail before their transaction, and after its commit.
    pub(crate) failing: f64,
    /// From then on no step goes through.
    pub(crate) away_since: Option<Duration>,
}

/// The steps of one coordinator.
#[derive(Debug)]
pub(crate) struct ModelStore {
    /// The rows, and who looks on.
    pub(crate) shared: Arc<Shared>,
    settings: Settings,
    files: Files,
    /// Hints stay within a coordinator.
    jobs_queued: Notify,
    metrics: Metrics,
}

/// What coordinators share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) model: Mutex<Model>,
    pub(crate) observer: Mutex<Observer>,
    /// `None`: every step succeeds at once.
    pub(crate) mood: Option<Mutex<Mood>>,
    /// The database's clock.
    pub(crate) clock: fn() -> Duration,
}

impl Shared {
    /// The rows.
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who looks on.
    pub(crate) fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModelStore {
    /// A coordinator's; all of them share `files`.
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, files: Files) -> Self {
        Self {
            shared,
            settings,
            files,
            jobs_queued: Notify::new(),
            metrics: Metrics::new(),
        }
    }

    /// One transaction. The process may die at either wait: before it, or after it but before its caller has the answer.
    async fn step<T>(&self, work: impl FnOnce(&mut Model, &mut Observer, Duration) -> Answer<T>) -> Answer<T> {
        self.half_step().await?;
        let done = {
            let now = (self.shared.clock)();
            work(&mut self.shared.model(), &mut self.shared.observer(), now)
        };
        let answered = self.half_step().await;
        let done = done?;
        answered.map(|()| done)
    }

    async fn half_step(&self) -> Answer<()> {
        let Some(mood) = &self.shared.mood else { return Ok(()) };
        let (wait, fails) = {
            let mut mood = mood.lock().unwrap_or_else(PoisonError::into_inner);
            let (a, b) = (share(&mut mood.rng), share(&mut mood.rng));
            (
                mood.half_step_max.mul_f64(a),
                mood.away_since.is_some() || b < mood.failing,
            )
        };
        sleep(wait).await;
        match fails {
            true => Err(AppError::Unavailable("the database is unavailable; try again later")),
            false => Ok(()),
        }
    }

    fn signal_jobs(&self) {
        self.jobs_queued.notify_waiters();
    }
}

/// A number from 0 to 1.
pub(crate) fn share(rng: &mut ChaCha8Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

/// Does work under a lease, if the lease is live.
fn held<T>(done: Option<T>) -> Answer<T> {
    Ok(done.ok_or(LeaseLost)?)
}

impl UploadStore for ModelStore {
    fn files(&self) -> &Files {
        &self.files
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn give_up_file(&self, object_key: &str) {
        // That it could not be noted is no error: the file is swept when its time is over.
        let _ = self
            .step(|model, _, _| {
                model.give_up(object_key);
                Ok(())
            })
            .await;
    }
}

impl WorkerStore for ModelStore {
    /// Never: the model has space for all.
    async fn pause_for_space(&self, _: &[JobId], _: &str) -> bool {
        true
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn jobs_queued(&self) -> &Notify {
        &self.jobs_queued
    }

    async fn register_worker(&self, worker: &NewWorker, _: Caller) -> Answer<()> {
        let worker_id = worker.worker_id;
        self.step(|model, _, now| {
            model.register(now, worker_id);
            Ok(())
        })
        .await
    }

    async fn unregister_worker(&self, worker: CallingWorker) -> Answer<()> {
        self.step(|model, _, _| {
            model.unregister(worker.worker_id);
            Ok(())
        })
        .await
    }

    async fn try_lease(&self, worker: CallingWorker, slots: u32) -> Answer<Vec<LeasedJob>> {
        let worker_id = worker.worker_id;
        self.step(|model, observer, now| {
            let leased = model.lease(now, worker_id, slots)?;
            for leased in &leased {
                debug!(job.id = %leased.lease.job_id, worker.id = %worker_id, "job leased");
                observer.granted(now, leased.lease, worker_id);
            }
            Ok(leased)
        })
        .await
    }

    async fn renew_leases(&self, worker: CallingWorker, claims: &[LeaseClaim]) -> Answer<Vec<Renewed>> {
        self.step(|model, observer, now| {
            let renewed = model.renew(now, worker.worker_id, claims)?;
            let kept = claims
                .iter()
                .zip(&renewed)
                .filter(|(_, renewed)| **renewed != Renewed::Lost);
            kept.for_each(|(claim, _)| observer.renewed(now, *claim));
            Ok(renewed)
        })
        .await
    }

    async fn write_reports(&self, reports: &[JobReport]) -> Answer<Vec<Written>> {
        self.step(|model, observer, now| {
            let written = model.write_reports(now, reports);
            let durable = reports
                .iter()
                .zip(&written)
                .filter(|(_, written)| **written == Written::Durable);
            durable.for_each(|(report, _)| observer.accepted(now, report.lease, "epoch report"));
            Ok(written)
        })
        .await
    }

    async fn finish_job(&self, claim: LeaseClaim, results: &JobResults) -> Answer<()> {
        self.step(|model, observer, now| {
            held(model.finish(now, claim, results.test)?.then_some(()))?;
            debug!(job.id = %claim.job_id, "job ended");
            observer.finished(now, claim);
            Ok(())
        })
        .await?;
        // Folds may go on.
        self.signal_jobs();
        Ok(())
    }

    async fn release_job(&self, claim: LeaseClaim, cause: ReleaseReason<'_>) -> Answer<()> {
        let released = self.step(|model, observer, now| {
            held(model.release(now, claim, cause).then_some(()))?;
            observer.released(now, claim);
            Ok(())
        });
        released.await?;
        self.signal_jobs();
        Ok(())
    }

    async fn note_artifact(&self, head: &ArtifactHead) -> Answer<String> {
        self.step(|model, _, now| {
            let known = model.check_artifact(now, head)?;
            held(known.and_then(|_| model.note(now, head.lease, "artifacts")))
        })
        .await
    }

    async fn list_artifact(&self, head: &ArtifactHead, object_key: &str) -> Answer<()> {
        self.step(|model, observer, now| {
            held(model.list_artifact(now, head, object_key)?.then_some(()))?;
            observer.accepted(now, head.lease, "artifact");
            Ok(())
        })
        .await
    }

    async fn find_trial_file(&self, _: LeaseClaim, name: &str) -> Answer<ArtifactRecord> {
        // There are no refits here.
        self.step(|_, _, _| Err(no_trial_file(name))).await
    }

    async fn note_checkpoint(&self, head: CheckpointHead) -> Answer<String> {
        self.step(|model, _, now| held(model.note_checkpoint(now, head)?)).await
    }

    async fn list_checkpoint(&self, head: CheckpointHead, object_key: &str) -> Answer<()> {
        self.step(|model, observer, now| {
            held(model.list_checkpoint(now, head, object_key)?.then_some(()))?;
            observer.accepted(now, head.lease, "checkpoint");
            Ok(())
        })
        .await
    }

    async fn find_checkpoint(&self, claim: LeaseClaim, job_id: JobId, number: u32) -> Answer<CheckpointRecord> {
        self.step(|model, _, now| model.find_checkpoint(now, claim, job_id, number))
            .await
    }

    async fn find_dataset(&self, hash: FileHash) -> Answer<String> {
        self.step(|_, _, _| Ok(format!("datasets/{hash}"))).await
    }

    async fn answers(&self) -> bool {
        let mood = self.shared.mood.as_ref();
        mood.is_none_or(|mood| mood.lock().unwrap_or_else(PoisonError::into_inner).away_since.is_none())
    }

    async fn expire_leases(&self) -> Answer<usize> {
        let expired = self.step(|model, observer, now| {
            let expired = model.expire(now);
            for claim in &expired {
                debug!(job.id = %claim.job_id, "lease expired");
                observer.expired(now, *claim);
            }
            Ok(expired.len())
        });
        let expired = expired.await?;
        if expired > 0 {
            self.signal_jobs();
        }
        Ok(expired)
    }

    async fn grant_grace(&self) -> Answer<()> {
        self.step(|model, observer, now| {
            model.grace(now);
            observer.grace(now);
            Ok(())
        })
        .await
    }
}
