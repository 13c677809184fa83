//! The first trials of a search that learns: a Latin hypercube (McKay, Beckman and Conover, "A comparison of three
//! methods for selecting values of input variables", 1979). Each parameter's range is cut into as many parts of equal
//! probability as there are trials, and each part gets one draw.

use super::encode::{Encoding, Point};
use crate::seed::{Purpose, Seed};

/// The points of the first trials.
#[derive(Clone, Debug)]
pub(super) struct Design {
    points: Vec<Point>,
}

impl Design {
    /// A design with `trials` points.
    pub(super) fn new(seed: Seed, encoding: &Encoding<'_>, trials: u32) -> Self {
        let mut points = vec![Point::with_capacity(encoding.axes.len()); trials as usize];
        for axis in &encoding.axes {
            let mut stream = seed.stream(Purpose::Design { name: axis.name() });
            let parts = stream.permutation(trials as usize);
            for (point, part) in points.iter_mut().zip(parts) {
                let unit = (f64::from(part) + stream.unit()) / f64::from(trials);
                // The sum may round up to the end of the last part.
                point.push(axis.at(unit.min(1.0_f64.next_down())));
            }
        }
        Self { points }
    }

    /// The point of one of the first trials.
    pub(super) fn point(&self, trial: u32) -> Point {
        self.points[trial as usize].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::Design;
    use crate::search::encode::Encoding;
    use crate::seed::Seed;
    use crate::space::{Distribution, ParamValue, Space};

    #[test]
    fn every_part_of_every_range_is_drawn_from_once() {
        let (low, high) = (1e-4, 1.0);
        let space = Space::from([
            (
                "a".to_owned(),
                Distribution::Choice((0..8).map(ParamValue::Int).collect()),
            ),
            ("b".to_owned(), Distribution::LogUniform { low, high }),
        ]);
        let encoding = Encoding::new(&space);
        let design = Design::new(Seed(5), &encoding, 32);
        for (axis, parts) in [(0, 8), (1, 32)] {
            let mut counts = vec![0; parts];
            for trial in 0..32 {
                let coordinate = design.point(trial)[axis];
                let part = if axis == 0 { coordinate } else { coordinate * 32.0 };
                counts[part as usize] += 1;
            }
            assert_eq!(counts, vec![32 / parts; parts], "axis {axis}");
        }
        assert_ne!(design.point(0), Design::new(Seed(6), &encoding, 32).point(0));
    }
}
