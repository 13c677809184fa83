//! Optimizers over slices of the stack: PyTorch's arithmetic, with each member's own settings.

mod pace;
mod rule;

use tch::{Device, Kind, Tensor};
use trawl_domain::optimizer::Hyperparameters;
use trawl_domain::schedule::Plateau;
use trawl_engine::FitJob;

use super::DeviceTable;
use super::clipping::Clipping;
use super::stack::Stack;
use pace::Pace;
use rule::Rule;

/// All optimizers of a job.
#[derive(Debug)]
pub(super) struct Optimizers {
    slices: Vec<Slice>,
    clipping: Clipping,
    /// Twice the L2 of each network, [stack, 1]: the gradient of l2 * sum(p^2) is 2 * l2 * p. `None` if all are 0.
    decay: Option<Tensor>,
    /// Steps taken.
    steps: u64,
}

/// The members of one optimizer: consecutive places of the stack.
#[derive(Debug)]
struct Slice {
    start: i64,
    len: i64,
    pace: Pace,
    rule: Rule,
}

/// One number for each member, [members, 1].
pub(super) fn column(values: &[f64], device: Device) -> Tensor {
    let values = Tensor::from_slice(values).to_kind(Kind::Float);
    values.unsqueeze(1).to_device(device)
}

impl Optimizers {
    /// Optimizers of a stack's members, with `steps_in_epoch` steps an epoch.
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>, steps_in_epoch: u64, device: Device) -> Self {
        let own = |place: &usize| &job.members[*place].hyperparameters;
        let mut slices = Vec::new();
        let mut start = 0;
        for members in stack.places().chunk_by(|a, b| own(a).optimizer == own(b).optimizer) {
            let len = members.len() as i64;
            let members: Vec<&Hyperparameters> = members.iter().map(own).collect();
            slices.push(Slice {
                start,
                len,
                rule: Rule::new(&members, &stack.slice(start, len)),
                pace: Pace::new(&members, steps_in_epoch, job.architecture.epochs, device),
            });
            start += len;
        }
        let mut decay: Vec<f64> = stack.places().iter().map(|place| 2.0 * own(place).l2).collect();
        let decays = decay.iter().any(|decay| *decay > 0.0);
        decay.resize(stack.size() as usize, 0.0);
        Self {
            slices,
            clipping: Clipping::new(stack, job),
            decay: decays.then(|| column(&decay, device)),
            steps: 0,
        }
    }

    /// Continues after `steps` steps.
    pub(super) fn set_steps(&mut self, steps: u64) {
        self.steps = steps;
    }

    /// Steps taken.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// The optimizer state of the member at a place, beside the number of steps: up to two tensors [len, parameters],
    /// each with the member's row.
    pub(super) fn memory(&self, place: usize) -> [Option<(&Tensor, usize)>; 2] {
        let place = place as i64;
        let slice = self.slices.iter().find(|slice| place < slice.start + slice.len);
        let memory = slice.map(|slice| {
            let memory = slice.rule.memory();
            memory.map(|tensor| Some((tensor?, (place - slice.start) as usize)))
        });
        memory.unwrap_or_default()
    }

    /// Moves all members along their gradients; `plateaus` has each member's, by place. Called without autograd.
    pub(super) fn step(&mut self, stack: &mut Stack, gradients: &[Tensor], plateaus: &[Plateau]) {
        let mut gradient = stack.flatten(gradients);
        self.clipping.clip(&mut gradient);
        if let Some(decay) = &self.decay {
            let _ = gradient.addcmul_(&stack.slice(0, stack.size()), decay);
        }
        for Slice { start, len, pace, rule } in &mut self.slices {
            let (first, end) = (*start as usize, (*start + *len) as usize);
            let numbers = pace.at(self.steps, &plateaus[first..end]);
            let mut params = stack.slice(*start, *len);
            rule.step(&mut params, &gradient.narrow(0, *start, *len), numbers);
        }
        self.steps += 1;
    }
}
