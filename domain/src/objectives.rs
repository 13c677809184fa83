//! What else makes one trial better than another, in a study that has several objectives.

use crate::metric::{Goal, Objective};
use crate::word::words;

/// Objectives of a study, at most.
pub const OBJECTIVES_MAX: usize = 4;

words!(
    /// What a trial costs. Less is better.
    Cost {
        /// Time that workers spent on it, in seconds. It depends on the workers.
        WorkerSeconds = "worker_seconds",
        /// Trainable numbers of its network.
        Parameters = "parameters",
    }
);

/// An objective beside the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Further {
    /// Something that is measured on the validation rows.
    Metric(Objective),
    /// What it costs.
    Cost(Cost),
}

impl Further {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Metric(objective) => objective.metric.as_str(),
            Self::Cost(cost) => cost.as_str(),
        }
    }

    /// Which way is better.
    pub fn goal(self) -> Goal {
        match self {
            Self::Metric(objective) => objective.goal,
            Self::Cost(_) => Goal::Minimize,
        }
    }
}
