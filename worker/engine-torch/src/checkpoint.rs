//! Checkpoints: all that has to be known between two steps to go on from there, as a safetensors file.
//!
//! Tensors have one row a member, in the order of the job, so that a file does not depend on how the members are grouped in
//! stacks: `parameters` [members, width of the flat buffer]; `first` and `second`, what optimizers remember, of the same shape
//! and zero for members whose optimizer has none; and `sum`, the losses of the epoch under way, by place in its group's stack.
//! The rest is JSON in the metadata. Batch orders and dropout masks come from streams with a key of their own for each epoch,
//! of which only the position within the epoch has to be kept.
//!
//! Whether the bytes are those that were written is known by their hash, which whoever keeps them has. Here it is checked that
//! they are of this job.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use trawl_domain::dataset::FileHash;
use trawl_domain::metric::FoldMetrics;
use trawl_engine::{EngineError, MemberLosses, Table as _};

use super::training::{Group, Training};

/// Counts up with every change of what is in a checkpoint or of what it means.
const VERSION: u32 = 1;
/// Key of the JSON in the metadata.
const HEAD: &str = "checkpoint";

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    /// Hash of what is trained, and of how its members are grouped.
    job: String,
    epoch: u32,
    group: usize,
    row: i64,
    /// By group.
    steps: Vec<i32>,
    /// By member.
    alive: Vec<bool>,
    losses: Vec<Losses>,
    diverged: Vec<usize>,
    /// By member.
    metrics: Vec<Option<Metrics>>,
    /// By place in the stack of the group under way.
    dropout: Vec<u64>,
}

/// Member, training loss, validation loss, accuracy.
type Losses = (usize, f64, Option<f64>, Option<f64>);
/// Validation loss and the best one, accuracy and the best one.
type Metrics = (f64, f64, Option<f64>, Option<f64>);

fn job_hash(training: &Training<'_>) -> String {
    let job = training.job;
    let text = format!(
        "{:?} {:?} {:?} {:?} {} {}",
        job.seed,
        job.architecture,
        job.split,
        job.members,
        job.data.rows(),
        training.together,
    );
    FileHash::of(text.as_bytes()).to_string()
}

/// The checkpoint of training between two steps.
pub(super) fn write(training: &Training<'_>) -> Result<Vec<u8>, EngineError> {
    let progress = &training.progress;
    let mut alive = vec![false; training.job.members.len()];
    for group in &training.groups {
        for (place, member) in group.stack.places().iter().enumerate() {
            alive[*member] = group.alive[place];
        }
    }
    let under_way = &training.groups[progress.group];
    let head = Head {
        version: VERSION,
        job: job_hash(training),
        epoch: progress.epoch,
        group: progress.group,
        row: progress.row,
        steps: training.groups.iter().map(|group| group.optimizers.steps()).collect(),
        alive,
        losses: progress
            .losses
            .iter()
            .map(|losses| (losses.member, losses.train_loss, losses.val_loss, losses.val_accuracy))
            .collect(),
        diverged: progress.diverged.clone(),
        metrics: progress
            .metrics
            .iter()
            .map(|metrics| metrics.map(|m| (m.val_loss, m.best_val_loss, m.val_accuracy, m.best_val_accuracy)))
            .collect(),
        // Before its first step the epoch's streams are not begun.
        dropout: if progress.row == 0 {
            Vec::new()
        } else {
            under_way.dropout.positions()
        },
    };
    let mut rows = Rows::new(training);
    let sum = bytes_of(&progress.sum);
    let mut tensors = vec![("sum", TensorView::new(Dtype::F32, vec![sum.len() / 4], &sum))];
    let shape = vec![rows.members, rows.width];
    rows.collect(training);
    for (name, bytes) in [
        ("parameters", &rows.parameters),
        ("first", &rows.memory[0]),
        ("second", &rows.memory[1]),
    ] {
        if !bytes.is_empty() {
            tensors.push((name, TensorView::new(Dtype::F32, shape.clone(), bytes)));
        }
    }
    let failed = |error: &dyn std::fmt::Display| EngineError::Failed(format!("checkpoint: {error}"));
    let head = serde_json::to_string(&head).map_err(|error| failed(&error))?;
    let views: Result<Vec<_>, _> = tensors
        .into_iter()
        .map(|(name, view)| view.map(|view| (name, view)))
        .collect();
    views
        .and_then(|views| safetensors::serialize(views, Some(HashMap::from([(HEAD.to_owned(), head)]))))
        .map_err(|error| failed(&error))
}

/// Tensors by member, as bytes.
struct Rows {
    members: usize,
    width: usize,
    parameters: Vec<u8>,
    /// Empty where no optimizer remembers that much.
    memory: [Vec<u8>; 2],
}

impl Rows {
    fn new(training: &Training<'_>) -> Self {
        Self {
            members: training.job.members.len(),
            width: training.groups[0].stack.width() as usize,
            parameters: Vec::new(),
            memory: [Vec::new(), Vec::new()],
        }
    }

    fn collect(&mut self, training: &Training<'_>) {
        let row = self.width * 4;
        self.parameters = vec![0; self.members * row];
        for group in &training.groups {
            let places = group.stack.places();
            let all = group.stack.slice(0, places.len() as i64);
            scatter(&mut self.parameters, row, places, &all);
            for (start, tensors) in group.optimizers.memory() {
                for (memory, tensor) in self.memory.iter_mut().zip(tensors) {
                    let Some(tensor) = tensor else { continue };
                    memory.resize(self.members * row, 0);
                    scatter(memory, row, &places[start..], tensor);
                }
            }
        }
    }
}

/// Puts the rows of a tensor where their members' are.
fn scatter(into: &mut [u8], row: usize, places: &[usize], tensor: &Tensor) {
    if row == 0 {
        return;
    }
    for (member, bytes) in places.iter().zip(bytes_of(tensor).chunks_exact(row)) {
        into[member * row..][..row].copy_from_slice(bytes);
    }
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let len = tensor.numel();
    let mut bytes = vec![0; len * 4];
    tensor.view([-1]).view_dtype(Kind::Uint8).copy_data(&mut bytes, len * 4);
    bytes
}

/// Puts training where a checkpoint was written. Training that is refused is of no use any more.
pub(super) fn restore(training: &mut Training<'_>, content: &[u8]) -> Result<(), String> {
    let tensors = SafeTensors::deserialize(content).map_err(|error| error.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(content).map_err(|error| error.to_string())?;
    let head = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEAD));
    let head: Head =
        serde_json::from_str(head.ok_or("it has no head")?).map_err(|error| format!("its head: {error}"))?;
    if head.version != VERSION {
        return Err(format!("it is of version {}, not {VERSION}", head.version));
    }
    if head.job != job_hash(training) {
        return Err("it is of another job".to_owned());
    }
    let (members, groups) = (training.job.members.len(), training.groups.len());
    let fits = head.epoch < training.job.architecture.epochs
        && head.group < groups
        && head.steps.len() == groups
        && head.alive.len() == members
        && head.metrics.len() == members
        && head.losses.iter().all(|losses| losses.0 < members)
        && head.diverged.iter().all(|member| *member < members)
        && (0..=training.groups[head.group].rows.train_len()).contains(&head.row);
    if !fits {
        return Err("its head does not fit the job".to_owned());
    }
    restore_groups(training, &head, &tensors)?;
    let group = &mut training.groups[head.group];
    if head.row > 0 && !group.dropout.resume_epoch(training.job, head.epoch, &head.dropout) {
        return Err("its dropout does not fit the job".to_owned());
    }
    let sum = group.no_losses();
    fill(&sum, tensor(&tensors, "sum", &[group.stack.size() as usize])?);
    let progress = &mut training.progress;
    progress.epoch = head.epoch;
    progress.group = head.group;
    progress.row = head.row;
    progress.sum = sum;
    progress.losses = head.losses.into_iter().map(losses).collect();
    progress.diverged = head.diverged;
    progress.metrics = head
        .metrics
        .into_iter()
        .map(|of_member| of_member.map(metrics))
        .collect();
    Ok(())
}

fn restore_groups(training: &mut Training<'_>, head: &Head, tensors: &SafeTensors<'_>) -> Result<(), String> {
    let width = training.groups[0].stack.width() as usize;
    let shape = [training.job.members.len(), width];
    let parameters = tensor(tensors, "parameters", &shape)?;
    for (group, steps) in training.groups.iter_mut().zip(&head.steps) {
        let Group {
            stack,
            optimizers,
            alive,
            ..
        } = group;
        let places = stack.places();
        gather(&stack.slice(0, places.len() as i64), places, parameters, width);
        for (start, memory) in optimizers.memory() {
            for (name, kept) in ["first", "second"].into_iter().zip(memory) {
                if let Some(kept) = kept {
                    gather(kept, &places[start..], tensor(tensors, name, &shape)?, width);
                }
            }
        }
        for (alive, member) in alive.iter_mut().zip(places) {
            *alive = head.alive[*member];
        }
        optimizers.set_steps(*steps);
    }
    Ok(())
}

/// Fills a tensor [len, width] with the rows of the members at these places, the first `len` of them.
fn gather(into: &Tensor, places: &[usize], rows: &[u8], width: usize) {
    let len = into.size()[0] as usize;
    let bytes: Vec<u8> = places[..len]
        .iter()
        .flat_map(|member| &rows[member * width * 4..][..width * 4])
        .copied()
        .collect();
    fill(into, &bytes);
}

/// Overwrites a tensor's memory with that of floats.
fn fill(into: &Tensor, bytes: &[u8]) {
    let values: Vec<f32> = bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    tch::no_grad(|| {
        let values = Tensor::from_slice(&values).view(into.size().as_slice());
        into.shallow_clone().copy_(&values);
    });
}

/// The bytes of a tensor of floats of this shape.
fn tensor<'a>(tensors: &SafeTensors<'a>, name: &str, shape: &[usize]) -> Result<&'a [u8], String> {
    let tensor = tensors.tensor(name).map_err(|error| format!("{name}: {error}"))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(format!("{name} has shape {:?}, not {shape:?}", tensor.shape()));
    }
    Ok(tensor.data())
}

fn losses((member, train_loss, val_loss, val_accuracy): Losses) -> MemberLosses {
    MemberLosses {
        member,
        train_loss,
        val_loss,
        val_accuracy,
    }
}

fn metrics((val_loss, best_val_loss, val_accuracy, best_val_accuracy): Metrics) -> FoldMetrics {
    FoldMetrics {
        val_loss,
        best_val_loss,
        val_accuracy,
        best_val_accuracy,
    }
}
