//! Reference numbers for tests: `tests/data/search.json`, by `tests/data/search_oracle.py`.

use serde_json::Value;

use crate::space::{Distribution, ParamValue, Params, Space};

/// All of them.
pub(crate) fn reference() -> Value {
    serde_json::from_str(include_str!("../../tests/data/search.json")).expect("reference numbers")
}

/// Rows of numbers.
pub(crate) fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).expect("rows of numbers")
}

/// Numbers.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("numbers")
}

/// Configurations.
pub(crate) fn configurations(value: &Value) -> Vec<Params> {
    serde_json::from_value(value.clone()).expect("configurations")
}

/// A configuration.
pub(crate) fn configuration(value: &Value) -> Params {
    serde_json::from_value(value.clone()).expect("a configuration")
}

/// The space of the reference configurations, as far as `names` go.
pub(crate) fn space(names: &[&str]) -> Space {
    let words = ["relu", "tanh", "gelu"].map(|word| ParamValue::Text(word.to_owned()));
    let all = [
        ("activation", Distribution::Choice(words.into())),
        ("l2", Distribution::LogUniform { low: 1e-5, high: 1e-1 }),
        (
            "layers",
            Distribution::IntUniform {
                low: 2,
                high: 7,
                step: 1,
            },
        ),
        ("momentum", Distribution::Uniform { low: -1.0, high: 3.0 }),
        (
            "units",
            Distribution::IntLogUniform {
                low: 1,
                high: 100,
                step: 1,
            },
        ),
    ];
    let named = all.into_iter().filter(|(name, _)| names.contains(name));
    named
        .map(|(name, distribution)| (name.to_owned(), distribution))
        .collect()
}

/// # Panics
/// If a number is further from the reference than `tolerance`, relative where the reference is larger than 1.
pub(crate) fn assert_close(found: f64, expected: f64, tolerance: f64, what: impl std::fmt::Debug) {
    let distance = (found - expected).abs() / expected.abs().max(1.0);
    assert!(distance <= tolerance, "{what:?}: {found} instead of {expected}");
}
