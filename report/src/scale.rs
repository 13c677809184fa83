//! Axes: what is written where, and how a value becomes a place.

use crate::words::number;

/// One axis of a panel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) scale: Scale,
    /// Its ends, where they do not follow from what is drawn.
    pub(crate) fixed: Option<(f64, f64)>,
}

/// How values are laid out along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scale {
    Linear,
    /// Linear, for values that are whole numbers: no other has a tick.
    Whole,
    /// Values are above 0.
    Log,
    /// Values are numbers of these categories, from 0.
    Categories(Vec<String>),
}

impl Axis {
    pub(crate) fn new(title: impl Into<String>, scale: Scale) -> Self {
        Self {
            title: title.into(),
            scale,
            fixed: None,
        }
    }

    pub(crate) fn linear(title: impl Into<String>) -> Self {
        Self::new(title, Scale::Linear)
    }

    pub(crate) fn whole(title: impl Into<String>) -> Self {
        Self::new(title, Scale::Whole)
    }

    /// Its lower and its upper end, if it shows these values.
    pub(crate) fn ends(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        self.fixed.unwrap_or_else(|| self.scale.ends(values))
    }
}

impl Scale {
    /// Logarithmic if all values are above 0 and the largest is more than ten times the smallest.
    pub(crate) fn for_values(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = extremes(values);
        if low > 0.0 && high.is_finite() && high / low > 10.0 {
            Self::Log
        } else {
            Self::Linear
        }
    }

    /// The lower and the upper end of an axis that shows these values, with a little room.
    pub(crate) fn ends(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        if let Self::Categories(names) = self {
            return (-0.5, names.len() as f64 - 0.5);
        }
        let (low, high) = extremes(values.filter(|value| !matches!(self, Self::Log) || *value > 0.0));
        if low > high {
            return if matches!(self, Self::Log) {
                (0.1, 10.0)
            } else {
                (0.0, 1.0)
            };
        }
        let (from, to) = (self.along(low), self.along(high));
        let room = if to > from {
            (to - from) * 0.04
        } else {
            from.abs().max(1.0) * 0.1
        };
        (self.back(from - room), self.back(to + room))
    }

    /// Where a value is on an axis with these ends: 0 at the lower, 1 at the upper one.
    pub(crate) fn place(&self, value: f64, (low, high): (f64, f64)) -> f64 {
        let (low, high) = (self.along(low), self.along(high));
        // What is not above 0 has no place on a logarithmic axis; it is drawn far below it.
        let value = if matches!(self, Self::Log) && value <= 0.0 {
            low - (high - low)
        } else {
            self.along(value)
        };
        if high > low { (value - low) / (high - low) } else { 0.5 }
    }

    /// Round values within the ends, about so many, each with its text.
    pub(crate) fn ticks(&self, (low, high): (f64, f64), about: usize) -> Vec<(f64, String)> {
        match self {
            Self::Categories(names) => names
                .iter()
                .enumerate()
                .map(|(index, name)| (index as f64, name.clone()))
                .collect(),
            Self::Linear => linear_ticks(low, high, about, 0.0),
            Self::Whole => linear_ticks(low, high, about, 1.0),
            Self::Log => log_ticks(low, high, about),
        }
    }

    fn along(&self, value: f64) -> f64 {
        if matches!(self, Self::Log) {
            value.log10()
        } else {
            value
        }
    }

    fn back(&self, along: f64) -> f64 {
        if matches!(self, Self::Log) {
            10_f64.powf(along)
        } else {
            along
        }
    }
}

/// The smallest and the largest finite value; infinities the wrong way round where there is none.
pub(crate) fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
}

fn linear_ticks(low: f64, high: f64, about: usize, step_min: f64) -> Vec<(f64, String)> {
    let rough = (high - low) / about.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough * 0.7)
        .unwrap_or(10.0 * power)
        .max(step_min);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last)
        .map(|count| (count as f64 * step, number(count as f64 * step)))
        .collect()
}

fn log_ticks(low: f64, high: f64, about: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = usize::try_from(last - first).unwrap_or(1).max(1);
    let within = |tick: &f64| *tick >= low * 0.999_999 && *tick <= high * 1.000_001;
    // Within two powers of ten there is room for 2 and 5, over many only for every second or third power.
    let factors: &[f64] = if high / low <= 100.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = decades.div_ceil(about.max(1)).max(1);
    let ticks: Vec<f64> = (first..=last)
        .step_by(every)
        .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
        .filter(within)
        .collect();
    if ticks.len() < 2 {
        return linear_ticks(low, high, about, 0.0);
    }
    ticks.into_iter().map(|tick| (tick, number(tick))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn values_over_more_than_a_decade_take_a_logarithmic_axis() {
        assert_eq!(Scale::for_values([0.3, 3.1].into_iter()), Scale::Log);
        assert_eq!(Scale::for_values([0.3, 2.9].into_iter()), Scale::Linear);
        assert_eq!(Scale::for_values([-0.3, 310.0].into_iter()), Scale::Linear);
        assert_eq!(Scale::for_values([].into_iter()), Scale::Linear);
    }

    #[test]
    fn ticks_are_round_and_within_the_ends() {
        assert_eq!(
            texts(Scale::Linear.ticks((-0.1, 1.05), 5)),
            ["0", "0.2", "0.4", "0.6", "0.8", "1"]
        );
        assert_eq!(texts(Scale::Whole.ticks((-0.1, 2.1), 5)), ["0", "1", "2"]);
        assert_eq!(texts(Scale::Whole.ticks((-0.4, 0.4), 5)), ["0"]);
        assert_eq!(texts(Scale::Whole.ticks((-6.0, 155.0), 5)), ["0", "50", "100", "150"]);
        assert_eq!(texts(Scale::Log.ticks((2e-4, 0.5), 5)), ["0.001", "0.01", "0.1"]);
        assert_eq!(texts(Scale::Log.ticks((0.3, 4.0), 5)), ["0.5", "1", "2"]);
        assert_eq!(texts(Scale::Log.ticks((0.25, 11.0), 5)), ["0.5", "1", "2", "5", "10"]);
        assert_eq!(
            Scale::Categories(vec!["a".into()]).ticks((-0.5, 0.5), 5),
            [(0.0, "a".to_owned())]
        );
    }

    #[test]
    fn a_value_has_its_place_between_the_ends() {
        assert_eq!(Scale::Linear.place(1.0, (0.0, 4.0)), 0.25);
        assert_eq!(Scale::Log.place(10.0, (1.0, 100.0)), 0.5);
        assert!(Scale::Log.place(0.0, (1.0, 100.0)) < 0.0);
        assert_eq!(Scale::Linear.place(3.0, (3.0, 3.0)), 0.5);
    }

    #[test]
    fn an_axis_of_one_value_has_two_ends() {
        let (low, high) = Scale::Linear.ends([2.0].into_iter());
        assert!(low < 2.0 && 2.0 < high);
        assert_eq!(Scale::Linear.ends([].into_iter()), (0.0, 1.0));
        assert_eq!(
            Scale::Categories(vec![String::new(); 3]).ends([].into_iter()),
            (-0.5, 2.5)
        );
    }
}
