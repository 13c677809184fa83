//! The seam between what is trained and what computes it, on plain numbers.
//!
//! An [`Engine`] trains the fits of a job and computes what trained networks answer. What lives here works over any of them:
//! [`Control`], by which others stop training; the files of weights ([`weights`]); [`analysis`], which looks into what was trained;
//! [`predict`], which answers for new rows with what a refit left; [`class_count`]. None of it knows a network, a coordinator or a database.

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

use trawl_domain::dataset::{Features, FittedTable, Known, Samples, Targets};
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

/// Trains networks, and computes what they answer.
pub trait Engine: Debug + Send + Sync + 'static {
    /// Samples where it computes.
    type Table: Table;
    /// Trained networks where it computes.
    type Networks: Networks<Table = Self::Table>;

    /// Its name in studies and jobs.
    const NAME: EngineName;

    /// Copies samples to where it computes.
    ///
    /// # Errors
    /// There is too little memory for them, or the device failed.
    fn load(&self, samples: &Samples) -> Result<Self::Table, EngineError>;

    /// Memory that samples take there, in bytes.
    fn bytes_of(&self, samples: &Samples) -> usize;

    /// Whether the members of a job of this architecture train as one stack, or one after the other within each epoch. Their results are
    /// the same but for rounding.
    fn trains_together(&self, architecture: &Architecture) -> bool;

    /// Trains all members of a job, from their checkpoints on, or from the beginning where there are none: on one type of device as if
    /// training had never stopped, to the last bit, which includes what it tells from there on. `from` may be from several files of
    /// several jobs, in any order, and have other members too; those of the job have to be at one position, which is the end of an
    /// epoch where they come from different jobs. `emit` may wait: training waits with it.
    ///
    /// # Errors
    /// Memory ran short, the job does not fit together, or the engine failed; [`EngineError::BadCheckpoint`] before anything was
    /// trained or told, if a member has no checkpoint in `from`, or the members are not at one position up to the job's end. A loss that is not finite is
    /// no error.
    fn fit(
        &self,
        job: &FitJob<Self::Table>,
        from: &[MemberCheckpoint<'_>],
        emit: &mut dyn FnMut(Event<'_>),
        control: &Control,
    ) -> Result<Outcome<Self::Networks>, EngineError>;

    /// What these outputs for the test rows, [rows, outputs], say, as if the job's first member had put them out: the metrics, and what each row leaves as
    /// its loss where the job asks for it. `None` without test rows that have targets.
    ///
    /// # Errors
    /// The job or the outputs do not fit together, memory ran short, or the engine failed.
    fn measure(
        &self,
        job: &FitJob<Self::Table>,
        outputs: &[f32],
    ) -> Result<Option<(TestMetrics, Vec<f32>)>, EngineError>;

    /// A single network, member 0, with parameters and preparation as [`Networks::parameters`] and [`Networks::fitted`] gave them. On the
    /// device that it trained on, or one like it, its outputs are to the last bit those that it had then.
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

/// Samples where an engine computes. Clones share the memory.
pub trait Table: Clone + Debug + Send + 'static {
    /// Rows.
    fn rows(&self) -> u32;

    /// What was known of the rows beside their numbers: their classes, where there are any, and what the inputs are.
    fn known(&self) -> Known;

    /// Names of the classes, where there are any.
    fn classes(&self) -> Option<&[String]>;

    /// True if the rows have targets: others can be predicted alone.
    fn is_labelled(&self) -> bool;

    /// Features of these rows, row by row.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if they cannot be read, as for a row that is not there.
    fn features(&self, rows: &[u32]) -> Result<Features, EngineError>;

    /// Rows that validate in a fold of this split, ascending.
    ///
    /// # Errors
    /// [`EngineError::BadJob`] if the rows lack what they are split by.
    fn held_out(&self, split: Split, seed: Seed, fold: u32) -> Result<Vec<u32>, EngineError>;

    /// What is fitted on the training rows of a fold of this split; `None` where rows go in, and targets are learned, as they are.
    ///
    /// # Errors
    /// As [`Self::held_out`].
    fn fitted_on(&self, split: Split, seed: Seed, fold: u32) -> Result<Option<FittedTable>, EngineError>;

    /// Targets of all rows; `None` where nobody knows them.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if they cannot be read.
    fn targets(&self) -> Result<Option<Targets>, EngineError>;
}

/// Trained networks of one architecture, by member.
pub trait Networks: Debug + Send + 'static {
    /// What they answer for.
    type Table: Table;

    /// What was trained.
    fn architecture(&self) -> &Architecture;

    /// The parameters of one member, as [`weights::shapes`] names them.
    ///
    /// # Errors
    /// There is no such member, or they cannot be read from the device.
    fn parameters(&self, member: usize) -> Result<Vec<Parameter>, EngineError>;

    /// What was fitted on one member's training rows; `None` where rows go in, and targets are learned, as they are.
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

    /// Rows that may be asked for at once within bounded memory: the pieces in which the test rows were measured.
    fn rows_at_once(&self) -> u32;

    /// Outputs [rows, outputs] of one member for rows of a table, at most [`Self::rows_at_once`] of them. Of all rows of a table in their order, in
    /// pieces of that size, they are to the last bit those by which the test rows were measured.
    ///
    /// # Errors
    /// There is no such member, the rows do not fit the network, or the engine failed.
    fn outputs(&self, member: usize, table: &Self::Table, rows: &[u32]) -> Result<Vec<f32>, EngineError>;

    /// Outputs of chosen layers of one member, without dropout: for each of `layers`, ascending indices. The rows go through
    /// the network in pieces of bounded memory; what is returned grows with them.
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

/// What is trained.
#[derive(Clone, Debug)]
pub struct FitJob<T> {
    /// Seed of the study.
    pub seed: Seed,
    /// What the members have in common.
    pub architecture: Architecture,
    /// How the rows are split.
    pub split: Split,
    /// The folds: at least one, all with as many training rows.
    pub members: Vec<JobMember>,
    /// The epoch before which training pauses, or the architecture's epochs: it finishes then.
    pub end_epoch: u32,
    /// What is measured on the validation rows, of what there can be with their targets.
    pub metrics: Vec<Metric>,
    /// The class whose F1 [`Metric::ValF1`] is, by its name; `None` for the mean over the classes.
    pub f1_class: Option<String>,
    /// How much rows of each class weigh in the loss, by the names of the table's classes; `None` if all weigh the same.
    pub class_weights: Option<ClassWeights>,
    /// Of what each row leaves a loss at the end: the validation rows, or the test rows where none validates.
    pub row_losses: Option<Metric>,
    /// The rows that train and validate.
    pub data: T,
    /// The rows that are looked at once, at the end; without targets they measure nothing.
    pub test: Option<T>,
}

/// The metrics of one member after one epoch; losses are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberLosses {
    /// Place among the job's members.
    pub member: usize,
    /// Mean over the epoch's batches, each weighted by its rows, taken while training, without the L2 term.
    pub train_loss: f64,
    /// What was measured on the validation rows after the epoch; nothing where no rows validate.
    pub metrics: Metrics,
}

/// What training tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// An epoch is over.
    Epoch {
        /// Epoch, from 0.
        epoch: u32,
        /// Losses of the members that still train, ascending.
        losses: &'a [MemberLosses],
        /// Members whose loss in this epoch was not finite, ascending: this was their last.
        diverged: &'a [usize],
    },
    /// All that has to be known to go on from here: [`Control`] asked for it, or training pauses.
    Checkpoint {
        /// Epochs that are over: everything told of them came before.
        epochs: u32,
        /// A file with the checkpoints of all members, as [`checkpoint::read`] takes it.
        content: Vec<u8>,
    },
}

/// How training ended.
#[derive(Debug)]
pub enum Outcome<N> {
    /// All members came to their end.
    Finished(Fitted<N>),
    /// All members came to the job's end, which is not that of the architecture's epochs; the last event was a checkpoint.
    Paused,
    /// It was told to stop.
    Interrupted,
}

/// Members that came to their end.
#[derive(Debug)]
pub struct Fitted<N> {
    /// Whether each member came to its end without diverging.
    pub alive: Vec<bool>,
    /// What the validation rows say of each member; `None` without any, or for a member that diverged.
    pub metrics: Vec<Option<FoldMetrics>>,
    /// What the test rows say of each member; `None` without test rows that have targets, or for a member that diverged.
    pub test: Vec<Option<TestMetrics>>,
    /// For each member what each row leaves as its loss, in the order of the rows; a member that diverged has none, and where none are
    /// wanted, none has. To the last bit, a member's are the same in every job.
    pub row_losses: Vec<Vec<f32>>,
    /// The networks, those that diverged among them.
    pub networks: N,
}

/// What the test rows say of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestMetrics {
    /// Mean loss.
    pub loss: f64,
    /// Share of the rows whose class is predicted; absent without classes.
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

/// Why an engine did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The device has too little memory for the job.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The job does not fit together.
    #[error("the job does not fit together: {0}")]
    BadJob(String),
    /// The checkpoint is broken, or that of other members or another version.
    #[error("the checkpoint is of no use: {0}")]
    BadCheckpoint(String),
    /// What computes failed.
    #[error("training failed: {0}")]
    Failed(String),
    /// The device answers nothing any more: no job of this process can train on it.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}
