//! Step sizes and other numbers that change from step to step, for the members of one optimizer. The host computes them
//! for several steps ahead and copies them to the device together, so that no step waits for a copy.

use tch::{Device, Tensor};
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::schedule::{Plateau, Schedule, StepPlace};

/// Most steps that are computed at once.
const AHEAD_STEPS_MAX: u64 = 256;

/// NAdam's momentum of step t is beta1 * (1 - 0.5 * 0.96^(t * this)).
const MOMENTUM_DECAY: f64 = 0.004;

/// NAdam steps after which the product of the momenta, each at most 0.52 then, is too small to change 1 - product.
const MOMENTA_MAX: u64 = 200;

/// The numbers of each step.
#[derive(Debug)]
pub(super) struct Pace {
    /// By place in the slice; all of one optimizer.
    members: Vec<Hyperparameters>,
    in_epoch: u64,
    epochs: u32,
    /// True if all steps have the same numbers.
    is_steady: bool,
    /// The first computed step, from 0.
    first: u64,
    /// The numbers of each computed step, [members, 1] each.
    steps: Vec<Vec<Tensor>>,
    device: Device,
}

impl Pace {
    pub(super) fn new(members: &[&Hyperparameters], in_epoch: u64, epochs: u32, device: Device) -> Self {
        let corrects = |optimizer| matches!(optimizer, Optimizer::Adam | Optimizer::Adamw | Optimizer::Nadam);
        Self {
            is_steady: members.iter().all(|own| own.has_one_rate() && !corrects(own.optimizer)),
            members: members.iter().map(|own| (*own).clone()).collect(),
            in_epoch,
            epochs,
            first: 0,
            steps: Vec::new(),
            device,
        }
    }

    /// The numbers of the step after `before` steps, in the order of [`numbers`], each [members, 1].
    pub(super) fn at(&mut self, before: u64, plateaus: &[Plateau]) -> &[Tensor] {
        let is_there = |pace: &Self| match before.checked_sub(pace.first) {
            Some(ahead) => ahead < pace.steps.len() as u64,
            None => false,
        };
        let is_known = if self.is_steady {
            !self.steps.is_empty()
        } else {
            is_there(self)
        };
        if !is_known {
            self.work_out(before, plateaus);
        }
        let ahead = if self.is_steady { 0 } else { before - self.first };
        &self.steps[ahead as usize]
    }

    /// Computes the steps from `first` on. A plateau may change at the end of an epoch, so this stops there.
    fn work_out(&mut self, first: u64, plateaus: &[Plateau]) {
        let has_plateau = self.members.iter().any(|own| own.schedule == Schedule::Plateau);
        let end = match self.is_steady {
            true => first + 1,
            false if has_plateau => (first / self.in_epoch + 1) * self.in_epoch,
            false => self.in_epoch * u64::from(self.epochs),
        };
        let end = end.min(first + AHEAD_STEPS_MAX).max(first + 1);
        let (mut values, mut of_member) = (Vec::new(), 0);
        let mut momenta = Momenta::after(first);
        for before in first..end {
            let place = StepPlace {
                before,
                in_epoch: self.in_epoch,
                epochs: self.epochs,
            };
            momenta.go_on();
            let each = self.members.iter().zip(plateaus);
            let each: Vec<Vec<f32>> = each
                .map(|(own, plateau)| numbers(own, before + 1, own.rate(place, plateau), &momenta))
                .collect();
            of_member = each[0].len();
            // Grouped by number, as a step takes them.
            values.extend((0..of_member).flat_map(|number| each.iter().map(move |numbers| numbers[number])));
        }
        let shape = [(end - first) as i64, of_member as i64, self.members.len() as i64, 1];
        let table = Tensor::from_slice(&values)
            .view(shape.as_slice())
            .to_device(self.device);
        self.steps = table.unbind(0).iter().map(|step| step.unbind(0)).collect();
        self.first = first;
    }
}

/// NAdam's momenta at a step, counted from 1, without the powers of beta1.
struct Momenta {
    step: u64,
    now: f64,
    next: f64,
    /// Product of all momenta up to this step.
    product: f64,
}

impl Momenta {
    /// The momenta before the step after `steps` steps.
    fn after(steps: u64) -> Self {
        Self {
            step: steps,
            now: momentum(steps),
            next: momentum(steps + 1),
            product: (1..=steps.min(MOMENTA_MAX)).map(momentum).product(),
        }
    }

    fn go_on(&mut self) {
        self.step += 1;
        (self.now, self.next) = (self.next, momentum(self.step + 1));
        if self.step <= MOMENTA_MAX {
            self.product *= self.now;
        }
    }
}

fn momentum(step: u64) -> f64 {
    1.0 - 0.5 * libm::pow(0.96, step as f64 * MOMENTUM_DECAY)
}

/// The numbers that a member's optimizer needs for a step, counted from 1, beside its constants, in the order of [`super::rule::Rule::step`].
fn numbers(own: &Hyperparameters, step: u64, rate: f64, momenta: &Momenta) -> Vec<f32> {
    let power = |beta: f64| beta.powi(i32::try_from(step).unwrap_or(i32::MAX));
    let correction2 = || 1.0 - power(own.beta2);
    let adam = || {
        let correction1 = 1.0 - power(own.beta1);
        [rate as f32 / correction1 as f32, correction2().sqrt() as f32]
    };
    match own.optimizer {
        Optimizer::Adam => adam().to_vec(),
        Optimizer::Adamw => {
            let [rate_of_mean, root] = adam();
            vec![rate_of_mean, root, (rate * own.weight_decay) as f32]
        }
        Optimizer::Nadam => {
            let (now, next) = (own.beta1 * momenta.now, own.beta1 * momenta.next);
            let product = power(own.beta1) * momenta.product;
            let of_gradient = rate * (1.0 - now) / (1.0 - product);
            let of_mean = rate * next / (1.0 - product * next);
            vec![of_gradient as f32, of_mean as f32, correction2() as f32]
        }
        Optimizer::Sgd | Optimizer::Rmsprop | Optimizer::Adagrad | Optimizer::Adadelta => vec![rate as f32],
    }
}
