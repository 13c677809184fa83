//! Schedules: how a training's step size changes from the learning rate.
//!
//! A step's rate is a function of the settings, of the step's place among all steps of the training, and of the losses that a plateau has
//! seen. All steps of the architecture's epochs count, wherever a job ends: so a paused trial has the same rates as any other.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::optimizer::Hyperparameters;
use crate::rule::Rule;
use trawl_dataset::words;

words!(
    /// How the step size changes from the learning rate, before and after a rise over the share `warmup` of all steps.
    Schedule {
        /// It stays.
        Constant = "constant",
        /// Down to the share `min_rate` by half a cosine over the steps after the rise: torch's `CosineAnnealingLR`, step by step.
        Cosine = "cosine",
        /// Times `decay` every `decay_epochs` epochs: torch's `StepLR`.
        Step = "step",
        /// Times `decay` every epoch: torch's `ExponentialLR`.
        Exponential = "exponential",
        /// Up from 1/25 by half a cosine over `warmup`, and down to `min_rate` by another one: torch's `OneCycleLR`, without a cycle of
        /// the momentum.
        OneCycle = "one_cycle",
        /// Times `decay` after more than `plateau_epochs` epochs in a row without a better loss: torch's `ReduceLROnPlateau`.
        Plateau = "plateau",
    }
);

/// Share of the learning rate with which [`Schedule::OneCycle`] begins.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;

/// Share of the best loss by which a loss has to improve on it to count as better on a plateau.
const PLATEAU_THRESHOLD: f64 = 1e-4;

impl Schedule {
    /// True if it uses this one of [`Hyperparameters::SETTINGS`].
    pub fn has(self, setting: &Rule) -> bool {
        match setting.name {
            "decay" => matches!(self, Self::Step | Self::Exponential | Self::Plateau),
            "decay_epochs" => self == Self::Step,
            "plateau_epochs" => self == Self::Plateau,
            "min_rate" => self != Self::Constant,
            _ => true,
        }
    }

    /// The default of [`Hyperparameters::warmup`].
    pub(crate) fn warmup(self) -> f64 {
        if self == Self::OneCycle { 0.3 } else { 0.0 }
    }

    /// The default of [`Hyperparameters::decay`].
    pub(crate) fn decay(self) -> f64 {
        if self == Self::Exponential { 0.95 } else { 0.1 }
    }
}

/// A step's place in a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPlace {
    /// Steps before it, of all epochs.
    pub before: u64,
    /// Steps of an epoch.
    pub in_epoch: u64,
    /// Epochs of the training, not of a job that trains part of it.
    pub epochs: u32,
}

/// State of a plateau after each epoch's loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// The best loss.
    best: Option<f64>,
    /// Epochs since the best loss, or since the rate was last lowered.
    waited: u32,
    /// Number of times that the rate was lowered.
    drops: u32,
}

impl Plateau {
    /// Records the loss after a further epoch, as torch's `ReduceLROnPlateau` with its default threshold.
    pub fn note(&mut self, loss: f64, plateau_epochs: u32) {
        if self.best.is_none_or(|best| loss < best * (1.0 - PLATEAU_THRESHOLD)) {
            self.best = Some(loss);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        if self.waited > plateau_epochs {
            self.waited = 0;
            self.drops += 1;
        }
    }
}

impl Hyperparameters {
    /// The step size of a step; only [`Schedule::Plateau`] uses `plateau`.
    pub fn rate(&self, place: StepPlace, plateau: &Plateau) -> f64 {
        self.learning_rate * self.share(place, plateau)
    }

    /// True if all steps have one size.
    pub fn has_one_rate(&self) -> bool {
        self.schedule == Schedule::Constant && self.warmup == 0.0
    }

    /// The step's share of the learning rate.
    fn share(&self, place: StepPlace, plateau: &Plateau) -> f64 {
        let (step, steps) = (place.before as f64, place.in_epoch as f64 * f64::from(place.epochs));
        if self.schedule == Schedule::OneCycle {
            // The step with the whole rate, and the last one.
            let (top, last) = (self.warmup * steps - 1.0, steps - 1.0);
            return if step <= top {
                half_cosine(ONE_CYCLE_START, 1.0, if top > 0.0 { step / top } else { 1.0 })
            } else {
                half_cosine(1.0, self.min_rate, (step - top) / (last - top))
            };
        }
        let rise = (self.warmup * steps).round();
        let epoch = (place.before / place.in_epoch) as u32;
        let decayed = |times: u32| libm::pow(self.decay, f64::from(times)).max(self.min_rate);
        let share = match self.schedule {
            Schedule::Constant | Schedule::OneCycle => 1.0,
            Schedule::Cosine => half_cosine(1.0, self.min_rate, ((step - rise) / (steps - rise)).max(0.0)),
            Schedule::Step => decayed(epoch / self.decay_epochs),
            Schedule::Exponential => decayed(epoch),
            Schedule::Plateau => decayed(plateau.drops),
        };
        if step < rise {
            share * (step + 1.0) / rise
        } else {
            share
        }
    }
}

/// From `start` at 0 to `end` at 1.
fn half_cosine(start: f64, end: f64, x: f64) -> f64 {
    end + (start - end) * (1.0 + libm::cos(PI * x)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::{Plateau, Schedule, StepPlace};
    use crate::optimizer::{Hyperparameters, Optimizer};

    fn own(schedule: Schedule, change: impl Fn(&mut Hyperparameters)) -> Hyperparameters {
        let mut own = Hyperparameters {
            schedule,
            warmup: schedule.warmup(),
            decay: schedule.decay(),
            ..Hyperparameters::new(Optimizer::Sgd, 2.0)
        };
        change(&mut own);
        own
    }

    /// Rates of all steps, of five epochs with two steps each.
    fn rates(own: &Hyperparameters) -> Vec<f64> {
        let place = |before| StepPlace {
            before,
            in_epoch: 2,
            epochs: 5,
        };
        (0..10)
            .map(|before| own.rate(place(before), &Plateau::default()))
            .collect()
    }

    fn assert_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_constant_rate_is_the_learning_rate_to_the_last_bit() {
        assert_eq!(rates(&own(Schedule::Constant, |_| ())), [2.0; 10]);
    }

    #[test]
    fn a_rise_is_linear_from_0() {
        let rising = own(Schedule::Constant, |own| own.warmup = 0.4);
        assert_eq!(rates(&rising), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
        // Without steps to go down, it rises to the end.
        let all = own(Schedule::Cosine, |own| own.warmup = 0.99);
        assert_near(&rates(&all), &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]);
    }

    #[test]
    fn epochs_and_steps_are_those_of_the_whole_training() {
        let step = own(Schedule::Step, |own| own.decay_epochs = 2);
        assert_near(&rates(&step), &[2.0, 2.0, 2.0, 2.0, 0.2, 0.2, 0.2, 0.2, 0.02, 0.02]);
        let floored = own(Schedule::Step, |own| (own.decay_epochs, own.min_rate) = (2, 0.25));
        assert_near(&rates(&floored), &[2.0, 2.0, 2.0, 2.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]);
        let exponential = own(Schedule::Exponential, |own| own.decay = 0.5);
        assert_near(
            &rates(&exponential),
            &[2.0, 2.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125],
        );
    }

    #[test]
    fn a_cosine_goes_down_behind_the_rise() {
        let cosine = own(Schedule::Cosine, |own| (own.warmup, own.min_rate) = (0.2, 0.1));
        let rates = rates(&cosine);
        assert_near(&rates[..3], &[1.0, 2.0, 2.0]);
        // Half of the way is half way between the learning rate and its tenth.
        assert_near(&rates[6..7], &[1.1]);
        assert!(rates[2..].is_sorted_by(|a, b| a > b) && rates[9] > 0.2);
    }

    #[test]
    fn one_cycle_begins_low_and_ends_at_the_least_rate() {
        let cycle = own(Schedule::OneCycle, |own| own.min_rate = 0.01);
        let found = rates(&cycle);
        assert_near(&found[..3], &[0.08, 1.04, 2.0]);
        assert_near(&found[9..], &[0.02]);
        let no_rise = own(Schedule::OneCycle, |own| own.warmup = 0.0);
        let found = rates(&no_rise);
        assert!(found[0] < 2.0 && found.is_sorted_by(|a, b| a > b));
        assert_near(&found[9..], &[0.0]);
    }

    #[test]
    fn a_plateau_lowers_the_rate_after_more_than_its_epochs() {
        let own = own(Schedule::Plateau, |own| own.plateau_epochs = 1);
        let place = StepPlace {
            before: 0,
            in_epoch: 2,
            epochs: 5,
        };
        let mut plateau = Plateau::default();
        // 0.99995 does not improve by a ten-thousandth.
        let losses = [1.0, 0.99995, 0.999, 1.0, 1.0, 1.0, 1.0, 0.5];
        let rates = losses.map(|loss| {
            plateau.note(loss, own.plateau_epochs);
            own.rate(place, &plateau)
        });
        let tenth = 2.0 * 0.1;
        assert_near(&rates, &[2.0, 2.0, 2.0, 2.0, tenth, tenth, 0.02, 0.02]);
        let read: Plateau = serde_json::from_str(&serde_json::to_string(&plateau).expect("JSON")).expect("the same");
        assert_eq!(read, plateau);
    }
}
