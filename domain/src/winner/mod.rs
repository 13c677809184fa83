//! An honest value of the best trial.
//!
//! The best of many trials is also the luckiest, and the rows that chose it also measured it: its value flatters. The losses of
//! single validation rows correct this (`bootstrap.rs`). The folds, which all trials share, show whether it is better than the
//! next ones (`correlated_t.rs`). Only test rows that influenced no choice have no such bias; the bootstrap also shows how
//! certain their mean is.
//!
//! Numbers are a function of study and losses: random rows come from streams of the study's seed, and sums have a fixed order.

mod bootstrap;
mod correlated_t;
#[cfg(test)]
mod coverage;
mod student;

pub use bootstrap::{Corrected, DRAWS, Interval, LOSSES_MAX, RowLosses, TRIALS_MAX, mean_interval, trials_that_fit};
pub use correlated_t::{Contender, SEPARABLE, Separation, p_better, separation};
