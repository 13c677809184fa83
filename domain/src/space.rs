//! Search spaces: the parameters of a study and how each is distributed.

use std::collections::BTreeMap;
use std::fmt;

use crate::seed::Stream;

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
    /// The number as a value: whole numbers are integers, so that 8 and 8.0 are the same choice.
    pub fn number(number: f64) -> Self {
        if number.fract() == 0.0 && number.abs() <= crate::limits::INT_MAGNITUDE_MAX as f64 {
            Self::Int(number as i64)
        } else {
            Self::Float(number)
        }
    }

    /// The whole number that this is, if it is one that is not negative and fits.
    pub fn as_whole(&self) -> Option<u32> {
        match self {
            Self::Int(number) => u32::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The number that this is.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The word that this is, if it is known.
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

/// A configuration: a value for each searched parameter, by name.
pub type Params = BTreeMap<String, ParamValue>;

/// How one parameter is distributed. Built by the check of a study, which looks at the ranges.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// One of these, each equally likely. Not empty.
    Choice(Vec<ParamValue>),
    /// Uniform in [low, high).
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// exp of uniform in [ln low, ln high); 0 < low.
    LogUniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// One of low, low + step, … up to high, each equally likely; 1 <= step.
    IntUniform {
        /// Lower end.
        low: i64,
        /// Upper end.
        high: i64,
        /// Distance between neighbours.
        step: i64,
    },
    /// floor(exp(uniform in [ln low, ln(high + 1))); 1 <= low.
    IntLogUniform {
        /// Lower end.
        low: i64,
        /// Upper end.
        high: i64,
    },
}

impl Distribution {
    /// Draws one value.
    pub fn sample(&self, stream: &mut Stream) -> ParamValue {
        match self {
            Self::Choice(values) => values[stream.below(values.len() as u64) as usize].clone(),
            Self::Uniform { low, high } => ParamValue::Float(between(*low, *high, low + (high - low) * stream.unit())),
            Self::LogUniform { low, high } => {
                let exponent = low.ln() + (high.ln() - low.ln()) * stream.unit();
                ParamValue::Float(between(*low, *high, exponent.exp()))
            }
            Self::IntUniform { low, high, step } => {
                let steps = ((high - low) / step) as u64;
                ParamValue::Int(low + step * stream.below(steps + 1) as i64)
            }
            Self::IntLogUniform { low, high } => {
                let (from, to) = ((*low as f64).ln(), (*high as f64 + 1.0).ln());
                let drawn = (from + (to - from) * stream.unit()).exp().floor() as i64;
                ParamValue::Int(drawn.clamp(*low, *high))
            }
        }
    }

    /// Values among which are the extremes: all of a choice, both ends of a range. What holds for these and for all between
    /// them holds for every value that is drawn.
    pub fn extremes(&self) -> Vec<ParamValue> {
        match self {
            Self::Choice(values) => values.clone(),
            Self::Uniform { low, high } | Self::LogUniform { low, high } => {
                vec![ParamValue::Float(*low), ParamValue::Float(high.next_down())]
            }
            Self::IntUniform { low, high, step } => {
                vec![ParamValue::Int(*low), ParamValue::Int(high - (high - low) % step)]
            }
            Self::IntLogUniform { low, high } => vec![ParamValue::Int(*low), ParamValue::Int(*high)],
        }
    }
}

/// Rounding may carry a draw past an end of [low, high): back to the nearest value inside.
fn between(low: f64, high: f64, drawn: f64) -> f64 {
    drawn.clamp(low, high.next_down())
}

/// The searched parameters by name.
pub type Space = BTreeMap<String, Distribution>;
