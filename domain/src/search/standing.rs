//! Which of the earlier trials are better.

use std::cmp::Ordering;

use super::encode::{Encoding, Point};
use crate::space::Params;

/// A trial that was proposed before.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Its number.
    pub trial: u32,
    /// Its configuration.
    pub params: Params,
    /// What came of it.
    pub standing: Standing,
}

/// What came of a trial. From best to worst: the completed, the pruned, the failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// All folds were trained for all epochs.
    Completed {
        /// By this, completed trials sort from best to worst.
        key: f64,
    },
    /// It was dropped before. A higher rung ranks before a lower one, and within a rung the key decides.
    Pruned {
        /// Where it was dropped, from 0.
        rung: u32,
        /// By this, trials that were dropped at this rung sort from best to worst.
        key: f64,
    },
    /// It diverged or failed: worse than any other.
    Failed,
    /// There is no result that the proposals may know.
    Pending,
}

impl Standing {
    /// From best to worst; trials without a result come last.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Completed { key }, Self::Completed { key: other }) => key.total_cmp(other),
            (
                Self::Pruned { rung, key },
                Self::Pruned {
                    rung: other_rung,
                    key: other,
                },
            ) => other_rung.cmp(rung).then(key.total_cmp(other)),
            _ => self.class().cmp(&other.class()),
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Completed { .. } => 0,
            Self::Pruned { .. } => 1,
            Self::Failed => 2,
            Self::Pending => 3,
        }
    }
}

/// The history as points.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observed {
    /// Trials with a result, in trial order.
    pub(super) results: Vec<Observation>,
    /// Trials without one, in trial order.
    pub(super) pending: Vec<Point>,
}

/// A trial with a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observation {
    /// Where it is in the space.
    pub(super) point: Point,
    /// Its place among all results, from 0 for the best. Of equals, the earlier trial is before the later one.
    pub(super) place: usize,
    /// The mean place of all that are as good as it is.
    pub(super) mean_place: f64,
}

impl Observed {
    /// The history, in any order, as points.
    pub(super) fn new(encoding: &Encoding<'_>, history: &[Past]) -> Self {
        let mut history: Vec<&Past> = history.iter().collect();
        history.sort_by_key(|past| past.trial);
        let (pending, known): (Vec<&Past>, Vec<&Past>) =
            history.into_iter().partition(|past| past.standing == Standing::Pending);
        let mut order: Vec<usize> = (0..known.len()).collect();
        // The sort is stable, and what it sorts is in trial order.
        order.sort_by(|a, b| known[*a].standing.compare(&known[*b].standing));
        let mut results: Vec<Observation> = known
            .iter()
            .map(|past| Observation {
                point: encoding.point(&past.params),
                place: 0,
                mean_place: 0.0,
            })
            .collect();
        let mut first = 0;
        for equals in order.chunk_by(|a, b| known[*a].standing.compare(&known[*b].standing).is_eq()) {
            let last = first + equals.len() - 1;
            for (place, index) in (first..).zip(equals) {
                results[*index].place = place;
                results[*index].mean_place = (first + last) as f64 / 2.0;
            }
            first = last + 1;
        }
        Self {
            results,
            pending: pending.into_iter().map(|past| encoding.point(&past.params)).collect(),
        }
    }

    /// How many results there are.
    pub(super) fn len(&self) -> usize {
        self.results.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Observed, Past, Standing};
    use crate::search::encode::Encoding;
    use crate::space::{Params, Space};

    #[test]
    fn completed_are_before_pruned_and_these_before_failed() {
        let standings = [
            Standing::Failed,
            Standing::Pruned { rung: 0, key: -9.0 },
            Standing::Completed { key: 2.0 },
            Standing::Pending,
            Standing::Pruned { rung: 1, key: 4.0 },
            Standing::Completed { key: 1.0 },
            Standing::Pruned { rung: 1, key: 3.0 },
            Standing::Failed,
        ];
        let past = |(trial, standing): (usize, &Standing)| Past {
            trial: trial as u32,
            params: Params::new(),
            standing: *standing,
        };
        // The order in which it comes does not matter.
        let history: Vec<Past> = standings.iter().enumerate().map(past).rev().collect();
        let space = Space::new();
        let observed = Observed::new(&Encoding::new(&space), &history);
        let places: Vec<usize> = observed.results.iter().map(|result| result.place).collect();
        assert_eq!(places, [5, 4, 1, 3, 0, 2, 6]);
        let means: Vec<f64> = observed.results.iter().map(|result| result.mean_place).collect();
        assert_eq!(means, [5.5, 4.0, 1.0, 3.0, 0.0, 2.0, 5.5]);
        assert_eq!(observed.pending.len(), 1);
    }
}
