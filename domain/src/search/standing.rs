//! The ranking of earlier trials.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::encode::{Encoding, Point};
use crate::pareto;
use crate::space::Params;

/// A trial that was proposed before.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Its number.
    pub trial: u32,
    /// Its configuration.
    pub params: Params,
    /// Its result.
    pub standing: Standing,
}

impl Past {
    /// Its rank key, if it completed.
    pub(super) fn key(&self) -> Option<f64> {
        match self.standing {
            Standing::Completed { key } => Some(key),
            _ => None,
        }
    }

    /// True for a trial of another study.
    pub fn is_prior(&self) -> bool {
        matches!(self.standing, Standing::Prior { .. })
    }
}

/// Ranks trials by several objectives instead of the first alone: by their [places](crate::pareto::places) among whole
/// trials, and among those dropped at the same rung. `further` has each trial's rank keys of the further objectives.
pub fn by_all_objectives(history: &mut [Past], further: &[Vec<f64>]) {
    let mut classes: BTreeMap<Option<u32>, Vec<(&mut f64, Vec<f64>)>> = BTreeMap::new();
    for (past, further) in history.iter_mut().zip(further) {
        if let Some((rung, key)) = past.standing.key_mut() {
            let point = std::iter::once(*key).chain(further.iter().copied()).collect();
            classes.entry(rung).or_default().push((key, point));
        }
    }
    for class in classes.into_values() {
        let (keys, points): (Vec<&mut f64>, Vec<Vec<f64>>) = class.into_iter().unzip();
        for (key, place) in keys.into_iter().zip(pareto::places(&points)) {
            *key = place as f64;
        }
    }
}

/// The result of a trial. From best to worst: completed, pruned, failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// All folds were trained for all epochs.
    Completed {
        /// Sorts completed trials from best to worst.
        key: f64,
    },
    /// It completed in another study, whose results count as this one's.
    Prior {
        /// Sorts it among completed trials.
        key: f64,
    },
    /// It was dropped before. A higher rung ranks before a lower one, and within a rung the key decides.
    Pruned {
        /// The rung at which it was dropped, from 0.
        rung: u32,
        /// Sorts trials dropped at this rung from best to worst.
        key: f64,
    },
    /// It diverged or failed: worse than any other.
    Failed,
    /// Proposals may not know a result.
    Pending,
}

impl Standing {
    /// The key and, of a pruned trial, the rung within which it sorts; `None` for a trial without a key.
    fn key_mut(&mut self) -> Option<(Option<u32>, &mut f64)> {
        match self {
            Self::Completed { key } | Self::Prior { key } => Some((None, key)),
            Self::Pruned { rung, key } => Some((Some(*rung), key)),
            Self::Failed | Self::Pending => None,
        }
    }

    /// From best to worst; trials without a result come last.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (
                Self::Completed { key } | Self::Prior { key },
                Self::Completed { key: other } | Self::Prior { key: other },
            ) => key.total_cmp(other),
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
            Self::Completed { .. } | Self::Prior { .. } => 0,
            Self::Pruned { .. } => 1,
            Self::Failed => 2,
            Self::Pending => 3,
        }
    }
}

/// The history as points.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observed {
    /// Trials with a result, in trial order, after those of other studies.
    pub(super) results: Vec<Observation>,
    /// Trials without a result, in trial order.
    pub(super) pending: Vec<Point>,
}

/// A trial with a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Observation {
    /// Its point in the space.
    pub(super) point: Point,
    /// Its place among all results, from 0 for the best. Among equals, the earlier trial comes first.
    pub(super) place: usize,
    /// The mean place of all results equal to it.
    pub(super) mean_place: f64,
}

impl Observed {
    /// The history, in any order, as points.
    pub(super) fn new(encoding: &Encoding<'_>, history: &[Past]) -> Self {
        let mut history: Vec<&Past> = history.iter().collect();
        history.sort_by_key(|past| (!past.is_prior(), past.trial));
        let (pending, known): (Vec<&Past>, Vec<&Past>) =
            history.into_iter().partition(|past| past.standing == Standing::Pending);
        let mut order: Vec<usize> = (0..known.len()).collect();
        // The sort is stable, and its input is in trial order.
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
    use super::{Observed, Past, Standing, by_all_objectives};
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
        // The order of the history does not matter.
        let history: Vec<Past> = standings.iter().enumerate().map(past).rev().collect();
        let space = Space::new();
        let observed = Observed::new(&Encoding::new(&space), &history);
        let places: Vec<usize> = observed.results.iter().map(|result| result.place).collect();
        assert_eq!(places, [5, 4, 1, 3, 0, 2, 6]);
        let means: Vec<f64> = observed.results.iter().map(|result| result.mean_place).collect();
        assert_eq!(means, [5.5, 4.0, 1.0, 3.0, 0.0, 2.0, 5.5]);
        assert_eq!(observed.pending.len(), 1);
    }

    #[test]
    fn several_objectives_give_places_within_each_class() {
        let standings = [
            Standing::Completed { key: 1.0 },
            Standing::Pruned { rung: 0, key: 0.5 },
            Standing::Completed { key: 2.0 },
            Standing::Failed,
            Standing::Prior { key: 3.0 },
            Standing::Pruned { rung: 0, key: 0.4 },
            Standing::Completed { key: 4.0 },
        ];
        let past = |(trial, standing): (u32, &Standing)| Past {
            trial,
            params: Params::new(),
            standing: *standing,
        };
        let mut history: Vec<Past> = (0..).zip(&standings).map(past).collect();
        // Nothing dominates the first completed one, the second and the prior one; the last one is dominated.
        let further = [9.0, 1.0, 8.0, f64::NAN, 7.0, 2.0, 8.5].map(|further| vec![further]);
        by_all_objectives(&mut history, &further);
        let standings: Vec<Standing> = history.iter().map(|past| past.standing).collect();
        assert_eq!(
            standings,
            [
                Standing::Completed { key: 0.0 },
                Standing::Pruned { rung: 0, key: 0.0 },
                Standing::Completed { key: 2.0 },
                Standing::Failed,
                Standing::Prior { key: 1.0 },
                Standing::Pruned { rung: 0, key: 1.0 },
                Standing::Completed { key: 3.0 },
            ]
        );
    }
}
