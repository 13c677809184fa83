//! A Gaussian process: its mean shows promising points, its variance unknown ones.
//!
//! Results enter as ranks, mapped to quantiles of the normal distribution: so neither a diverging loss nor the last
//! bits of a loss move the model, and pruned trials rank after completed ones. The kernel is fitted once for each
//! generation. Within a generation, proposals follow one another; each counts as pending for the next, which then looks
//! elsewhere.

mod dependence;
mod fit;
mod kernel;
mod posterior;
#[cfg(test)]
mod tests;

pub use dependence::partial_dependence;

use super::GP_RESULTS_MAX;
use super::encode::{Encoding, Kind, Point};
use super::seen::Seen;
use super::standing::Observed;
use crate::normal;
use crate::seed::Stream;
use crate::space::{Configurations, Params};
use kernel::Kernel;
use posterior::{Belief, Posterior};

/// Largest finite space that is searched completely.
const LOOKED_THROUGH_MAX: u64 = 1_000;
/// Random candidates of a generation; and draws from which the allowed ones are taken.
const CANDIDATES: usize = 512;
const DRAWS_MAX: usize = 20 * CANDIDATES;
/// Candidates near each of the best trials, and the number of these trials.
const NEAR: usize = 32;
const NEAR_TRIALS: usize = 5;
/// Candidates of a proposal that are improved step by step; the most tries for each; and the sizes of the steps,
/// relative to an axis.
const CLIMBS: usize = 3;
const TRIES_MAX: usize = 300;
const STEPS: [f64; 4] = [0.1, 0.03, 0.01, 0.003];
/// Standard deviations by which a point may be better than its mean. Vizier's number, also chosen for batches (X. Song
/// et al., "The Vizier Gaussian process bandit algorithm", 2024, arXiv:2408.11527). Expected improvement does worse
/// here: where the mean alone promises an improvement, pending points reduce nothing, and a generation repeats itself.
const DEVIATIONS: f64 = 1.8;

/// The process after the results of a generation, which records that generation's proposals.
#[derive(Clone, Debug)]
pub(super) struct Gp<'a> {
    encoding: &'a Encoding<'a>,
    posterior: Posterior,
    candidates: Vec<(Point, Belief)>,
    /// True if the candidates are the whole space.
    is_complete: bool,
}

impl<'a> Gp<'a> {
    /// The process after at least one result. Candidates come from `stream`.
    pub(super) fn new(encoding: &'a Encoding<'a>, observed: &Observed, stream: &mut Stream) -> Self {
        let kept = kept(observed);
        let points: Vec<&Point> = kept.iter().map(|index| &observed.results[*index].point).collect();
        let outputs = outputs(observed, &kept);
        let kernel = Kernel::new(encoding, &fit::fit(encoding, &points, &outputs));
        let mut posterior = Posterior::new(kernel, points.iter().map(|point| (*point).clone()).collect(), &outputs);
        for point in &observed.pending {
            posterior.note_pending(point);
        }
        let all = Configurations::new(encoding.space).filter(|all| all.count() <= LOOKED_THROUGH_MAX);
        let candidates = match &all {
            Some(all) => (0..all.count())
                .filter_map(|index| all.nth(index))
                .map(|params| encoding.point(&params))
                .collect(),
            None => candidates(encoding, observed, stream),
        };
        let candidates = candidates.into_iter().map(|point| {
            let belief = posterior.belief(&point);
            (point, belief)
        });
        Self {
            encoding,
            candidates: candidates.collect(),
            is_complete: all.is_some(),
            posterior,
        }
    }

    /// The most promising configuration found that was not proposed before.
    pub(super) fn propose(&mut self, seen: &Seen<'_>) -> Option<Params> {
        let mut scores = Vec::with_capacity(self.candidates.len());
        for (point, belief) in &mut self.candidates {
            self.posterior.renew(point, belief);
            scores.push(promise(belief));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        // The sort is stable: among equals, the first drawn one wins.
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let mut found = Found {
            encoding: self.encoding,
            seen,
            best: None,
        };
        for index in &order {
            if found.offer(scores[*index], &self.candidates[*index].0) {
                break;
            }
        }
        if !self.is_complete {
            for index in order.iter().take(CLIMBS) {
                self.climb(self.candidates[*index].0.clone(), scores[*index], &mut found);
            }
        }
        found.best.map(|(_, params)| params)
    }

    /// Records a proposed point.
    pub(super) fn note_pending(&mut self, point: &Point) {
        self.posterior.note_pending(point);
    }

    /// Moves from a point to better ones, along one axis at a time, by smaller and smaller steps.
    fn climb(&self, mut point: Point, mut score: f64, found: &mut Found<'_>) {
        let mut tries = 0;
        for step in STEPS {
            let mut goes_on = true;
            while goes_on {
                goes_on = false;
                for axis in 0..self.encoding.axes.len() {
                    for coordinate in self.moves(axis, &point, step) {
                        if tries == TRIES_MAX {
                            return;
                        }
                        tries += 1;
                        let mut next = point.clone();
                        next[axis] = coordinate;
                        let next = self.encoding.settled(next);
                        let next_score = promise(&self.posterior.belief(&next));
                        // The path may pass points that were proposed before, so each visited point is offered.
                        found.offer(next_score, &next);
                        if next_score > score && self.encoding.allows(&next) {
                            (point, score) = (next, next_score);
                            goes_on = true;
                        }
                    }
                }
            }
        }
    }

    /// Other coordinates of an axis: a step away, or every other choice.
    fn moves(&self, axis: usize, point: &[f64], step: f64) -> Vec<f64> {
        if !self.encoding.is_active(axis, point) {
            return Vec::new();
        }
        let (axis, coordinate) = (&self.encoding.axes[axis], point[axis]);
        let last = 1.0_f64.next_down();
        let ends = [(coordinate - step).max(0.0), (coordinate + step).min(last)];
        match axis.kind {
            Kind::Choice(count) => (0..count)
                .map(|index| index as f64)
                .filter(|other| *other != coordinate)
                .collect(),
            Kind::Real => ends.into(),
            Kind::Step => {
                // A step within a cell leads to the next one.
                let next = axis.neighbours(coordinate);
                let ends = ends.map(|end| axis.at(end));
                let moves = ends.into_iter().zip(next);
                moves
                    .filter_map(|(end, next)| if end == coordinate { next } else { Some(end) })
                    .collect()
            }
        }
    }
}

/// The best point that was not proposed before.
struct Found<'a> {
    encoding: &'a Encoding<'a>,
    seen: &'a Seen<'a>,
    best: Option<(f64, Params)>,
}

impl Found<'_> {
    /// Takes a better point that was not proposed before; true if it was taken.
    fn offer(&mut self, score: f64, point: &[f64]) -> bool {
        if self.best.as_ref().is_some_and(|(best, _)| score <= *best) {
            return false;
        }
        let params = self.encoding.params(point);
        let is_new = self.seen.admits(&params);
        if is_new {
            self.best = Some((score, params));
        }
        is_new
    }
}

/// The lower confidence bound, negated: larger is more promising. Pending results have already reduced the variance
/// (GP-BUCB: see [`Posterior`]).
fn promise(belief: &Belief) -> f64 {
    DEVIATIONS * libm::sqrt(belief.variance) - belief.mean
}

/// The results to which the process is fitted, in trial order: all, or half the best and half the latest.
fn kept(observed: &Observed) -> Vec<usize> {
    let (count, half) = (observed.len(), GP_RESULTS_MAX / 2);
    let is_kept =
        |index: &usize| count <= GP_RESULTS_MAX || *index >= count - half || observed.results[*index].place < half;
    (0..count).filter(is_kept).collect()
}

/// The normal quantile of each result's rank; equal results have the same.
fn outputs(observed: &Observed, kept: &[usize]) -> Vec<f64> {
    let place = |index: &usize| observed.results[*index].mean_place;
    let mut places: Vec<f64> = kept.iter().map(place).collect();
    places.sort_by(f64::total_cmp);
    let rank = |index: &usize| {
        let first = places.partition_point(|other| *other < place(index));
        let end = places.partition_point(|other| *other <= place(index));
        (first + end) as f64 / 2.0
    };
    kept.iter()
        .map(|index| normal::quantile(rank(index) / kept.len() as f64))
        .collect()
}

/// Random points, and points near the best trials.
fn candidates(encoding: &Encoding<'_>, observed: &Observed, stream: &mut Stream) -> Vec<Point> {
    let mut candidates: Vec<Point> = Vec::with_capacity(CANDIDATES + NEAR * NEAR_TRIALS);
    for _ in 0..DRAWS_MAX {
        if candidates.len() == CANDIDATES {
            break;
        }
        let drawn: Point = encoding.axes.iter().map(|axis| axis.at(stream.unit())).collect();
        if encoding.allows(&drawn) {
            candidates.push(encoding.settled(drawn));
        }
    }
    let mut best: Vec<_> = observed
        .results
        .iter()
        .filter(|result| result.place < NEAR_TRIALS)
        .collect();
    best.sort_by_key(|result| result.place);
    // Two axes change on average: good configurations differ from each other in a few parameters.
    let share = 2.0 / encoding.axes.len().max(2) as f64;
    for result in best {
        for _ in 0..NEAR {
            let size = libm::exp2(-2.0 - 5.0 * stream.unit());
            let change = |(axis, coordinate): (&super::encode::Axis<'_>, &f64)| {
                let (chance, unit) = (stream.unit(), stream.unit());
                if chance >= share {
                    return *coordinate;
                }
                match axis.kind {
                    Kind::Choice(_) => axis.at(unit),
                    Kind::Real | Kind::Step => {
                        let moved = coordinate + size * normal::quantile(unit).clamp(-5.0, 5.0);
                        axis.at(moved.clamp(0.0, 1.0_f64.next_down()))
                    }
                }
            };
            let near: Point = encoding.axes.iter().zip(&result.point).map(change).collect();
            if encoding.allows(&near) {
                candidates.push(encoding.settled(near));
            }
        }
    }
    candidates
}
