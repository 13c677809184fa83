//! The distribution of one parameter.

use super::ParamValue;
use crate::normal;
use crate::seed::Stream;

/// The distribution of one parameter. Made by the check of a study, which checks the ranges.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    /// One of these, each equally likely. Not empty.
    Choice(Vec<ParamValue>),
    /// The same, with similar neighbours: samplers that learn use the order of the values.
    Ordered(Vec<ParamValue>),
    /// Uniform in [low, high).
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// One of low, low + step, … up to high, each equally likely; 0 < step.
    UniformSteps {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
        /// Distance between neighbours.
        step: f64,
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
    /// With x = exp(uniform in [ln low, ln(last + step))), the largest of low, low + step, … last that is not above x,
    /// where last is the largest that is not above high; 1 <= low, 1 <= step.
    IntLogUniform {
        /// Lower end.
        low: i64,
        /// Upper end.
        high: i64,
        /// Distance between neighbours.
        step: i64,
    },
    /// Normal, cut to [low, high).
    Normal(Bell),
    /// exp of normal, cut to [low, high), which are ends of the value and not of its logarithm; 0 < low.
    LogNormal(Bell),
}

/// A normal distribution within a range in which its share is not 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bell {
    /// Its mean before it is cut; of the logarithm, if that is normal.
    pub mean: f64,
    /// Its standard deviation before it is cut, above 0.
    pub std: f64,
    /// Lower end of the values.
    pub low: f64,
    /// Upper end of the values.
    pub high: f64,
}

/// Smaller shares have lost digits.
const LEAST_SHARE: f64 = 1e-300;

impl Bell {
    /// Distances of both ends from the mean, in standard deviations.
    fn ends(&self, scale: fn(f64) -> f64) -> (f64, f64) {
        let standard = |end: f64| (scale(end) - self.mean) / self.std;
        (standard(self.low), standard(self.high))
    }

    fn has_draws(&self, scale: fn(f64) -> f64) -> bool {
        let (from, to) = self.ends(scale);
        normal::interval(from, to) > LEAST_SHARE
    }

    /// The quantile at `unit`, on the scale on which the value is normal.
    fn quantile(&self, scale: fn(f64) -> f64, unit: f64) -> f64 {
        let (from, to) = self.ends(scale);
        self.mean + self.std * normal::cut_quantile(from, to, unit)
    }

    /// The share of draws below a number.
    fn share(&self, scale: fn(f64) -> f64, number: f64) -> f64 {
        let (from, to) = self.ends(scale);
        let at = (scale(number.clamp(self.low, self.high)) - self.mean) / self.std;
        normal::interval(from, at) / normal::interval(from, to)
    }
}

/// The scale of a value that is itself normal.
fn itself(number: f64) -> f64 {
    number
}

impl Distribution {
    /// Draws one value.
    pub fn sample(&self, stream: &mut Stream) -> ParamValue {
        match self {
            // Integers, without the bias of a rounded product.
            Self::Choice(_) | Self::Ordered(_) | Self::UniformSteps { .. } | Self::IntUniform { .. } => {
                self.at(stream.below(self.cardinality().unwrap_or(1)))
            }
            Self::Uniform { .. }
            | Self::LogUniform { .. }
            | Self::IntLogUniform { .. }
            | Self::Normal(_)
            | Self::LogNormal(_) => self.quantile(stream.unit()),
        }
    }

    /// The quantile at `unit`, 0 <= unit < 1: the inverse of the distribution function. Values of a choice are in their
    /// written order.
    pub fn quantile(&self, unit: f64) -> ParamValue {
        match self {
            Self::Choice(_) | Self::Ordered(_) | Self::UniformSteps { .. } | Self::IntUniform { .. } => {
                self.at(cell(unit, self.cardinality().unwrap_or(1)))
            }
            Self::Uniform { low, high } => ParamValue::Float(between(*low, *high, low + (high - low) * unit)),
            Self::LogUniform { low, high } => {
                let (from, to) = (libm::log(*low), libm::log(*high));
                ParamValue::Float(between(*low, *high, libm::exp(from + (to - from) * unit)))
            }
            Self::IntLogUniform { low, high, step } => {
                let last = last(*low, *high, *step);
                let (from, to) = (libm::log(*low as f64), libm::log(last as f64 + *step as f64));
                let drawn = libm::exp(from + (to - from) * unit);
                let steps = libm::floor((drawn - *low as f64) / *step as f64) as i64;
                ParamValue::Int(low + step * steps.clamp(0, (last - low) / step))
            }
            Self::Normal(bell) => ParamValue::Float(between(bell.low, bell.high, bell.quantile(itself, unit))),
            Self::LogNormal(bell) => {
                let drawn = libm::exp(bell.quantile(libm::log, unit));
                ParamValue::Float(between(bell.low, bell.high, drawn))
            }
        }
    }

    /// The share of draws below a number, for a continuous range; `None` for countable values.
    pub fn share(&self, number: f64) -> Option<f64> {
        match self {
            Self::Uniform { low, high } => Some((number - low) / (high - low)),
            Self::LogUniform { low, high } => Some(log_share(number, *low, *high)),
            Self::Normal(bell) => Some(bell.share(itself, number)),
            Self::LogNormal(bell) => Some(bell.share(libm::log, number)),
            Self::Choice(_)
            | Self::Ordered(_)
            | Self::UniformSteps { .. }
            | Self::IntUniform { .. }
            | Self::IntLogUniform { .. } => None,
        }
    }

    /// False for a normal distribution with so small a share between its ends that doubles lose it.
    pub fn has_draws(&self) -> bool {
        match self {
            Self::Normal(bell) => bell.has_draws(itself),
            Self::LogNormal(bell) => bell.has_draws(libm::log),
            _ => true,
        }
    }

    /// Number of values; `None` for a continuous range.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Choice(values) | Self::Ordered(values) => Some(values.len() as u64),
            Self::Uniform { .. } | Self::LogUniform { .. } | Self::Normal(_) | Self::LogNormal(_) => None,
            Self::UniformSteps { low, high, step } => {
                let (steps, nearest) = ((high - low) / step, libm::round((high - low) / step));
                // A quotient that misses a whole number only by rounding reaches the upper end.
                let is_whole = libm::fabs(steps - nearest) <= 1e-9;
                Some(if is_whole { nearest } else { libm::floor(steps) } as u64 + 1)
            }
            Self::IntUniform { low, high, step } | Self::IntLogUniform { low, high, step } => {
                Some(((high - low) / step) as u64 + 1)
            }
        }
    }

    /// The value with this number, in the order of [`Distribution::quantile`], from 0; `None` for a continuous range, and
    /// beyond the last one.
    pub fn nth(&self, index: u64) -> Option<ParamValue> {
        (index < self.cardinality()?).then(|| self.at(index))
    }

    /// The value with this existing number; for a continuous range, its lower end.
    fn at(&self, index: u64) -> ParamValue {
        match self {
            Self::Choice(values) | Self::Ordered(values) => values[index as usize].clone(),
            Self::UniformSteps { low, high, step } => ParamValue::number(short(low + step * index as f64).min(*high)),
            Self::IntUniform { low, step, .. } | Self::IntLogUniform { low, step, .. } => {
                ParamValue::Int(low + step * index as i64)
            }
            Self::Uniform { low, .. } | Self::LogUniform { low, .. } => ParamValue::Float(*low),
            Self::Normal(bell) | Self::LogNormal(bell) => ParamValue::Float(bell.low),
        }
    }

    /// The number of a value, as in [`Distribution::nth`]; `None` for any other value, and for a continuous range.
    pub fn index(&self, value: &ParamValue) -> Option<u64> {
        let index = match (self, value) {
            (Self::Choice(values) | Self::Ordered(values), _) => values.iter().position(|known| known == value)? as u64,
            (Self::IntUniform { low, step, .. } | Self::IntLogUniform { low, step, .. }, ParamValue::Int(value))
                if (value - low) % step == 0 =>
            {
                u64::try_from((value - low) / step).ok()?
            }
            (Self::UniformSteps { low, step, .. }, _) => {
                let number = value.as_number()?;
                // A number below the range gets index 0, whose value differs from it.
                let index = libm::round((number - low) / step) as u64;
                return (self.nth(index)?.as_number() == Some(number)).then_some(index);
            }
            _ => return None,
        };
        (index < self.cardinality()?).then_some(index)
    }

    /// True if it has this value; for a continuous range, both ends count.
    pub fn contains(&self, value: &ParamValue) -> bool {
        let within = |low: f64, high: f64| value.as_number().is_some_and(|number| (low..=high).contains(&number));
        match self {
            Self::Uniform { low, high } | Self::LogUniform { low, high } => within(*low, *high),
            Self::Normal(bell) | Self::LogNormal(bell) => within(bell.low, bell.high),
            Self::Choice(_)
            | Self::Ordered(_)
            | Self::UniformSteps { .. }
            | Self::IntUniform { .. }
            | Self::IntLogUniform { .. } => self.index(value).is_some(),
        }
    }

    /// The end of a continuous range that one of its [extremes](Self::extremes) stands for, as it was written: no draw reaches the upper
    /// one. `None` for any other value.
    pub fn written_end(&self, extreme: &ParamValue) -> Option<f64> {
        let (low, high) = match self {
            Self::Uniform { low, high } | Self::LogUniform { low, high } => (*low, *high),
            Self::Normal(bell) | Self::LogNormal(bell) => (bell.low, bell.high),
            Self::Choice(_)
            | Self::Ordered(_)
            | Self::UniformSteps { .. }
            | Self::IntUniform { .. }
            | Self::IntLogUniform { .. } => return None,
        };
        let number = extreme.as_number()?;
        let ends = [(low, low), (high.next_down(), high)];
        ends.into_iter()
            .find_map(|(end, written)| (end == number).then_some(written))
    }

    /// Values that include the extremes: all values of a choice, both ends of a range, and for steps of floats the
    /// first step. A property of these and of all values between them holds for every draw.
    pub fn extremes(&self) -> Vec<ParamValue> {
        match self {
            Self::Choice(values) | Self::Ordered(values) => values.clone(),
            Self::Uniform { low, high } | Self::LogUniform { low, high } => {
                vec![ParamValue::Float(*low), ParamValue::Float(high.next_down())]
            }
            Self::Normal(bell) | Self::LogNormal(bell) => {
                vec![ParamValue::Float(bell.low), ParamValue::Float(bell.high.next_down())]
            }
            Self::UniformSteps { .. } => {
                let last = self.cardinality().unwrap_or(1) - 1;
                // If two neighbours are whole numbers, all of them are.
                vec![self.at(0), self.at(last), self.at(last.min(1))]
            }
            Self::IntUniform { low, high, step } | Self::IntLogUniform { low, high, step } => {
                vec![ParamValue::Int(*low), ParamValue::Int(last(*low, *high, *step))]
            }
        }
    }
}

/// The number rounded to 15 digits, as people write it: three steps of 0.1 are 0.3, not 0.30000000000000004.
fn short(number: f64) -> f64 {
    format!("{number:.14e}").parse().unwrap_or(number)
}

/// Position of a number's logarithm between those of `low` and `high`.
pub(crate) fn log_share(number: f64, low: f64, high: f64) -> f64 {
    let from = libm::log(low);
    (libm::log(number.clamp(low, high)) - from) / (libm::log(high) - from)
}

/// The largest of low, low + step, … that is not above `high`.
pub(crate) fn last(low: i64, high: i64, step: i64) -> i64 {
    high - (high - low) % step
}

/// Rounding may carry a draw past an end of [low, high): returns the nearest value inside.
fn between(low: f64, high: f64, drawn: f64) -> f64 {
    drawn.clamp(low, high.next_down())
}

/// The number of the cell of `unit`, with [0, 1) cut into `count` equal cells.
fn cell(unit: f64, count: u64) -> u64 {
    // The product may round up to `count`.
    ((unit * count as f64) as u64).min(count - 1)
}
