//! Training by libtorch, on a thread of its own.

use std::time::Duration;

use tch::Device;
use tracing::info;
use trawl_domain::dataset::Format;
use trawl_domain::fold::Split;
use trawl_domain::job::Job;
use trawl_domain::metric::FoldMetrics;

use super::connection::Connection;
use super::run_job::{JobError, train_on_thread};
use super::training::{Listener, Trained, Training};
use crate::analysis::Subject;
use crate::dataset::{DatasetError, Datasets, PARTS_BYTES_MAX};
use crate::file_cache::FileCache;
use crate::trainer::{self, DeviceTable, Interrupter, Member, TestMetrics, TrainError, TrainJob, trains_together};

/// Trains by libtorch on one device.
#[derive(Debug)]
pub struct Libtorch {
    device: Device,
    datasets: Datasets,
    progress_limit: Duration,
}

impl Libtorch {
    /// For a device; dataset files are kept among `files`. A training that makes no step for `progress_limit` hangs.
    pub fn new(device: Device, files: FileCache, progress_limit: Duration) -> Self {
        Self {
            device,
            datasets: Datasets::new(device, files, PARTS_BYTES_MAX),
            progress_limit,
        }
    }
}

/// A job with its tables.
#[derive(Debug)]
pub struct Ready {
    job: TrainJob,
    refit_end: Option<RefitEnd>,
}

/// What is looked at once more when a refit's fit on all training rows is over.
#[derive(Debug)]
struct RefitEnd {
    train: DeviceTable,
    test: Option<DeviceTable>,
    dropout: Vec<f64>,
    format: Format,
    inputs: Vec<Vec<f32>>,
}

impl Training for Libtorch {
    type Ready = Ready;
    type Trained = LibtorchTrained;

    fn progress_limit(&self) -> Duration {
        self.progress_limit
    }

    async fn prepare(&self, connection: &Connection, job: &Job) -> Result<Ready, DatasetError> {
        let kind = job.architecture.loss.target_kind();
        let loaded = self.datasets.load(connection, &job.format, kind, job.train, job.test);
        let (data, test) = loaded.await?;
        let refit_end = (job.split == Split::All).then(|| RefitEnd {
            train: data.shallow_clone(),
            test: test.as_ref().map(DeviceTable::shallow_clone),
            dropout: job.members[0].hyperparameters.dropout.clone(),
            format: job.format.clone(),
            inputs: job.inputs.clone(),
        });
        let member = |member: &trawl_domain::job::JobMember| Member {
            owner: member.owner,
            fold: member.fold,
            hyperparameters: member.hyperparameters.clone(),
        };
        let job = TrainJob {
            seed: job.seed,
            architecture: job.architecture.clone(),
            split: job.split,
            members: job.members.iter().map(member).collect(),
            data,
            test,
        };
        Ok(Ready { job, refit_end })
    }

    async fn train(
        &self,
        ready: Ready,
        checkpoint: Option<Vec<u8>>,
        listener: Listener,
        interrupter: Interrupter,
    ) -> Result<LibtorchTrained, JobError> {
        let Ready { job, refit_end } = ready;
        if job.members.len() > 1 {
            let together = trains_together(&job.architecture, self.device);
            info!(
                job.id = listener.lease().job_id,
                job.members = job.members.len(),
                job.together = together,
                step.multiplications = job.architecture.step_work(),
                "members train together or apart"
            );
        }
        let trained = train_on_thread(self.device, self.progress_limit, job, checkpoint, listener, interrupter).await?;
        Ok(LibtorchTrained { trained, refit_end })
    }
}

/// A job that libtorch trained.
#[derive(Debug)]
pub struct LibtorchTrained {
    trained: trainer::Trained,
    refit_end: Option<RefitEnd>,
}

impl Trained for LibtorchTrained {
    fn test(&self) -> Option<TestMetrics> {
        self.trained.test().first().copied().flatten()
    }

    fn metrics(&self) -> &[Option<FoldMetrics>] {
        self.trained.metrics()
    }

    fn weights(&self, member: usize) -> Result<Vec<u8>, TrainError> {
        self.trained.weights(member)
    }

    fn into_subject(self) -> Result<Option<Subject>, TrainError> {
        let measured = self.test();
        let Some(end) = self.refit_end else { return Ok(None) };
        let is_measured = end.test.as_ref().is_some_and(DeviceTable::is_labelled);
        let is_sound = match measured {
            Some(test) => test.loss.is_finite(),
            None => !is_measured && self.trained.alive()[0],
        };
        if !is_sound {
            return Ok(None);
        }
        Ok(Some(Subject {
            weights: self.trained.weights(0)?,
            trained: self.trained,
            dropout: end.dropout,
            format: end.format,
            train: end.train,
            test: end.test,
            inputs: end.inputs,
        }))
    }
}
