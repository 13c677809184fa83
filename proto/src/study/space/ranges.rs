//! Checks the ranges of a space.

use trawl_domain::limits::INT_MAGNITUDE_MAX;
use trawl_domain::space::{Bell, Distribution};
use trawl_domain::violation::Violations;

use crate::v1;

pub(super) fn uniform(field: &str, range: &v1::FloatRange, v: &mut Violations) -> Option<Distribution> {
    let ends = float_ends(field, (range.low, range.high), v);
    let field = format!("{field}.step");
    if let Some(step) = range.step.filter(|step| !(*step > 0.0 && step.is_finite())) {
        v.add(field, format!("must be above 0 and finite, and {step} is not"));
        return None;
    }
    let (low, high) = ends?;
    let Some(step) = range.step else {
        return Some(Distribution::Uniform { low, high });
    };
    let tells_apart = low + step > low && high - step < high;
    if !tells_apart || (high - low) / step > INT_MAGNITUDE_MAX as f64 {
        v.add(
            field,
            format!("is too small for {low} to {high}: doubles do not tell such neighbours apart"),
        );
        return None;
    }
    Some(Distribution::UniformSteps { low, high, step })
}

pub(super) fn log_uniform(field: &str, range: &v1::FloatLogRange, v: &mut Violations) -> Option<Distribution> {
    let (low, high) = float_ends(field, (range.low, range.high), v)?;
    above_zero(field, low, v)?;
    Some(Distribution::LogUniform { low, high })
}

pub(super) fn int_uniform(field: &str, range: &v1::IntRange, v: &mut Violations) -> Option<Distribution> {
    let ends = int_ends(field, (range.low, range.high), v);
    let step = step(field, range.step, v)?;
    let (low, high) = ends?;
    Some(Distribution::IntUniform { low, high, step })
}

pub(super) fn int_log_uniform(field: &str, range: &v1::IntLogRange, v: &mut Violations) -> Option<Distribution> {
    let ends = int_ends(field, (range.low, range.high), v);
    let step = step(field, range.step, v);
    let (low, high) = ends?;
    if low < 1 {
        v.add(format!("{field}.low"), format!("must be at least 1, and {low} is not"));
        return None;
    }
    let step = step?;
    Some(Distribution::IntLogUniform { low, high, step })
}

pub(super) fn normal(field: &str, range: &v1::NormalRange, v: &mut Violations) -> Option<Distribution> {
    drawn(field, Distribution::Normal(bell(field, range, v)?), v)
}

pub(super) fn log_normal(field: &str, range: &v1::NormalRange, v: &mut Violations) -> Option<Distribution> {
    let bell = bell(field, range, v)?;
    above_zero(field, bell.low, v)?;
    drawn(field, Distribution::LogNormal(bell), v)
}

fn bell(field: &str, range: &v1::NormalRange, v: &mut Violations) -> Option<Bell> {
    let mean = number(field, "mean", range.mean, "is missing", v);
    let std = number(field, "std", range.std, "is missing", v);
    if let Some(std) = std.filter(|std| *std <= 0.0) {
        v.add(format!("{field}.std"), format!("must be above 0, and {std} is not"));
    }
    let cut = "is missing: what is drawn is cut to low and high, so that settings know what it can be";
    let low = number(field, "low", range.low, cut, v);
    let high = number(field, "high", range.high, cut, v);
    let (low, high) = float_ends(field, (Some(low?), Some(high?)), v)?;
    let (mean, std) = (mean?, std.filter(|std| *std > 0.0)?);
    Some(Bell { mean, std, low, high })
}

/// A distribution with enough probability between its ends to be drawn.
fn drawn(field: &str, distribution: Distribution, v: &mut Violations) -> Option<Distribution> {
    if distribution.has_draws() {
        return Some(distribution);
    }
    v.add(
        field,
        "has next to nothing between low and high: bring mean nearer to them, or make std larger",
    );
    None
}

fn above_zero(field: &str, low: f64, v: &mut Violations) -> Option<()> {
    if low > 0.0 {
        return Some(());
    }
    v.add(format!("{field}.low"), format!("must be above 0, and {low} is not"));
    None
}

fn step(field: &str, step: Option<i64>, v: &mut Violations) -> Option<i64> {
    let step = step.unwrap_or(1);
    if step < 1 {
        v.add(
            format!("{field}.step"),
            format!("must be at least 1, and {step} is not"),
        );
        return None;
    }
    Some(step)
}

fn number(field: &str, name: &str, value: Option<f64>, missing: &str, v: &mut Violations) -> Option<f64> {
    match value {
        None => {
            v.add(format!("{field}.{name}"), missing);
            None
        }
        Some(value) if !value.is_finite() => {
            v.add(format!("{field}.{name}"), format!("must be finite, and {value} is not"));
            None
        }
        value => value,
    }
}

fn float_ends(field: &str, ends: (Option<f64>, Option<f64>), v: &mut Violations) -> Option<(f64, f64)> {
    let low = number(field, "low", ends.0, "is missing", v);
    let high = number(field, "high", ends.1, "is missing", v);
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

fn int_ends(field: &str, ends: (Option<i64>, Option<i64>), v: &mut Violations) -> Option<(i64, i64)> {
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
    let low = end("low", ends.0, v);
    let high = end("high", ends.1, v);
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
