//! A Sobol sequence: every 2^k trials, from a multiple of 2^k on, put one point into each of 2^k parts of equal size,
//! along every axis and along many pairs of axes. It beats random search while little is known, and needs no history
//! either.
//!
//! Direction numbers: S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional projections",
//! SIAM J. Sci. Comput. 30, 2635-2654 (2008), their set D(6). Scrambling: J. Matoušek, "On the L2-discrepancy for
//! anchored boxes", J. Complexity 14, 527-556 (1998): each axis's digits are mixed by a random triangular matrix and
//! shifted, which keeps the sequence's evenness and makes every point uniform over seeds.

use std::ops::Range;

use super::encode::Encoding;
use super::random;
use crate::limits::PARAMS_MAX;
use crate::seed::{Purpose, Seed, Stream};
use crate::space::{Params, Space};

/// Binary digits of a coordinate, and of the numbers of trials.
const DIGITS: usize = u32::BITS as usize;

/// The configurations of these trials.
pub(super) fn configurations(seed: Seed, space: &Space, trials: Range<u32>) -> Vec<Params> {
    let encoding = Encoding::new(space);
    let axes = encoding.axes.iter().enumerate();
    let sequences: Vec<Sequence> = axes
        .map(|(index, axis)| {
            let mut stream = seed.stream(Purpose::Scramble { name: axis.name() });
            Sequence::new(index).scrambled(&mut stream)
        })
        .collect();
    let configuration = |trial| {
        let axes = encoding.axes.iter().zip(&sequences);
        let point: Vec<f64> = axes.map(|(axis, sequence)| axis.at(sequence.unit(trial))).collect();
        let params = encoding.params(&point);
        // If the constraints forbid a point, random search fills the gap.
        if space.allows(&params) {
            params
        } else {
            random::configuration(seed, space, trial)
        }
    };
    trials.map(configuration).collect()
}

/// One coordinate of the sequence.
#[derive(Clone, Debug)]
struct Sequence {
    /// What each binary digit of a point's number, from the lowest, adds to its coordinate, modulo 2.
    directions: [u32; DIGITS],
    /// Coordinate of point 0, in units of 2^-32.
    shift: u32,
}

impl Sequence {
    /// Coordinate `index` of the sequence as published.
    ///
    /// # Panics
    /// If a space had more than [`PARAMS_MAX`] parameters.
    fn new(index: usize) -> Self {
        let mut directions = [0; DIGITS];
        // The first coordinate mirrors the digits of the point's number: every initial number is 1.
        let (polynomial, initial) = match index {
            0 => (1, [1; DIGITS].as_slice()),
            _ => DIRECTIONS[index - 1],
        };
        let degree = initial.len();
        for digit in 0..DIGITS {
            directions[digit] = match initial.get(digit) {
                Some(number) => number << (DIGITS - 1 - digit),
                None => (1..=degree).fold(directions[digit - degree] >> degree, |sum, back| {
                    let is_term = polynomial >> (degree - back) & 1 == 1;
                    if is_term { sum ^ directions[digit - back] } else { sum }
                }),
            };
        }
        Self { directions, shift: 0 }
    }

    /// Its digits mixed and shifted.
    fn scrambled(mut self, stream: &mut Stream) -> Self {
        // Row r of the matrix: the digit itself, and a random choice of those above it.
        let word = |stream: &mut Stream| stream.below(1 << DIGITS) as u32;
        let rows: Vec<u32> = (0..DIGITS)
            .map(|row| {
                let own = 1 << (DIGITS - 1 - row);
                own | word(stream) & !(own | (own - 1))
            })
            .collect();
        for direction in &mut self.directions {
            let mixed = rows.iter().map(|row| (row & *direction).count_ones() & 1);
            *direction = mixed.fold(0, |digits, digit| digits << 1 | digit);
        }
        self.shift = word(stream);
        self
    }

    /// Coordinate of a point, in [0, 1).
    fn unit(&self, point: u32) -> f64 {
        let digits = self
            .directions
            .iter()
            .enumerate()
            .filter(|(digit, _)| point >> digit & 1 == 1);
        let sum = digits.fold(self.shift, |sum, (_, direction)| sum ^ direction);
        f64::from(sum) / (1_u64 << DIGITS) as f64
    }
}

/// For each coordinate after the first, its primitive polynomial over the field of two elements, highest power first,
/// and the initial direction numbers.
#[rustfmt::skip]
const DIRECTIONS: [(u32, &[u32]); PARAMS_MAX - 1] = [
    (3, &[1]), (7, &[1, 3]), (11, &[1, 3, 1]), (13, &[1, 1, 1]), (19, &[1, 1, 3, 3]), (25, &[1, 3, 5, 13]),
    (37, &[1, 1, 5, 5, 17]), (41, &[1, 1, 5, 5, 5]), (47, &[1, 1, 7, 11, 19]), (55, &[1, 1, 5, 1, 1]),
    (59, &[1, 1, 1, 3, 11]), (61, &[1, 3, 5, 5, 31]), (67, &[1, 3, 3, 9, 7, 49]), (91, &[1, 1, 1, 15, 21, 21]),
    (97, &[1, 3, 1, 13, 27, 49]), (103, &[1, 1, 1, 15, 7, 5]), (109, &[1, 3, 1, 15, 13, 25]),
    (115, &[1, 1, 5, 5, 19, 61]), (131, &[1, 3, 7, 11, 23, 15, 103]), (137, &[1, 3, 7, 13, 13, 15, 69]),
    (143, &[1, 1, 3, 13, 7, 35, 63]), (145, &[1, 3, 5, 9, 1, 25, 53]), (157, &[1, 3, 1, 13, 9, 35, 107]),
    (167, &[1, 3, 1, 5, 27, 61, 31]), (171, &[1, 1, 5, 11, 19, 41, 61]), (185, &[1, 3, 5, 3, 3, 13, 69]),
    (191, &[1, 1, 7, 13, 1, 19, 1]), (193, &[1, 3, 7, 5, 13, 19, 59]), (203, &[1, 1, 3, 9, 25, 29, 41]),
    (211, &[1, 3, 5, 13, 23, 1, 55]), (213, &[1, 3, 7, 3, 13, 59, 17]), (229, &[1, 3, 1, 3, 5, 53, 69]),
    (239, &[1, 1, 5, 5, 23, 33, 13]), (241, &[1, 1, 7, 7, 1, 61, 123]), (247, &[1, 1, 7, 9, 13, 61, 49]),
    (253, &[1, 3, 3, 5, 3, 55, 33]), (285, &[1, 3, 1, 15, 31, 13, 49, 245]), (299, &[1, 3, 5, 15, 31, 59, 63, 97]),
    (301, &[1, 3, 1, 11, 11, 11, 77, 249]), (333, &[1, 3, 1, 11, 27, 43, 71, 9]),
    (351, &[1, 1, 7, 15, 21, 11, 81, 45]), (355, &[1, 3, 7, 3, 25, 31, 65, 79]), (357, &[1, 3, 1, 1, 19, 11, 3, 205]),
    (361, &[1, 1, 5, 9, 19, 21, 29, 157]), (369, &[1, 3, 7, 11, 1, 33, 89, 185]), (391, &[1, 3, 3, 3, 15, 9, 79, 71]),
    (397, &[1, 3, 7, 11, 15, 39, 119, 27]), (425, &[1, 1, 3, 1, 11, 31, 97, 225]),
    (451, &[1, 1, 1, 3, 23, 43, 57, 177]), (463, &[1, 3, 7, 7, 17, 17, 37, 71]),
    (487, &[1, 3, 1, 5, 27, 63, 123, 213]), (501, &[1, 1, 3, 5, 11, 43, 53, 133]),
    (529, &[1, 3, 5, 5, 29, 17, 47, 173, 479]), (539, &[1, 3, 3, 11, 3, 1, 109, 9, 69]),
    (545, &[1, 1, 1, 5, 17, 39, 23, 5, 343]), (557, &[1, 3, 1, 5, 25, 15, 31, 103, 499]),
    (563, &[1, 1, 1, 11, 11, 17, 63, 105, 183]), (601, &[1, 1, 5, 11, 9, 29, 97, 231, 363]),
    (607, &[1, 1, 5, 15, 19, 45, 41, 7, 383]), (617, &[1, 3, 7, 7, 31, 19, 83, 137, 221]),
    (623, &[1, 1, 1, 3, 23, 15, 111, 223, 83]), (631, &[1, 1, 5, 13, 31, 15, 55, 25, 161]),
    (637, &[1, 1, 3, 13, 25, 47, 39, 87, 257]),
];

#[cfg(test)]
mod tests {
    use super::{Sequence, configurations};
    use crate::limits::PARAMS_MAX;
    use crate::seed::{Purpose, Seed};
    use crate::space::{Distribution, Space};

    #[test]
    fn the_sequence_is_the_published_one() {
        // Points 1, 2, 3 and 1,000,003 of a few coordinates, by SciPy 1.17's `qmc.Sobol(64, scramble=False, bits=32)`.
        let expected = [
            (0, [0.5, 0.25, 0.75, 0.7588338851928711]),
            (1, [0.5, 0.75, 0.25, 0.5641183853149414]),
            (2, [0.5, 0.75, 0.25, 0.8032026290893555]),
            (7, [0.5, 0.25, 0.75, 0.7738637924194336]),
            (63, [0.5, 0.25, 0.75, 0.3421621322631836]),
        ];
        for (index, units) in expected {
            let sequence = Sequence::new(index);
            assert_eq!(sequence.unit(0), 0.0);
            assert_eq!(
                [1, 2, 3, 1_000_003].map(|point| sequence.unit(point)),
                units,
                "coordinate {index}"
            );
        }
    }

    #[test]
    fn scrambling_keeps_one_point_in_each_part() {
        for index in 0..PARAMS_MAX {
            let mut stream = Seed(9).stream(Purpose::Scramble { name: "a" });
            let sequence = Sequence::new(index).scrambled(&mut stream);
            // Any aligned block of 256 points.
            for block in [0, 3] {
                let mut counts = [0; 256];
                for point in block * 256..(block + 1) * 256 {
                    counts[(sequence.unit(point) * 256.0) as usize] += 1;
                }
                assert_eq!(counts, [1; 256], "coordinate {index}");
            }
        }
    }

    #[test]
    fn pairs_of_parameters_are_filled_evenly() {
        let (low, high) = (0.0, 4.0);
        let space: Space = (["a", "b"].into_iter())
            .map(|name| (name.to_owned(), Distribution::Uniform { low, high }))
            .collect();
        let mut counts = [[0; 4]; 4];
        for params in configurations(Seed(2), &space, 0..64) {
            let cell = |name: &str| params[name].as_number().expect("a number") as usize;
            counts[cell("a")][cell("b")] += 1;
        }
        assert_eq!(counts, [[4; 4]; 4]);
        assert_ne!(
            configurations(Seed(2), &space, 0..4),
            configurations(Seed(3), &space, 0..4)
        );
    }
}
