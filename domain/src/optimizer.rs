//! Optimizers, and the settings of optimizers, losses, schedules and of what else is done with each step.

use crate::augment::{Augment, CROP, CUTOUT, FLIP, MIXUP, ROTATE};
use crate::limits::{EPOCHS_MAX, RATE_MAX};
use crate::metric::Metric;
use crate::rule::{Rule, Takes};
use crate::schedule::Schedule;
use crate::word::words;

words!(
    /// How parameters follow gradients; what is not a setting is PyTorch's default.
    Optimizer {
        /// Adam.
        Adam = "adam",
        /// AdamW: as Adam, and each step first takes the share `learning_rate * weight_decay` of each parameter away.
        Adamw = "adamw",
        /// Gradient descent, with momentum (dampening 0) if the member has one, Nesterov's if it says so.
        Sgd = "sgd",
        /// RMSprop, not centred, with momentum if the member has one.
        Rmsprop = "rmsprop",
        /// NAdam: momentum decay 0.004.
        Nadam = "nadam",
        /// Adagrad: the rate does not decay, the sum of squares begins at 0.
        Adagrad = "adagrad",
        /// Adadelta.
        Adadelta = "adadelta",
    }
);

/// What may differ between networks that train together.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// How parameters follow gradients.
    pub optimizer: Optimizer,
    /// How the step size goes on from `learning_rate`.
    pub schedule: Schedule,
    /// Step size.
    pub learning_rate: f64,
    /// The loss gains `l2` times the sum of all squared parameters.
    pub l2: f64,
    /// Momentum of [`Optimizer::Sgd`] and [`Optimizer::Rmsprop`].
    pub momentum: f64,
    /// Whether the momentum of [`Optimizer::Sgd`] is Nesterov's.
    pub nesterov: bool,
    /// Decoupled weight decay of [`Optimizer::Adamw`].
    pub weight_decay: f64,
    /// What [`Optimizer::Adam`] and its kin keep of the mean of gradients at each step.
    pub beta1: f64,
    /// What they keep of the mean of squared gradients.
    pub beta2: f64,
    /// What is added to the root that a step is divided by, of all optimizers but [`Optimizer::Sgd`].
    pub eps: f64,
    /// What [`Optimizer::Rmsprop`] keeps of the mean of squared gradients.
    pub alpha: f64,
    /// What [`Optimizer::Adadelta`] keeps of its means of squares.
    pub rho: f64,
    /// Share of a row's target that [`crate::loss::Loss::CrossEntropy`] gives to all classes alike.
    pub label_smoothing: f64,
    /// Gamma of [`crate::loss::Loss::Focal`].
    pub focal_gamma: f64,
    /// Norm of all of the loss's gradient beyond which it is scaled down to it; 0 for none. It leaves out the part of `l2`.
    pub clip_norm: f64,
    /// Magnitude to which each number of the loss's gradient is cut, before its norm is taken; 0 for none.
    pub clip_value: f64,
    /// Share of all steps in which the step size rises.
    pub warmup: f64,
    /// Factor of [`Schedule::Step`], [`Schedule::Exponential`] and [`Schedule::Plateau`].
    pub decay: f64,
    /// Epochs between two drops of [`Schedule::Step`].
    pub decay_epochs: u32,
    /// Epochs without a better loss that [`Schedule::Plateau`] stands.
    pub plateau_epochs: u32,
    /// Share of `learning_rate` below which no schedule goes, but for its rise.
    pub min_rate: f64,
    /// What the average of the weights keeps of itself at each step; 0 for no average.
    pub ema_decay: f64,
    /// How images are changed while it trains.
    pub augment: Augment,
    /// When it stops early; `None` if it trains to its end.
    pub early_stopping: Option<EarlyStopping>,
    /// Probability of each layer that [drops](crate::layer::Layer::drops), from the input on.
    pub dropout: Vec<f64>,
}

/// When a member stops before its last epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EarlyStopping {
    /// Epochs in a row without a better value after which it stops, at least 1.
    pub patience: u32,
    /// By how much more than this a value has to be better than the best one, at least 0.
    pub min_delta: f64,
    /// Of what the values are: the study's objective.
    pub metric: Metric,
}

/// Beyond any gradient or metric that training goes on from.
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
/// 0 is never; where a study says nothing of early stopping, nobody stops.
const PATIENCE: Rule = own("patience", Takes::Whole(0, EPOCHS_MAX)).or(0.0);
const MIN_DELTA: Rule = own("min_delta", MAGNITUDE).or(0.0);

const fn own(name: &'static str, takes: Takes) -> Rule {
    Rule::new(name, takes).members_own()
}

impl Optimizer {
    /// Whether it looks at one of [`Hyperparameters::SETTINGS`].
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

    /// Those of [`Self::SETTINGS`] that a study has under `early_stopping`, with what each is there where it is left out.
    pub const EARLY_STOPPING: [Rule; 2] = [PATIENCE.or(10.0), MIN_DELTA];

    /// Those that a study has under `augment`.
    pub const AUGMENT: [Rule; 5] = [FLIP, CROP, ROTATE, CUTOUT, MIXUP];

    /// Of this optimizer and schedule, stopped by this metric if at all, with `value` for each of [`Self::SETTINGS`]. The rule that it gets
    /// has the default that goes with the optimizer and schedule.
    ///
    /// # Errors
    /// Those of `value`.
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

    /// Of an optimizer with this step size, and otherwise as a study that says no more.
    pub fn new(optimizer: Optimizer, learning_rate: f64) -> Self {
        let value = |rule: &Rule| Ok(rule.default.unwrap_or(learning_rate));
        let read: Result<_, std::convert::Infallible> =
            Self::read((optimizer, Schedule::Constant, Metric::ValLoss), Vec::new(), value);
        match read {
            Ok(hyperparameters) => hyperparameters,
            Err(never) => match never {},
        }
    }

    /// The values of [`Self::SETTINGS`], each with the setting's name.
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

    /// The numbers are those of the signatures in torch.optim 2.11.
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
