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
mod rounding;
mod stack;
mod weights;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::{Device, Kind, Tensor};
use trawl_domain::fold::Split;
use trawl_domain::network::{Architecture, Hyperparameters};
use trawl_domain::seed::{Owner, Seed};

pub use batches::DeviceTable;
pub use interrupter::Interrupter;
pub(crate) use rounding::fix_rounding;

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

/// The losses of one member after one epoch, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberLosses {
    /// Place among the job's members.
    pub member: usize,
    /// Mean over the epoch's batches, each weighted by its rows, taken while training, without the L2 term.
    pub train_loss: f64,
    /// Loss on the validation rows after the epoch; absent where no rows validate.
    pub val_loss: Option<f64>,
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

/// Trained members.
#[derive(Debug)]
pub struct Trained {
    architecture: Architecture,
    stack: Stack,
    test_losses: Vec<Option<f64>>,
}

impl Trained {
    /// Loss on the test rows of each member; `None` without test rows, or for a member that diverged.
    pub fn test_losses(&self) -> &[Option<f64>] {
        &self.test_losses
    }

    /// The parameters of one member as a safetensors file. Names are those of PyTorch's `nn.Sequential`: `0.weight` with
    /// shape [outputs, inputs], `0.bias` with shape [outputs], where 0 is the layer's place in the model. The metadata has
    /// the layers as JSON under `architecture`.
    ///
    /// # Errors
    /// [`TrainError::Failed`] if the tensors cannot be read from the device.
    pub fn weights(&self, member: usize) -> Result<Vec<u8>, TrainError> {
        guarded(|| weights::to_safetensors(&self.architecture, &self.stack, member))?
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

struct Training<'a> {
    job: &'a TrainJob,
    device: Device,
    stack: Stack,
    optimizers: Optimizers,
    rows: Rows,
    dropout: Dropout,
    /// By place in the stack: false once the member diverged.
    alive: Vec<bool>,
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
        let rows = Rows::new(job)?;
        let stack = Stack::new(job, device);
        let optimizers = Optimizers::new(&stack, job, device);
        let dropout = Dropout::new(&stack, job, device);
        Ok(Self {
            job,
            device,
            stack,
            optimizers,
            rows,
            dropout,
            alive: vec![true; job.members.len()],
        })
    }

    fn run(mut self, emit: &mut dyn FnMut(Event<'_>), interrupter: &Interrupter) -> Result<Outcome, TrainError> {
        for epoch in 0..self.job.architecture.epochs {
            let Some(train) = self.train_epoch(epoch, interrupter) else {
                return Ok(Outcome::Interrupted);
            };
            let Some(validation) = self.validate(interrupter) else {
                return Ok(Outcome::Interrupted);
            };
            let (losses, diverged) = self.judge(&train, validation.as_deref());
            emit(Event::Epoch {
                epoch,
                losses: &losses,
                diverged: &diverged,
            });
            if losses.is_empty() {
                break;
            }
        }
        let test_losses = self.test();
        let Self { job, stack, .. } = self;
        Ok(Outcome::Finished(Trained {
            architecture: job.architecture.clone(),
            stack,
            test_losses,
        }))
    }

    /// One pass over the training rows. Returns the mean training loss by place in the stack; `None` if interrupted.
    fn train_epoch(&mut self, epoch: u32, interrupter: &Interrupter) -> Option<Vec<f32>> {
        let order = self.rows.epoch_order(self.job, &self.stack, epoch, self.device);
        self.dropout.begin_epoch(self.job, epoch);
        let mut sum = Tensor::zeros([self.stack.size()], (Kind::Float, self.device));
        let batch_size = i64::from(self.job.architecture.batch_size);
        let mut start = 0;
        while start < self.rows.train_len() {
            if interrupter.is_interrupted() {
                return None;
            }
            let len = batch_size.min(self.rows.train_len() - start);
            let (features, targets) = self.job.data.gather(&order.narrow(1, start, len));
            let losses = self.step(&features, &targets);
            // Weighted by its rows: the last batch may be smaller.
            sum += losses * len as f64;
            start += len;
        }
        Some(to_vec(&(sum / self.rows.train_len() as f64)))
    }

    /// One step of all optimizers. Returns the losses before it, [stack].
    fn step(&mut self, features: &Tensor, targets: &Tensor) -> Tensor {
        let outputs = network::forward(&self.job.architecture, &self.stack, features, Some(&mut self.dropout));
        let losses = network::loss(self.job.architecture.loss, &outputs, targets);
        // The sum's gradient is each member's own: no member has a part in another's loss.
        let gradients = Tensor::run_backward(&[losses.sum(Kind::Float)], self.stack.leaves(), false, false);
        tch::no_grad(|| self.optimizers.step(&mut self.stack, &gradients));
        losses.detach()
    }

    /// The validation losses by place in the stack. `Some(None)` where no rows validate, `None` if interrupted.
    fn validate(&self, interrupter: &Interrupter) -> Option<Option<Vec<f32>>> {
        let Some(order) = self.rows.validation() else {
            return Some(None);
        };
        self.measure(&self.job.data, order, interrupter).map(Some)
    }

    fn test(&self) -> Vec<Option<f64>> {
        let Some(table) = &self.job.test else {
            return vec![None; self.job.members.len()];
        };
        let order = table.all_rows(self.stack.size(), self.device);
        let losses = self.measure(table, &order, &Interrupter::new()).unwrap_or_default();
        let mut by_member = vec![None; self.job.members.len()];
        for (place, loss) in losses.into_iter().take(self.alive.len()).enumerate() {
            by_member[self.stack.member(place)] = self.alive[place].then_some(f64::from(loss));
        }
        by_member
    }

    /// Mean losses over given rows, [stack × rows], without dropout, in pieces of bounded memory.
    fn measure(&self, table: &DeviceTable, order: &Tensor, interrupter: &Interrupter) -> Option<Vec<f32>> {
        tch::no_grad(|| {
            let rows = order.size()[1];
            let piece = network::rows_at_once(&self.job.architecture, self.stack.size());
            let mut sum = Tensor::zeros([self.stack.size()], (Kind::Float, self.device));
            let mut start = 0;
            while start < rows {
                if interrupter.is_interrupted() {
                    return None;
                }
                let len = piece.min(rows - start);
                let (features, targets) = table.gather(&order.narrow(1, start, len));
                let outputs = network::forward(&self.job.architecture, &self.stack, &features, None);
                sum += network::loss(self.job.architecture.loss, &outputs, &targets) * len as f64;
                start += len;
            }
            Some(to_vec(&(sum / rows as f64)))
        })
    }

    /// Tells losses from divergence, in the order of the job's members.
    fn judge(&mut self, train: &[f32], validation: Option<&[f32]>) -> (Vec<MemberLosses>, Vec<usize>) {
        let (mut losses, mut diverged) = (Vec::new(), Vec::new());
        for place in 0..self.alive.len() {
            if !self.alive[place] {
                continue;
            }
            let member = self.stack.member(place);
            let val_loss = validation.map(|validation| validation[place]);
            if train[place].is_finite() && val_loss.is_none_or(f32::is_finite) {
                let train_loss = f64::from(train[place]);
                losses.push(MemberLosses {
                    member,
                    train_loss,
                    val_loss: val_loss.map(f64::from),
                });
            } else {
                self.alive[place] = false;
                diverged.push(member);
            }
        }
        losses.sort_by_key(|losses| losses.member);
        diverged.sort_unstable();
        (losses, diverged)
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
