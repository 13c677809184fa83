//! The arithmetic of each optimizer, on all members that use it at once.

use tch::{Kind, Tensor};
use trawl_domain::optimizer::{Hyperparameters, Optimizer};

use super::column;

/// An optimizer with its state. Settings are [members, 1], states [members, parameters].
#[derive(Debug)]
pub(super) enum Rule {
    Adam(Moments),
    Adamw(Moments),
    Nadam(Moments),
    Sgd(Option<Momentum>),
    Rmsprop {
        square: Square,
        momentum: Option<Momentum>,
    },
    Adagrad {
        sum: Tensor,
        eps: Tensor,
    },
    Adadelta {
        square: Square,
        /// The mean of squared steps.
        moved: Tensor,
    },
}

/// The means of gradients and of their squares.
#[derive(Debug)]
pub(super) struct Moments {
    mean: Tensor,
    /// 1 - beta1.
    gain: Tensor,
    square: Square,
}

/// The mean of squared gradients.
#[derive(Debug)]
pub(super) struct Square {
    mean: Tensor,
    keep: Tensor,
    /// 1 - keep.
    gain: Tensor,
    eps: Tensor,
}

/// Momentum, where a member has any.
#[derive(Debug)]
pub(super) struct Momentum {
    keep: Tensor,
    velocity: Tensor,
    /// True for members with Nesterov momentum, [members, 1]; `None` if no member has it.
    nesterov: Option<Tensor>,
}

impl Rule {
    /// The rule of these members, who all use one optimizer; their parameters are [members, parameters].
    pub(super) fn new(members: &[&Hyperparameters], params: &Tensor) -> Self {
        let of = |value: fn(&Hyperparameters) -> f64| {
            let values: Vec<f64> = members.iter().map(|own| value(own)).collect();
            column(&values, params.device())
        };
        let square = |keep: Tensor, gain: Tensor| Square {
            mean: params.zeros_like(),
            keep,
            gain,
            eps: of(|own| own.eps),
        };
        let moments = || Moments {
            mean: params.zeros_like(),
            gain: of(|own| 1.0 - own.beta1),
            square: square(of(|own| own.beta2), of(|own| 1.0 - own.beta2)),
        };
        let momentum = || {
            let moves = members.iter().any(|own| own.momentum > 0.0);
            let is_nesterovs = members.iter().any(|own| own.nesterov);
            moves.then(|| Momentum {
                keep: of(|own| own.momentum),
                velocity: params.zeros_like(),
                nesterov: is_nesterovs.then(|| of(|own| f64::from(u8::from(own.nesterov))).to_kind(Kind::Bool)),
            })
        };
        match members[0].optimizer {
            Optimizer::Adam => Self::Adam(moments()),
            Optimizer::Adamw => Self::Adamw(moments()),
            Optimizer::Nadam => Self::Nadam(moments()),
            Optimizer::Sgd => Self::Sgd(momentum()),
            Optimizer::Rmsprop => Self::Rmsprop {
                square: square(of(|own| own.alpha), of(|own| 1.0 - own.alpha)),
                momentum: momentum(),
            },
            Optimizer::Adagrad => Self::Adagrad {
                sum: params.zeros_like(),
                eps: of(|own| own.eps),
            },
            Optimizer::Adadelta => Self::Adadelta {
                square: square(of(|own| own.rho), of(|own| 1.0 - own.rho)),
                moved: params.zeros_like(),
            },
        }
    }

    /// Up to two tensors [members, parameters].
    pub(super) fn memory(&self) -> [Option<&Tensor>; 2] {
        match self {
            Self::Adam(moments) | Self::Adamw(moments) | Self::Nadam(moments) => {
                [Some(&moments.mean), Some(&moments.square.mean)]
            }
            Self::Sgd(momentum) => [momentum.as_ref().map(|momentum| &momentum.velocity), None],
            Self::Rmsprop { square, momentum } => {
                let velocity = momentum.as_ref().map(|momentum| &momentum.velocity);
                [Some(&square.mean), velocity]
            }
            Self::Adagrad { sum, .. } => [Some(sum), None],
            Self::Adadelta { square, moved } => [Some(&square.mean), Some(moved)],
        }
    }

    /// Moves the parameters along the gradient, both [members, parameters], with the numbers of the step.
    pub(super) fn step(&mut self, params: &mut Tensor, gradient: &Tensor, numbers: &[Tensor]) {
        let rate = &numbers[0];
        let update = match self {
            // torch.optim.Adam: p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps).
            Self::Adam(moments) => moments.step(gradient, rate, &numbers[1]),
            // torch.optim.AdamW: before that, p -= lr * weight_decay * p.
            Self::Adamw(moments) => {
                let lost = &*params * &numbers[2];
                *params -= lost;
                moments.step(gradient, rate, &numbers[1])
            }
            // torch.optim.NAdam: d = sqrt(v / (1 - b2^t)) + eps; p -= lr * (1 - mu) / (1 - product) * g / d
            // + lr * mu' / (1 - product * mu') * m / d, where mu' is the next momentum.
            Self::Nadam(moments) => {
                moments.take(gradient);
                let divisor = (&moments.square.mean / &numbers[2]).sqrt() + &moments.square.eps;
                gradient / &divisor * rate + &moments.mean / divisor * &numbers[1]
            }
            Self::Sgd(None) => gradient * rate,
            Self::Sgd(Some(momentum)) => momentum.step(gradient) * rate,
            // torch.optim.RMSprop: v = alpha * v + (1 - alpha) * g^2; p -= lr * g / (sqrt(v) + eps). With momentum, g /
            // (sqrt(v) + eps) is added to the momentum instead.
            Self::Rmsprop { square, momentum } => {
                square.take(gradient);
                let scaled = gradient / (square.mean.sqrt() + &square.eps);
                match momentum {
                    None => scaled * rate,
                    Some(momentum) => momentum.step(&scaled) * rate,
                }
            }
            // torch.optim.Adagrad: s += g^2; p -= lr * g / (sqrt(s) + eps).
            Self::Adagrad { sum, eps } => {
                *sum += gradient.square();
                gradient / (sum.sqrt() + &*eps) * rate
            }
            // torch.optim.Adadelta: v = rho * v + (1 - rho) * g^2; d = sqrt(u + eps) / sqrt(v + eps) * g;
            // u = rho * u + (1 - rho) * d^2; p -= lr * d.
            Self::Adadelta { square, moved } => {
                square.take(gradient);
                let (before, eps) = (&*moved + &square.eps, &square.eps);
                let step = before.sqrt() / (&square.mean + eps).sqrt() * gradient;
                *moved *= &square.keep;
                *moved += step.square() * &square.gain;
                step * rate
            }
        };
        *params -= update;
    }
}

impl Moments {
    fn take(&mut self, gradient: &Tensor) {
        let _ = self.mean.lerp_tensor_(gradient, &self.gain);
        self.square.take(gradient);
    }

    fn step(&mut self, gradient: &Tensor, rate: &Tensor, root: &Tensor) -> Tensor {
        self.take(gradient);
        let divisor = self.square.mean.sqrt() / root + &self.square.eps;
        &self.mean / divisor * rate
    }
}

impl Square {
    fn take(&mut self, gradient: &Tensor) {
        self.mean *= &self.keep;
        self.mean += gradient.square() * &self.gain;
    }
}

impl Momentum {
    /// torch.optim.SGD: v = momentum * v + g, which is the step; Nesterov's is g + momentum * v.
    fn step(&mut self, gradient: &Tensor) -> Tensor {
        self.velocity *= &self.keep;
        self.velocity += gradient;
        match &self.nesterov {
            None => self.velocity.shallow_clone(),
            Some(nesterov) => {
                let ahead = gradient + &self.velocity * &self.keep;
                ahead.where_self(nesterov, &self.velocity)
            }
        }
    }
}
