//! A tree-structured Parzen estimator: one density of the good trials, one of the others; what is likely under the
//! first and unlikely under the second is proposed. J. Bergstra et al., "Algorithms for hyper-parameter optimization"
//! (2011); the settings are those that S. Watanabe, "Tree-structured Parzen estimator: understanding its algorithm
//! components and their roles for better empirical performance" (2023), arXiv:2304.11127, names as Optuna's, with
//! kernels over all parameters at once.
//!
//! Pending trials count as the others, so that a proposal keeps away from those before it.

mod parzen;
#[cfg(test)]
mod tests;

use super::encode::{Encoding, Point};
use super::seen::Seen;
use super::standing::Observed;
use crate::seed::Stream;
use crate::space::Params;
use parzen::Parzen;

/// Candidates of a proposal.
const CANDIDATES: usize = 24;
/// The largest number of good trials.
const GOOD_MAX: usize = 25;
/// Results that a density is made of at most, the latest: what a proposal costs is proportional to it.
const OTHERS_MAX: usize = 2_000;

/// The densities after the results of a generation, which take that generation's proposals.
#[derive(Clone, Debug)]
pub(super) struct Tpe<'a> {
    encoding: &'a Encoding<'a>,
    good: Parzen,
    /// Points that are not good, in trial order: of those with a result, and pending ones.
    others: Vec<Point>,
}

impl<'a> Tpe<'a> {
    /// After these results.
    pub(super) fn new(encoding: &'a Encoding<'a>, observed: &Observed) -> Self {
        let good_len = good_len(observed.len());
        let (good, others): (Vec<_>, Vec<_>) = observed.results.iter().partition(|result| result.place < good_len);
        let points = |results: Vec<&super::standing::Observation>| -> Vec<Point> {
            results.into_iter().map(|result| result.point.clone()).collect()
        };
        let mut others = points(others);
        // Pending trials are later than those with a result.
        others.extend(observed.pending.iter().cloned());
        Self {
            encoding,
            good: Parzen::new(encoding, &points(good)),
            others,
        }
    }

    /// Of the candidates drawn from the density of good trials that were not proposed before, the one by which the two
    /// densities differ most.
    pub(super) fn propose(&self, seen: &Seen<'_>, stream: &mut Stream) -> Option<Params> {
        let first = self.others.len().saturating_sub(OTHERS_MAX);
        let others = Parzen::new(self.encoding, &self.others[first..]);
        let mut best: Option<(f64, Params)> = None;
        for _ in 0..CANDIDATES {
            let point = self.good.draw(self.encoding, stream);
            let params = self.encoding.params(&point);
            if seen.has(&params) {
                continue;
            }
            let score = self.good.ln_density(self.encoding, &point) - others.ln_density(self.encoding, &point);
            if best.as_ref().is_none_or(|(best, _)| score > *best) {
                best = Some((score, params));
            }
        }
        best.map(|(_, params)| params)
    }

    /// Takes a point that was proposed.
    pub(super) fn note_pending(&mut self, point: Point) {
        self.others.push(point);
    }
}

/// How many of so many results are good: a tenth, rounded up, and at most [`GOOD_MAX`].
fn good_len(results: usize) -> usize {
    results.div_ceil(10).min(GOOD_MAX)
}
