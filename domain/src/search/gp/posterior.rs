//! The results' implications for every point of the space.

use super::fit::PIVOT_MIN;
use super::kernel::Kernel;
use crate::search::encode::Point;
use crate::search::linalg::{Triangle, dot};

/// A Gaussian process after its results, and after points with pending results: these reduce the variance and leave the
/// mean (T. Desautels, A. Krause and J. W. Burdick, "Parallelizing exploration-exploitation tradeoffs in Gaussian
/// process bandit optimization", JMLR 15 (2014), algorithm GP-BUCB). The pending results themselves do not matter for
/// that.
#[derive(Clone, Debug)]
pub(in crate::search) struct Posterior {
    kernel: Kernel,
    /// Points with a result, then pending ones.
    points: Vec<Point>,
    /// Cholesky's factor of their covariance.
    factor: Triangle,
    /// K⁻¹ y, for the points with a result.
    alpha: Vec<f64>,
}

/// The process's belief about one point.
#[derive(Clone, Debug)]
pub(in crate::search) struct Belief {
    /// Mean of the function there.
    pub(in crate::search) mean: f64,
    /// Its variance.
    pub(in crate::search) variance: f64,
    /// L⁻¹ k, with which the belief can include further pending points.
    solved: Vec<f64>,
}

impl Posterior {
    /// The process after these results.
    pub(in crate::search) fn new(kernel: Kernel, points: Vec<Point>, outputs: &[f64]) -> Self {
        let factor = Triangle::new(points.len(), |i, j| {
            let noise = if i == j { kernel.noise() } else { 0.0 };
            kernel.covariance(&points[i], &points[j]) + noise
        });
        let factor = factor.cholesky(PIVOT_MIN);
        let mut alpha = outputs.to_vec();
        factor.solve(&mut alpha);
        factor.solve_transposed(&mut alpha);
        Self {
            kernel,
            points,
            factor,
            alpha,
        }
    }

    /// Adds a point with a pending result.
    pub(in crate::search) fn note_pending(&mut self, point: &Point) {
        let belief = self.belief(point);
        let pivot = (belief.variance + self.kernel.noise()).max(PIVOT_MIN);
        self.factor.push(belief.solved.into_iter().chain([libm::sqrt(pivot)]));
        self.points.push(point.clone());
    }

    /// Only the mean at a point.
    pub(in crate::search) fn mean(&self, point: &[f64]) -> f64 {
        dot(&self.covariances(point)[..self.alpha.len()], &self.alpha)
    }

    fn covariances(&self, point: &[f64]) -> Vec<f64> {
        let points = self.points.iter();
        points.map(|known| self.kernel.covariance(known, point)).collect()
    }

    /// The belief about a point.
    pub(in crate::search) fn belief(&self, point: &[f64]) -> Belief {
        let mut solved = self.covariances(point);
        let mean = dot(&solved[..self.alpha.len()], &self.alpha);
        self.factor.solve(&mut solved);
        Belief {
            mean,
            variance: (self.kernel.signal() - dot(&solved, &solved)).max(0.0),
            solved,
        }
    }

    /// Updates an earlier belief with the points that have become pending since.
    pub(in crate::search) fn renew(&self, point: &[f64], belief: &mut Belief) {
        for row in belief.solved.len()..self.factor.len() {
            let numbers = self.factor.row(row);
            let covariance = self.kernel.covariance(&self.points[row], point);
            let solved = (covariance - dot(&numbers[..row], &belief.solved)) / numbers[row];
            belief.solved.push(solved);
            belief.variance = (belief.variance - solved * solved).max(0.0);
        }
    }
}
