//! Optimizers over slices of the stack: PyTorch's arithmetic, with each member's own learning rate, L2 and momentum.

use tch::{Device, Kind, Tensor};
use trawl_domain::optimizer::Optimizer;
use trawl_engine::FitJob;

use super::DeviceTable;
use super::stack::Stack;

const ADAM_BETAS: (f64, f64) = (0.9, 0.999);
const RMSPROP_ALPHA: f64 = 0.99;
const EPS: f64 = 1e-8;

/// All optimizers of a job.
#[derive(Debug)]
pub(super) struct Optimizers {
    slices: Vec<Slice>,
    /// Twice the L2 of each network, [stack, 1]: the gradient of l2 * sum(p^2) is 2 * l2 * p. `None` if all are 0.
    decay: Option<Tensor>,
    steps: i32,
}

/// The members of one optimizer: consecutive places of the stack.
#[derive(Debug)]
struct Slice {
    start: i64,
    len: i64,
    /// [len, 1].
    learning_rate: Tensor,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// First and second moment, [len, parameters]; of AdamW, the share [len, 1] that a step takes of each parameter.
    Adam {
        mean: Tensor,
        square: Tensor,
        decay: Option<Tensor>,
    },
    /// Momentum [len, 1] and velocity [len, parameters]; `None` if no member has momentum.
    Sgd { momentum: Option<(Tensor, Tensor)> },
    /// Second moment, [len, parameters].
    Rmsprop { square: Tensor },
}

impl Optimizers {
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>, device: Device) -> Self {
        let own = |place: &usize| &job.members[*place].hyperparameters;
        let column = |values: Vec<f64>| {
            Tensor::from_slice(&values)
                .to_kind(Kind::Float)
                .unsqueeze(1)
                .to_device(device)
        };
        let mut slices = Vec::new();
        let mut start = 0;
        for members in stack.places().chunk_by(|a, b| own(a).optimizer == own(b).optimizer) {
            let len = members.len() as i64;
            let zeros = || stack.slice(start, len).zeros_like();
            let rule = match own(&members[0]).optimizer {
                Optimizer::Adam => Rule::Adam {
                    mean: zeros(),
                    square: zeros(),
                    decay: None,
                },
                Optimizer::Adamw => {
                    let shares = members
                        .iter()
                        .map(|place| own(place).learning_rate * own(place).weight_decay);
                    Rule::Adam {
                        mean: zeros(),
                        square: zeros(),
                        decay: Some(column(shares.collect())),
                    }
                }
                Optimizer::Rmsprop => Rule::Rmsprop { square: zeros() },
                Optimizer::Sgd => {
                    let momentum: Vec<f64> = members.iter().map(|place| own(place).momentum).collect();
                    let moves = momentum.iter().any(|momentum| *momentum > 0.0);
                    Rule::Sgd {
                        momentum: moves.then(|| (column(momentum), zeros())),
                    }
                }
            };
            let learning_rate = column(members.iter().map(|place| own(place).learning_rate).collect());
            slices.push(Slice {
                start,
                len,
                learning_rate,
                rule,
            });
            start += len;
        }
        let mut decay: Vec<f64> = stack.places().iter().map(|place| 2.0 * own(place).l2).collect();
        let decays = decay.iter().any(|decay| *decay > 0.0);
        decay.resize(stack.size() as usize, 0.0);
        Self {
            slices,
            decay: decays.then(|| column(decay)),
            steps: 0,
        }
    }

    /// Goes on after so many steps.
    pub(super) fn set_steps(&mut self, steps: i32) {
        self.steps = steps;
    }

    /// What the optimizer of the member at a place remembers, beside the number of steps: up to two tensors [len, parameters], each with
    /// the member's row.
    pub(super) fn memory(&self, place: usize) -> [Option<(&Tensor, usize)>; 2] {
        let place = place as i64;
        let slice = self.slices.iter().find(|slice| place < slice.start + slice.len);
        let memory = slice.map(|slice| {
            slice
                .memory()
                .map(|tensor| Some((tensor?, (place - slice.start) as usize)))
        });
        memory.unwrap_or_default()
    }

    /// Moves all members along their gradients. Called without autograd.
    pub(super) fn step(&mut self, stack: &mut Stack, gradients: &[Tensor]) {
        self.steps += 1;
        let mut gradient = stack.flatten(gradients);
        if let Some(decay) = &self.decay {
            let _ = gradient.addcmul_(&stack.slice(0, stack.size()), decay);
        }
        for slice in &mut self.slices {
            let mut params = stack.slice(slice.start, slice.len);
            slice.step(&mut params, &gradient.narrow(0, slice.start, slice.len), self.steps);
        }
    }
}

impl Slice {
    fn memory(&self) -> [Option<&Tensor>; 2] {
        match &self.rule {
            Rule::Adam { mean, square, .. } => [Some(mean), Some(square)],
            Rule::Sgd { momentum } => [momentum.as_ref().map(|(_, velocity)| velocity), None],
            Rule::Rmsprop { square } => [Some(square), None],
        }
    }

    fn step(&mut self, params: &mut Tensor, gradient: &Tensor, steps: i32) {
        let update = match &mut self.rule {
            // torch.optim.Adam: p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
            // torch.optim.AdamW: before that, p -= lr * weight_decay * p.
            Rule::Adam { mean, square, decay } => {
                if let Some(decay) = decay {
                    let lost = &*params * &*decay;
                    *params -= lost;
                }
                let (beta1, beta2) = ADAM_BETAS;
                let _ = mean.lerp_(gradient, 1.0 - beta1);
                *square *= beta2;
                *square += gradient.square() * (1.0 - beta2);
                let (correction1, correction2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
                let denominator = square.sqrt() / correction2.sqrt() + EPS;
                &*mean / denominator * (&self.learning_rate / correction1)
            }
            // torch.optim.SGD: v = momentum * v + g; p -= lr * v.
            Rule::Sgd { momentum: None } => gradient * &self.learning_rate,
            Rule::Sgd {
                momentum: Some((momentum, velocity)),
            } => {
                *velocity *= &*momentum;
                *velocity += gradient;
                &*velocity * &self.learning_rate
            }
            // torch.optim.RMSprop: v = alpha * v + (1 - alpha) * g^2; p -= lr * g / (sqrt(v) + eps).
            Rule::Rmsprop { square } => {
                *square *= RMSPROP_ALPHA;
                *square += gradient.square() * (1.0 - RMSPROP_ALPHA);
                gradient / (square.sqrt() + EPS) * &self.learning_rate
            }
        };
        *params -= update;
    }
}
