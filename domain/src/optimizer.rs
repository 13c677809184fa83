//! Optimizers, and the settings of optimizers and losses.

use crate::limits::RATE_MAX;
use crate::rule::{Rule, Takes};
use crate::word::words;

words!(
    /// How parameters follow gradients; settings not named here are PyTorch's defaults.
    Optimizer {
        /// Adam: betas 0.9 and 0.999, eps 1e-8.
        Adam = "adam",
        /// AdamW: as Adam, and each step first takes the share `learning_rate * weight_decay` of each parameter away.
        Adamw = "adamw",
        /// Gradient descent, with momentum (dampening 0, not Nesterov's) if the member has one.
        Sgd = "sgd",
        /// RMSprop: alpha 0.99, eps 1e-8, not centred.
        Rmsprop = "rmsprop",
    }
);

/// What may differ between networks that train together.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperparameters {
    /// How parameters follow gradients.
    pub optimizer: Optimizer,
    /// Step size.
    pub learning_rate: f64,
    /// The loss gains `l2` times the sum of all squared parameters.
    pub l2: f64,
    /// Momentum of [`Optimizer::Sgd`].
    pub momentum: f64,
    /// Decoupled weight decay of [`Optimizer::Adamw`].
    pub weight_decay: f64,
    /// Share of a row's target that [`crate::loss::Loss::CrossEntropy`] gives to all classes alike.
    pub label_smoothing: f64,
    /// Gamma of [`crate::loss::Loss::Focal`].
    pub focal_gamma: f64,
    /// Probability of each layer that [drops](crate::layer::Layer::drops), from the input on.
    pub dropout: Vec<f64>,
}

const LEARNING_RATE: Rule = Rule::new(
    "learning_rate",
    Takes::Number(|x| x > 0.0 && x <= RATE_MAX, "above 0 and at most 1000"),
)
.members_own();
const RATE_OR_NONE: Takes = Takes::Number(|x| (0.0..=RATE_MAX).contains(&x), "at least 0 and at most 1000");
const L2: Rule = Rule::new("l2", RATE_OR_NONE).or(0.0).members_own();
const MOMENTUM: Rule = Rule::new("momentum", Takes::SHARE).or(0.0).members_own();
const WEIGHT_DECAY: Rule = Rule::new("weight_decay", RATE_OR_NONE).or(0.01).members_own();
const LABEL_SMOOTHING: Rule = Rule::new("label_smoothing", Takes::SHARE).or(0.0).members_own();
const FOCAL_GAMMA: Rule = Rule::new(
    "focal_gamma",
    Takes::Number(|x| (0.0..=100.0).contains(&x), "at least 0 and at most 100"),
)
.or(2.0)
.members_own();

impl Optimizer {
    /// Whether it looks at one of [`Hyperparameters::SETTINGS`].
    pub fn has(self, setting: &Rule) -> bool {
        match setting.name {
            "momentum" => self == Self::Sgd,
            "weight_decay" => self == Self::Adamw,
            _ => true,
        }
    }
}

impl Hyperparameters {
    /// The settings of optimizers and losses, all of them numbers.
    pub const SETTINGS: [&'static Rule; 6] = [
        &LEARNING_RATE,
        &L2,
        &MOMENTUM,
        &WEIGHT_DECAY,
        &LABEL_SMOOTHING,
        &FOCAL_GAMMA,
    ];

    /// Of this optimizer, with `value` for each of [`Self::SETTINGS`].
    ///
    /// # Errors
    /// Those of `value`.
    pub fn read<E>(
        optimizer: Optimizer,
        dropout: Vec<f64>,
        mut value: impl FnMut(&'static Rule) -> Result<f64, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            optimizer,
            learning_rate: value(&LEARNING_RATE)?,
            l2: value(&L2)?,
            momentum: value(&MOMENTUM)?,
            weight_decay: value(&WEIGHT_DECAY)?,
            label_smoothing: value(&LABEL_SMOOTHING)?,
            focal_gamma: value(&FOCAL_GAMMA)?,
            dropout,
        })
    }

    /// The values of [`Self::SETTINGS`], each with the setting's name.
    pub fn settings(&self) -> [(&'static str, f64); Self::SETTINGS.len()] {
        [
            (LEARNING_RATE.name, self.learning_rate),
            (L2.name, self.l2),
            (MOMENTUM.name, self.momentum),
            (WEIGHT_DECAY.name, self.weight_decay),
            (LABEL_SMOOTHING.name, self.label_smoothing),
            (FOCAL_GAMMA.name, self.focal_gamma),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Hyperparameters, Optimizer};

    #[test]
    fn settings_are_read_as_they_are_written() {
        let mut next = 0.0;
        let number = |_| -> Result<f64, ()> {
            next += 0.125;
            Ok(next)
        };
        let hyperparameters = Hyperparameters::read(Optimizer::Sgd, vec![], number).expect("numbers");
        let settings = hyperparameters.settings();
        let names = Hyperparameters::SETTINGS.map(|rule| rule.name);
        assert_eq!(settings.map(|(name, _)| name), names);
        let again = Hyperparameters::read(Optimizer::Sgd, vec![], |rule| {
            let found = settings.iter().find(|(name, _)| *name == rule.name);
            found.map(|(_, value)| *value).ok_or(rule.name)
        });
        assert_eq!(again, Ok(hyperparameters));
    }
}
