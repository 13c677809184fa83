//! Checks the dependences between a space's parameters.

use std::collections::BTreeMap;

use prost_types::Value;

use trawl_dataset::spelling::nearest;
use trawl_domain::limits::{CHOICES_MAX, CONDITION_VALUES_MAX, CONSTRAINT_CHARS_MAX, CONSTRAINTS_MAX};
use trawl_domain::space::{Condition, Constraint, Distribution, ParamValue, Space};
use trawl_domain::violation::Violations;

use super::Searched;
use crate::study::settings::scalar;
use crate::v1;

/// Most values of a parameter that a message lists.
const LISTED_MAX: u64 = 8;

/// Gives the parameters of a space their conditions.
pub(super) fn conditions(
    written: &BTreeMap<&String, &v1::Distribution>,
    searched: &Searched,
    space: &mut Space,
    v: &mut Violations,
) {
    // A repeat's own conditions are bounded by its repetitions: only written ones count.
    let by_hand = written
        .iter()
        .filter(|(name, _)| searched.written_name(name) == name.as_str());
    let lists = by_hand.flat_map(|(_, distribution)| distribution.when.values());
    let count: usize = lists.map(|list| list.values.len()).sum();
    if count > CONDITION_VALUES_MAX {
        v.add(
            "space",
            format!("has conditions that name {count} values; at most {CONDITION_VALUES_MAX} are allowed"),
        );
        return;
    }
    for (name, distribution) in written {
        let mut condition = Condition::new();
        let parents: BTreeMap<_, _> = distribution.when.iter().collect();
        for (parent, values) in parents {
            let field = format!("space.{}.when.{parent}", searched.written_name(name));
            if !written.contains_key(parent) {
                let near = nearest(parent, written.keys().map(|name| name.as_str()));
                let meant = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
                v.add(field, format!("there is no parameter '{parent}' in the space{meant}"));
            } else if let Some(values) = space
                .get(parent)
                .and_then(|parent| values_of(&field, parent, &values.values, v))
            {
                condition.insert(parent.clone(), values);
            }
        }
        if !condition.is_empty() && space.get(name).is_some() {
            space.restrict((*name).clone(), condition);
        }
    }
    let circular = space.circular();
    if let Some(first) = circular.first() {
        v.add(
            format!("space.{}.when", searched.written_name(first)),
            format!(
                "goes round in a circle: none of {} can be active first",
                circular.join(", ")
            ),
        );
    }
}

/// The values of a parameter that a condition names.
fn values_of(field: &str, parent: &Distribution, values: &[Value], v: &mut Violations) -> Option<Vec<ParamValue>> {
    let Some(count) = parent.cardinality() else {
        v.add(
            field,
            "is continuous: a condition names values of a choice, of ordered or integers, or of uniform with a step",
        );
        return None;
    };
    if values.is_empty() || values.len() > CHOICES_MAX {
        v.add(
            field,
            format!("must name 1 to {CHOICES_MAX} values, and names {}", values.len()),
        );
        return None;
    }
    let mut named: Vec<ParamValue> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let value = scalar(&field, value, v)?;
        if parent.index(&value).is_none() {
            let known = (0..count.min(LISTED_MAX)).filter_map(|index| parent.nth(index));
            let mut known: Vec<String> = known.map(|value| value.to_string()).collect();
            if count > LISTED_MAX {
                known.push("…".to_owned());
            }
            v.add(field, format!("'{value}' is none of its values: {}", known.join(", ")));
            return None;
        }
        if named.contains(&value) {
            v.add(field, format!("{value} is there twice"));
            return None;
        }
        named.push(value);
    }
    Some(named)
}

/// Adds the constraints to a space.
pub(super) fn constraints(written: &[String], space: &mut Space, v: &mut Violations) {
    if written.len() > CONSTRAINTS_MAX {
        v.add(
            "constraints",
            format!("must be at most {CONSTRAINTS_MAX}, and are {}", written.len()),
        );
        return;
    }
    for (index, text) in written.iter().enumerate() {
        let field = format!("constraints[{index}]");
        if text.chars().count() > CONSTRAINT_CHARS_MAX {
            v.add(field, format!("is longer than {CONSTRAINT_CHARS_MAX} characters"));
            continue;
        }
        match Constraint::read(text, space) {
            Ok(constraint) => space.constrain(constraint),
            Err(description) => v.add(field, description),
        }
    }
}
