//! The interface between training jobs and the engine that computes them, on plain numbers.
//!
//! An [`Engine`] trains the fits of a job and computes outputs of trained networks. The rest of this crate works with any engine: [`Control`], with
//! which others stop training; files of weights ([`weights`]); [`analysis`], which examines trained networks; [`predict`], which predicts new rows
//! from a refit's files; [`class_count`]. Nothing here knows a kind of network, a coordinator or a database.

pub mod analysis;
pub mod calibration;
pub mod checkpoint;
pub mod class_count;
mod control;
pub mod early_stopping;
pub mod ensemble;
mod network_file;
pub mod predict;
pub mod weights;

use std::fmt::Debug;

use trawl_dataset::{Features, FittedTable, Known, Samples, Targets};
use trawl_domain::baseline::Baseline;
use trawl_domain::engine::EngineName;
use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::loss::ClassWeights;
use trawl_domain::metric::{FoldMetrics, Metric, Metrics};
use trawl_domain::network::Architecture;
use trawl_domain::seed::Seed;

use checkpoint::MemberCheckpoint;
pub use control::{Command, Control};
use weights::Parameter;

/// Trains networks, and computes their outputs.
pub trait Engine: Debug + Send + Sync + 'static {
    /// Samples on the engine's device.
    type Table: Table;
    /// Trained networks on the engine's device.
    type Networks: Networks<Table = Self::Table>;

    /// Its name in studies and jobs.
    const NAME: EngineName;

    /// Copies samples to the engine's device.
    ///
    /// # Errors
    /// There is too little memory for them, or the device failed.
    fn load(&self, samples: &Samples) -> Result<Self::Table, EngineError>;

    /// Memory of samples on the device, in bytes.
    fn bytes_of(&self, samples: &Samples) -> usize;

    /// True if the members of a job of this architecture train as one stack; otherwise they take turns within each
    /// epoch. Results differ only by rounding.
    fn is_fused(&self, architecture: &Architecture) -> bool;

    /// Trains all members of a job, from their checkpoints or, without any, from the beginning. On one type of device, results
    /// and events are the same to the last bit as if training had never stopped. `from` may come from several files of several
    /// jobs, in any order, and may have other members too. The job's own members have to be at one position; if they come from
    /// different jobs, that is the end of an epoch. `emit` may wait: training waits with it.
    ///
    /// # Errors
    /// Memory ran short, the job does not fit together, or the engine failed; [`EngineError::BadCheckpoint`] before any training
    /// or event, if a member has no checkpoint in `from`, or the members are not at one position up to the job's end. A
    /// non-finite loss is no error.
    fn fit(
        &self,
        job: &FitJob<Self::Table>,
        from: &[MemberCheckpoint<'_>],
        emit: &mut dyn FnMut(Event<'_>),
        control: &Control,
    ) -> Result<Outcome<Self::Networks>, EngineError>;

    /// Test metrics and row losses of given outputs for the test rows, [rows, outputs], as if from the job's first
    /// member; row losses only where the job asks for them. `None` without test rows that have targets.
    ///
    /// # Errors
    /// The job or the outputs do not fit together, memory ran short, or the engine failed.
    fn measure(
        &self,
        job: &FitJob<Self::Table>,
        outputs: &[f32],
    ) -> Result<Option<(TestMetrics, Vec<f32>)>, EngineError>;

    /// The metrics that models without a search reach on the folds of the job's split, by fold; of the job, architecture and members only say what
    /// is predicted, and by which loss. A model that these rows are too large for is left out. Nothing, if it was stopped.
    ///
    /// # Errors
    /// Memory ran short, the job does not fit together, or the engine failed.
    fn baselines(
        &self,
        job: &FitJob<Self::Table>,
        control: &Control,
    ) -> Result<Vec<(Baseline, Vec<FoldMetrics>)>, EngineError>;

    /// A single network, member 0, with parameters and preparation from [`Networks::parameters`] and
    /// [`Networks::fitted`]. On the same type of device, its outputs are the same as then, to the last bit.
    ///
    /// # Errors
    /// The layers do not fit together, the parameters are not theirs, or memory ran short.
    fn network(
        &self,
        architecture: Architecture,
        parameters: Vec<Parameter>,
        fitted: Option<&FittedTable>,
    ) -> Result<Self::Networks, EngineError>;
}

/// Samples on an engine's device. Clones share the memory.
pub trait Table: Clone + Debug + Send + 'static {
    /// Rows.
    fn rows(&self) -> u32;

    /// Facts about the rows beside their numbers: their classes, where there are any, and the meaning of the inputs.
    fn known(&self) -> Known;

    /// Names of the classes, where there are any.
    fn classes(&self) -> Option<&[String]>;

    /// True if the rows have targets; rows without can only be predicted.
    fn is_labelled(&self) -> bool;

    /// Features of these rows, row by row.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if they cannot be read, as when a row does not exist.
    fn features(&self, rows: &[u32]) -> Result<Features, EngineError>;

    /// Rows that validate in a fold of this split, ascending.
    ///
    /// # Errors
    /// [`EngineError::BadJob`] if the rows lack the data that the split needs.
    fn held_out(&self, split: Split, seed: Seed, fold: u32) -> Result<Vec<u32>, EngineError>;

    /// The preparation fitted on the training rows of a fold of this split; `None` where rows and targets are used as they are.
    ///
    /// # Errors
    /// As [`Self::held_out`].
    fn fitted_on(&self, split: Split, seed: Seed, fold: u32) -> Result<Option<FittedTable>, EngineError>;

    /// Targets of all rows; `None` where the rows have none.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if they cannot be read.
    fn targets(&self) -> Result<Option<Targets>, EngineError>;
}

/// Trained networks of one architecture, by member.
pub trait Networks: Debug + Send + 'static {
    /// The table of their inputs.
    type Table: Table;

    /// Their architecture.
    fn architecture(&self) -> &Architecture;

    /// The parameters of one member, as [`weights::shapes`] names them.
    ///
    /// # Errors
    /// There is no such member, or they cannot be read from the device.
    fn parameters(&self, member: usize) -> Result<Vec<Parameter>, EngineError>;

    /// The preparation fitted on one member's training rows; `None` where rows and targets are used as they are.
    ///
    /// # Errors
    /// There is no such member.
    fn fitted(&self, member: usize) -> Result<Option<&FittedTable>, EngineError>;

    /// The parameters as a safetensors file, with the layers as JSON under `architecture` of its metadata.
    ///
    /// # Errors
    /// As [`Self::parameters`], or the file cannot be written.
    fn weights(&self, member: usize) -> Result<Vec<u8>, EngineError> {
        weights::to_safetensors(self.architecture(), &self.parameters(member)?)
    }

    /// Most rows for one call within bounded memory: the length of the pieces in which the test rows were measured.
    fn rows_at_once(&self) -> u32;

    /// Outputs [rows, outputs] of one member for at most [`Self::rows_at_once`] rows of a table. If all rows of a table are
    /// requested in order, in pieces of that size, the outputs are those that the test rows were measured by, to the last bit.
    ///
    /// # Errors
    /// There is no such member, the rows do not fit the network, or the engine failed.
    fn outputs(&self, member: usize, table: &Self::Table, rows: &[u32]) -> Result<Vec<f32>, EngineError>;

    /// Outputs of chosen layers of one member, without dropout: for each of `layers`, ascending indices. The rows go
    /// through the network in pieces of bounded memory; the result grows with their number.
    ///
    /// # Errors
    /// There is no such member or layer, the features are not rows of the network's input, or the engine failed.
    fn layer_outputs(
        &self,
        member: usize,
        features: &Features,
        layers: &[usize],
    ) -> Result<Vec<LayerOutput>, EngineError>;
}

/// A job's training.
#[derive(Clone, Debug)]
pub struct FitJob<T> {
    /// Seed of the study.
    pub seed: Seed,
    /// The members' common architecture.
    pub architecture: Architecture,
    /// The split of the rows.
    pub split: Split,
    /// The folds: at least one, all with equally many training rows.
    pub members: Vec<JobMember>,
    /// The epoch before which training pauses; if that is the architecture's number of epochs, training finishes there.
    pub end_epoch: u32,
    /// Metrics on the validation rows, among those that their targets allow.
    pub metrics: Vec<Metric>,
    /// The class whose F1 is [`Metric::ValF1`], by name; `None` for the mean over the classes.
    pub f1_class: Option<String>,
    /// Weights of the classes' rows in the loss, by class name; `None` if all weigh the same.
    pub class_weights: Option<ClassWeights>,
    /// The metric whose row losses are kept at the end: of the validation rows, or of the test rows where none validate.
    pub row_losses: Option<Metric>,
    /// The rows that train and validate.
    pub data: T,
    /// The rows that are measured once, at the end; rows without targets give no metrics.
    pub test: Option<T>,
}

/// The metrics of one member after one epoch; losses are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberLosses {
    /// Place among the job's members.
    pub member: usize,
    /// Mean over the epoch's batches, each weighted by its rows, taken while training, without the L2 term.
    pub train_loss: f64,
    /// Metrics on the validation rows after the epoch; none where no rows validate.
    pub metrics: Metrics,
}

/// Events of training.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// An epoch has ended.
    Epoch {
        /// Epoch, from 0.
        epoch: u32,
        /// Losses of the members that still train, ascending.
        losses: &'a [MemberLosses],
        /// Members whose loss in this epoch was not finite, ascending: this was their last epoch.
        diverged: &'a [usize],
    },
    /// A checkpoint: [`Control`] requested it, or training pauses.
    Checkpoint {
        /// Epochs completed: their events came before.
        epochs: u32,
        /// A file with the checkpoints of all members, for [`checkpoint::read`].
        content: Vec<u8>,
    },
}

/// How training ended.
#[derive(Debug)]
pub enum Outcome<N> {
    /// All members completed.
    Finished(Fitted<N>),
    /// All members reached the job's end, before the architecture's last epoch; the last event was a checkpoint.
    Paused,
    /// It was stopped.
    Interrupted,
}

/// Members that completed.
#[derive(Debug)]
pub struct Fitted<N> {
    /// True for members that completed without diverging.
    pub alive: Vec<bool>,
    /// Validation metrics of each member; `None` without validation rows, or for a member that diverged.
    pub metrics: Vec<Option<FoldMetrics>>,
    /// Test metrics of each member; `None` without test rows that have targets, or for a member that diverged.
    pub test: Vec<Option<TestMetrics>>,
    /// Row losses of each member, in the order of the rows; empty for a member that diverged, and if none are
    /// requested. A member's are the same in every job, to the last bit.
    pub row_losses: Vec<Vec<f32>>,
    /// The networks, including diverged ones.
    pub networks: N,
}

/// Test metrics of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestMetrics {
    /// Mean loss.
    pub loss: f64,
    /// Share of rows whose class is predicted; `None` without classes.
    pub accuracy: Option<f64>,
}

/// Output of one layer for some rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerOutput {
    /// Rows, then the shape of the layer's output for one row.
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// Why an engine failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The device has too little memory for the job.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The job does not fit together.
    #[error("the job does not fit together: {0}")]
    BadJob(String),
    /// The checkpoint is broken, or belongs to other members or another version.
    #[error("the checkpoint is of no use: {0}")]
    BadCheckpoint(String),
    /// The computation failed.
    #[error("training failed: {0}")]
    Failed(String),
    /// The device no longer answers: no job of this process can train on it.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}
