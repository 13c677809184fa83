//! Finds the kernel that explains the results best.

use super::kernel::{Kernel, Theta};
use crate::search::encode::{Encoding, Point};
use crate::search::linalg::{Triangle, dot};

/// Steps of the fit. A fixed number, so that each fit costs the same.
const STEPS: usize = 40;
/// First step along each hyperparameter, which are logarithms; its least and its largest size; and its factors after a
/// gradient that kept its sign, and one that changed it.
const STEP: f64 = 0.3;
const STEP_MIN: f64 = 1e-3;
const STEP_MAX: f64 = 1.0;
const STEP_GROWTH: f64 = 1.2;
const STEP_CUT: f64 = 0.5;
/// Least pivot of a covariance matrix.
pub(super) const PIVOT_MIN: f64 = 1e-10;

/// Prior of a hyperparameter: normal, for its logarithm. Values beyond `limits` are not tried.
#[derive(Clone, Copy, Debug)]
struct Prior {
    mean: f64,
    deviation: f64,
    limits: (f64, f64),
}

/// Signal variance: outputs have variance 1.
const SIGNAL: Prior = Prior {
    mean: 0.0,
    deviation: 0.5,
    limits: (-3.0, 3.0),
};
/// Noise variance: a few hundredths of the outputs'.
const NOISE: Prior = Prior {
    mean: -5.0,
    deviation: 1.5,
    limits: (-9.0, 1.0),
};

/// Length scales. The mean grows with the root of the number of axes, as distances do: C. Hvarfner, E. O. Hellsten and
/// L. Nardi, "Vanilla Bayesian optimization performs great in high dimensions" (2024), arXiv:2402.02229.
fn length(axes: usize) -> Prior {
    Prior {
        mean: -0.7 + 0.5 * libm::log(axes.max(1) as f64),
        deviation: 1.0,
        limits: (-4.0, 5.0),
    }
}

fn priors(axes: usize) -> Vec<Prior> {
    let mut priors = vec![length(axes); axes];
    priors.extend([SIGNAL, NOISE]);
    priors
}

/// The most probable hyperparameters after the results: the maximum of [`ln_posterior`] that iRprop⁻ finds from the
/// prior's means (C. Igel and M. Hüsken, "Improving the Rprop learning algorithm", 2000; for Gaussian processes M. Blum
/// and M. Riedmiller, "Optimization of Gaussian process hyperparameters using Rprop", 2013). It uses the signs of the
/// gradient and needs no line search.
pub(super) fn fit(encoding: &Encoding<'_>, points: &[&Point], outputs: &[f64]) -> Theta {
    let priors = priors(encoding.dimensions());
    let mut theta: Theta = priors.iter().map(|prior| prior.mean).collect();
    let mut best = (f64::NEG_INFINITY, theta.clone());
    let mut steps = vec![STEP; theta.len()];
    let mut last = vec![0.0; theta.len()];
    for _ in 0..STEPS {
        let (value, gradient) = ln_posterior(encoding, points, outputs, &theta);
        if value > best.0 {
            best = (value, theta.clone());
        }
        for (index, slope) in gradient.into_iter().enumerate() {
            let turn = slope * last[index];
            if turn > 0.0 {
                steps[index] = (steps[index] * STEP_GROWTH).min(STEP_MAX);
            } else if turn < 0.0 {
                steps[index] = (steps[index] * STEP_CUT).max(STEP_MIN);
            }
            // After a change of sign, the smaller step waits for the next gradient.
            last[index] = if turn < 0.0 { 0.0 } else { slope };
            let (low, high) = priors[index].limits;
            let way = if last[index] == 0.0 { 0.0 } else { last[index].signum() };
            theta[index] = (theta[index] + way * steps[index]).clamp(low, high);
        }
    }
    best.1
}

/// The logarithm of the probability of outputs and hyperparameters, up to a constant, and its gradient by the
/// hyperparameters. With K the covariance of the outputs and α = K⁻¹ y: -½ yᵀα - ½ ln |K| - n/2 ln 2π, whose derivative
/// is ½ tr((ααᵀ - K⁻¹) ∂K) (Rasmussen and Williams, equations 2.30 and 5.9), plus the priors'.
pub(in crate::search) fn ln_posterior(
    encoding: &Encoding<'_>,
    points: &[&Point],
    outputs: &[f64],
    theta: &Theta,
) -> (f64, Vec<f64>) {
    let (mut value, mut gradient) = ln_likelihood(encoding, points, outputs, theta);
    for (index, prior) in priors(encoding.dimensions()).iter().enumerate() {
        let off = (theta[index] - prior.mean) / prior.deviation;
        value -= 0.5 * off * off;
        gradient[index] -= off / prior.deviation;
    }
    (value, gradient)
}

/// The outputs' part of [`ln_posterior`].
pub(in crate::search) fn ln_likelihood(
    encoding: &Encoding<'_>,
    points: &[&Point],
    outputs: &[f64],
    theta: &Theta,
) -> (f64, Vec<f64>) {
    let (axes, len) = (encoding.dimensions(), points.len());
    let kernel = Kernel::new(encoding, theta);
    let covariance = Triangle::new(len, |i, j| {
        let noise = if i == j { kernel.noise() } else { 0.0 };
        kernel.covariance(points[i], points[j]) + noise
    });
    let factor = covariance.clone().cholesky(PIVOT_MIN);
    let mut alpha = outputs.to_vec();
    factor.solve(&mut alpha);
    let fit = dot(&alpha, &alpha);
    factor.solve_transposed(&mut alpha);
    let ln_determinant = (0..len).fold(0.0, |sum, row| sum + libm::log(factor.row(row)[row]));
    let constant = 0.5 * len as f64 * libm::log(2.0 * std::f64::consts::PI);
    let value = -0.5 * fit - ln_determinant - constant;

    let inverse = factor.inverse_of_product();
    let mut gradient = vec![0.0; axes + 2];
    for i in 0..len {
        for j in 0..i {
            // Both halves of the symmetric matrix.
            let scale = alpha[i] * alpha[j] - inverse.row(i)[j];
            kernel.add_length_gradient(points[i], points[j], scale, &mut gradient[..axes]);
            gradient[axes] += scale * covariance.row(i)[j];
        }
        let scale = 0.5 * (alpha[i] * alpha[i] - inverse.row(i)[i]);
        gradient[axes] += scale * kernel.signal();
        gradient[axes + 1] += scale * kernel.noise();
    }
    (value, gradient)
}
