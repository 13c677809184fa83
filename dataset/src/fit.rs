//! Statistics fitted on the training rows of a fold, with which all its rows are prepared: validation rows do not influence them.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::columns::{Missing, Scale};
use super::inputs::{InputRule, Inputs};
use super::{Features, SampleShape};
use crate::limits::{QUANTILE_COLUMNS_MAX, QUANTILES_MAX};

/// Fitted statistics of each input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedInputs(pub Vec<FittedInput>);

/// An input x becomes (y - shift) · factor, where y is x, or `fill` if there is no value; with `log`, ln(1 + y) replaces y.
///
/// With `quantiles` q₀ … qₘ₋₁, y is first replaced. Its place among them is j for y = qⱼ, the middle of equal ones, and in
/// proportion between two. The place / (m - 1) is a share, 0 at and below the first quantile and otherwise 1 at and above the
/// last. The standard normal quantile of this share, at most [`QUANTILE_REACH`] from 0, replaces y.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedInput {
    /// Replacement for a missing value.
    pub fill: f32,
    /// True if the logarithm is taken.
    pub log: bool,
    /// Subtracted from the value.
    pub shift: f32,
    /// Multiplies the difference.
    pub factor: f32,
    /// Quantiles of the training rows at equal shares from the lowest to the highest number, at least 2; empty if x does not use them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f64>,
}

/// Distance from 0 of the lowest and the highest quantile's image: a normal distribution has 1e-7 beyond it, as in scikit-learn.
pub const QUANTILE_REACH: f64 = 5.199_337_582_6;

/// Networks learn a target y as (y - mean) / deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedTarget {
    /// Mean of the training rows.
    pub mean: f32,
    /// Standard deviation, with divisor n; 1 if all targets are equal.
    pub deviation: f32,
}

/// Statistics fitted on training rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FittedTable {
    /// For its inputs; `None` without preparation.
    pub inputs: Option<FittedInputs>,
    /// For each of its targets; `None` where they are learned as they are.
    pub targets: Option<Vec<FittedTarget>>,
    /// The inputs of each column of words, which an embedding needs. They follow from the columns.
    pub words: Vec<Range<usize>>,
}

impl FittedTarget {
    /// Fits the targets of some rows, `width` each. All sums are of doubles, in the order of the rows.
    pub fn fit(targets: &[f32], width: usize, rows: &[u32]) -> Vec<Self> {
        let of = |target: usize| {
            let values = rows
                .iter()
                .map(|row| f64::from(targets[*row as usize * width + target]));
            let FittedInput { shift, factor, .. } = number(Scale::Standardize, Missing::Refused, values);
            Self {
                mean: shift,
                deviation: 1.0 / factor,
            }
        };
        (0..width).map(of).collect()
    }
}

impl FittedInput {
    /// An input without preparation.
    const PLAIN: Self = Self {
        fill: 0.0,
        log: false,
        shift: 0.0,
        factor: 1.0,
        quantiles: Vec::new(),
    };
}

impl FittedInputs {
    /// Inputs with quantiles: their places, and their numbers of quantiles.
    pub fn quantiles(&self) -> Vec<(usize, usize)> {
        let lens = self.0.iter().map(|input| input.quantiles.len()).enumerate();
        lens.filter(|(_, len)| *len > 0).collect()
    }

    /// True if [`Inputs::fit`] could have found these quantiles: finite, ascending, and equally many for each input with any.
    pub fn is_sound(&self) -> bool {
        let with: Vec<&[f64]> = self
            .0
            .iter()
            .map(|input| input.quantiles.as_slice())
            .filter(|of| !of.is_empty())
            .collect();
        let len = with.first().map_or(2, |first| first.len());
        let is_sound = |of: &&[f64]| of.len() == len && of.iter().all(|value| value.is_finite()) && of.is_sorted();
        with.len() <= QUANTILE_COLUMNS_MAX && (2..=QUANTILES_MAX).contains(&len) && with.iter().all(is_sound)
    }
}

impl Inputs {
    /// Fits the inputs on some rows of this shape, in which NaN means no value; `None` without preparation. If rows have more
    /// numbers than inputs, as images do, each input has an equal run of them. All sums are of doubles, in the order of the rows.
    pub fn fit(&self, features: &Features, shape: SampleShape, rows: &[u32]) -> Option<FittedInputs> {
        if self.is_plain() {
            return None;
        }
        let rules = self.rules();
        let row_len = shape.len() as usize;
        let len = row_len / rules.len().max(1);
        let fitted = rules.iter().enumerate().map(|(input, rule)| {
            let of_row = |row: &u32| {
                let begin = *row as usize * row_len + input * len;
                (begin..begin + len).map(move |place| f64::from(features.at(place)))
            };
            let values = rows.iter().flat_map(of_row);
            match rule {
                InputRule::Flag => FittedInput {
                    factor: f32::from(u8::from(values.clone().any(|value| value > 0.0))),
                    ..FittedInput::PLAIN
                },
                InputRule::Number(scale, missing) => number(*scale, *missing, values),
            }
        });
        Some(FittedInputs(fitted.collect()))
    }
}

/// Iterates over all values several times: an image's are too many to keep.
fn number(scale: Scale, missing: Missing, values: impl Iterator<Item = f64> + Clone) -> FittedInput {
    let fill = fill(missing, values.clone()) as f32;
    let values = values.map(|value| match (value.is_nan(), scale) {
        (true, Scale::Log1p) => libm::log1p(f64::from(fill)),
        (true, _) => f64::from(fill),
        (false, Scale::Log1p) => libm::log1p(value),
        (false, _) => value,
    });
    let n = values.clone().count() as f64;
    let (shift, spread) = match scale {
        Scale::Quantile => {
            return FittedInput {
                fill,
                quantiles: quantiles(values.collect()),
                ..FittedInput::PLAIN
            };
        }
        Scale::None => (0.0, 1.0),
        Scale::Standardize | Scale::Log1p => {
            let mean = values.clone().sum::<f64>() / n;
            let variance = values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
            (mean, libm::sqrt(variance))
        }
        Scale::MinMax => {
            let low = values.clone().fold(f64::INFINITY, f64::min);
            let high = values.fold(f64::NEG_INFINITY, f64::max);
            (low, high - low)
        }
    };
    // Equal training values are only shifted, as by scikit-learn.
    let factor = (1.0 / spread) as f32;
    let is_constant = spread <= f64::EPSILON * shift.abs() || !factor.is_finite();
    FittedInput {
        fill,
        log: scale == Scale::Log1p,
        shift: shift as f32,
        factor: if is_constant { 1.0 } else { factor },
        quantiles: Vec::new(),
    }
}

/// Quantiles at equal shares, interpolated as by `numpy.percentile`; at most one for each value.
fn quantiles(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    let steps = values.len().clamp(2, QUANTILES_MAX) - 1;
    let last = values.len().saturating_sub(1);
    let quantile = |step: usize| {
        // Integers, so that a quantile at a value equals it exactly.
        let (place, rest) = (step * last / steps, step * last % steps);
        let (low, high) = (values[place], values[(place + 1).min(last)]);
        let share = rest as f64 / steps as f64;
        if share < 0.5 {
            low + (high - low) * share
        } else {
            high - (high - low) * (1.0 - share)
        }
    };
    (0..=steps).map(quantile).collect()
}

/// The replacement for missing values; 0 if no training row has a value.
fn fill(missing: Missing, values: impl Iterator<Item = f64>) -> f64 {
    let present = values.filter(|value| !value.is_nan());
    match missing {
        Missing::Value(value) => f64::from(value),
        Missing::Refused | Missing::Dropped => 0.0,
        Missing::Mean => {
            let (n, sum) = present.fold((0_u32, 0.0), |(n, sum), value| (n + 1, sum + value));
            sum / f64::from(n.max(1))
        }
        Missing::Median => {
            let mut present: Vec<f64> = present.collect();
            present.sort_by(f64::total_cmp);
            match present.len() {
                0 => 0.0,
                n => (present[(n - 1) / 2] + present[n / 2]) / 2.0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inputs::{Cells, InputColumn};
    use super::*;

    fn inputs(scale: Scale, missing: Missing, indicator: bool) -> Inputs {
        Inputs(vec![InputColumn {
            name: "x".to_owned(),
            cells: Cells::Number { scale, missing },
            indicator,
        }])
    }

    fn fitted(scale: Scale, missing: Missing, values: &[f32], rows: &[u32]) -> FittedInput {
        let features = Features::Floats(values.to_vec());
        inputs(scale, missing, false)
            .fit(&features, SampleShape::Vector(1), rows)
            .expect("something to fit")
            .0
            .swap_remove(0)
    }

    #[test]
    fn only_the_rows_that_train_have_a_part() {
        for scale in [Scale::Standardize, Scale::MinMax, Scale::Quantile, Scale::Log1p] {
            let of = |last: f32| fitted(scale, Missing::Mean, &[1.0, 2.0, 4.0, f32::NAN, last], &[0, 1, 2, 3]);
            assert_eq!(of(1e9), of(-0.5), "{scale}");
        }
    }

    #[test]
    fn a_scale_is_as_scikit_learn_has_it() {
        let values = [1.0, 2.0, 4.0, 9.0];
        let all = [0, 1, 2, 3];
        let standard = fitted(Scale::Standardize, Missing::Refused, &values, &all);
        // numpy.std([1, 2, 4, 9]) = 3.082207001484488
        assert_eq!(
            (standard.shift, standard.factor),
            (4.0, (1.0 / 3.082_207_001_484_488_f64) as f32)
        );
        let min_max = fitted(Scale::MinMax, Missing::Refused, &values, &all);
        assert_eq!((min_max.shift, min_max.factor), (1.0, 0.125));
        let constant = fitted(Scale::Standardize, Missing::Refused, &[0.1; 4], &all);
        assert_eq!((constant.shift, constant.factor), (0.1, 1.0));
    }

    #[test]
    fn quantiles_are_those_of_the_rows() {
        let of = |values: &[f32]| {
            let rows: Vec<u32> = (0..values.len() as u32).collect();
            let fitted = FittedInputs(vec![fitted(Scale::Quantile, Missing::Median, values, &rows)]);
            assert!(fitted.is_sound(), "{fitted:?}");
            fitted.0[0].quantiles.clone()
        };
        assert_eq!(of(&[9.0, 1.0, f32::NAN, 4.0, 2.0]), [1.0, 2.0, 3.0, 4.0, 9.0]);
        assert_eq!(of(&[7.0]), [7.0, 7.0]);
        let many: Vec<f32> = (0..1_021_u16).rev().map(f32::from).collect();
        let found = of(&many);
        assert_eq!(
            (found.len(), found[0], found[1], found[255]),
            (QUANTILES_MAX, 0.0, 4.0, 1_020.0)
        );
        for wrong in [
            vec![1.0],
            vec![2.0, 1.0],
            vec![0.0, f64::NAN],
            vec![0.0; QUANTILES_MAX + 1],
        ] {
            let input = FittedInput {
                quantiles: wrong,
                ..FittedInput::PLAIN
            };
            assert!(!FittedInputs(vec![input]).is_sound());
        }
    }

    #[test]
    fn gaps_are_filled_before_anything_else_is_fitted() {
        let values = [1.0, f32::NAN, 4.0, 10.0];
        let of = |missing| fitted(Scale::Standardize, missing, &values, &[0, 1, 2, 3]);
        assert_eq!((of(Missing::Mean).fill, of(Missing::Mean).shift), (5.0, 5.0));
        assert_eq!((of(Missing::Median).fill, of(Missing::Median).shift), (4.0, 4.75));
        assert_eq!(of(Missing::Value(-3.0)).shift, 3.0);
        let plain = fitted(Scale::None, Missing::Mean, &values, &[0, 1, 2, 3]);
        assert_eq!((plain.fill, plain.shift, plain.factor), (5.0, 0.0, 1.0));
        let nothing = fitted(Scale::Standardize, Missing::Mean, &values, &[1]);
        assert_eq!((nothing.fill, nothing.shift, nothing.factor), (0.0, 0.0, 1.0));
    }

    #[test]
    fn what_no_training_row_has_goes_in_as_nothing() {
        let inputs = inputs(Scale::None, Missing::Mean, true);
        let table = Features::Floats(vec![1.0, 0.0, f32::NAN, 1.0, 2.0, 0.0]);
        let shape = SampleShape::Vector(2);
        let factor = |rows: &[u32]| inputs.fit(&table, shape, rows).expect("fitted").0[1].factor;
        assert_eq!((factor(&[0, 2]), factor(&[0, 1])), (0.0, 1.0));
    }

    #[test]
    fn a_target_is_fitted_on_the_rows_that_train() {
        let target = FittedTarget::fit(&[1.0, 2.0, 4.0, 9.0, 1e9], 1, &[0, 1, 2, 3])[0];
        assert_eq!(target.mean, 4.0);
        assert!((f64::from(target.deviation) - 3.082_207_001_484_488).abs() < 1e-6);
        let alike = FittedTarget::fit(&[3.0; 8], 2, &[0, 1, 2, 3])[1];
        assert_eq!((alike.mean, alike.deviation), (3.0, 1.0));
    }

    #[test]
    fn rows_without_gaps_and_scales_go_in_as_they_are() {
        let row = Features::Floats(vec![1.0]);
        let plain = inputs(Scale::None, Missing::Refused, false);
        assert_eq!(plain.fit(&row, SampleShape::Vector(1), &[0]), None);
    }
}
