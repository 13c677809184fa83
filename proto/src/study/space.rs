//! Checks a search space.

use std::collections::{BTreeMap, HashMap};

use prost_types::Value;

use trawl_domain::limits::{CHOICE_TEXT_CHARS_MAX, CHOICES_MAX, INT_MAGNITUDE_MAX, PARAM_NAME_CHARS_MAX, PARAMS_MAX};
use trawl_domain::space::{Distribution, ParamValue, Space};
use trawl_domain::violation::Violations;

use super::settings::scalar;
use crate::v1::{self, distribution::Kind};

/// The parameters with which nothing is wrong.
pub(super) fn check(written: &HashMap<String, v1::Distribution>, v: &mut Violations) -> Space {
    if written.len() > PARAMS_MAX {
        v.add(
            "space",
            format!("has {} parameters; at most {PARAMS_MAX} are allowed", written.len()),
        );
    }
    let mut space = Space::new();
    // In one order, so that a refusal is the same each time.
    let written: BTreeMap<_, _> = written.iter().collect();
    for (name, written) in written.into_iter().take(PARAMS_MAX) {
        let field = format!("space.{name}");
        param_name(&field, name, v);
        let distribution = match &written.kind {
            None => {
                v.add(
                    field,
                    "names no distribution: choice, uniform, log_uniform, int_uniform or int_log_uniform",
                );
                None
            }
            Some(kind) => distribution(&field, kind, v),
        };
        if let Some(distribution) = distribution {
            space.insert(name.clone(), distribution);
        }
    }
    space
}

fn param_name(field: &str, name: &str, v: &mut Violations) {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !first || !rest || name.len() > PARAM_NAME_CHARS_MAX {
        v.add(
            field,
            format!(
                "a parameter's name is a letter a to z, then letters, digits and '_', at most {PARAM_NAME_CHARS_MAX}"
            ),
        );
    }
}

fn distribution(field: &str, kind: &Kind, v: &mut Violations) -> Option<Distribution> {
    match kind {
        Kind::Choice(list) => choice(&format!("{field}.choice"), &list.values, v),
        Kind::Uniform(range) => {
            let (low, high) = float_range(&format!("{field}.uniform"), range, v)?;
            Some(Distribution::Uniform { low, high })
        }
        Kind::LogUniform(range) => {
            let field = format!("{field}.log_uniform");
            let (low, high) = float_range(&field, range, v)?;
            if low <= 0.0 {
                v.add(format!("{field}.low"), format!("must be above 0, and {low} is not"));
                return None;
            }
            Some(Distribution::LogUniform { low, high })
        }
        Kind::IntUniform(range) => {
            let field = format!("{field}.int_uniform");
            let ends = int_range(&field, (range.low, range.high), v);
            let step = range.step.unwrap_or(1);
            if step < 1 {
                v.add(
                    format!("{field}.step"),
                    format!("must be at least 1, and {step} is not"),
                );
                return None;
            }
            let (low, high) = ends?;
            Some(Distribution::IntUniform { low, high, step })
        }
        Kind::IntLogUniform(range) => {
            let field = format!("{field}.int_log_uniform");
            let (low, high) = int_range(&field, (range.low, range.high), v)?;
            if low < 1 {
                v.add(format!("{field}.low"), format!("must be at least 1, and {low} is not"));
                return None;
            }
            Some(Distribution::IntLogUniform { low, high })
        }
    }
}

fn choice(field: &str, values: &[Value], v: &mut Violations) -> Option<Distribution> {
    if values.is_empty() || values.len() > CHOICES_MAX {
        v.add(
            field,
            format!("must have 1 to {CHOICES_MAX} values, and has {}", values.len()),
        );
        return None;
    }
    let mut chosen: Vec<ParamValue> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(value) = scalar(&field, value, v) else {
            continue;
        };
        match &value {
            ParamValue::Text(text) if text.chars().count() > CHOICE_TEXT_CHARS_MAX => {
                v.add(field, format!("is longer than {CHOICE_TEXT_CHARS_MAX} characters"));
            }
            ParamValue::Text(text) if text.starts_with('$') => {
                v.add(field, "must be a plain value: a parameter does not refer to another");
            }
            value if chosen.contains(value) => v.add(field, format!("{value} is there twice")),
            _ => {}
        }
        chosen.push(value);
    }
    // Values that are wrong in themselves are kept: what settings say of the others is to be told in the same answer.
    (chosen.len() == values.len()).then_some(Distribution::Choice(chosen))
}

fn float_range(field: &str, range: &v1::FloatRange, v: &mut Violations) -> Option<(f64, f64)> {
    let end = |name: &str, value: Option<f64>, v: &mut Violations| match value {
        None => {
            v.add(format!("{field}.{name}"), "is missing");
            None
        }
        Some(value) if !value.is_finite() => {
            v.add(format!("{field}.{name}"), format!("must be finite, and {value} is not"));
            None
        }
        value => value,
    };
    let low = end("low", range.low, v);
    let high = end("high", range.high, v);
    let (low, high) = (low?, high?);
    if low >= high {
        v.add(
            format!("{field}.high"),
            format!("must be above low, and {high} is not above {low}"),
        );
        return None;
    }
    if !(high - low).is_finite() {
        v.add(field, "is wider than a number can hold");
        return None;
    }
    Some((low, high))
}

fn int_range(field: &str, range: (Option<i64>, Option<i64>), v: &mut Violations) -> Option<(i64, i64)> {
    let end = |name: &str, value: Option<i64>, v: &mut Violations| match value {
        None => {
            v.add(format!("{field}.{name}"), "is missing");
            None
        }
        Some(value) if value.unsigned_abs() > INT_MAGNITUDE_MAX.unsigned_abs() => {
            v.add(format!("{field}.{name}"), "must be from -2^53 to 2^53");
            None
        }
        value => value,
    };
    let low = end("low", range.0, v);
    let high = end("high", range.1, v);
    let (low, high) = (low?, high?);
    if low > high {
        v.add(
            format!("{field}.high"),
            format!("must be at least low, and {high} is below {low}"),
        );
        return None;
    }
    Some((low, high))
}
