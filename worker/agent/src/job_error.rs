//! Why a job ended early, and whether the job or the worker is at fault.

use std::time::Duration;

use tonic::Status;
use trawl_domain::failure::FailureCause;
use trawl_domain::lease::LeaseLost;
use trawl_engine::EngineError;

use super::dataset::DatasetError;

/// Why a job ended early.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
    /// A write under its lease was refused.
    #[error(transparent)]
    LeaseLost(#[from] LeaseLost),
    /// The coordinator sent a job that this worker does not understand.
    #[error("the job is not understood: {0}")]
    BadJob(#[from] trawl_domain::violation::Violations),
    /// Its tables are unavailable.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] EngineError),
    /// A thread of the job panicked.
    #[error("the job panicked")]
    Panicked,
    /// The system gave no thread.
    #[error("no thread to train on: {0}")]
    Thread(#[source] std::io::Error),
    /// Training stands still, and nothing can end its thread.
    #[error("training made no step for {} s", .0.as_secs_f64())]
    Hung(Duration),
    /// The coordinator refused its end, or a file of it.
    #[error("the coordinator refused: {}", .0.message())]
    Refused(#[source] Box<Status>),
}

impl JobError {
    pub(super) fn cause(&self) -> FailureCause {
        match self {
            Self::BadJob(_) | Self::Dataset(DatasetError::Read(..)) | Self::Train(EngineError::BadJob(_)) => {
                FailureCause::BadInput
            }
            Self::Train(EngineError::OutOfMemory(_))
            | Self::Dataset(DatasetError::Device(EngineError::OutOfMemory(_))) => FailureCause::OutOfMemory,
            Self::Hung(_) => FailureCause::Hung,
            _ => FailureCause::Error,
        }
    }

    /// True if this process can train no other job. A hung thread stays, and occupies a slot, a core and memory; a lost
    /// device fails every other job too.
    pub(super) fn is_of_worker(&self) -> bool {
        matches!(
            self,
            Self::Hung(_)
                | Self::Train(EngineError::DeviceLost(_))
                | Self::Dataset(DatasetError::Device(EngineError::DeviceLost(_)))
        )
    }
}
