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
            // Whole numbers without the bias of a product that is rounded.
            Self::Choice(values) => values[stream.below(values.len() as u64) as usize].clone(),
            Self::IntUniform { low, step, .. } => {
                let count = self.cardinality().unwrap_or(1);
                ParamValue::Int(low + step * stream.below(count) as i64)
            }
            Self::Uniform { .. } | Self::LogUniform { .. } | Self::IntLogUniform { .. } => self.quantile(stream.unit()),
        }
    }

    /// The value below which a share `unit` of the draws is, 0 <= unit < 1: the inverse of the distribution function.
    /// Values of a choice are in their written order.
    pub fn quantile(&self, unit: f64) -> ParamValue {
        match self {
            Self::Choice(values) => values[cell(unit, values.len() as u64) as usize].clone(),
            Self::Uniform { low, high } => ParamValue::Float(between(*low, *high, low + (high - low) * unit)),
            Self::LogUniform { low, high } => {
                let (from, to) = (libm::log(*low), libm::log(*high));
                ParamValue::Float(between(*low, *high, libm::exp(from + (to - from) * unit)))
            }
            Self::IntUniform { low, step, .. } => {
                let count = self.cardinality().unwrap_or(1);
                ParamValue::Int(low + step * cell(unit, count) as i64)
            }
            Self::IntLogUniform { low, high } => {
                let (from, to) = (libm::log(*low as f64), libm::log(*high as f64 + 1.0));
                let drawn = libm::floor(libm::exp(from + (to - from) * unit)) as i64;
                ParamValue::Int(drawn.clamp(*low, *high))
            }
        }
    }

    /// How many values there are; `None` for a continuous range.
    pub fn cardinality(&self) -> Option<u64> {
        match self {
            Self::Choice(values) => Some(values.len() as u64),
            Self::Uniform { .. } | Self::LogUniform { .. } => None,
            Self::IntUniform { low, high, step } => Some(((high - low) / step) as u64 + 1),
            Self::IntLogUniform { low, high } => Some((high - low) as u64 + 1),
        }
    }

    /// The value with this number, in the order of [`Distribution::quantile`], from 0; `None` for a continuous range.
    pub fn nth(&self, index: u64) -> Option<ParamValue> {
        match self {
            Self::Choice(values) => values.get(index as usize).cloned(),
            Self::Uniform { .. } | Self::LogUniform { .. } => None,
            Self::IntUniform { low, step, .. } => Some(ParamValue::Int(low + step * index as i64)),
            Self::IntLogUniform { low, .. } => Some(ParamValue::Int(low + index as i64)),
        }
    }

    /// The number of a value, as in [`Distribution::nth`]; `None` if it is none of them, and for a continuous range.
    pub fn index(&self, value: &ParamValue) -> Option<u64> {
        let index = match (self, value) {
            (Self::Choice(values), _) => values.iter().position(|known| known == value)? as u64,
            (Self::IntUniform { low, step, .. }, ParamValue::Int(value)) if (value - low) % step == 0 => {
                u64::try_from((value - low) / step).ok()?
            }
            (Self::IntLogUniform { low, .. }, ParamValue::Int(value)) => u64::try_from(value - low).ok()?,
            _ => return None,
        };
        (index < self.cardinality()?).then_some(index)
    }

    /// True if it has this value; of a range, both ends count.
    pub fn contains(&self, value: &ParamValue) -> bool {
        match self {
            Self::Uniform { low, high } | Self::LogUniform { low, high } => {
                value.as_number().is_some_and(|number| (*low..=*high).contains(&number))
            }
            Self::Choice(_) | Self::IntUniform { .. } | Self::IntLogUniform { .. } => self.index(value).is_some(),
        }
    }

    /// Values among which are the extremes: all of a choice, both ends of a range. What holds for these and for all
    /// between them holds for every value that is drawn.
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

/// The number of the cell in which `unit` is, where [0, 1) is cut into `count` equal ones.
fn cell(unit: f64, count: u64) -> u64 {
    // The product may round up to `count`.
    ((unit * count as f64) as u64).min(count - 1)
}

/// The configuration of a finite space with this number, from 0: those that differ in the last parameter alone follow
/// each other. `None` if there is none.
pub fn nth(space: &Space, index: u64) -> Option<Params> {
    let mut left = index;
    let mut params = Params::new();
    for (name, distribution) in space.iter().rev() {
        let count = distribution.cardinality()?;
        params.insert(name.clone(), distribution.nth(left % count)?);
        left /= count;
    }
    (left == 0).then_some(params)
}

/// How many configurations a space has; `None` if one of its ranges is continuous, or if they are more than 64 bits
/// count.
pub fn cardinality(space: &Space) -> Option<u64> {
    space.values().try_fold(1_u64, |product, distribution| {
        product.checked_mul(distribution.cardinality()?)
    })
}

/// The searched parameters by name.
pub type Space = BTreeMap<String, Distribution>;

#[cfg(test)]
mod tests {
    use super::{Distribution, ParamValue, Params, Space, cardinality, nth};
    use crate::seed::{Purpose, Seed};

    /// The first draws of a distribution for trial 3 under seed 7.
    fn draws(distribution: &Distribution) -> Vec<ParamValue> {
        let mut stream = Seed(7).stream(Purpose::Param { trial: 3, name: "l2" });
        (0..3).map(|_| distribution.sample(&mut stream)).collect()
    }

    fn floats(bits: [u64; 3]) -> Vec<ParamValue> {
        bits.map(|bits| ParamValue::Float(f64::from_bits(bits))).into()
    }

    #[test]
    fn draws_are_pinned_to_the_last_bit() {
        // A stored study depends on these numbers: a change here is a change of every study's trials.
        let values: Vec<ParamValue> = (0..5).map(ParamValue::Int).collect();
        let ints = |values: [i64; 3]| Vec::from(values.map(ParamValue::Int));
        let (low, high) = (1e-5, 1e-1);
        assert_eq!(draws(&Distribution::Choice(values)), ints([0, 2, 2]));
        let uniform = [0x3f8f_128a_6457_6c18, 0x3fae_9913_be81_cf48, 0x3fa9_d26a_b193_7d10];
        assert_eq!(draws(&Distribution::Uniform { low, high }), floats(uniform));
        let log_uniform = [0x3f05_306d_29b1_ef2c, 0x3f64_1f82_063a_cc59, 0x3f51_0b27_e2c6_ff10];
        assert_eq!(draws(&Distribution::LogUniform { low, high }), floats(log_uniform));
        let (low, high, step) = (3, 200, 3);
        assert_eq!(
            draws(&Distribution::IntUniform { low, high, step }),
            ints([33, 120, 102])
        );
        assert_eq!(draws(&Distribution::IntLogUniform { low, high }), ints([5, 37, 25]));
    }

    #[test]
    fn quantiles_go_through_every_value_in_order() {
        let (low, high) = (2, 9);
        let finite = [
            Distribution::Choice((0..7).map(ParamValue::Int).collect()),
            Distribution::IntUniform { low, high, step: 3 },
            Distribution::IntLogUniform { low, high },
        ];
        for distribution in finite {
            let mut found: Vec<ParamValue> = (0..1000)
                .map(|i| distribution.quantile(f64::from(i) / 1000.0))
                .collect();
            found.dedup();
            let count = distribution.cardinality().expect("a finite distribution");
            let all: Vec<ParamValue> = (0..count).filter_map(|index| distribution.nth(index)).collect();
            assert_eq!(found, all, "{distribution:?}");
            let numbers: Vec<u64> = all.iter().filter_map(|value| distribution.index(value)).collect();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{distribution:?}");
            for elsewhere in [ParamValue::Int(-1), ParamValue::Int(10), ParamValue::Float(2.5)] {
                assert_eq!(distribution.index(&elsewhere), None, "{distribution:?} {elsewhere}");
            }
        }
    }

    #[test]
    fn the_largest_quantile_stays_below_the_upper_end() {
        let last = 1.0_f64.next_down();
        let (low, high) = (1e-5, 1e-1);
        for distribution in [
            Distribution::Uniform { low, high },
            Distribution::LogUniform { low, high },
        ] {
            let value = distribution.quantile(last).as_number().expect("a number");
            assert!((low..high).contains(&value), "{value}");
        }
        let widest = Distribution::IntUniform {
            low: -(1 << 53),
            high: 1 << 53,
            step: 1,
        };
        assert!(
            widest
                .quantile(last)
                .as_number()
                .is_some_and(|value| value <= 9_007_199_254_740_992.0)
        );
        assert_eq!(widest.cardinality(), Some((1 << 54) + 1));
    }

    #[test]
    fn a_space_is_as_large_as_the_product_of_its_ranges() {
        let (low, high) = (1, 6);
        let mut space = Space::from([("a".to_owned(), Distribution::IntUniform { low, high, step: 2 })]);
        assert_eq!(cardinality(&Space::new()), Some(1));
        assert_eq!(cardinality(&space), Some(3));
        space.insert("b".to_owned(), Distribution::IntLogUniform { low, high });
        assert_eq!(cardinality(&space), Some(18));
        let all: Vec<Params> = (0..18).filter_map(|index| nth(&space, index)).collect();
        assert_eq!(
            all[1],
            Params::from([
                ("a".to_owned(), ParamValue::Int(1)),
                ("b".to_owned(), ParamValue::Int(2))
            ])
        );
        assert_eq!(
            all[17],
            Params::from([
                ("a".to_owned(), ParamValue::Int(5)),
                ("b".to_owned(), ParamValue::Int(6))
            ])
        );
        assert_eq!(nth(&space, 18), None);
        space.insert("c".to_owned(), Distribution::Uniform { low: 0.0, high: 1.0 });
        assert_eq!(cardinality(&space), None);
        let wide = Distribution::IntLogUniform { low, high: 1 << 53 };
        let beyond = ["a", "b"].map(|name| (name.to_owned(), wide.clone()));
        assert_eq!(cardinality(&Space::from(beyond)), None);
    }
}
