//! The process's prediction for one parameter at a time.

use std::collections::BTreeMap;

use super::{GP_RESULTS_MAX, Kernel, Posterior, fit, outputs};
use crate::normal;
use crate::search::encode::{Encoding, Kind, Point};
use crate::search::standing::{Observed, Past};
use crate::space::{ParamValue, Space};

/// Number of values for a range, or for a parameter with more values.
const VALUES_MAX: usize = 21;
/// Most results over which the other parameters are averaged.
const AVERAGED_MAX: usize = 100;

/// The average value of a trial, parameter by parameter: for some of the parameter's values in order, over the
/// configurations of completed trials with only this parameter changed (partial dependence, Friedman 2001). It is the
/// median of the process's prediction, in the unit of the rank keys. Empty for fewer than two completed trials.
///
/// `history` has completed trials of the space. Beyond [`GP_RESULTS_MAX`], an evenly spaced selection is used.
pub fn partial_dependence(space: &Space, history: &[Past]) -> BTreeMap<String, Vec<(ParamValue, f64)>> {
    let encoding = Encoding::new(space);
    let history: Vec<Past> = evenly(history, GP_RESULTS_MAX).cloned().collect();
    let mut keys: Vec<f64> = history.iter().filter_map(Past::key).collect();
    keys.sort_by(f64::total_cmp);
    let observed = Observed::new(&encoding, &history);
    if keys.len() < 2 || observed.len() != keys.len() {
        return BTreeMap::new();
    }
    let points: Vec<&Point> = observed.results.iter().map(|result| &result.point).collect();
    let outputs = outputs(&observed, &(0..observed.len()).collect::<Vec<_>>());
    let kernel = Kernel::new(&encoding, &fit::fit(&encoding, &points, &outputs));
    let posterior = Posterior::new(kernel, points.iter().map(|point| (*point).clone()).collect(), &outputs);
    let averaged: Vec<&Point> = evenly(&points, AVERAGED_MAX).copied().collect();
    let of_axis = |axis: usize| {
        let coordinates = coordinates(&encoding, axis);
        let at = |coordinate: f64| {
            let active = averaged.iter().filter(|point| encoding.is_active(axis, point));
            let changed = active.map(|point| {
                let mut point = (*point).clone();
                point[axis] = coordinate;
                encoding.settled(point)
            });
            let means: Vec<f64> = changed.map(|point| posterior.mean(&point)).collect();
            let mean = means.iter().sum::<f64>() / means.len() as f64;
            (!means.is_empty()).then(|| (encoding.value(axis, coordinate), key_of(&keys, mean)))
        };
        (
            encoding.name(axis).to_owned(),
            coordinates.into_iter().filter_map(at).collect(),
        )
    };
    (0..encoding.axes.len()).map(of_axis).collect()
}

/// At most `most` items, evenly spaced.
fn evenly<T>(items: &[T], most: usize) -> impl Iterator<Item = &T> {
    let taken = items.len().min(most);
    (0..taken).map(move |place| &items[place * items.len() / taken])
}

/// The coordinates to predict on an axis: every value, or evenly spaced ones.
fn coordinates(encoding: &Encoding<'_>, axis: usize) -> Vec<f64> {
    let evenly = || (0..VALUES_MAX).map(|place| (place as f64 + 0.5) / VALUES_MAX as f64);
    match encoding.axes[axis].kind {
        Kind::Choice(count) => (0..count).map(|index| index as f64).collect(),
        Kind::Real => evenly().collect(),
        Kind::Step => {
            let mut cells: Vec<f64> = evenly().map(|unit| encoding.axes[axis].at(unit)).collect();
            cells.dedup();
            cells
        }
    }
}

/// The key with this normal quantile among sorted keys, interpolated between two of them.
fn key_of(keys: &[f64], quantile: f64) -> f64 {
    let place = normal::distribution(quantile) * keys.len() as f64 - 0.5;
    let place = place.clamp(0.0, keys.len() as f64 - 1.0);
    let (below, above) = (libm::floor(place), libm::ceil(place));
    let (low, high) = (keys[below as usize], keys[above as usize]);
    low + (high - low) * (place - below)
}

#[cfg(test)]
mod tests {
    use super::partial_dependence;
    use crate::search::{Past, Sampler, Standing, propose};
    use crate::seed::Seed;
    use crate::space::{Distribution, ParamValue, Space};

    #[test]
    fn a_parameter_is_shown_as_it_acts() {
        let words = ["a", "b"].map(|word| ParamValue::Text(word.to_owned()));
        let space = Space::from(
            [
                ("rate", Distribution::LogUniform { low: 1e-4, high: 1.0 }),
                ("word", Distribution::Choice(words.into())),
                ("void", Distribution::Uniform { low: 0.0, high: 1.0 }),
            ]
            .map(|(name, distribution)| (name.to_owned(), distribution)),
        );
        // Best at a rate of 0.01, and better by one with b; the third parameter has no effect.
        let loss = |rate: f64, is_b: bool| (libm::log10(rate) + 2.0).powi(2) + f64::from(u8::from(!is_b));
        let history: Vec<Past> = (0..)
            .zip(propose(&Sampler::Random, Seed(1), &space, 0, 0, 80, &[]))
            .map(|(trial, params)| Past {
                trial,
                standing: Standing::Completed {
                    key: loss(
                        params["rate"].as_number().expect("a number"),
                        params["word"] == ParamValue::Text("b".to_owned()),
                    ),
                },
                params,
            })
            .collect();
        let shown = partial_dependence(&space, &history);
        let least = shown["rate"]
            .iter()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("21 values");
        let rate = least.0.as_number().expect("a number");
        assert!((0.004..0.025).contains(&rate), "{rate}");
        let [(_, a), (_, b)] = shown["word"][..] else {
            panic!("{shown:?}");
        };
        assert!((0.4..1.6).contains(&(a - b)), "{a} {b}");
        let width = |name: &str| {
            let values = shown[name].iter().map(|(_, value)| *value);
            values.clone().fold(f64::MIN, f64::max) - values.fold(f64::MAX, f64::min)
        };
        assert!(width("void") < 0.1 * width("rate"), "{shown:?}");
        assert!(partial_dependence(&space, &history[..1]).is_empty());
    }
}
