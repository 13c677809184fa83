//! A configuration as a point, and back.
//!
//! A coordinate of a range is in [0, 1), even where the distribution is: a draw is a uniform coordinate. So logarithmic
//! ranges have logarithmic coordinates, and the coordinate of a whole number is the middle of its cell. A choice's
//! coordinate is the number of its value, which says no more than which one it is.

use crate::space::{Distribution, ParamValue, Params, Space};

/// A configuration: one coordinate a parameter, in the order of the space.
pub(super) type Point = Vec<f64>;

/// A space as axes.
#[derive(Clone, Debug)]
pub(super) struct Encoding<'a> {
    /// The space itself.
    pub(super) space: &'a Space,
    /// One a parameter, in the order of the space.
    pub(super) axes: Vec<Axis<'a>>,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Axis<'a> {
    name: &'a str,
    distribution: &'a Distribution,
    /// What its coordinates mean.
    pub(super) kind: Kind,
}

/// What the coordinates of an axis mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The number of one of so many values.
    Choice(u64),
    /// A whole number, by the middle of its cell.
    Whole,
    /// A place in a continuous range.
    Real,
}

impl<'a> Encoding<'a> {
    /// The axes of a space.
    pub(super) fn new(space: &'a Space) -> Self {
        let axis = |(name, distribution): (&'a String, &'a Distribution)| Axis {
            name,
            distribution,
            kind: match distribution {
                Distribution::Choice(values) => Kind::Choice(values.len() as u64),
                Distribution::IntUniform { .. } | Distribution::IntLogUniform { .. } => Kind::Whole,
                Distribution::Uniform { .. } | Distribution::LogUniform { .. } => Kind::Real,
            },
        };
        Self {
            space,
            axes: space.iter().map(axis).collect(),
        }
    }

    /// The point of a configuration.
    pub(super) fn point(&self, params: &Params) -> Point {
        self.axes
            .iter()
            .map(|axis| axis.coordinate(params.get(axis.name)))
            .collect()
    }

    /// The configuration of a point.
    pub(super) fn params(&self, point: &[f64]) -> Params {
        let axes = self.axes.iter().zip(point);
        axes.map(|(axis, coordinate)| (axis.name.to_owned(), axis.value(*coordinate)))
            .collect()
    }
}

impl Axis<'_> {
    /// The coordinate of a share `unit` of the draws, 0 <= unit < 1.
    pub(super) fn at(&self, unit: f64) -> f64 {
        match self.kind {
            Kind::Real => unit,
            Kind::Choice(_) | Kind::Whole => self.coordinate(Some(&self.distribution.quantile(unit))),
        }
    }

    /// Its parameter's name.
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// The share of the draws up to the beginning and to the end of a whole number's cell.
    pub(super) fn cell(&self, coordinate: f64) -> (f64, f64) {
        match self.distribution {
            Distribution::IntLogUniform { low, high } => {
                let value = self.value(coordinate).as_number().unwrap_or(*low as f64);
                let (from, to) = (libm::log(*low as f64), libm::log(*high as f64 + 1.0));
                let share = |edge: f64| (libm::log(edge) - from) / (to - from);
                (share(value), share(value + 1.0))
            }
            _ => {
                let half = 0.5 / self.distribution.cardinality().unwrap_or(1) as f64;
                (coordinate - half, coordinate + half)
            }
        }
    }

    /// The coordinates of the whole numbers next to this one, as far as there are any.
    pub(super) fn neighbours(&self, coordinate: f64) -> [Option<f64>; 2] {
        let value = self.value(coordinate);
        let (Distribution::IntUniform { .. } | Distribution::IntLogUniform { .. }, ParamValue::Int(value)) =
            (self.distribution, value)
        else {
            return [None, None];
        };
        let step = match self.distribution {
            Distribution::IntUniform { step, .. } => *step,
            _ => 1,
        };
        [-step, step].map(|step| {
            let next = self.coordinate(Some(&ParamValue::Int(value + step)));
            (self.value(next) == ParamValue::Int(value + step)).then_some(next)
        })
    }

    fn value(&self, coordinate: f64) -> ParamValue {
        match self.distribution {
            Distribution::Choice(values) => values[(coordinate as usize).min(values.len() - 1)].clone(),
            _ => self.distribution.quantile(coordinate),
        }
    }

    /// The coordinate of a value. One that the distribution does not draw, as a configuration of the user's own may
    /// have, is taken for the nearest end of a range, or for one more value of a choice.
    fn coordinate(&self, value: Option<&ParamValue>) -> f64 {
        let number = value.and_then(ParamValue::as_number);
        let share = match self.distribution {
            Distribution::Choice(values) => {
                return value
                    .and_then(|value| values.iter().position(|known| known == value))
                    .unwrap_or(values.len()) as f64;
            }
            Distribution::Uniform { low, high } => number.map(|number| (number - low) / (high - low)),
            Distribution::LogUniform { low, high } => number.map(|number| log_share(number, *low, *high)),
            Distribution::IntUniform { low, step, .. } => number.map(|number| {
                let count = self.distribution.cardinality().unwrap_or(1) as f64;
                ((number - *low as f64) / *step as f64 + 0.5) / count
            }),
            Distribution::IntLogUniform { low, high } => number.map(|number| {
                let (low, end) = (*low as f64, *high as f64 + 1.0);
                0.5 * (log_share(number, low, end) + log_share(number + 1.0, low, end))
            }),
        };
        // The middle says least of a value that is missing.
        share.unwrap_or(0.5).clamp(0.0, 1.0_f64.next_down())
    }
}

/// How far along the way from `low` to `high` a number's logarithm is.
fn log_share(number: f64, low: f64, high: f64) -> f64 {
    let from = libm::log(low);
    (libm::log(number.clamp(low, high)) - from) / (libm::log(high) - from)
}

#[cfg(test)]
mod tests {
    use super::{Encoding, Kind};
    use crate::space::{Distribution, ParamValue, Params, Space};

    fn space() -> Space {
        let (low, high) = (3, 40);
        let words = ["relu", "tanh"].map(|word| ParamValue::Text(word.to_owned()));
        Space::from(
            [
                ("a", Distribution::Choice(words.into())),
                ("b", Distribution::IntUniform { low, high, step: 4 }),
                ("c", Distribution::IntLogUniform { low, high }),
                ("d", Distribution::LogUniform { low: 1e-5, high: 0.1 }),
                ("e", Distribution::Uniform { low: -2.0, high: 6.0 }),
            ]
            .map(|(name, distribution)| (name.to_owned(), distribution)),
        )
    }

    #[test]
    fn every_value_comes_back_from_its_coordinate() {
        let space = space();
        let encoding = Encoding::new(&space);
        for axis in &encoding.axes {
            for i in 0..200 {
                let coordinate = axis.at(f64::from(i) / 200.0);
                let value = axis.value(coordinate);
                let again = axis.coordinate(Some(&value));
                assert!((again - coordinate).abs() < 1e-12, "{}: {value}", axis.name());
                if axis.kind != Kind::Real {
                    assert_eq!(axis.value(again), value, "{}", axis.name());
                }
            }
        }
    }

    #[test]
    fn coordinates_are_the_shares_of_the_draws() {
        let space = space();
        let encoding = Encoding::new(&space);
        let values = [
            ParamValue::Text("tanh".to_owned()),
            ParamValue::Int(7),
            ParamValue::Int(3),
            ParamValue::Float(1e-3),
            ParamValue::Float(0.0),
        ];
        let params: Params = space.keys().cloned().zip(values).collect();
        let point = encoding.point(&params);
        // Ten values of b: 3, 7, …, 39. The cell of 3 in c is from 0 to ln(4/3) of ln(41/3).
        let cell = libm::log(4.0 / 3.0) / libm::log(41.0 / 3.0);
        let expected = [1.0, 0.15, cell / 2.0, 0.5, 0.25];
        for (coordinate, expected) in point.iter().zip(expected) {
            assert!((coordinate - expected).abs() < 1e-12, "{point:?}");
        }
        assert_eq!(encoding.params(&point)["b"], ParamValue::Int(7));
        let (from, to) = encoding.axes[2].cell(point[2]);
        assert!(from.abs() < 1e-12 && (to - cell).abs() < 1e-12, "{from} {to}");
        let (from, to) = encoding.axes[1].cell(point[1]);
        assert!((from - 0.1).abs() < 1e-12 && (to - 0.2).abs() < 1e-12, "{from} {to}");
    }

    #[test]
    fn whole_numbers_have_neighbours_within_their_range() {
        let space = space();
        let encoding = Encoding::new(&space);
        for (axis, first, second) in [(&encoding.axes[1], 3, 7), (&encoding.axes[2], 3, 4)] {
            let coordinate = axis.coordinate(Some(&ParamValue::Int(first)));
            let [below, above] = axis.neighbours(coordinate);
            assert_eq!(below, None);
            assert_eq!(above.map(|above| axis.value(above)), Some(ParamValue::Int(second)));
        }
    }

    #[test]
    fn a_value_from_elsewhere_has_a_place() {
        let space = space();
        let encoding = Encoding::new(&space);
        let point = encoding.point(&Params::from([
            ("a".to_owned(), ParamValue::Text("gelu".to_owned())),
            ("b".to_owned(), ParamValue::Int(1_000)),
            ("c".to_owned(), ParamValue::Int(1)),
            ("d".to_owned(), ParamValue::Float(-1.0)),
        ]));
        assert_eq!(point[0], 2.0);
        assert!(
            point[1] > 0.99 && point[2] < 0.1 && point[3] == 0.0 && point[4] == 0.5,
            "{point:?}"
        );
    }
}
