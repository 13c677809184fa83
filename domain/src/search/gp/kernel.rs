//! The similarity of two configurations.

use crate::search::encode::{Encoding, Kind};

/// A Gaussian process's assumptions about the function.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::search) struct Kernel {
    /// For each axis, one over the square of its length scale: a larger weight means a more important axis.
    weights: Vec<f64>,
    /// True for axes whose coordinate only identifies a value.
    is_choice: Vec<bool>,
    /// Variance of the function.
    signal: f64,
    /// Variance of a result's noise.
    noise: f64,
}

/// The hyperparameters of a [`Kernel`] as one vector: the logarithms of the length scales, of the signal variance and
/// of the noise variance.
pub(in crate::search) type Theta = Vec<f64>;

impl Kernel {
    /// The kernel with these hyperparameters.
    pub(in crate::search) fn new(encoding: &Encoding<'_>, theta: &Theta) -> Self {
        let axes = encoding.dimensions();
        Self {
            weights: theta[..axes].iter().map(|length| libm::exp(-2.0 * length)).collect(),
            // A group's activity is a choice of two values.
            is_choice: (0..axes)
                .map(|axis| {
                    let axis = encoding.axes.get(axis);
                    axis.is_none_or(|axis| matches!(axis.kind, Kind::Choice(_)))
                })
                .collect(),
            signal: libm::exp(theta[axes]),
            noise: libm::exp(theta[axes + 1]),
        }
    }

    /// Variance of the function.
    pub(in crate::search) fn signal(&self) -> f64 {
        self.signal
    }

    /// Variance of a result's noise.
    pub(in crate::search) fn noise(&self) -> f64 {
        self.noise
    }

    /// The covariance of the function at two points: Matérn's with ν = 5/2, s² (1 + √5 r + 5 r²/3) exp(-√5 r), where r²
    /// adds for each axis (difference / length scale)², and the difference of choices is 0 or 1 (Hamming's). Rasmussen
    /// and Williams, "Gaussian processes for machine learning" (2006), equation 4.17.
    pub(in crate::search) fn covariance(&self, a: &[f64], b: &[f64]) -> f64 {
        let distance = libm::sqrt(5.0 * self.distance_squared(a, b));
        self.signal * (1.0 + distance + distance * distance / 3.0) * libm::exp(-distance)
    }

    /// Adds to `sums` the derivative of the covariance by the logarithm of each length scale, times `scale`: with r as
    /// above it is s² (5/3) (1 + √5 r) exp(-√5 r) (difference / length scale)².
    pub(super) fn add_length_gradient(&self, a: &[f64], b: &[f64], scale: f64, sums: &mut [f64]) {
        let distance = libm::sqrt(5.0 * self.distance_squared(a, b));
        let common = scale * self.signal * (5.0 / 3.0) * (1.0 + distance) * libm::exp(-distance);
        for (axis, sum) in sums.iter_mut().enumerate() {
            *sum += common * self.weights[axis] * self.difference_squared(axis, a, b);
        }
    }

    fn distance_squared(&self, a: &[f64], b: &[f64]) -> f64 {
        let mut sum = 0.0;
        for (axis, weight) in self.weights.iter().enumerate() {
            sum += weight * self.difference_squared(axis, a, b);
        }
        sum
    }

    fn difference_squared(&self, axis: usize, a: &[f64], b: &[f64]) -> f64 {
        let difference = a[axis] - b[axis];
        if self.is_choice[axis] {
            f64::from(difference != 0.0)
        } else {
            difference * difference
        }
    }
}
