//! Checks a search space.

mod depends;
mod ranges;
mod searched;

use std::collections::BTreeMap;

use prost_types::Value;

use trawl_domain::limits::{CHOICE_TEXT_CHARS_MAX, CHOICES_MAX, PARAM_NAME_CHARS_MAX, PARAMS_MAX};
use trawl_domain::space::{Distribution, ParamValue, Space};
use trawl_domain::violation::Violations;

use super::settings::scalar;
use crate::v1::distribution::Kind;

pub(super) use searched::{EACH, Searched};

/// The valid parameters, conditions and constraints.
pub(super) fn check(searched: &Searched, constraints: &[String], v: &mut Violations) -> Space {
    let written = &searched.distributions;
    if written.len() > PARAMS_MAX {
        v.add(
            "space",
            format!("has {} parameters; at most {PARAMS_MAX} are allowed", written.len()),
        );
    }
    let mut space = Space::new();
    // A fixed order, so that the violations are always the same.
    let mut written: BTreeMap<_, _> = written.iter().collect();
    while written.len() > PARAMS_MAX {
        written.pop_last();
    }
    for (name, written) in &written {
        let field = format!("space.{}", searched.written_name(name));
        param_name(&field, name, v);
        let distribution = match &written.kind {
            None => {
                v.add(
                    field,
                    "names no distribution: choice, ordered, uniform, log_uniform, int_uniform, int_log_uniform, normal or log_normal",
                );
                None
            }
            Some(kind) => distribution(&field, kind, v),
        };
        if let Some(distribution) = distribution {
            space.insert((*name).clone(), distribution);
        }
    }
    depends::conditions(&written, searched, &mut space, v);
    // Nothing is known about an invalid parameter, which has been reported.
    if space.len() == written.len() {
        depends::constraints(constraints, &mut space, v);
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
        Kind::Choice(list) => choice(&format!("{field}.choice"), &list.values, v).map(Distribution::Choice),
        Kind::Ordered(list) => choice(&format!("{field}.ordered"), &list.values, v).map(Distribution::Ordered),
        Kind::Uniform(range) => ranges::uniform(&format!("{field}.uniform"), range, v),
        Kind::LogUniform(range) => ranges::log_uniform(&format!("{field}.log_uniform"), range, v),
        Kind::IntUniform(range) => ranges::int_uniform(&format!("{field}.int_uniform"), range, v),
        Kind::IntLogUniform(range) => ranges::int_log_uniform(&format!("{field}.int_log_uniform"), range, v),
        Kind::Normal(range) => ranges::normal(&format!("{field}.normal"), range, v),
        Kind::LogNormal(range) => ranges::log_normal(&format!("{field}.log_normal"), range, v),
    }
}

fn choice(field: &str, values: &[Value], v: &mut Violations) -> Option<Vec<ParamValue>> {
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
    // Keeps values that are invalid by themselves, so that settings can report faults of the others in the same answer.
    (chosen.len() == values.len()).then_some(chosen)
}
