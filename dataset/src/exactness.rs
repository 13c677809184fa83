//! Effects of float32, in which networks are trained, on numbers.
//!
//! A feature is refused if distinct values become equal, and a target if its values move: by more than a millionth of
//! the column's range, so that noise in the last digits does not matter. One look at all numbers finds the columns
//! where values may have become equal; a second look at only these columns finds the values.

use std::collections::HashMap;

use super::Reason;

/// Share of a column's range by which numbers may move.
const SHARE_MAX: f64 = 1e-6;
/// Share of a number that is noise in the last digits of a double: computations leave errors of some thousand steps.
const NOISE: f64 = 1e-12;
/// Most numbers that a second look remembers.
const KEPT_MAX: usize = 1 << 20;
/// Magnitude beyond which doubles skip whole numbers.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Remedies.
const WAYS: &str = "subtract a base from it beforehand, or standardise it";

/// The number that a text denotes.
pub(super) fn finite(text: &str) -> Result<f64, Reason> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| Reason::quoting(|quote| format!("'{}' is not a finite number", quote.of(text))))
}

/// The number in float32.
pub(super) fn to_float32(value: f64) -> Result<f32, Reason> {
    let float = value as f32;
    if float.is_finite() {
        return Ok(float);
    }
    Err(Reason::quoting(|quote| {
        let words = if value.is_finite() {
            "is too large for float32, in which networks are trained"
        } else {
            "is not a finite number"
        };
        format!("{} {words}", quote.of(written(value)))
    }))
}

/// A number in a message: with an exponent where it would consist of zeros.
fn written(value: f64) -> String {
    if value != 0.0 && value.is_finite() && !(1e-5..1e20).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

/// The same for float32: whole numbers as they are, others with enough digits to differ from their neighbours.
fn written_float32(float: f32) -> String {
    if float.fract() == 0.0 || float.abs() < 1e-5 {
        written(f64::from(float))
    } else {
        float.to_string()
    }
}

/// True if a double counts things, as far as its value shows.
pub(super) fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() <= WHOLE_MAX
}

/// Effects of float32 on several columns.
pub(super) struct Spans(Vec<Span>);

/// Range of a column, and the largest move of a number.
#[derive(Clone, Copy)]
struct Span {
    low: f64,
    high: f64,
    /// Infinite once a whole number moved, even by a small share of its range.
    worst: f64,
}

impl Span {
    const EMPTY: Self = Self {
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
        worst: 0.0,
    };

    fn look(&mut self, value: f64) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    fn tolerance(&self) -> f64 {
        // Halves, because the range of all doubles overflows.
        let share = 2.0 * (SHARE_MAX * (self.high / 2.0 - self.low / 2.0));
        share.max(self.noise())
    }

    fn noise(&self) -> f64 {
        NOISE * self.low.abs().max(self.high.abs())
    }

    /// True if all numbers are equal except for noise.
    fn is_one(&self) -> bool {
        self.high / 2.0 - self.low / 2.0 <= self.noise() / 2.0
    }
}

impl Spans {
    pub(super) fn new(columns: usize) -> Self {
        Self(vec![Span::EMPTY; columns])
    }

    /// Records a number of a column, and its float32.
    pub(super) fn look(&mut self, column: usize, value: f64, float: f32, is_whole: impl FnOnce() -> bool) {
        let span = &mut self.0[column];
        span.look(value);
        let moved = (value - f64::from(float)).abs();
        if moved > 0.0 && span.worst.is_finite() {
            span.worst = if is_whole() {
                f64::INFINITY
            } else {
                span.worst.max(moved)
            };
        }
    }

    /// A second look at columns in which distinct numbers may have become equal; `None` if there are none.
    pub(super) fn suspects(&self) -> Option<Merges> {
        // Two numbers that became equal moved by their distance together.
        let tolerance = |span: &Span| (2.0 * span.worst > span.tolerance()).then(|| span.tolerance());
        let tolerances: Vec<_> = self.0.iter().map(tolerance).collect();
        tolerances.iter().any(Option::is_some).then(|| Merges {
            tolerances,
            seen: HashMap::new(),
        })
    }
}

/// A second look, which finds numbers that became equal.
pub(super) struct Merges {
    /// Allowed difference of numbers that become equal; `None` for columns that need no second look.
    tolerances: Vec<Option<f64>>,
    /// The first number of a column with each float32.
    seen: HashMap<(u32, u32), (f64, bool)>,
}

impl Merges {
    pub(super) fn suspects(&self, column: usize) -> bool {
        self.tolerances[column].is_some()
    }

    /// The next number of a column.
    pub(super) fn look(&mut self, column: usize, value: f64, is_whole: bool) -> Result<(), Reason> {
        let Some(tolerance) = self.tolerances[column] else {
            return Ok(());
        };
        // Adding 0 makes both zeros equal.
        let became = value as f32 + 0.0;
        let key = (column as u32, became.to_bits());
        match self.seen.get(&key) {
            Some(&(other, other_is_whole)) => {
                let are_whole = is_whole && other_is_whole && value != other;
                if !are_whole && (value - other).abs() <= tolerance {
                    return Ok(());
                }
                Err(Reason::quoting(|quote| {
                    let (value, other) = (quote.of(written(value)), quote.of(written(other)));
                    let became = quote.of(written_float32(became));
                    format!(
                        "float32, in which networks are trained, makes {became} of both {other} and {value}: {WAYS}"
                    )
                }))
            }
            None => {
                if self.seen.len() < KEPT_MAX {
                    self.seen.insert(key, (value, is_whole));
                }
                Ok(())
            }
        }
    }
}

/// Target numbers in float32.
pub(super) struct Numbers {
    floats: Vec<f32>,
    span: Span,
    /// The largest move of a number, and the number's place.
    worst: (f64, u64),
}

impl Numbers {
    pub(super) fn new() -> Self {
        Self {
            floats: Vec::new(),
            span: Span::EMPTY,
            worst: (0.0, 0),
        }
    }

    /// Takes memory for so many.
    pub(super) fn reserve(&mut self, rows: usize) {
        self.floats.reserve_exact(rows);
    }

    /// Adds the next number, with the place that an error would name.
    pub(super) fn push(&mut self, value: f64, place: u64) -> Result<(), Reason> {
        let float = to_float32(value)?;
        self.span.look(value);
        let moved = (value - f64::from(float)).abs();
        if moved > self.span.worst {
            self.span.worst = moved;
            self.worst = (value, place);
        }
        self.floats.push(float);
        Ok(())
    }

    /// All numbers, or the place of one that moved too far.
    pub(super) fn finish(self) -> Result<Vec<f32>, (u64, Reason)> {
        if self.span.is_one() || self.span.worst <= self.span.tolerance() {
            return Ok(self.floats);
        }
        let (value, place) = self.worst;
        let reason = Reason::quoting(|quote| {
            let (became, value) = (quote.of(written_float32(value as f32)), quote.of(written(value)));
            format!("float32, in which networks are trained, makes {became} of {value}: {WAYS}")
        });
        Err((place, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(values: &[f64]) -> Option<String> {
        let mut spans = Spans::new(1);
        for value in values {
            let float = to_float32(*value).expect("a float");
            spans.look(0, *value, float, || is_whole(*value));
        }
        let mut merges = spans.suspects()?;
        let mut looks = values.iter().map(|value| merges.look(0, *value, is_whole(*value)));
        looks
            .find_map(Result::err)
            .map(|reason| super::super::ReadError::features(reason).reason)
    }

    fn moved(values: &[f64]) -> Option<u64> {
        let mut numbers = Numbers::new();
        for (row, value) in values.iter().enumerate() {
            numbers.push(*value, row as u64).expect("a float");
        }
        numbers.finish().err().map(|(row, _)| row)
    }

    #[test]
    fn values_that_become_equal_are_named() {
        let seconds = merged(&[1_700_000_000.0, 1_700_000_007.0, 0.0]).expect("equal");
        assert_eq!(
            seconds,
            "float32, in which networks are trained, makes 1700000000 of both 1700000000 and 1700000007: subtract a base from \
             it beforehand, or standardise it"
        );
        assert!(merged(&[16_777_216.0, 16_777_217.0]).is_some(), "whole numbers");
        assert!(
            merged(&[1e9, 1e9 + 1.0, -1e9]).is_some(),
            "whole numbers of a wide range"
        );
        assert!(
            merged(&[1e9 + 0.5, 16_777_216.0, 16_777_217.0]).is_some(),
            "beside one that is moved further"
        );
        assert!(merged(&[1_000.000_01, 1_000.000_02, 1_000.1]).is_some());
        assert!(merged(&[1e-50, 2e-50]).is_some(), "both become 0");
    }

    #[test]
    fn noise_in_the_last_digits_is_no_matter() {
        assert_eq!(merged(&[0.1, 0.1 + 1e-12, 3.0, -0.0, 0.0]), None);
        assert_eq!(
            merged(&[1e20, 1e20 * (1.0 + 1e-15), -1e20]),
            None,
            "too large to count anything"
        );
        assert_eq!(merged(&[1e9 + 1.0, 1e9 + 1.0, 5.0]), None, "one value, moved alike");
        assert_eq!(merged(&[f64::from(f32::MAX), -f64::from(f32::MAX)]), None);
        assert_eq!(merged(&[0.1]), None);
        assert_eq!(merged(&[0.3, 0.1 + 0.2]), None, "a sum has other last digits");
    }

    #[test]
    fn a_target_that_is_moved_is_named_by_the_worst() {
        assert_eq!(moved(&[16_777_216.0, 16_777_217.0, 16_777_200.0]), Some(1));
        assert_eq!(moved(&[0.1, 0.2, 0.3]), None);
        assert_eq!(
            moved(&[16_777_217.0, 16_777_217.0]),
            None,
            "without a range there is no share of it"
        );
        assert_eq!(moved(&[16_777_217.0, 1e9]), None, "little in its range");
        assert_eq!(moved(&[0.3, 0.1 + 0.2]), None, "one number, but for noise");
    }
}
