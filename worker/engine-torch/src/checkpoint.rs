//! Checkpoints of training between two steps: members' parameters and what their optimizers remember, as rows of the flat buffers.
//!
//! `parameters` are a member's row of its stack; `first` and `second`, what its optimizer remembers, are of the same length, and absent
//! where it remembers less. `statistics` are what batch norms keep, where there are any. Batch orders and dropout masks come from streams with a key of their own for each epoch, of which only the
//! position within the epoch has to be kept. So a file does not depend on how the members are grouped in stacks, and a member goes on
//! among any others.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};
use trawl_domain::job::JobMember;
use trawl_engine::checkpoint::{EpochEnd, MemberCheckpoint, MemberState, identity};
use trawl_engine::{Engine as _, EngineError, MemberLosses, checkpoint};

use super::state::{Group, Training};
use super::{Torch, to_vec};

/// Counts up with every change of what a member's numbers are or of what is computed with them.
const VERSION: u32 = 1;

const PARAMETERS: &str = "parameters";
const MEMORY: [&str; 2] = ["first", "second"];
const STATISTICS: &str = "statistics";

/// Numbers of one member on the device.
struct Row(Tensor, [usize; 1]);

impl Row {
    fn of(tensor: &Tensor, place: usize) -> Self {
        let row = tensor.detach().select(0, place as i64);
        let len = row.numel();
        Self(row, [len])
    }
}

impl View for Row {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; self.data_len()];
        let row = self.0.to_device(Device::Cpu).contiguous();
        row.view_dtype(Kind::Uint8).copy_data(&mut bytes, self.data_len());
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.1[0] * size_of::<f32>()
    }
}

fn identity_of(training: &Training<'_>, member: &JobMember) -> Result<String, EngineError> {
    identity(Torch::NAME, VERSION, training.together, training.job, member)
}

/// The checkpoints of all members between two steps.
pub(super) fn write(training: &Training<'_>) -> Result<Vec<u8>, EngineError> {
    let mut members = Vec::new();
    for group in &training.groups {
        let sums = to_vec(&group.sum);
        let statistics = group.stack.statistics().all();
        // Before its first step the epoch's streams are not begun.
        let dropout = if group.row > 0 {
            group.dropout.positions()
        } else {
            Vec::new()
        };
        for (place, member) in group.stack.places().iter().enumerate() {
            let progress = &training.progress;
            let state = MemberState {
                identity: identity_of(training, &training.job.members[*member])?,
                epoch: progress.epoch,
                rows: group.row as u64,
                loss_sum: Some(f64::from(sums[place])).filter(|sum| sum.is_finite()),
                epoch_end: progress.epoch_end(*member),
                alive: group.alive[place],
                metrics: progress.metrics[*member],
                dropout: dropout.get(place).copied().unwrap_or_default(),
            };
            let mut numbers = vec![(PARAMETERS, Row::of(&group.stack.slice(0, group.stack.size()), place))];
            for (name, memory) in MEMORY.into_iter().zip(group.optimizers.memory(place)) {
                numbers.extend(memory.map(|(tensor, place)| (name, Row::of(tensor, place))));
            }
            numbers.extend(statistics.iter().map(|all| (STATISTICS, Row::of(all, place))));
            members.push((*member, (state, numbers)));
        }
    }
    members.sort_by_key(|(member, _)| *member);
    checkpoint::write(members.into_iter().map(|(_, section)| section))
}

/// Puts training where its members' checkpoints were written. Training that is refused is of no use any more.
pub(super) fn restore(training: &mut Training<'_>, from: &[MemberCheckpoint<'_>]) -> Result<(), EngineError> {
    let bad = |reason: String| Err(EngineError::BadCheckpoint(reason));
    let known: HashMap<&str, &MemberCheckpoint<'_>> = from
        .iter()
        .map(|member| (member.state.identity.as_str(), member))
        .collect();
    let mut members = Vec::with_capacity(training.job.members.len());
    for (index, member) in training.job.members.iter().enumerate() {
        match known.get(identity_of(training, member)?.as_str()) {
            Some(checkpoint) => members.push(*checkpoint),
            None => return bad(format!("it has nothing of member {index}")),
        }
    }
    let epoch = members[0].state.epoch;
    if members.iter().any(|member| member.state.epoch != epoch) || epoch > training.job.end_epoch {
        return bad("its members are not at one epoch of the job".to_owned());
    }
    training.progress.epoch = epoch;
    for (index, MemberCheckpoint { state, .. }) in members.iter().enumerate() {
        training.progress.metrics[index] = state.metrics;
        match state.epoch_end {
            None => {}
            Some(EpochEnd::Diverged) => training.progress.diverged.push(index),
            Some(EpochEnd::Losses { train_loss, metrics }) => training.progress.losses.push(MemberLosses {
                member: index,
                train_loss,
                metrics,
            }),
        }
    }
    let job = training.job;
    for group in &mut training.groups {
        let of_group: Vec<&MemberCheckpoint<'_>> = group.stack.places().iter().map(|member| members[*member]).collect();
        let (rows, train_len) = (of_group[0].state.rows, group.rows.train_len() as u64);
        if of_group.iter().any(|member| member.state.rows != rows) || rows > train_len {
            return bad("its members are not at one step of an epoch".to_owned());
        }
        group.row = rows as i64;
        group.is_over = of_group.iter().any(|member| member.state.epoch_end.is_some());
        let steps = |rows: u64| rows.div_ceil(u64::from(job.architecture.batch_size));
        group
            .optimizers
            .set_steps((u64::from(epoch) * steps(train_len) + steps(rows)) as i32);
        if rows > 0 {
            let positions: Vec<u64> = of_group.iter().map(|member| member.state.dropout).collect();
            group.dropout.resume_epoch(job, epoch, &positions);
        }
        restore_numbers(group, &of_group).map_err(EngineError::BadCheckpoint)?;
    }
    Ok(())
}

fn restore_numbers(group: &mut Group, members: &[&MemberCheckpoint<'_>]) -> Result<(), String> {
    let parameters = group.stack.slice(0, group.stack.size());
    for (place, member) in members.iter().enumerate() {
        group.alive[place] = member.state.alive;
        let sum = member.state.loss_sum.unwrap_or(f64::NAN);
        let _ = group.sum.get(place as i64).fill_(sum);
        fill(
            &parameters,
            place,
            member.numbers(PARAMETERS).ok_or("it has no parameters")?,
        )?;
        let statistics = values(member.numbers(STATISTICS).unwrap_or_default());
        group.stack.statistics().set(place as i64, &statistics)?;
        for (name, memory) in MEMORY.into_iter().zip(group.optimizers.memory(place)) {
            // A member without momentum remembers nothing where nobody has any, and what is multiplied by 0 among others.
            if let (Some((tensor, place)), Some(numbers)) = (memory, member.numbers(name)) {
                fill(tensor, place, numbers)?;
            }
        }
    }
    Ok(())
}

/// Overwrites a row of a tensor.
fn fill(tensor: &Tensor, row: usize, numbers: &[[u8; 4]]) -> Result<(), String> {
    let mut row = tensor.select(0, row as i64);
    if row.numel() != numbers.len() {
        return Err(format!("a member has {} numbers, not {}", numbers.len(), row.numel()));
    }
    tch::no_grad(|| row.copy_(&Tensor::from_slice(&values(numbers))));
    Ok(())
}

fn values(numbers: &[[u8; 4]]) -> Vec<f32> {
    numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
