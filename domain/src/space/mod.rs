//! Search spaces: a study's parameters with their distributions, conditions and constraints.

mod condition;
mod configurations;
mod constraint;
mod distribution;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

pub use condition::Condition;
pub use configurations::{COMBINATIONS_MAX, Configurations, cardinality};
pub use constraint::Constraint;
pub use distribution::{Bell, Distribution};
pub(crate) use distribution::{last, log_share};

/// The value of a searched parameter.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// true or false.
    Bool(bool),
    /// A whole number of magnitude at most 2^53.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A word.
    Text(String),
}

impl ParamValue {
    /// The value of a number: whole numbers are integers, so that 8 and 8.0 are the same choice.
    pub fn number(number: f64) -> Self {
        if number.fract() == 0.0 && number.abs() <= crate::limits::INT_MAGNITUDE_MAX as f64 {
            Self::Int(number as i64)
        } else {
            Self::Float(number)
        }
    }

    /// The value as a non-negative whole number, if it is one and fits.
    pub fn as_whole(&self) -> Option<u32> {
        match self {
            Self::Int(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The value as a number.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The value as one of the words of `T`.
    pub fn as_word<T: std::str::FromStr>(&self) -> Option<T> {
        match self {
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// A configuration: a value for each active parameter, by name.
pub type Params = BTreeMap<String, ParamValue>;

/// The searched parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Space {
    distributions: BTreeMap<String, Distribution>,
    /// Conditions of the parameters that are not always active.
    conditions: BTreeMap<String, Condition>,
    constraints: Vec<Constraint>,
}

impl Space {
    /// Without parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter.
    pub fn insert(&mut self, name: String, distribution: Distribution) {
        self.distributions.insert(name, distribution);
    }

    /// Makes a parameter active only where a condition holds; the condition names other parameters with finitely many values.
    pub fn restrict(&mut self, name: String, condition: Condition) {
        self.conditions.insert(name, condition);
    }

    /// Adds a constraint.
    pub fn constrain(&mut self, constraint: Constraint) {
        self.constraints.push(constraint);
    }

    /// The distribution of a parameter.
    pub fn get(&self, name: &str) -> Option<&Distribution> {
        self.distributions.get(name)
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.distributions.len()
    }

    /// True if there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.distributions.is_empty()
    }

    /// True if there are finitely many configurations, so that one may come twice.
    pub fn is_finite(&self) -> bool {
        self.distributions
            .values()
            .all(|distribution| distribution.cardinality().is_some())
    }

    /// The parameters' names, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.distributions.keys()
    }

    /// The parameters by name.
    pub fn iter(&self) -> std::collections::btree_map::Iter<'_, String, Distribution> {
        self.distributions.iter()
    }

    /// The conditions, by the name of the parameter that has each.
    pub fn conditions(&self) -> &BTreeMap<String, Condition> {
        &self.conditions
    }

    /// The constraints.
    pub fn constraints(&self) -> &[Constraint] {
        &self.constraints
    }
}

impl FromIterator<(String, Distribution)> for Space {
    fn from_iter<I: IntoIterator<Item = (String, Distribution)>>(parameters: I) -> Self {
        Self {
            distributions: parameters.into_iter().collect(),
            ..Self::default()
        }
    }
}

impl<const N: usize> From<[(String, Distribution); N]> for Space {
    fn from(parameters: [(String, Distribution); N]) -> Self {
        parameters.into_iter().collect()
    }
}

impl<'a> IntoIterator for &'a Space {
    type Item = (&'a String, &'a Distribution);
    type IntoIter = std::collections::btree_map::Iter<'a, String, Distribution>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
