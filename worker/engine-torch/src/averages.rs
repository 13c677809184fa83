//! Moving averages of weights over the steps, as torch.optim.swa_utils.get_ema_multi_avg_fn computes them, with each member's own decay.

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
    /// The share of a step's weights in the average, [stack, 1]; 1 for networks without an average.
    gain: Tensor,
    /// True for networks without an average, [stack, 1].
    are_plain: Tensor,
    /// By place: whether the member has an average.
    averages: Vec<bool>,
    /// The weights, while the averages replace them.
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

    /// Adds the weights after a step; the average begins as the first ones. Called without autograd.
    pub(super) fn note(&mut self, stack: &Stack, steps: u64) {
        let weights = stack.slice(0, stack.size());
        if steps == 1 {
            self.numbers.copy_(&weights);
        } else {
            let _ = self.numbers.lerp_tensor_(&weights, &self.gain);
        }
    }

    /// The weights that are measured: averages, or the weights of networks without one, [stack, parameters].
    pub(super) fn shown(&self, stack: &Stack) -> Tensor {
        let weights = stack.slice(0, stack.size());
        // Not the averages of such networks: those are NaN where a weight is infinite.
        weights.where_self(&self.are_plain, &self.numbers)
    }

    /// Replaces the weights by the averages.
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
