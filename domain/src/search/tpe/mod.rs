//! A tree-structured Parzen estimator: one density of the good trials, one of the others; proposes points that are
//! likely under the first and unlikely under the second. J. Bergstra et al., "Algorithms for hyper-parameter
//! optimization" (2011); the settings are those that S. Watanabe, "Tree-structured Parzen estimator: understanding its
//! algorithm components and their roles for better empirical performance" (2023), arXiv:2304.11127, attributes to
//! Optuna, with kernels over all parameters at once.
//!
//! Pending trials count among the others, so that a proposal keeps away from earlier ones.
//!
//! Parameters that are active together have their own densities, made of the trials in which they are active: good
//! trials are chosen among these. Optuna calls that groups.

mod parzen;
#[cfg(test)]
mod tests;

use super::encode::{Encoding, Group, Point};
use super::seen::Seen;
use super::standing::{Observation, Observed};
use crate::seed::Stream;
use crate::space::Params;
use parzen::Parzen;

/// Candidates of a proposal.
const CANDIDATES: usize = 24;
/// The largest number of good trials.
const GOOD_MAX: usize = 25;
/// Most results in a density, the latest ones: the cost of a proposal is proportional to their number.
const OTHERS_MAX: usize = 2_000;

/// The densities after the results of a generation, which record that generation's proposals.
#[derive(Clone, Debug)]
pub(super) struct Tpe<'a> {
    encoding: &'a Encoding<'a>,
    groups: Vec<Densities<'a>>,
}

/// The densities of parameters that are active together.
#[derive(Clone, Debug)]
struct Densities<'a> {
    group: Group<'a>,
    good: Parzen,
    /// Points that are not good, in trial order: with a result, then pending.
    others: Vec<Point>,
}

impl<'a> Tpe<'a> {
    /// The densities after these results.
    pub(super) fn new(encoding: &'a Encoding<'a>, observed: &Observed) -> Self {
        let densities = |group| Densities::new(encoding, group, observed);
        Self {
            encoding,
            groups: encoding.groups().map(densities).collect(),
        }
    }

    /// The first candidate that can be proposed. Candidates are drawn from the densities of good trials and sorted by
    /// the difference of the two densities, the largest first, separately for each group.
    pub(super) fn propose(&self, seen: &Seen<'_>, stream: &mut Stream) -> Option<Params> {
        let candidates: Vec<Vec<Point>> = self.groups.iter().map(|group| group.candidates(stream)).collect();
        (0..CANDIDATES).find_map(|place| {
            let mut point = vec![0.0; self.encoding.dimensions()];
            for (densities, candidates) in self.groups.iter().zip(&candidates) {
                densities.group.put(self.encoding, &candidates[place], &mut point);
            }
            let params = self.encoding.params(&point);
            seen.admits(&params).then_some(params)
        })
    }

    /// Records a proposed point.
    pub(super) fn note_pending(&mut self, point: &[f64]) {
        for densities in &mut self.groups {
            densities.others.extend(densities.group.part(self.encoding, point));
        }
    }
}

impl<'a> Densities<'a> {
    fn new(encoding: &Encoding<'_>, group: Group<'a>, observed: &Observed) -> Self {
        let part = |result: &Observation| Some((result.place, group.part(encoding, &result.point)?));
        let results: Vec<(usize, Point)> = observed.results.iter().filter_map(part).collect();
        let mut places: Vec<usize> = results.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        let best = &places[..good_len(places.len())];
        let (good, others): (Vec<_>, Vec<_>) = results.into_iter().partition(|(place, _)| best.contains(place));
        let points = |results: Vec<(usize, Point)>| results.into_iter().map(|(_, point)| point).collect::<Vec<_>>();
        let mut others = points(others);
        // Pending trials are later than those with a result.
        others.extend(observed.pending.iter().filter_map(|point| group.part(encoding, point)));
        Self {
            good: Parzen::new(&group.encoding, &points(good)),
            group,
            others,
        }
    }

    /// Points drawn from the density of good trials, those with the largest difference of the two densities first.
    fn candidates(&self, stream: &mut Stream) -> Vec<Point> {
        let encoding = &self.group.encoding;
        let first = self.others.len().saturating_sub(OTHERS_MAX);
        let others = Parzen::new(encoding, &self.others[first..]);
        let scored = (0..CANDIDATES).map(|_| {
            let point = self.good.draw(encoding, stream);
            let score = self.good.ln_density(encoding, &point) - others.ln_density(encoding, &point);
            (score, point)
        });
        let mut scored: Vec<(f64, Point)> = scored.collect();
        // The sort is stable: among equals, the first drawn one wins.
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        scored.into_iter().map(|(_, point)| point).collect()
    }
}

/// Number of good results: a tenth, rounded up, and at most [`GOOD_MAX`].
fn good_len(results: usize) -> usize {
    results.div_ceil(10).min(GOOD_MAX)
}
