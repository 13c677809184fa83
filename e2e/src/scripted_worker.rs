//! A worker that trains nothing: it speaks the workers' protocol as a test tells it to.

use std::ops::Range;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use trawl_dataset::FileHash;
use trawl_proto::v1;
use trawl_proto::v1::worker_service_client::WorkerServiceClient;

use crate::system::{Authorized, Client};

/// The two directions of a stream of reports.
pub type ReportStream = (
    mpsc::Sender<v1::ReportEpochsRequest>,
    Streaming<v1::ReportEpochsResponse>,
);

/// Host name that it registers under.
pub const SCRIPTED_HOST: &str = "test";

/// A worker whose every step is a test's. A clone is the same worker on the same connection.
#[derive(Clone, Debug)]
pub struct ScriptedWorker {
    client: WorkerServiceClient<Authorized>,
    worker_id: String,
}

impl ScriptedWorker {
    /// Registers one.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn register(trawl: &Client) -> anyhow::Result<Self> {
        let worker_id = uuid::Builder::from_random_bytes(random()?).into_uuid().to_string();
        let mut worker = Self {
            client: trawl.worker_client().await?,
            worker_id,
        };
        let request = Self::registration(&worker.worker_id);
        worker.client.register_worker(request).await?;
        Ok(worker)
    }

    /// The request by which a worker of this id registers.
    pub fn registration(worker_id: &str) -> v1::RegisterWorkerRequest {
        v1::RegisterWorkerRequest {
            worker_id: worker_id.to_owned(),
            host: SCRIPTED_HOST.into(),
            device: "cpu".into(),
            slots: 8,
            version: "0".into(),
            protocol: trawl_proto::WORKER_PROTOCOL,
        }
    }

    /// The same worker on a new connection.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn reconnect(self, trawl: &Client) -> anyhow::Result<Self> {
        Ok(Self {
            client: trawl.worker_client().await?,
            worker_id: self.worker_id,
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.worker_id
    }

    /// Says goodbye.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn unregister(mut self) -> anyhow::Result<()> {
        let request = v1::UnregisterWorkerRequest {
            worker_id: self.worker_id,
        };
        self.client.unregister_worker(request).await?;
        Ok(())
    }

    /// Asks for jobs, and does not wait for them.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn lease(&mut self, slots: u32) -> anyhow::Result<Vec<v1::LeasedJob>> {
        Ok(self.lease_within(slots, Duration::ZERO).await?)
    }

    /// Asks for jobs, and waits so long for the first one.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn lease_within(&mut self, slots: u32, wait: Duration) -> Result<Vec<v1::LeasedJob>, tonic::Status> {
        let request = v1::LeaseJobsRequest {
            worker_id: self.worker_id.clone(),
            slots,
            wait: prost_types::Duration::try_from(wait).ok(),
        };
        Ok(self.client.lease_jobs(request).await?.into_inner().jobs)
    }

    /// Asks for one job, and waits for it.
    ///
    /// # Errors
    /// None comes.
    pub async fn lease_one(&mut self) -> anyhow::Result<v1::LeasedJob> {
        let jobs = self.lease_within(1, Duration::from_secs(20)).await?;
        jobs.into_iter().next().context("no job came")
    }

    /// Renews leases; which of them are held.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn heartbeat(&mut self, jobs: &[&v1::LeasedJob]) -> Result<Vec<bool>, tonic::Status> {
        let leases = jobs.iter().filter_map(|job| job.lease.clone()).collect();
        let request = v1::HeartbeatRequest {
            worker_id: self.worker_id.clone(),
            leases,
        };
        let statuses = self.client.heartbeat(request).await?.into_inner().statuses;
        Ok(statuses.into_iter().map(is_held).collect())
    }

    /// Reports one epoch of all members, with losses that tell member and epoch. True once it is durable, false if the
    /// lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn report(&mut self, job: &v1::LeasedJob, epoch: u32) -> anyhow::Result<bool> {
        self.report_with(job, epoch, 0.0).await
    }

    /// The same with other losses.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn report_with(&mut self, job: &v1::LeasedJob, epoch: u32, more: f64) -> anyhow::Result<bool> {
        Ok(self.send_report(epoch_report(job, epoch, more)).await?)
    }

    /// Sends one report on a stream of its own. True once it is durable, false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn send_report(&mut self, report: v1::ReportEpochsRequest) -> Result<bool, tonic::Status> {
        let mut answers = self
            .client
            .report_epochs(tokio_stream::iter([report]))
            .await?
            .into_inner();
        let no_answer = || tonic::Status::unavailable("no answer to a report");
        let answer = answers.message().await?.ok_or_else(no_answer)?;
        Ok(is_held(answer.status))
    }

    /// Opens a stream of reports: what goes in comes out as acknowledgements, in the same order. Sending waits while
    /// `waiting_max` reports wait for the network.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn open_reports(&mut self, waiting_max: usize) -> Result<ReportStream, tonic::Status> {
        let (sender, receiver) = mpsc::channel(waiting_max);
        let answer = self.client.report_epochs(ReceiverStream::new(receiver)).await?;
        Ok((sender, answer.into_inner()))
    }

    /// Reports all epochs of a job.
    ///
    /// # Errors
    /// The coordinator refuses, or the lease is lost.
    pub async fn report_all(&mut self, job: &v1::LeasedJob) -> anyhow::Result<()> {
        for epoch in job.job.as_ref().map_or(0..0, |job| job.first_epoch..job.end_epoch) {
            anyhow::ensure!(self.report(job, epoch).await?, "the lease was lost at epoch {epoch}");
        }
        Ok(())
    }

    /// Reports all epochs of a job, and finishes it.
    ///
    /// # Errors
    /// The coordinator refuses, or the lease is lost.
    pub async fn train(&mut self, job: &v1::LeasedJob) -> anyhow::Result<()> {
        self.report_all(job).await?;
        anyhow::ensure!(self.finish(job).await?, "the lease was lost before the end");
        Ok(())
    }

    /// The messages of an artifact: the first one describes it, each of the others brings 64 KiB.
    pub fn artifact_messages(
        job: &v1::LeasedJob,
        member: Option<u32>,
        name: &str,
        content: &[u8],
    ) -> Vec<v1::PutArtifactRequest> {
        let head = v1::PutArtifactRequest {
            lease: job.lease.clone(),
            member,
            kind: "weights".into(),
            name: name.into(),
            bytes: content.len() as u64,
            sha256: FileHash::of(content).to_string(),
            chunk: Vec::new(),
        };
        let piece = |chunk: &[u8]| v1::PutArtifactRequest {
            chunk: chunk.to_vec(),
            ..Default::default()
        };
        std::iter::once(head)
            .chain(content.chunks(64 << 10).map(piece))
            .collect()
    }

    /// Sends an artifact; false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn put_artifact(
        &mut self,
        messages: impl Stream<Item = v1::PutArtifactRequest> + Send + 'static,
    ) -> Result<bool, tonic::Status> {
        Ok(is_held(self.client.put_artifact(messages).await?.into_inner().status))
    }

    /// Sends a file of a member; false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn leave(
        &mut self,
        job: &v1::LeasedJob,
        member: u32,
        name: &str,
        content: &[u8],
    ) -> Result<bool, tonic::Status> {
        let messages = Self::artifact_messages(job, Some(member), name, content);
        self.put_artifact(tokio_stream::iter(messages)).await
    }

    /// The messages of a checkpoint after so many epochs, in pieces like an artifact's.
    pub fn checkpoint_messages(job: &v1::LeasedJob, epochs: u32, content: &[u8]) -> Vec<v1::PutCheckpointRequest> {
        let head = v1::PutCheckpointRequest {
            lease: job.lease.clone(),
            epochs,
            bytes: content.len() as u64,
            sha256: FileHash::of(content).to_string(),
            chunk: Vec::new(),
        };
        let piece = |chunk: &[u8]| v1::PutCheckpointRequest {
            chunk: chunk.to_vec(),
            ..Default::default()
        };
        std::iter::once(head)
            .chain(content.chunks(64 << 10).map(piece))
            .collect()
    }

    /// Sends a checkpoint; false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn put_checkpoint(
        &mut self,
        messages: impl Stream<Item = v1::PutCheckpointRequest> + Send + 'static,
    ) -> Result<bool, tonic::Status> {
        Ok(is_held(self.client.put_checkpoint(messages).await?.into_inner().status))
    }

    /// Finishes a job; false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn finish(&mut self, job: &v1::LeasedJob) -> Result<bool, tonic::Status> {
        let request = v1::FinishJobRequest {
            lease: job.lease.clone(),
            ..Default::default()
        };
        Ok(is_held(self.client.finish_job(request).await?.into_inner().status))
    }

    /// Hands a job back; false if the lease is lost.
    ///
    /// # Errors
    /// The coordinator refuses.
    pub async fn release(&mut self, job: &v1::LeasedJob, cause: &str, error: &str) -> anyhow::Result<bool> {
        let request = v1::ReleaseJobRequest {
            lease: job.lease.clone(),
            cause: cause.into(),
            error: error.into(),
        };
        Ok(is_held(self.client.release_job(request).await?.into_inner().status))
    }
}

/// The report of one epoch of all of a job's members. Losses tell member and epoch, and `more` is added to them.
pub fn epoch_report(job: &v1::LeasedJob, epoch: u32, more: f64) -> v1::ReportEpochsRequest {
    epochs_report(job, epoch..epoch + 1, more)
}

/// The same of several epochs.
pub fn epochs_report(job: &v1::LeasedJob, epochs: Range<u32>, more: f64) -> v1::ReportEpochsRequest {
    let members = job.job.as_ref().map_or(0, |job| job.members.len() as u32);
    let losses = |member: u32| -> Vec<f64> {
        let loss = |epoch| f64::from(member) + f64::from(epoch) / 1e3 + more;
        epochs.clone().map(loss).collect()
    };
    v1::ReportEpochsRequest {
        lease: job.lease.clone(),
        first_epoch: epochs.start,
        metrics: vec!["val_loss".into()],
        members: (0..members)
            .map(|member| member_epochs(member, losses(member)))
            .collect(),
    }
}

/// Epochs of one member, with equal losses on training and validation rows.
pub fn member_epochs(member: u32, losses: Vec<f64>) -> v1::MemberEpochs {
    v1::MemberEpochs {
        member,
        train_loss: losses.clone(),
        metrics: losses,
        diverged: false,
    }
}

fn is_held(status: i32) -> bool {
    status == i32::from(v1::LeaseStatus::Held)
}

fn random() -> anyhow::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    Ok(bytes)
}
