//! A density made of kernels: one around each of some points, and one as wide as the space.

use crate::normal;
use crate::search::encode::{Axis, Encoding, Kind, Point};
use crate::seed::Stream;

/// Latest points with full weight; older ones weigh less with age.
const WHOLE_WEIGHTS: usize = 25;
/// One over this is the least width of a kernel, relative to its axis, however many kernels there are.
const NARROWEST: f64 = 100.0;

/// A mixture of products: each kernel has a factor for each axis.
#[derive(Clone, Debug)]
pub(in crate::search) struct Parzen {
    /// Weights of the kernels, the prior's last; they sum to 1.
    weights: Vec<f64>,
    /// The factors of each axis.
    factors: Vec<Factors>,
}

/// The factors of one axis, one for each kernel.
#[derive(Clone, Debug)]
pub(super) enum Factors {
    /// Normal distributions on [0, 1].
    Normal {
        centres: Vec<f64>,
        widths: Vec<f64>,
        /// Share of each normal distribution that is in [0, 1].
        shares: Vec<f64>,
    },
    /// One value of a choice is more likely than the others.
    Choice {
        /// The number of that value; the prior's kernel has none.
        likely: Vec<Option<u64>>,
        /// Probabilities of that value, and of each other one.
        of_likely: f64,
        of_other: f64,
        /// Number of values.
        count: u64,
    },
}

impl Parzen {
    /// A density around these points, which are in trial order. A kernel's width along an axis is the distance to the
    /// farther of its neighbours. An outermost point has only one neighbour; a single point uses the farther end of the
    /// axis. The width is at least 1 / min(100, points + 2) and at most 1 of the axis.
    pub(in crate::search) fn new(encoding: &Encoding<'_>, points: &[Point]) -> Self {
        let mut weights = weights(points.len());
        weights.push(1.0);
        let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let axes = encoding.axes.iter().enumerate();
        let factors = axes.map(|(index, axis)| {
            let coordinates: Vec<f64> = points.iter().map(|point| point[index]).collect();
            match axis.kind {
                Kind::Choice(count) => choice_factors(&coordinates, count),
                Kind::Step | Kind::Real => normal_factors(coordinates),
            }
        });
        Self {
            factors: factors.collect(),
            weights,
        }
    }

    /// The logarithm of the density at a point; for steps and choices, of the probability.
    pub(in crate::search) fn ln_density(&self, encoding: &Encoding<'_>, point: &[f64]) -> f64 {
        let mut terms: Vec<f64> = self.weights.iter().map(|weight| libm::log(*weight)).collect();
        for ((axis, factors), coordinate) in encoding.axes.iter().zip(&self.factors).zip(point) {
            factors.add_ln_densities(axis, *coordinate, &mut terms);
        }
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum = terms.iter().fold(0.0, |sum, term| sum + libm::exp(term - largest));
        largest + libm::log(sum)
    }

    /// A point of this density.
    pub(in crate::search) fn draw(&self, encoding: &Encoding<'_>, stream: &mut Stream) -> Point {
        let mut left = stream.unit();
        let kernel = self.weights.iter().position(|weight| {
            left -= weight;
            left < 0.0
        });
        // The weights may sum to slightly less than 1.
        let kernel = kernel.unwrap_or(self.weights.len() - 1);
        let axes = encoding.axes.iter().zip(&self.factors);
        axes.map(|(axis, factors)| factors.draw(axis, kernel, stream.unit()))
            .collect()
    }
}

impl Factors {
    /// Normal distributions of these means and deviations, cut to [0, 1].
    pub(super) fn normal(centres: Vec<f64>, widths: Vec<f64>) -> Self {
        let kernels = centres.iter().zip(&widths);
        let shares = kernels.map(|(centre, width)| normal::interval(-centre / width, (1.0 - centre) / width));
        Self::Normal {
            shares: shares.collect(),
            centres,
            widths,
        }
    }

    /// Adds to each kernel's term the logarithm of its density at a coordinate.
    fn add_ln_densities(&self, axis: &Axis<'_>, coordinate: f64, terms: &mut [f64]) {
        match self {
            Self::Normal {
                centres,
                widths,
                shares,
            } => {
                let cell = (axis.kind == Kind::Step).then(|| axis.cell(coordinate));
                for (kernel, term) in terms.iter_mut().enumerate() {
                    let (centre, width) = (centres[kernel], widths[kernel]);
                    *term += match cell {
                        Some((from, to)) => {
                            libm::log(normal::interval((from - centre) / width, (to - centre) / width) / shares[kernel])
                        }
                        None => normal::ln_density((coordinate - centre) / width) - libm::log(width * shares[kernel]),
                    };
                }
            }
            Self::Choice {
                likely,
                of_likely,
                of_other,
                count,
            } => {
                let (ln_likely, ln_other) = (libm::log(*of_likely), libm::log(*of_other));
                let ln_any = -libm::log(*count as f64);
                for (likely, term) in likely.iter().zip(terms) {
                    *term += match likely {
                        None => ln_any,
                        Some(likely) if *likely as f64 == coordinate => ln_likely,
                        Some(_) => ln_other,
                    };
                }
            }
        }
    }

    /// The coordinate of a kernel's factor at the quantile `unit`.
    pub(super) fn draw(&self, axis: &Axis<'_>, kernel: usize, unit: f64) -> f64 {
        match self {
            Self::Normal {
                centres,
                widths,
                shares,
            } => {
                let (centre, width) = (centres[kernel], widths[kernel]);
                let below = normal::distribution(-centre / width);
                let drawn = centre + width * normal::quantile(below + unit * shares[kernel]);
                axis.at(drawn.clamp(0.0, 1.0_f64.next_down()))
            }
            Self::Choice {
                likely,
                of_likely,
                of_other,
                count,
            } => {
                let any = || (unit * *count as f64).min(*count as f64 - 1.0);
                let drawn = match likely[kernel] {
                    None => any(),
                    Some(likely) if unit < *of_likely => likely as f64,
                    Some(likely) => {
                        let other = ((unit - of_likely) / of_other).min(*count as f64 - 2.0).max(0.0);
                        // The other values, without the likely one.
                        if other < likely as f64 { other } else { other + 1.0 }
                    }
                };
                libm::floor(drawn)
            }
        }
    }
}

/// Weights of points by age: 1 for the last 25, and before these in equal steps from 1/n up to 1.
pub(super) fn weights(points: usize) -> Vec<f64> {
    let ramp = points.saturating_sub(WHOLE_WEIGHTS);
    let first = 1.0 / points as f64;
    (0..points)
        .map(|index| match index {
            _ if index >= ramp => 1.0,
            0 => first,
            _ => first + (1.0 - first) * index as f64 / (ramp - 1) as f64,
        })
        .collect()
}

/// Kernels around coordinates, and the prior's kernel, as wide as the axis, around its middle.
pub(super) fn normal_factors(coordinates: Vec<f64>) -> Factors {
    let kernels = coordinates.len() + 1;
    let narrowest = 1.0 / (kernels as f64 + 1.0).min(NARROWEST);
    let mut order: Vec<usize> = (0..coordinates.len()).collect();
    order.sort_by(|a, b| coordinates[*a].total_cmp(&coordinates[*b]));
    let mut widths = vec![1.0; kernels];
    for (position, index) in order.iter().enumerate() {
        let coordinate = coordinates[*index];
        let before = position
            .checked_sub(1)
            .map(|before| coordinate - coordinates[order[before]]);
        let after = order.get(position + 1).map(|after| coordinates[*after] - coordinate);
        let width = match (before, after) {
            (Some(before), Some(after)) => before.max(after),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => coordinate.max(1.0 - coordinate),
        };
        widths[*index] = width.clamp(narrowest, 1.0);
    }
    let mut centres = coordinates;
    centres.push(0.5);
    Factors::normal(centres, widths)
}

/// Kernels around values: a prior of weight 1 over all kernels adds equally to each value. The prior's kernel has equal
/// values.
fn choice_factors(coordinates: &[f64], count: u64) -> Factors {
    let added = 1.0 / (coordinates.len() + 1) as f64;
    let sum = 1.0 + count as f64 * added;
    let likely = coordinates.iter().map(|coordinate| Some(*coordinate as u64));
    Factors::Choice {
        likely: likely.chain([None]).collect(),
        of_likely: (1.0 + added) / sum,
        of_other: added / sum,
        count,
    }
}
