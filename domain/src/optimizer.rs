//! Optimizers, and the settings of optimizers, losses, schedules and other parts of a step.

use crate::augment::{Augment, CROP, CUTOUT, FLIP, MIXUP, ROTATE};
use crate::limits::{EPOCHS_MAX, RATE_MAX};
use crate::metric::Metric;
use crate::rule::{Rule, Takes};
use crate::schedule::Schedule;
use trawl_dataset::words;

words!(
    /// An optimizer; everything that is not a setting is PyTorch's default.
    Optimizer {
        /// Adam.
        Adam = "adam",
        /// AdamW: like Adam, but each step first subtracts the share `learning_rate * weight_decay` of each parameter.
        Adamw = "adamw",
        /// Gradient descent, with the member's momentum (dampening 0), if any, in Nesterov's form if the member asks for it.
        Sgd = "sgd",
        /// RMSprop, not centred, with the member's momentum, if any.
        Rmsprop = "rmsprop",
        /// NAdam: momentum decay 0.004.
        Nadam = "nadam",
        /// Adagrad: the rate does not decay, the sum of squares begins at 0.
        Adagrad = "adagrad",
        /// Adadelta.
        Adadelta = "adadelta",
    }
);

/// Settings that may differ between networks that train together.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// The optimizer.
    pub optimizer: Optimizer,
    /// How the step size changes from `learning_rate`.
    pub schedule: Schedule,
    /// Step size.
    pub learning_rate: f64,
    /// The loss gains `l2` times the sum of all squared parameters.
    pub l2: f64,
    /// Momentum of [`Optimizer::Sgd`] and [`Optimizer::Rmsprop`].
    pub momentum: f64,
    /// True if the momentum of [`Optimizer::Sgd`] is Nesterov's.
    pub nesterov: bool,
    /// Decoupled weight decay of [`Optimizer::Adamw`].
    pub weight_decay: f64,
    /// Share that the running mean of gradients keeps at each step, for [`Optimizer::Adam`] and its kin.
    pub beta1: f64,
    /// Share that their running mean of squared gradients keeps.
    pub beta2: f64,
    /// Added to the root in a step's divisor, for all optimizers except [`Optimizer::Sgd`].
    pub eps: f64,
    /// Share that the running mean of squared gradients keeps, for [`Optimizer::Rmsprop`].
    pub alpha: f64,
    /// Share that the running means of squares keep, for [`Optimizer::Adadelta`].
    pub rho: f64,
    /// Share of a row's target that [`crate::loss::Loss::CrossEntropy`] divides equally among all classes.
    pub label_smoothing: f64,
    /// Gamma of [`crate::loss::Loss::Focal`].
    pub focal_gamma: f64,
    /// Largest norm of the loss's gradient, to which it is scaled down; 0 for none. Excludes the part of `l2`.
    pub clip_norm: f64,
    /// Largest magnitude of each element of the loss's gradient, applied before the norm is taken; 0 for none.
    pub clip_value: f64,
    /// Share of all steps in which the step size rises.
    pub warmup: f64,
    /// Factor of [`Schedule::Step`], [`Schedule::Exponential`] and [`Schedule::Plateau`].
    pub decay: f64,
    /// Epochs between two drops of [`Schedule::Step`].
    pub decay_epochs: u32,
    /// Epochs without a better loss that [`Schedule::Plateau`] tolerates.
    pub plateau_epochs: u32,
    /// Share of `learning_rate` below which no schedule goes, except during the rise.
    pub min_rate: f64,
    /// Share that the average of the weights keeps at each step; 0 for no average.
    pub ema_decay: f64,
    /// Augmentation of images in training.
    pub augment: Augment,
    /// Early stopping; `None` if it trains to its end.
    pub early_stopping: Option<EarlyStopping>,
    /// Probability of each layer that [drops](crate::layer::Layer::drops), from the input on.
    pub dropout: Vec<f64>,
}

/// Early stopping: ends a member before its last epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStopping {
    /// Consecutive epochs without a better value after which it stops, at least 1.
    pub patience: u32,
    /// A value is better only if it improves on the best one by more than this, at least 0.
    pub min_delta: f64,
    /// The metric of the values: the study's objective.
    pub metric: Metric,
}

/// Exceeds any gradient or metric after which training goes on.
const MAGNITUDE_MAX: f64 = 1e9;
const RATE_OR_NONE: Takes = Takes::Number(|x| (0.0..=RATE_MAX).contains(&x), "at least 0 and at most 1000");
const MAGNITUDE: Takes = Takes::Number(
    |x| (0.0..=MAGNITUDE_MAX).contains(&x),
    "at least 0 and at most 1000000000",
);
const FACTOR: Takes = Takes::Number(|x| x > 0.0 && x <= 1.0, "above 0 and at most 1");

const LEARNING_RATE: Rule = own(
    "learning_rate",
    Takes::Number(|x| x > 0.0 && x <= RATE_MAX, "above 0 and at most 1000"),
);
const L2: Rule = own("l2", RATE_OR_NONE).or(0.0);
const MOMENTUM: Rule = own("momentum", Takes::SHARE).or(0.0);
const NESTEROV: Rule = own("nesterov", Takes::Flag).or(0.0);
const WEIGHT_DECAY: Rule = own("weight_decay", RATE_OR_NONE).or(0.01);
const BETA1: Rule = own("beta1", Takes::SHARE).or(0.9);
const BETA2: Rule = own("beta2", Takes::SHARE).or(0.999);
/// The default is [`Optimizer::eps`].
const EPS: Rule = own("eps", FACTOR).or(1e-8);
const ALPHA: Rule = own("alpha", Takes::SHARE).or(0.99);
const RHO: Rule = own("rho", Takes::SHARE).or(0.9);
const LABEL_SMOOTHING: Rule = own("label_smoothing", Takes::SHARE).or(0.0);
const FOCAL_GAMMA: Rule = own(
    "focal_gamma",
    Takes::Number(|x| (0.0..=100.0).contains(&x), "at least 0 and at most 100"),
)
.or(2.0);
const CLIP_NORM: Rule = own("clip_norm", MAGNITUDE).or(0.0);
const CLIP_VALUE: Rule = own("clip_value", MAGNITUDE).or(0.0);
/// The default is [`Schedule::warmup`].
const WARMUP: Rule = own("warmup", Takes::SHARE).or(0.0);
/// The default is [`Schedule::decay`].
const DECAY: Rule = own("decay", FACTOR).or(0.1);
const DECAY_EPOCHS: Rule = own("decay_epochs", Takes::Whole(1, EPOCHS_MAX)).or(10.0);
const PLATEAU_EPOCHS: Rule = own("plateau_epochs", Takes::Whole(0, EPOCHS_MAX)).or(10.0);
const MIN_RATE: Rule = own("min_rate", Takes::SHARE).or(0.0);
const EMA_DECAY: Rule = own("ema_decay", Takes::SHARE).or(0.0);
/// 0 means never; a study without `early_stopping` never stops early.
const PATIENCE: Rule = own("patience", Takes::Whole(0, EPOCHS_MAX)).or(0.0);
const MIN_DELTA: Rule = own("min_delta", MAGNITUDE).or(0.0);

const fn own(name: &'static str, takes: Takes) -> Rule {
    Rule::new(name, takes).members_own()
}

impl Optimizer {
    /// True if it uses this one of [`Hyperparameters::SETTINGS`].
    pub fn has(self, setting: &Rule) -> bool {
        match setting.name {
            "momentum" => matches!(self, Self::Sgd | Self::Rmsprop),
            "nesterov" => self == Self::Sgd,
            "weight_decay" => self == Self::Adamw,
            "beta1" | "beta2" => matches!(self, Self::Adam | Self::Adamw | Self::Nadam),
            "eps" => self != Self::Sgd,
            "alpha" => self == Self::Rmsprop,
            "rho" => self == Self::Adadelta,
            _ => true,
        }
    }

    /// PyTorch's default of [`Hyperparameters::eps`].
    fn eps(self) -> f64 {
        match self {
            Self::Adam | Self::Adamw | Self::Nadam | Self::Rmsprop | Self::Sgd => 1e-8,
            Self::Adagrad => 1e-10,
            Self::Adadelta => 1e-6,
        }
    }
}

impl Hyperparameters {
    /// The settings: numbers, and flags as 0 and 1.
    pub const SETTINGS: [&'static Rule; 27] = [
        &LEARNING_RATE,
        &L2,
        &MOMENTUM,
        &NESTEROV,
        &WEIGHT_DECAY,
        &BETA1,
        &BETA2,
        &EPS,
        &ALPHA,
        &RHO,
        &LABEL_SMOOTHING,
        &FOCAL_GAMMA,
        &CLIP_NORM,
        &CLIP_VALUE,
        &WARMUP,
        &DECAY,
        &DECAY_EPOCHS,
        &PLATEAU_EPOCHS,
        &MIN_RATE,
        &EMA_DECAY,
        &FLIP,
        &CROP,
        &ROTATE,
        &CUTOUT,
        &MIXUP,
        &PATIENCE,
        &MIN_DELTA,
    ];

    /// The settings under `early_stopping` in a study, among [`Self::SETTINGS`], with their defaults there.
    pub const EARLY_STOPPING: [Rule; 2] = [PATIENCE.or(10.0), MIN_DELTA];

    /// The settings under `augment` in a study.
    pub const AUGMENT: [Rule; 5] = [FLIP, CROP, ROTATE, CUTOUT, MIXUP];

    /// Settings with this optimizer, schedule and metric for early stopping, and with `value` for each of
    /// [`Self::SETTINGS`]. `value` gets a rule with the default for the optimizer and schedule.
    ///
    /// # Errors
    /// The errors of `value`.
    pub fn read<E>(
        (optimizer, schedule, stops_by): (Optimizer, Schedule, Metric),
        dropout: Vec<f64>,
        mut value: impl FnMut(&Rule) -> Result<f64, E>,
    ) -> Result<Self, E> {
        let (patience, min_delta) = (value(&PATIENCE)? as u32, value(&MIN_DELTA)?);
        Ok(Self {
            optimizer,
            schedule,
            learning_rate: value(&LEARNING_RATE)?,
            l2: value(&L2)?,
            momentum: value(&MOMENTUM)?,
            nesterov: value(&NESTEROV)? != 0.0,
            weight_decay: value(&WEIGHT_DECAY)?,
            beta1: value(&BETA1)?,
            beta2: value(&BETA2)?,
            eps: value(&EPS.or(optimizer.eps()))?,
            alpha: value(&ALPHA)?,
            rho: value(&RHO)?,
            label_smoothing: value(&LABEL_SMOOTHING)?,
            focal_gamma: value(&FOCAL_GAMMA)?,
            clip_norm: value(&CLIP_NORM)?,
            clip_value: value(&CLIP_VALUE)?,
            warmup: value(&WARMUP.or(schedule.warmup()))?,
            decay: value(&DECAY.or(schedule.decay()))?,
            decay_epochs: value(&DECAY_EPOCHS)? as u32,
            plateau_epochs: value(&PLATEAU_EPOCHS)? as u32,
            min_rate: value(&MIN_RATE)?,
            ema_decay: value(&EMA_DECAY)?,
            augment: Augment {
                flip: value(&FLIP)?,
                crop: value(&CROP)? as u32,
                rotate: value(&ROTATE)?,
                cutout: value(&CUTOUT)? as u32,
                mixup: value(&MIXUP)?,
            },
            early_stopping: (patience > 0).then_some(EarlyStopping {
                patience,
                min_delta,
                metric: stops_by,
            }),
            dropout,
        })
    }

    /// An optimizer with this step size, and defaults for all else.
    pub fn new(optimizer: Optimizer, learning_rate: f64) -> Self {
        let value = |rule: &Rule| Ok(rule.default.unwrap_or(learning_rate));
        let read: Result<_, std::convert::Infallible> =
            Self::read((optimizer, Schedule::Constant, Metric::ValLoss), Vec::new(), value);
        match read {
            Ok(hyperparameters) => hyperparameters,
            Err(never) => match never {},
        }
    }

    /// The values of [`Self::SETTINGS`], with their names.
    pub fn settings(&self) -> [(&'static str, f64); Self::SETTINGS.len()] {
        let stopping = self.early_stopping;
        [
            (LEARNING_RATE.name, self.learning_rate),
            (L2.name, self.l2),
            (MOMENTUM.name, self.momentum),
            (NESTEROV.name, f64::from(u8::from(self.nesterov))),
            (WEIGHT_DECAY.name, self.weight_decay),
            (BETA1.name, self.beta1),
            (BETA2.name, self.beta2),
            (EPS.name, self.eps),
            (ALPHA.name, self.alpha),
            (RHO.name, self.rho),
            (LABEL_SMOOTHING.name, self.label_smoothing),
            (FOCAL_GAMMA.name, self.focal_gamma),
            (CLIP_NORM.name, self.clip_norm),
            (CLIP_VALUE.name, self.clip_value),
            (WARMUP.name, self.warmup),
            (DECAY.name, self.decay),
            (DECAY_EPOCHS.name, f64::from(self.decay_epochs)),
            (PLATEAU_EPOCHS.name, f64::from(self.plateau_epochs)),
            (MIN_RATE.name, self.min_rate),
            (EMA_DECAY.name, self.ema_decay),
            (FLIP.name, self.augment.flip),
            (CROP.name, f64::from(self.augment.crop)),
            (ROTATE.name, self.augment.rotate),
            (CUTOUT.name, f64::from(self.augment.cutout)),
            (MIXUP.name, self.augment.mixup),
            (
                PATIENCE.name,
                stopping.map_or(0.0, |stopping| f64::from(stopping.patience)),
            ),
            (MIN_DELTA.name, stopping.map_or(0.0, |stopping| stopping.min_delta)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Hyperparameters, Optimizer};
    use crate::metric::Metric;
    use crate::schedule::Schedule;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let mut next = 0.0;
        let number = |rule: &super::Rule| -> Result<f64, ()> {
            next += 1.0;
            Ok(if rule.name == "nesterov" { 1.0 } else { next })
        };
        let words = (Optimizer::Sgd, Schedule::Plateau, Metric::ValF1);
        let hyperparameters = Hyperparameters::read(words, vec![], number).expect("numbers");
        let settings = hyperparameters.settings();
        let names = Hyperparameters::SETTINGS.map(|rule| rule.name);
        assert_eq!(settings.map(|(name, _)| name), names);
        let again = Hyperparameters::read(words, vec![], |rule| {
            let found = settings.iter().find(|(name, _)| *name == rule.name);
            found.map(|(_, value)| *value).ok_or(rule.name)
        });
        assert_eq!(again, Ok(hyperparameters));
    }

    /// The numbers are from the signatures in torch.optim 2.11.
    #[test]
    fn defaults_are_those_of_pytorch() {
        let eps = |optimizer| Hyperparameters::new(optimizer, 0.1).eps;
        let found = Optimizer::ALL.iter().copied().map(eps).collect::<Vec<_>>();
        assert_eq!(found, [1e-8, 1e-8, 1e-8, 1e-8, 1e-8, 1e-10, 1e-6]);
        let adam = Hyperparameters::new(Optimizer::Adam, 0.1);
        assert_eq!((adam.learning_rate, adam.beta1, adam.beta2), (0.1, 0.9, 0.999));
        assert_eq!((adam.alpha, adam.rho), (0.99, 0.9));
        assert_eq!(adam.early_stopping, None);
    }
}
