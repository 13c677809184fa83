//! The trainer: all folds of a job train together, as one stack of networks.
//!
//! For small networks the price of a step is that of its operations, not of their arithmetic, so a stack of 64 networks
//! trains in little more time than one. There is one tensor per parameter with the members along its first dimension, and
//! matrix products are batched; learning rate, L2, momentum, dropout and optimizer are each member's own. Nothing ever mixes
//! members: one whose loss is not finite stays alone with its NaNs.
//!
//! The trainer knows neither network nor database. It emits [`Event`]s and asks an [`Interrupter`].

mod batches;
mod checkpoint;
mod dropout;
mod interrupter;
mod network;
mod optimizer;
mod outputs;
mod rounding;
mod stack;
mod training;
mod weights;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use trawl_domain::fold::Split;
use trawl_domain::limits::{JOB_MEMBERS_MAX, JOB_PARAMS_MAX};
use trawl_domain::metric::FoldMetrics;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::Hyperparameters;
use trawl_domain::seed::{Owner, Seed};

pub use batches::{DeviceFeatures, DeviceTable};
pub use interrupter::{Interrupter, Wish};
pub use outputs::LayerOutput;
pub(crate) use rounding::fix_rounding;
pub use weights::WeightsError;
#[cfg(test)]
pub(crate) use weights::shapes as weight_shapes;

use stack::Stack;
use training::Training;

/// What is trained.
#[derive(Debug)]
pub struct TrainJob {
    /// Seed of the study.
    pub seed: Seed,
    /// What the members have in common.
    pub architecture: Architecture,
    /// How the rows are split.
    pub split: Split,
    /// The folds: at least one, all with as many training rows.
    pub members: Vec<Member>,
    /// The rows that train and validate.
    pub data: DeviceTable,
    /// The rows that are looked at once, at the end; without targets they measure nothing.
    pub test: Option<DeviceTable>,
}

/// One fold.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Whose fold.
    pub owner: Owner,
    /// Fold, from 0.
    pub fold: u32,
    /// What is its own.
    pub hyperparameters: Hyperparameters,
}

/// The metrics of one member after one epoch; losses are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberLosses {
    /// Place among the job's members.
    pub member: usize,
    /// Mean over the epoch's batches, each weighted by its rows, taken while training, without the L2 term.
    pub train_loss: f64,
    /// Loss on the validation rows after the epoch; absent where no rows validate.
    pub val_loss: Option<f64>,
    /// Share of the validation rows whose class is predicted; absent without classes or validation rows.
    pub val_accuracy: Option<f64>,
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
    /// All that has to be known to go on from here, as [`resume`] does; because the interrupter asked for it.
    Checkpoint {
        /// Epochs that are over: everything told of them came before.
        epochs: u32,
        /// A safetensors file.
        content: Vec<u8>,
    },
}

/// How training ended.
#[derive(Debug)]
pub enum Outcome {
    /// All members came to their end.
    Finished(Trained),
    /// The interrupter said so.
    Interrupted,
}

/// What the test rows say of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TestMetrics {
    /// Mean loss.
    pub loss: f64,
    /// Share of the rows whose class is predicted; absent without classes.
    pub accuracy: Option<f64>,
}

/// Trained members.
#[derive(Debug)]
pub struct Trained {
    architecture: Architecture,
    /// Whether they trained as one stack.
    together: bool,
    stacks: Vec<Stack>,
    metrics: Vec<Option<FoldMetrics>>,
    /// False for a member that diverged.
    alive: Vec<bool>,
    test: Vec<Option<TestMetrics>>,
}

impl Trained {
    /// Whether each member came to its end without diverging.
    pub fn alive(&self) -> &[bool] {
        &self.alive
    }

    /// What the test rows say of each member; `None` without test rows that have targets, or for a member that diverged.
    pub fn test(&self) -> &[Option<TestMetrics>] {
        &self.test
    }

    /// What the validation rows say of each member; `None` without any, or for a member that diverged.
    pub fn metrics(&self) -> &[Option<FoldMetrics>] {
        &self.metrics
    }

    /// The parameters of one member as a safetensors file. Names are those of PyTorch's `nn.Sequential`: `0.weight` with
    /// shape [outputs, inputs], `0.bias` with shape [outputs], where 0 is the layer's place in the model. The metadata has
    /// the layers as JSON under `architecture`.
    ///
    /// # Errors
    /// [`TrainError::Failed`] if the tensors cannot be read from the device.
    pub fn weights(&self, member: usize) -> Result<Vec<u8>, TrainError> {
        let (stack, place) = self.find(member)?;
        guarded(|| weights::to_safetensors(&self.architecture, stack, place))?
    }
}

/// Why training failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrainError {
    /// The device has too little memory for the job.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// The job does not fit together.
    #[error("the job does not fit together: {0}")]
    BadJob(String),
    /// The checkpoint is broken, or that of another job or another version.
    #[error("the checkpoint is of no use: {0}")]
    BadCheckpoint(String),
    /// libtorch failed.
    #[error("training failed: {0}")]
    Failed(String),
    /// The device answers nothing any more: no job of this process can train on it.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
}

/// Trains all members of a job. `emit` may wait: training waits with it.
///
/// # Errors
/// Memory ran short, the job does not fit together, or libtorch failed. A loss that is not finite is no error.
pub fn train(
    job: &TrainJob,
    device: Device,
    emit: &mut dyn FnMut(Event<'_>),
    interrupter: &Interrupter,
) -> Result<Outcome, TrainError> {
    fix_rounding();
    on_device(device, || Training::new(job, device)?.run(emit, interrupter))
}

/// Goes on from a checkpoint as if training had never stopped: on one type of CPU to the last bit, which includes what it
/// tells from there on.
///
/// # Errors
/// As [`train`], and [`TrainError::BadCheckpoint`] before anything was trained or told.
pub fn resume(
    job: &TrainJob,
    device: Device,
    checkpoint: &[u8],
    emit: &mut dyn FnMut(Event<'_>),
    interrupter: &Interrupter,
) -> Result<Outcome, TrainError> {
    fix_rounding();
    on_device(device, || {
        let mut training = Training::new(job, device)?;
        training.restore(checkpoint)?;
        training.run(emit, interrupter)
    })
}

/// Works on a device, and tells work that failed from a device that did.
fn on_device<T>(device: Device, work: impl FnOnce() -> Result<T, TrainError>) -> Result<T, TrainError> {
    guarded(work).flatten().map_err(|error| match error {
        TrainError::Failed(error) if is_lost(device) => TrainError::DeviceLost(error),
        other => other,
    })
}

/// True if a device does not even copy a number. A CUDA error that is not of one call, as of a kernel that wrote where it must not
/// or of a GPU that is gone, is the answer to all later calls of the process.
fn is_lost(device: Device) -> bool {
    let ask = || to_vec(&Tensor::ones([1], (Kind::Float, device)));
    device != Device::Cpu && matches!(guarded(ask), Err(TrainError::Failed(_)))
}

/// libtorch's errors reach Rust as panics of tch. They end the job, not the worker.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, TrainError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic_text(panic.as_ref());
        let line = cause(&text).to_owned();
        // The last is of NVIDIA's libraries, which take some memory past libtorch.
        let is_memory = [
            "out of memory",
            "can't allocate memory",
            "not enough memory",
            "_ALLOC_FAILED",
        ]
        .iter()
        .any(|t| text.contains(t));
        if is_memory {
            TrainError::OutOfMemory(line)
        } else {
            TrainError::Failed(line)
        }
    })
}

/// The cause of a panic: its first line, without the words around libtorch's own errors and without the stack that libtorch adds,
/// whose line breaks tch has written out.
fn cause(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split_once("Torch(\"").map_or(line, |(_, error)| error);
    let line = line.split_once("\\n").map_or(line, |(first, _)| first);
    line.trim_end_matches("\")")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without a text".to_owned(),
    }
}

/// Whether the members of a job train as one stack, or one after the other within each epoch. Their results are the same but
/// for rounding.
///
/// A stack saves the price of launching operations, and that is most of a small step's. Beyond so many multiplications a step
/// costs its arithmetic: then a stack spoils a CPU's caches, and on a GPU, where stacks are always full, pays for its idle
/// networks in time and memory. Convolutions of a stack would be grouped ones, for which libraries have poor code.
pub fn trains_together(architecture: &Architecture, device: Device) -> bool {
    let work = architecture.step_work();
    match device {
        _ if architecture.has_convolution() => false,
        Device::Cpu => work <= TOGETHER_WORK_MAX,
        _ => work <= TOGETHER_WORK_MAX_GPU && architecture.params() <= JOB_PARAMS_MAX / JOB_MEMBERS_MAX as u64,
    }
}

/// See [`trains_together`]. Forward and backward, so many multiplications take a core about 0.1 ms, which is what launching a
/// step's operations takes too: beyond it there is less than half of a step to be saved. An estimate; it decides time alone.
const TOGETHER_WORK_MAX: u64 = 1 << 20;

/// The same on a GPU. On an H200, 32 steps of 16 networks with 2^22 multiplications took 63 ms together and 466 ms apart; of five with
/// 2^24, of which a job has no more than four, 115 ms and 159 ms; but of one alone 103 ms in a full stack and 31 ms in its own.
const TOGETHER_WORK_MAX_GPU: u64 = 1 << 23;

/// The one moment at which the host waits for the device.
fn to_vec(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.numel()];
    tensor
        .to_device(Device::Cpu)
        .contiguous()
        .copy_data(&mut values, tensor.numel());
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_libtorchs_stack() {
        let of_tch = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                      can't allocate memory\\nframe #0: c10::ThrowEnforceNotMet(char const*)\\n\")";
        assert_eq!(
            cause(of_tch),
            "[enforce fail at alloc_cpu.cpp:127] err == 0. can't allocate memory"
        );
        let short = "called `Result::unwrap()` on an `Err` value: Torch(\"shapes do not fit\")";
        assert_eq!(cause(short), "shapes do not fit");
        assert_eq!(cause("index out of bounds\nnote: more"), "index out of bounds");
        let ended: Result<(), _> = guarded(|| panic!("{of_tch}"));
        assert_eq!(
            ended,
            Err(TrainError::OutOfMemory(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. can't allocate memory".to_owned()
            ))
        );
    }
}
