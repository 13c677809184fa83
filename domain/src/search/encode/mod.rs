//! Encodes a configuration as a point, and back.
//!
//! A range's coordinate is in [0, 1), on a scale where draws are uniform. So logarithmic ranges have logarithmic
//! coordinates, and a whole number's coordinate is the middle of its cell. A choice's coordinate is its value's number,
//! which only identifies the value. An inactive parameter has the middle of its range, or an additional value of a
//! choice; a coordinate of its group marks it as inactive.

#[cfg(test)]
mod tests;

use crate::space::{Condition, Distribution, ParamValue, Params, Space, last, log_share};

/// A configuration: one coordinate for each parameter, in the order of the space; then, for each group of parameters
/// except the first, 1 if it is active and 0 if not.
pub(super) type Point = Vec<f64>;

/// A space as axes.
#[derive(Clone, Debug)]
pub(super) struct Encoding<'a> {
    /// The space itself.
    pub(super) space: &'a Space,
    /// One for each parameter, in the order of the space.
    pub(super) axes: Vec<Axis<'a>>,
    /// Axes whose parameters have the same condition, and so are active together. The first group is always active.
    groups: Vec<Vec<usize>>,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(super) struct Axis<'a> {
    name: &'a str,
    distribution: &'a Distribution,
    /// The meaning of its coordinates.
    pub(super) kind: Kind,
}

/// The meaning of an axis's coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The number of a value, out of this many.
    Choice(u64),
    /// An ordered value, such as a whole number, by the middle of its cell.
    Step,
    /// A position in a continuous range.
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
                Distribution::Ordered(_)
                | Distribution::UniformSteps { .. }
                | Distribution::IntUniform { .. }
                | Distribution::IntLogUniform { .. } => Kind::Step,
                Distribution::Uniform { .. }
                | Distribution::LogUniform { .. }
                | Distribution::Normal(_)
                | Distribution::LogNormal(_) => Kind::Real,
            },
        };
        let mut groups: Vec<(Option<&Condition>, Vec<usize>)> = vec![(None, Vec::new())];
        for (axis, name) in space.keys().enumerate() {
            let condition = space.conditions().get(name);
            match groups.iter_mut().find(|(known, _)| *known == condition) {
                Some((_, group)) => group.push(axis),
                None => groups.push((condition, vec![axis])),
            }
        }
        Self {
            space,
            axes: space.iter().map(axis).collect(),
            groups: groups.into_iter().map(|(_, group)| group).collect(),
        }
    }

    /// Coordinates of a point.
    pub(super) fn dimensions(&self) -> usize {
        self.axes.len() + self.groups.len() - 1
    }

    /// Name of the parameter of an axis.
    pub(super) fn name(&self, axis: usize) -> &'a str {
        self.axes[axis].name
    }

    /// The parameter's value at a coordinate of its axis.
    pub(super) fn value(&self, axis: usize, coordinate: f64) -> ParamValue {
        self.axes[axis].value(coordinate)
    }

    /// The point of a configuration.
    pub(super) fn point(&self, params: &Params) -> Point {
        let coordinates = self.axes.iter().map(|axis| axis.coordinate(params.get(axis.name)));
        let is_active = |group: &Vec<usize>| group.iter().all(|axis| params.contains_key(self.axes[*axis].name));
        let active = self.groups.iter().skip(1).map(|group| f64::from(is_active(group)));
        coordinates.chain(active).collect()
    }

    /// The configuration of a point, which may also have coordinates of inactive parameters.
    pub(super) fn params(&self, point: &[f64]) -> Params {
        let axes = self.axes.iter().zip(point);
        let mut params = axes
            .map(|(axis, coordinate)| (axis.name.to_owned(), axis.value(*coordinate)))
            .collect();
        self.space.settle(&mut params);
        params
    }

    /// The point of the same configuration, with marks for active groups.
    pub(super) fn settled(&self, point: Point) -> Point {
        if self.space.is_conditional() {
            self.point(&self.params(&point))
        } else {
            point
        }
    }

    /// True if the space's constraints hold at a point.
    pub(super) fn allows(&self, point: &[f64]) -> bool {
        self.space.constraints().is_empty() || self.space.allows(&self.params(point))
    }

    /// True if an axis's parameter is active at a settled point.
    pub(super) fn is_active(&self, axis: usize, point: &[f64]) -> bool {
        let group = self.groups.iter().position(|group| group.contains(&axis));
        group.is_none_or(|group| self.is_group_active(group, point))
    }

    /// True if the parameters of a group are active at a settled point.
    fn is_group_active(&self, group: usize, point: &[f64]) -> bool {
        group == 0 || point[self.axes.len() + group - 1] == 1.0
    }

    /// Its groups, each with only its axes.
    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'a>> {
        (0..self.groups.len()).map(|number| Group {
            number,
            encoding: Self {
                space: self.space,
                axes: self.groups[number]
                    .iter()
                    .map(|axis| self.axes[*axis].clone())
                    .collect(),
                groups: vec![(0..self.groups[number].len()).collect()],
            },
        })
    }
}

/// Parameters that are active together.
#[derive(Clone, Debug)]
pub(super) struct Group<'a> {
    number: usize,
    /// Their axes.
    pub(super) encoding: Encoding<'a>,
}

impl Group<'_> {
    /// The coordinates of these parameters in a settled point, if they are active there.
    pub(super) fn part(&self, whole: &Encoding<'_>, point: &[f64]) -> Option<Point> {
        let axes = whole.groups[self.number].iter();
        whole
            .is_group_active(self.number, point)
            .then(|| axes.map(|axis| point[*axis]).collect())
    }

    /// Writes their coordinates into a point.
    pub(super) fn put(&self, whole: &Encoding<'_>, part: &[f64], point: &mut [f64]) {
        for (axis, coordinate) in whole.groups[self.number].iter().zip(part) {
            point[*axis] = *coordinate;
        }
    }
}

impl Axis<'_> {
    /// The coordinate of the quantile at `unit`, 0 <= unit < 1.
    pub(super) fn at(&self, unit: f64) -> f64 {
        match self.kind {
            Kind::Real => unit,
            Kind::Choice(_) | Kind::Step => self.coordinate(Some(&self.distribution.quantile(unit))),
        }
    }

    /// Its parameter's name.
    pub(super) fn name(&self) -> &str {
        self.name
    }

    /// The shares of draws below the beginning and below the end of a step's cell.
    pub(super) fn cell(&self, coordinate: f64) -> (f64, f64) {
        match self.distribution {
            Distribution::IntLogUniform { low, high, step } => {
                let value = self.value(coordinate).as_number().unwrap_or(*low as f64);
                let width = *step as f64;
                let end = last(*low, *high, *step) as f64 + width;
                let (from, to) = (libm::log(*low as f64), libm::log(end));
                let share = |edge: f64| (libm::log(edge) - from) / (to - from);
                (share(value), share(value + width))
            }
            _ => {
                let half = 0.5 / self.distribution.cardinality().unwrap_or(1) as f64;
                (coordinate - half, coordinate + half)
            }
        }
    }

    /// The coordinates of the neighbouring steps, if they exist.
    pub(super) fn neighbours(&self, coordinate: f64) -> [Option<f64>; 2] {
        let index = match self.kind {
            Kind::Step => self.distribution.index(&self.value(coordinate)),
            Kind::Choice(_) | Kind::Real => None,
        };
        let Some(index) = index else {
            return [None, None];
        };
        [index.checked_sub(1), index.checked_add(1)].map(|index| {
            let value = self.distribution.nth(index?)?;
            let next = self.coordinate(Some(&value));
            (self.value(next) == value).then_some(next)
        })
    }

    fn value(&self, coordinate: f64) -> ParamValue {
        match self.distribution {
            Distribution::Choice(values) => values[(coordinate as usize).min(values.len() - 1)].clone(),
            _ => self.distribution.quantile(coordinate),
        }
    }

    /// The coordinate of a value. If the distribution does not draw the value, as in a user's configuration, it becomes
    /// the nearest end of a range, or an additional value of a choice.
    fn coordinate(&self, value: Option<&ParamValue>) -> f64 {
        let number = value.and_then(ParamValue::as_number);
        let count = self.distribution.cardinality().unwrap_or(1) as f64;
        let share = match self.distribution {
            Distribution::Choice(values) => {
                return value
                    .and_then(|value| values.iter().position(|known| known == value))
                    .unwrap_or(values.len()) as f64;
            }
            Distribution::Ordered(_) => {
                let index = value.and_then(|value| self.distribution.index(value));
                index.map(|index| (index as f64 + 0.5) / count)
            }
            Distribution::IntUniform { low, step, .. } => {
                number.map(|number| ((number - *low as f64) / *step as f64 + 0.5) / count)
            }
            Distribution::UniformSteps { low, step, .. } => number.map(|number| ((number - low) / step + 0.5) / count),
            Distribution::IntLogUniform { low, high, step } => number.map(|number| {
                let (from, width) = (*low as f64, *step as f64);
                let to = last(*low, *high, *step) as f64 + width;
                0.5 * (log_share(number, from, to) + log_share(number + width, from, to))
            }),
            Distribution::Uniform { .. }
            | Distribution::LogUniform { .. }
            | Distribution::Normal(_)
            | Distribution::LogNormal(_) => number.and_then(|number| self.distribution.share(number)),
        };
        // The middle is the most neutral coordinate for a missing value.
        share.unwrap_or(0.5).clamp(0.0, 1.0_f64.next_down())
    }
}
