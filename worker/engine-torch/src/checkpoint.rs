//! Checkpoints of training between two steps: members' parameters and optimizer state, as rows of the flat buffers.
//!
//! `parameters` is a member's row of its stack; `statistics` is the state of its batch norms, where it has any. `first` and `second`, the
//! optimizer's state, and `average`, the moving average of the weights, are as long as the parameters, and absent where the member has
//! none. `best` has the parameters and the statistics of its best epoch; a member that has stopped has only these, as its parameters and
//! statistics. Batch orders and dropout masks come from streams with a key of their own for each epoch, so only the position within the
//! epoch is kept. So a file does not depend on how the members are grouped in stacks, and a member can go on among any others.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, View};
use tch::{Device, Kind, Tensor};
use trawl_domain::job::JobMember;
use trawl_engine::checkpoint::{EpochEnd, MemberCheckpoint, MemberState, identity};
use trawl_engine::early_stopping::EpochLosses;
use trawl_engine::{Engine as _, EngineError, MemberLosses, checkpoint};

use super::state::{Group, Training};
use super::{Torch, to_vec};

/// Increases with every change in the meaning of a member's numbers or in the computation with them.
const VERSION: u32 = 2;

const PARAMETERS: &str = "parameters";
const MEMORY: [&str; 2] = ["first", "second"];
const AVERAGE: &str = "average";
const BEST: &str = "best";
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
    identity(Torch::NAME, VERSION, training.fused, training.job, member)
}

/// The checkpoints of all members between two steps.
pub(super) fn write(training: &Training<'_>) -> Result<Vec<u8>, EngineError> {
    let mut members = Vec::new();
    for group in &training.groups {
        let sums = to_vec(&group.sum);
        // Before its first step the epoch's streams have not begun.
        let dropout = if group.row > 0 {
            group.dropout.positions()
        } else {
            Vec::new()
        };
        for (place, member) in group.stack.places().iter().enumerate() {
            let progress = &training.progress;
            // A stopped member's place still changes; those changes do not count.
            let has_stopped = group.stopping.stopped(place).is_some();
            let dropout = dropout.get(place).filter(|_| !has_stopped);
            let state = MemberState {
                identity: identity_of(training, &training.job.members[*member])?,
                epoch: progress.epoch,
                rows: group.row as u64,
                loss_sum: Some(f64::from(sums[place])).filter(|sum| sum.is_finite() && !has_stopped),
                epoch_end: progress.epoch_end(*member),
                alive: group.alive[place],
                metrics: progress.metrics[*member],
                dropout: dropout.copied().unwrap_or_default(),
                plateau: group.plateaus[place],
                stopping: group.stopping.standing(place),
            };
            members.push((*member, (state, numbers(group, place))));
        }
    }
    members.sort_by_key(|(member, _)| *member);
    checkpoint::write(members.into_iter().map(|(_, section)| section))
}

/// The numbers of the member at a place.
fn numbers(group: &Group, place: usize) -> Vec<(&'static str, Row)> {
    let row = |name, numbers: Option<(&Tensor, usize)>| numbers.map(|(tensor, place)| (name, Row::of(tensor, place)));
    let weights = group.stack.slice(0, group.stack.size());
    let best = group.stopping.best(place);
    if let Some((best, _)) = best.filter(|_| group.stopping.stopped(place).is_some()) {
        let (weights, statistics) = group.stack.parts(best);
        let statistics = statistics.as_ref().map(|statistics| (statistics, place));
        let all = [row(PARAMETERS, Some((&weights, place))), row(STATISTICS, statistics)];
        return all.into_iter().flatten().collect();
    }
    let [first, second] = group.optimizers.memory(place);
    let average = group.averages.as_ref().and_then(|averages| averages.of(place));
    let statistics = group.stack.statistics().all();
    let all = [
        row(PARAMETERS, Some((&weights, place))),
        row(STATISTICS, statistics.as_ref().map(|statistics| (statistics, place))),
        row(MEMORY[0], first),
        row(MEMORY[1], second),
        row(AVERAGE, average),
        row(BEST, best),
    ];
    all.into_iter().flatten().collect()
}

/// Restores training from its members' checkpoints. After an error the training cannot be used.
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
            Some(EpochEnd::Losses(EpochLosses { train_loss, metrics })) => {
                training.progress.losses.push(MemberLosses {
                    member: index,
                    train_loss,
                    metrics,
                });
            }
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
        let batch_size = job.architecture.batch_size;
        let before = u64::from(epoch) * group.rows.steps_in_epoch(batch_size);
        group
            .optimizers
            .set_steps(before + rows.div_ceil(u64::from(batch_size)));
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
        group.plateaus[place] = member.state.plateau;
        group.stopping.set_standing(place, member.state.stopping);
        let sum = member.state.loss_sum.unwrap_or(f64::NAN);
        let _ = group.sum.get(place as i64).fill_(sum);
        let needed = |name: &str| member.numbers(name).ok_or_else(|| format!("it has no {name}"));
        fill(&parameters, place, needed(PARAMETERS)?)?;
        let statistics = member.numbers(STATISTICS).unwrap_or_default();
        group.stack.statistics().set(place as i64, &values(statistics))?;
        let has_stopped = group.stopping.stopped(place).is_some();
        match group.stopping.best(place) {
            Some((best, place)) if has_stopped => {
                let (weights, of_norms) = group.stack.parts(best);
                fill(&weights, place, needed(PARAMETERS)?)?;
                of_norms.map_or(Ok(()), |of_norms| fill(&of_norms, place, statistics))?;
            }
            Some((best, place)) => fill(best, place, needed(BEST)?)?,
            None => {}
        }
        if has_stopped {
            continue;
        }
        if let Some((tensor, place)) = group.averages.as_ref().and_then(|averages| averages.of(place)) {
            fill(tensor, place, needed(AVERAGE)?)?;
        }
        for (name, memory) in MEMORY.into_iter().zip(group.optimizers.memory(place)) {
            // Without momentum, a member has no state if nobody in its stack has any; among others, its state is multiplied by 0.
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
