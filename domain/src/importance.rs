//! Importance of parameters: PED-ANOVA (Watanabe, Bansal and Hutter, "PED-ANOVA: efficiently quantifying hyperparameter importance in
//! arbitrary subspaces", 2023).
//!
//! A parameter is important if its values among the best tenth of trials are distributed differently than among all: measured by the
//! Pearson divergence of two density estimates, for each parameter alone. So it shows where good trials are, but no interactions. Samplers
//! that learn concentrate on good regions, so their trials are no fair sample of the space: their importances are lower.

use std::collections::BTreeMap;

use crate::space::{Distribution, ParamValue, Params, Space, last, log_share};

/// One in this many trials is among the best.
const BEST_ONE_IN: usize = 10;
/// Least number of trials for an importance.
pub const TRIALS_MIN: usize = 10;
/// Below this number of trials, an importance rests on fewer than five good ones.
pub const TRIALS_FEW: u32 = 5 * BEST_ONE_IN as u32;
/// Cells into which a range is cut.
const CELLS: usize = 100;

/// A trial that was measured like all others: whole trials, or all at the same rung.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Number.
    pub trial: u32,
    /// Its configuration. Parameters that it lacks are ignored.
    pub params: Params,
    /// Ascending from best to worst.
    pub key: f64,
}

/// Each parameter's share of all importance: the sum is 1, or all are 0 if none separates good trials from others.
/// `None` for fewer than [`TRIALS_MIN`] trials.
pub fn importance(space: &Space, trials: &[Measured]) -> Option<BTreeMap<String, f64>> {
    if trials.len() < TRIALS_MIN {
        return None;
    }
    let mut ranked: Vec<&Measured> = trials.iter().collect();
    ranked.sort_by(|a, b| a.key.total_cmp(&b.key).then(a.trial.cmp(&b.trial)));
    let best = ranked.len().div_ceil(BEST_ONE_IN);
    let mut found: BTreeMap<String, f64> = space
        .iter()
        .map(|(name, distribution)| (name.clone(), divergence(name, distribution, &ranked, best)))
        .collect();
    let total: f64 = found.values().sum();
    if total > 0.0 {
        found.values_mut().for_each(|share| *share /= total);
    }
    Some(found)
}

/// The divergence between a parameter's values in the first `best` trials and in all.
fn divergence(name: &str, distribution: &Distribution, ranked: &[&Measured], best: usize) -> f64 {
    if distribution.cardinality() == Some(1) {
        return 0.0;
    }
    let estimate = |trials: &[&Measured]| {
        let values: Vec<&ParamValue> = trials.iter().filter_map(|trial| trial.params.get(name)).collect();
        (!values.is_empty()).then(|| density(distribution, &values))
    };
    let (Some(of_best), Some(of_all)) = (estimate(&ranked[..best]), estimate(ranked)) else {
        return 0.0;
    };
    let cells = of_best.iter().zip(&of_all);
    cells.map(|(best, all)| (best - all) * (best - all) / all).sum()
}

/// A density estimate of these values: the share of each cell. One additional, evenly spread value keeps all above 0.
fn density(distribution: &Distribution, values: &[&ParamValue]) -> Vec<f64> {
    let mut shares = match distribution {
        Distribution::Choice(choices) => {
            let mut counts = vec![1.0 / choices.len() as f64; choices.len()];
            let known = values.iter().filter_map(|value| distribution.index(value));
            known.for_each(|index| counts[index as usize] += 1.0);
            counts
        }
        _ => kernels(distribution, values),
    };
    let total: f64 = shares.iter().sum();
    shares.iter_mut().for_each(|share| *share /= total);
    shares
}

/// A normal kernel around each value, cut at the ends of the range, with the width of Scott's rule.
fn kernels(distribution: &Distribution, values: &[&ParamValue]) -> Vec<f64> {
    let cells = match distribution {
        Distribution::Ordered(_) | Distribution::UniformSteps { .. } | Distribution::IntUniform { .. } => distribution
            .cardinality()
            .map_or(CELLS, |count| (count as usize).min(CELLS)),
        _ => CELLS,
    };
    let mut coordinates: Vec<f64> = values
        .iter()
        .filter_map(|value| coordinate(distribution, value))
        .collect();
    // A fixed order of summation, independent of the trials' order.
    coordinates.sort_by(f64::total_cmp);
    let width = kernel_width(&coordinates).max(0.5 / cells as f64);
    let mut shares = vec![1.0 / cells as f64; cells];
    for centre in &coordinates {
        let below = |edge: f64| 0.5 * libm::erfc((centre - edge) / (width * std::f64::consts::SQRT_2));
        let (start, inside) = (below(0.0), below(1.0) - below(0.0));
        let mut before = start;
        for (cell, share) in shares.iter_mut().enumerate() {
            let end = below((cell + 1) as f64 / cells as f64);
            *share += (end - before) / inside;
            before = end;
        }
    }
    shares
}

fn kernel_width(ascending: &[f64]) -> f64 {
    let n = ascending.len() as f64;
    let mean = ascending.iter().sum::<f64>() / n;
    let variance = ascending
        .iter()
        .map(|value| (value - mean) * (value - mean))
        .sum::<f64>()
        / n;
    let quartile = |share: f64| {
        let place = share * (n - 1.0);
        let low = ascending.get(place as usize).copied().unwrap_or(0.5);
        let high = ascending.get(place as usize + 1).copied().unwrap_or(low);
        low + (high - low) * place.fract()
    };
    let spread = libm::sqrt(variance).min((quartile(0.75) - quartile(0.25)) / 1.34);
    1.059 * spread * libm::pow(n, -0.2)
}

/// Position of a number in its range, on a scale where draws are uniform; a whole number is at the middle of its cell.
fn coordinate(distribution: &Distribution, value: &ParamValue) -> Option<f64> {
    let share = match distribution {
        Distribution::Choice(_) => return None,
        Distribution::Uniform { .. }
        | Distribution::LogUniform { .. }
        | Distribution::Normal(_)
        | Distribution::LogNormal(_) => distribution.share(value.as_number()?)?,
        Distribution::Ordered(_) | Distribution::UniformSteps { .. } | Distribution::IntUniform { .. } => {
            (distribution.index(value)? as f64 + 0.5) / distribution.cardinality()? as f64
        }
        Distribution::IntLogUniform { low, high, step } => {
            let (number, width) = (value.as_number()?, *step as f64);
            let (from, to) = (*low as f64, last(*low, *high, *step) as f64 + width);
            0.5 * (log_share(number, from, to) + log_share(number + width, from, to))
        }
    };
    Some(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::{Measured, importance};
    use crate::seed::{Purpose, Seed};
    use crate::space::{Distribution, ParamValue, Params, Space};

    fn space() -> Space {
        let words = ["relu", "tanh", "gelu"].map(|word| ParamValue::Text(word.to_owned()));
        let layers = Distribution::IntUniform {
            low: 2,
            high: 7,
            step: 1,
        };
        let units = Distribution::IntLogUniform {
            low: 1,
            high: 100,
            step: 1,
        };
        Space::from(
            [
                ("activation", Distribution::Choice(words.into())),
                ("l2", Distribution::LogUniform { low: 1e-5, high: 1e-1 }),
                ("layers", layers),
                ("momentum", Distribution::Uniform { low: -1.0, high: 3.0 }),
                ("units", units),
            ]
            .map(|(name, distribution)| (name.to_owned(), distribution)),
        )
    }

    /// Trials of a random search, with keys made by `key`.
    fn search(trials: u32, key: impl Fn(&Params) -> f64) -> Vec<Measured> {
        let measured = |trial| {
            let draw = |(name, distribution): (&String, &Distribution)| {
                let mut stream = Seed(5).stream(Purpose::Param { trial, name });
                (name.clone(), distribution.sample(&mut stream))
            };
            let params: Params = space().iter().map(draw).collect();
            let key = key(&params);
            Measured { trial, params, key }
        };
        (0..trials).map(measured).collect()
    }

    fn number(params: &Params, name: &str) -> f64 {
        params[name].as_number().unwrap_or_default()
    }

    #[test]
    fn it_is_as_computed_with_scipy() {
        let data: serde_json::Value = serde_json::from_str(include_str!("../tests/data/winner.json")).unwrap();
        let data = &data["importance"];
        let params: Vec<Params> = serde_json::from_value(data["trials"].clone()).unwrap();
        let keys: Vec<f64> = serde_json::from_value(data["keys"].clone()).unwrap();
        let trials: Vec<Measured> = (0..)
            .zip(params.into_iter().zip(keys))
            .map(|(trial, (params, key))| Measured { trial, params, key })
            .collect();
        let found = importance(&space(), &trials).unwrap();
        let expected: std::collections::BTreeMap<String, f64> =
            serde_json::from_value(data["importance"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        for (name, expected) in expected {
            assert!(
                (found[&name] - expected).abs() < 1e-10,
                "{name}: {} {expected}",
                found[&name]
            );
        }
    }

    #[test]
    fn what_decides_is_first_for_every_kind_of_parameter() {
        let relu = |params: &Params| f64::from(params["activation"] == ParamValue::Text("relu".to_owned()));
        type Key = fn(&Params) -> f64;
        let cases: [(&str, Key); 5] = [
            ("activation", relu),
            ("l2", |params| libm::log(number(params, "l2") / 0.003).abs()),
            ("layers", |params| number(params, "layers")),
            ("momentum", |params| number(params, "momentum")),
            ("units", |params| -number(params, "units")),
        ];
        for (name, key) in cases {
            let found = importance(&space(), &search(300, key)).unwrap();
            let first = found.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            assert_eq!(first.0, name, "{found:?}");
            assert!((found.values().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_order_of_the_trials_does_not_matter() {
        let mut trials = search(60, |params| number(params, "l2"));
        let found = importance(&space(), &trials);
        trials.reverse();
        assert_eq!(importance(&space(), &trials), found);
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        let mut trials = search(40, |_| 1.0);
        assert_eq!(importance(&space(), &trials[..9]), None);
        let single = Space::from([("p".to_owned(), Distribution::Choice(vec![ParamValue::Int(0)]))]);
        assert_eq!(importance(&single, &trials).unwrap()["p"], 0.0);
        // A parameter that none of the trials has.
        trials.iter_mut().for_each(|trial| {
            trial.params.remove("l2");
        });
        let found = importance(&space(), &trials).unwrap();
        assert_eq!(found["l2"], 0.0);
        assert!(found.values().all(|share| share.is_finite()));
    }

    #[test]
    fn a_trial_says_nothing_of_parameters_that_it_lacks() {
        let trials = search(200, |params| number(params, "l2"));
        let mut some: Vec<Measured> = trials.clone();
        for trial in some.iter_mut().filter(|trial| trial.trial % 2 == 1) {
            trial.params.remove("momentum");
            // Worse than all others, so that the best ones stay the same.
            trial.key += 1.0;
        }
        let found = importance(&space(), &some).unwrap();
        assert!(found["l2"] > found["momentum"], "{found:?}");
        assert!(found["momentum"] > 0.0);
    }
}
