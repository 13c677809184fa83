//! How good the best trial is, told honestly.
//!
//! The best of many trials is best by luck, too, and the same rows chose it and measured it: its value flatters. What corrects it is
//! the losses of the single validation rows (`bootstrap.rs`). Whether it is better than those that follow is a matter of the folds,
//! which all trials share (`correlated_t.rs`). Only test rows that nobody chose by are without all that; how sure their mean is, the
//! bootstrap tells as well.
//!
//! Numbers are a function of study and losses: random rows are drawn from streams of the study's seed, sums have one order.

mod bootstrap;
mod correlated_t;
#[cfg(test)]
mod coverage;
mod student;

pub use bootstrap::{Corrected, DRAWS, Interval, LOSSES_MAX, RowLosses, TRIALS_MAX, mean_interval, trials_that_fit};
pub use correlated_t::{Contender, SEPARABLE, Separation, p_better, separation};
