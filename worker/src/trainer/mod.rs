//! The trainer: all folds of a job train together, as one stack of networks.
//!
//! For small networks the price of a step is that of its operations, not of their arithmetic, so a stack of 64 networks
//! trains in little more time than one. There is one tensor per parameter with the members along its first dimension, and
//! matrix products are batched; learning rate, L2, momentum, dropout and optimizer are each member's own. Nothing ever mixes
//! members: one whose loss is not finite stays alone with its NaNs.
//!
//! The trainer knows neither network nor database. It emits [`Event`]s and asks an [`Interrupter`].

mod batches;
mod dropout;
mod interrupter;
mod network;
mod optimizer;
mod outputs;
mod rounding;
mod stack;
mod weights;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use trawl_domain::fold::Split;
use trawl_domain::network::{Architecture, Hyperparameters};
use trawl_domain::seed::{Owner, Seed};

pub use batches::{DeviceFeatures, DeviceTable};
pub use interrupter::Interrupter;
pub use outputs::LayerOutput;
pub(crate) use rounding::fix_rounding;
pub use weights::WeightsError;
pub(crate) use weights::describe;
#[cfg(test)]
pub(crate) use weights::shapes as weight_shapes;

use batches::Rows;
use dropout::Dropout;
use optimizer::Optimizers;
use stack::Stack;

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
    /// The rows that are looked at once, at the end.
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
#[derive(Clone, Copy, Debug, PartialEq)]
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
    test: Vec<Option<TestMetrics>>,
}

impl Trained {
    /// What the test rows say of each member; `None` without test rows, or for a member that diverged.
    pub fn test(&self) -> &[Option<TestMetrics>] {
        &self.test
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
    /// libtorch failed.
    #[error("training failed: {0}")]
    Failed(String),
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
    guarded(|| Training::new(job, device)?.run(emit, interrupter))?
}

/// libtorch's errors reach Rust as panics of tch. They end the job, not the worker.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, TrainError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic_text(panic.as_ref());
        // The first line has the cause, what follows is libtorch's own stack.
        let line = text.lines().next().unwrap_or_default().to_owned();
        let is_memory = ["out of memory", "can't allocate memory", "not enough memory"]
            .iter()
            .any(|t| text.contains(t));
        if is_memory {
            TrainError::OutOfMemory(line)
        } else {
            TrainError::Failed(line)
        }
    })
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
/// A stack saves the price of launching operations, and that is most of a small step's. On a CPU, a step beyond
/// [`TOGETHER_WORK_MAX`] multiplications costs its arithmetic, and a stack only spoils the caches; on a GPU, linear layers
/// gain at every size that a job may have. Convolutions of a stack would be grouped ones, for which libraries have poor code.
pub fn trains_together(architecture: &Architecture, device: Device) -> bool {
    match device {
        _ if architecture.has_convolution() => false,
        Device::Cpu => architecture.step_work() <= TOGETHER_WORK_MAX,
        _ => true,
    }
}

/// See [`trains_together`]. Forward and backward, so many multiplications take a core about 0.1 ms, which is what launching a
/// step's operations takes too: beyond it there is less than half of a step to be saved. An estimate; it decides time alone.
const TOGETHER_WORK_MAX: u64 = 1 << 20;

/// Members that take every step together.
struct Group {
    stack: Stack,
    optimizers: Optimizers,
    rows: Rows,
    dropout: Dropout,
    /// By place in the stack: false once the member diverged.
    alive: Vec<bool>,
}

/// Mean losses by place in the stack, and how many rows were right where there are classes.
struct Measured {
    losses: Vec<f32>,
    accuracies: Option<Vec<f64>>,
}

struct Training<'a> {
    job: &'a TrainJob,
    device: Device,
    together: bool,
    groups: Vec<Group>,
}

impl<'a> Training<'a> {
    fn new(job: &'a TrainJob, device: Device) -> Result<Self, TrainError> {
        if job.members.is_empty() {
            return Err(TrainError::BadJob("it has no members".to_owned()));
        }
        let dropouts = network::dropout_layers(&job.architecture);
        if job
            .members
            .iter()
            .any(|member| member.hyperparameters.dropout.len() != dropouts)
        {
            return Err(TrainError::BadJob(
                "a member's dropout does not fit the layers".to_owned(),
            ));
        }
        if !std::iter::once(&job.data)
            .chain(&job.test)
            .all(|table| table.fits(&job.architecture))
        {
            return Err(TrainError::BadJob("its rows do not fit its input and loss".to_owned()));
        }
        let together = trains_together(&job.architecture, device);
        let all: Vec<usize> = (0..job.members.len()).collect();
        let groups = all.chunks(if together { all.len() } else { 1 });
        Ok(Self {
            job,
            device,
            together,
            groups: groups
                .map(|members| Group::new(job, members, together, device))
                .collect::<Result<_, _>>()?,
        })
    }

    fn run(mut self, emit: &mut dyn FnMut(Event<'_>), interrupter: &Interrupter) -> Result<Outcome, TrainError> {
        for epoch in 0..self.job.architecture.epochs {
            let (mut losses, mut diverged) = (Vec::new(), Vec::new());
            for index in 0..self.groups.len() {
                if !self.groups[index].alive.contains(&true) {
                    continue;
                }
                let Some(train) = self.train_epoch(index, epoch, interrupter) else {
                    return Ok(Outcome::Interrupted);
                };
                let Some(validation) = self.validate(index, interrupter) else {
                    return Ok(Outcome::Interrupted);
                };
                self.groups[index].judge(&train, validation.as_ref(), &mut losses, &mut diverged);
            }
            losses.sort_by_key(|losses: &MemberLosses| losses.member);
            diverged.sort_unstable();
            emit(Event::Epoch {
                epoch,
                losses: &losses,
                diverged: &diverged,
            });
            if losses.is_empty() {
                break;
            }
        }
        let test = self.test();
        Ok(Outcome::Finished(Trained {
            architecture: self.job.architecture.clone(),
            together: self.together,
            stacks: self.groups.into_iter().map(|group| group.stack).collect(),
            test,
        }))
    }

    /// One pass over the training rows. Returns the mean training loss by place in the stack; `None` if interrupted.
    fn train_epoch(&mut self, index: usize, epoch: u32, interrupter: &Interrupter) -> Option<Vec<f32>> {
        let (job, device, group) = (self.job, self.device, &mut self.groups[index]);
        let order = group.rows.epoch_order(job, &group.stack, epoch, device);
        group.dropout.begin_epoch(job, epoch);
        let mut sum = Tensor::zeros([group.stack.size()], (Kind::Float, device));
        let batch_size = i64::from(job.architecture.batch_size);
        let mut start = 0;
        while start < group.rows.train_len() {
            if interrupter.is_interrupted() {
                return None;
            }
            let len = batch_size.min(group.rows.train_len() - start);
            let (features, targets) = job.data.gather(&order.narrow(1, start, len));
            let losses = group.step(&job.architecture, &features, &targets);
            // Weighted by its rows: the last batch may be smaller.
            sum += losses * len as f64;
            start += len;
        }
        Some(to_vec(&(sum / group.rows.train_len() as f64)))
    }

    /// The validation losses by place in the stack. `Some(None)` where no rows validate, `None` if interrupted.
    fn validate(&self, index: usize, interrupter: &Interrupter) -> Option<Option<Measured>> {
        let group = &self.groups[index];
        let Some(order) = group.rows.validation() else {
            return Some(None);
        };
        self.measure(&group.stack, &self.job.data, order, interrupter).map(Some)
    }

    fn test(&self) -> Vec<Option<TestMetrics>> {
        let mut by_member = vec![None; self.job.members.len()];
        let Some(table) = &self.job.test else {
            return by_member;
        };
        for group in &self.groups {
            let order = table.all_rows(group.stack.size(), self.device);
            let Some(measured) = self.measure(&group.stack, table, &order, &Interrupter::new()) else {
                continue;
            };
            for place in (0..group.alive.len()).filter(|place| group.alive[*place]) {
                by_member[group.stack.member(place)] = Some(TestMetrics {
                    loss: f64::from(measured.losses[place]),
                    accuracy: measured.accuracies.as_ref().map(|accuracies| accuracies[place]),
                });
            }
        }
        by_member
    }

    /// What given rows, [stack × rows], say of a stack, without dropout, in pieces of bounded memory.
    fn measure(
        &self,
        stack: &Stack,
        table: &DeviceTable,
        order: &Tensor,
        interrupter: &Interrupter,
    ) -> Option<Measured> {
        let architecture = &self.job.architecture;
        tch::no_grad(|| {
            let rows = order.size()[1];
            let piece = network::rows_at_once(architecture, self.together);
            let mut sum = Tensor::zeros([stack.size()], (Kind::Float, self.device));
            let mut correct = table
                .classes()
                .map(|_| Tensor::zeros([stack.size()], (Kind::Int64, self.device)));
            let mut start = 0;
            while start < rows {
                if interrupter.is_interrupted() {
                    return None;
                }
                let len = piece.min(rows - start);
                let (features, targets) = table.gather(&order.narrow(1, start, len));
                let outputs = network::forward(architecture, stack, &features, None);
                sum += network::loss(architecture.loss, &outputs, &targets) * len as f64;
                if let Some(correct) = &mut correct {
                    *correct += network::correct(&outputs, &targets);
                }
                start += len;
            }
            Some(Measured {
                losses: to_vec(&(sum / rows as f64)),
                accuracies: correct.map(|correct| {
                    let counts = Vec::<i64>::try_from(correct.to_device(Device::Cpu)).unwrap_or_default();
                    counts.into_iter().map(|count| count as f64 / rows as f64).collect()
                }),
            })
        })
    }
}

impl Group {
    fn new(job: &TrainJob, members: &[usize], together: bool, device: Device) -> Result<Self, TrainError> {
        let stack = Stack::new(job, members, together, device)?;
        Ok(Self {
            rows: Rows::new(job, &stack)?,
            optimizers: Optimizers::new(&stack, job, device),
            dropout: Dropout::new(&stack, job, device),
            alive: vec![true; members.len()],
            stack,
        })
    }

    /// One step of all optimizers. Returns the losses before it, [stack].
    fn step(&mut self, architecture: &Architecture, features: &Tensor, targets: &Tensor) -> Tensor {
        let outputs = network::forward(architecture, &self.stack, features, Some(&mut self.dropout));
        let losses = network::loss(architecture.loss, &outputs, targets);
        // The sum's gradient is each member's own: no member has a part in another's loss.
        let gradients = Tensor::run_backward(&[losses.sum(Kind::Float)], self.stack.leaves(), false, false);
        tch::no_grad(|| self.optimizers.step(&mut self.stack, &gradients));
        losses.detach()
    }

    /// Tells losses from divergence.
    fn judge(
        &mut self,
        train: &[f32],
        validation: Option<&Measured>,
        losses: &mut Vec<MemberLosses>,
        diverged: &mut Vec<usize>,
    ) {
        for place in 0..self.alive.len() {
            if !self.alive[place] {
                continue;
            }
            let member = self.stack.member(place);
            let val_loss = validation.map(|validation| validation.losses[place]);
            if train[place].is_finite() && val_loss.is_none_or(f32::is_finite) {
                let accuracies = validation.and_then(|validation| validation.accuracies.as_ref());
                losses.push(MemberLosses {
                    member,
                    train_loss: f64::from(train[place]),
                    val_loss: val_loss.map(f64::from),
                    val_accuracy: accuracies.map(|accuracies| accuracies[place]),
                });
            } else {
                self.alive[place] = false;
                diverged.push(member);
            }
        }
    }
}

/// The one moment at which the host waits for the device.
fn to_vec(tensor: &Tensor) -> Vec<f32> {
    let mut values = vec![0.0; tensor.numel()];
    tensor
        .to_device(Device::Cpu)
        .contiguous()
        .copy_data(&mut values, tensor.numel());
    values
}
