//! Further objectives, in a study that has several.

use crate::metric::{Goal, Objective};
use trawl_dataset::words;

/// Most objectives of a study.
pub const OBJECTIVES_MAX: usize = 4;

words!(
    /// The cost of a trial. Less is better.
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
    /// A metric on the validation rows.
    Metric(Objective),
    /// A cost.
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

    /// The direction in which it is better.
    pub fn goal(self) -> Goal {
        match self {
            Self::Metric(objective) => objective.goal,
            Self::Cost(_) => Goal::Minimize,
        }
    }
}
