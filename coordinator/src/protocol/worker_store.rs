//! The store of the workers' protocol: each method is one transaction.
//!
//! [`App`] implements it with Postgres. For the simulation of the protocol, a model in memory implements it
//! (`e2e/tests/simulation/model/`); a test compares the two, answer by answer.

use std::fmt::Debug;

use tokio::sync::Notify;
use trawl_dataset::FileHash;
use trawl_domain::id::JobId;
use trawl_domain::lease::LeaseClaim;

use crate::app::auth::Caller;
use crate::app::keep_artifact::{self, ArtifactHead};
use crate::app::keep_checkpoint::{self, CheckpointHead};
use crate::app::lease_job::{self, LeasedJob};
use crate::app::register_dataset::find_dataset;
use crate::app::register_worker::{self, CallingWorker};
use crate::app::release_job::{self, ReleaseReason};
use crate::app::renew_lease::{self, Renewed};
use crate::app::report_order::{JobReport, Written};
use crate::app::upload::UploadStore;
use crate::app::write_reports;
use crate::app::{App, AppError, JobResults, Settings, expire_leases, finish_job, pause_study};
use crate::store::artifacts::ArtifactRecord;
use crate::store::checkpoints::CheckpointRecord;
use crate::store::workers::NewWorker;

/// A method's answer.
pub type Answer<T> = Result<T, AppError>;

/// Carries out the steps of the protocol. Every write under a lease fails with [`AppError::LeaseLost`] if the lease is
/// not live at that moment.
pub trait WorkerStore: UploadStore + Debug + 'static {
    /// The operator's settings.
    fn settings(&self) -> &Settings;

    /// Notifies when jobs may be waiting.
    fn jobs_queued(&self) -> &Notify;

    /// Pauses the studies of these jobs, because there is no space for their files; false if one of them cannot pause,
    /// as when a refit runs after the end of its study.
    fn pause_for_space(&self, jobs: &[JobId], reason: &str) -> impl Future<Output = bool> + Send;

    /// Registers a worker, or registers it again.
    fn register_worker(&self, worker: &NewWorker, caller: Caller) -> impl Future<Output = Answer<()>> + Send;

    /// Notes that a worker said goodbye.
    fn unregister_worker(&self, worker: CallingWorker) -> impl Future<Output = Answer<()>> + Send;

    /// Leases up to `slots` jobs that are available.
    fn try_lease(&self, worker: CallingWorker, slots: u32) -> impl Future<Output = Answer<Vec<LeasedJob>>> + Send;

    /// Renews a worker's leases; returns the state of each.
    fn renew_leases(
        &self,
        worker: CallingWorker,
        claims: &[LeaseClaim],
    ) -> impl Future<Output = Answer<Vec<Renewed>>> + Send;

    /// Writes reports; returns the result of each.
    fn write_reports(&self, reports: &[JobReport]) -> impl Future<Output = Answer<Vec<Written>>> + Send;

    /// Ends a job.
    fn finish_job(&self, claim: LeaseClaim, results: &JobResults) -> impl Future<Output = Answer<()>> + Send;

    /// Ends a lease, and gives its job back.
    fn release_job(&self, claim: LeaseClaim, cause: ReleaseReason<'_>) -> impl Future<Output = Answer<()>> + Send;

    /// Notes an artifact before its first byte; returns the key of its object.
    fn note_artifact(&self, head: &ArtifactHead) -> impl Future<Output = Answer<String>> + Send;

    /// Lists an artifact whose object is stored.
    fn list_artifact(&self, head: &ArtifactHead, object_key: &str) -> impl Future<Output = Answer<()>> + Send;

    /// The file of this name that a refit's trial left; the lease is for a job of the refit.
    fn find_trial_file(&self, claim: LeaseClaim, name: &str) -> impl Future<Output = Answer<ArtifactRecord>> + Send;

    /// Notes a checkpoint before its first byte; returns the key of its object.
    fn note_checkpoint(&self, head: CheckpointHead) -> impl Future<Output = Answer<String>> + Send;

    /// Lists a checkpoint whose object is stored.
    fn list_checkpoint(&self, head: CheckpointHead, object_key: &str) -> impl Future<Output = Answer<()>> + Send;

    /// The checkpoint of this number, either of the leased job or of a job that trained one of its members before.
    fn find_checkpoint(
        &self,
        claim: LeaseClaim,
        job_id: JobId,
        number: u32,
    ) -> impl Future<Output = Answer<CheckpointRecord>> + Send;

    /// The key of a dataset's file.
    fn find_dataset(&self, hash: FileHash) -> impl Future<Output = Answer<String>> + Send;

    /// True if the store answers soon.
    fn answers(&self) -> impl Future<Output = bool> + Send;

    /// Ends the leases that ran out; returns their number.
    fn expire_leases(&self) -> impl Future<Output = Answer<usize>> + Send;

    /// Extends every lease by a full time limit.
    fn grant_grace(&self) -> impl Future<Output = Answer<()>> + Send;
}

impl WorkerStore for App {
    fn settings(&self) -> &Settings {
        self.settings()
    }

    fn jobs_queued(&self) -> &Notify {
        self.jobs_queued()
    }

    async fn pause_for_space(&self, jobs: &[JobId], reason: &str) -> bool {
        pause_study::pause_for_space(self, jobs, reason).await
    }

    async fn register_worker(&self, worker: &NewWorker, caller: Caller) -> Answer<()> {
        let _turn = self.worker_turn().await?;
        register_worker::register_worker(self, worker, caller).await
    }

    async fn unregister_worker(&self, worker: CallingWorker) -> Answer<()> {
        let _turn = self.worker_turn().await?;
        register_worker::unregister_worker(self, worker).await
    }

    async fn try_lease(&self, worker: CallingWorker, slots: u32) -> Answer<Vec<LeasedJob>> {
        let _turn = self.worker_turn().await?;
        lease_job::try_lease(self, worker, slots).await
    }

    async fn renew_leases(&self, worker: CallingWorker, claims: &[LeaseClaim]) -> Answer<Vec<Renewed>> {
        renew_lease::renew_leases(self, worker, claims).await
    }

    async fn write_reports(&self, reports: &[JobReport]) -> Answer<Vec<Written>> {
        write_reports::write(self, reports).await
    }

    async fn finish_job(&self, claim: LeaseClaim, results: &JobResults) -> Answer<()> {
        let _turn = self.worker_turn().await?;
        finish_job(self, claim, results).await
    }

    async fn release_job(&self, claim: LeaseClaim, cause: ReleaseReason<'_>) -> Answer<()> {
        let _turn = self.worker_turn().await?;
        release_job::release_job(self, claim, cause).await
    }

    async fn note_artifact(&self, head: &ArtifactHead) -> Answer<String> {
        keep_artifact::note(self, head).await
    }

    async fn list_artifact(&self, head: &ArtifactHead, object_key: &str) -> Answer<()> {
        keep_artifact::list(self, head, object_key).await
    }

    async fn find_trial_file(&self, claim: LeaseClaim, name: &str) -> Answer<ArtifactRecord> {
        keep_artifact::find_of_trial(self, claim, name).await
    }

    async fn note_checkpoint(&self, head: CheckpointHead) -> Answer<String> {
        keep_checkpoint::note(self, head).await
    }

    async fn list_checkpoint(&self, head: CheckpointHead, object_key: &str) -> Answer<()> {
        keep_checkpoint::list(self, head, object_key).await
    }

    async fn find_checkpoint(&self, claim: LeaseClaim, job_id: JobId, number: u32) -> Answer<CheckpointRecord> {
        keep_checkpoint::find(self, claim, job_id, number).await
    }

    async fn find_dataset(&self, hash: FileHash) -> Answer<String> {
        find_dataset(self, hash).await
    }

    async fn answers(&self) -> bool {
        self.is_database_up().await
    }

    async fn expire_leases(&self) -> Answer<usize> {
        expire_leases::expire_leases(self).await
    }

    async fn grant_grace(&self) -> Answer<()> {
        expire_leases::grant_grace(self).await
    }
}
