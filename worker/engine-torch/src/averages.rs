//! Averages of weights over the steps, as torch.optim.swa_utils.get_ema_multi_avg_fn makes them, with each member's own decay.

use tch::Tensor;
use trawl_engine::FitJob;

use super::DeviceTable;
use super::optimizer::column;
use super::stack::Stack;

/// The averages of a stack.
#[derive(Debug)]
pub(super) struct Averages {
    /// [stack, parameters].
    numbers: Tensor,
    /// The share that a step's weights have, [stack, 1]; 1 for networks without an average.
    gain: Tensor,
    /// Which networks have none, [stack, 1].
    are_plain: Tensor,
    /// By place: whether the member has an average.
    averages: Vec<bool>,
    /// The weights, while the averages stand in their place.
    weights: Option<Tensor>,
}

impl Averages {
    /// `None` if no member of the stack has any.
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>) -> Option<Self> {
        let own = stack.places().iter();
        let mut gain: Vec<f64> = own
            .map(|member| 1.0 - job.members[*member].hyperparameters.ema_decay)
            .collect();
        let averages: Vec<bool> = gain.iter().map(|gain| *gain < 1.0).collect();
        if !averages.contains(&true) {
            return None;
        }
        gain.resize(stack.size() as usize, 1.0);
        let mut are_plain: Vec<bool> = averages.iter().map(|averages| !averages).collect();
        are_plain.resize(stack.size() as usize, true);
        Some(Self {
            numbers: stack.slice(0, stack.size()).copy(),
            gain: column(&gain, stack.device()),
            are_plain: Tensor::from_slice(&are_plain).unsqueeze(1).to_device(stack.device()),
            averages,
            weights: None,
        })
    }

    /// The tensor with the average of the member at a place, in its row; `None` if it has none.
    pub(super) fn of(&self, place: usize) -> Option<(&Tensor, usize)> {
        self.averages[place].then_some((&self.numbers, place))
    }

    /// Takes the weights after a step; the first ones are the average then. Called without autograd.
    pub(super) fn note(&mut self, stack: &Stack, steps: u64) {
        let weights = stack.slice(0, stack.size());
        if steps == 1 {
            self.numbers.copy_(&weights);
        } else {
            let _ = self.numbers.lerp_tensor_(&weights, &self.gain);
        }
    }

    /// What is measured: the averages, and the weights of networks that have none, [stack, parameters].
    pub(super) fn shown(&self, stack: &Stack) -> Tensor {
        let weights = stack.slice(0, stack.size());
        // Not what a step made of their rows, which is NaN where a weight is infinite.
        weights.where_self(&self.are_plain, &self.numbers)
    }

    /// Puts the averages in the place of the weights.
    pub(super) fn show(&mut self, stack: &Stack) {
        let mut weights = stack.slice(0, stack.size());
        let shown = self.shown(stack);
        self.weights = Some(weights.copy());
        weights.copy_(&shown);
    }

    /// Puts the weights back.
    pub(super) fn hide(&mut self, stack: &Stack) {
        if let Some(weights) = self.weights.take() {
            stack.slice(0, stack.size()).copy_(&weights);
        }
    }
}
