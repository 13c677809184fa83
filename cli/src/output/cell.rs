//! One value of a listing, as a person and as a program read it.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Timestamp};

use super::shown;

/// One value of a listing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// There is none.
    Absent,
    Text(String),
    Count(u64),
    Number(f64),
    /// A mean and a standard deviation; for tables.
    Spread(f64, f64),
    Time(Timestamp),
}

impl Cell {
    /// Text, where an empty one means that there is none.
    pub(crate) fn text(text: &str) -> Self {
        if text.is_empty() {
            Self::Absent
        } else {
            Self::Text(text.to_owned())
        }
    }

    pub(crate) fn count(count: impl Into<u64>) -> Self {
        Self::Count(count.into())
    }

    pub(crate) fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }

    pub(crate) fn time(time: Option<Timestamp>) -> Self {
        time.map_or(Self::Absent, Self::Time)
    }

    pub(crate) fn spread(value: Option<f64>, std: Option<f64>) -> Self {
        match (value, std) {
            (Some(value), Some(std)) => Self::Spread(value, std),
            (value, _) => Self::number(value),
        }
    }

    /// The parameter of that name.
    pub(crate) fn param(params: Option<&Struct>, name: &str) -> Self {
        let value = params
            .and_then(|params| params.fields.get(name))
            .and_then(|value| value.kind.as_ref());
        match value {
            Some(Kind::NumberValue(number)) => Self::Number(*number),
            Some(Kind::StringValue(text)) => Self::Text(text.clone()),
            Some(Kind::BoolValue(truth)) => Self::Text(truth.to_string()),
            // No parameter takes such a value.
            Some(Kind::NullValue(_) | Kind::ListValue(_) | Kind::StructValue(_)) | None => Self::Absent,
        }
    }

    /// True if it is aligned to the right.
    pub(crate) fn is_numeric(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Number(_) | Self::Spread(..))
    }

    /// For a table: six significant digits, seconds, and texts that a terminal shows and does not obey.
    pub(crate) fn for_people(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Text(text) => shown(text),
            Self::Count(count) => count.to_string(),
            Self::Number(number) => six_digits(*number),
            Self::Spread(value, std) => format!("{} ± {}", six_digits(*value), six_digits(*std)),
            Self::Time(time) => time_text(time),
        }
    }

    /// For CSV: nothing is rounded, and texts are as they are.
    pub(crate) fn for_programs(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => all_digits(*number),
            Self::Spread(value, std) => format!("{} {}", all_digits(*value), all_digits(*std)),
            Self::Time(time) => time.to_string(),
            _ => self.for_people(),
        }
    }
}

/// Seconds are enough for a person: `2026-11-23 12:34:56`, in UTC.
pub(crate) fn time_text(time: &Timestamp) -> String {
    let whole = time.to_string();
    whole.get(..19).unwrap_or(&whole).replace('T', " ")
}

/// Trials by number, the first ones; `None` without any.
pub(crate) fn trial_list(numbers: &[u32]) -> Option<String> {
    const TRIALS_TOLD_MAX: usize = 10;
    let first = numbers.iter().take(TRIALS_TOLD_MAX);
    let first: Vec<String> = first.map(|trial| trial.to_string()).collect();
    let more = match numbers.len().saturating_sub(TRIALS_TOLD_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if numbers.len() == 1 { "trial" } else { "trials" };
    (!first.is_empty()).then(|| format!("{noun} {}{more}", first.join(", ")))
}

/// A share as a percentage with two decimals.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A number with six significant digits; whole numbers keep all of theirs.
pub(crate) fn six_digits(number: f64) -> String {
    if !number.is_finite() || (number.fract() == 0.0 && number.abs() < 1e15) {
        return all_digits(number);
    }
    // Rounding may carry into the next power of ten, so the exponent is that of the rounded number.
    let scientific = format!("{number:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-5..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}")).to_owned();
    }
    format!("{}e{exponent}", trimmed(mantissa))
}

fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

/// The shortest text that reads back as exactly this number.
fn all_digits(number: f64) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A length of time in the unit that a person would take: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`.
pub(crate) fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..100 => format!("{seconds} s"),
        100..5970 => format!("{minutes} min"),
        5970..86_370 => format!("{} h {:02} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_show_six_significant_digits() {
        for (number, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (10.0, "10"),
            (1_234_567.0, "1234567"),
            (0.123_456_789, "0.123457"),
            (1.5, "1.5"),
            (123.456_789, "123.457"),
            (999_999.96, "1e6"),
            (1_234_567.8, "1.23457e6"),
            (0.000_123_456_78, "0.000123457"),
            (1.234_567_8e-7, "1.23457e-7"),
            (-2.5e-9, "-2.5e-9"),
            (1e300, "1e300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(six_digits(number), want, "{number:?}");
        }
    }

    #[test]
    fn programs_get_every_digit() {
        for number in [0.1 + 0.2, 1e-7, 1.0 / 3.0, 5e-324, f64::MAX] {
            let text = Cell::Number(number).for_programs();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{text}");
        }
        assert_eq!(Cell::Number(12.0).for_programs(), "12");
    }

    #[test]
    fn times_are_short_for_people_and_whole_for_programs() {
        let time = Cell::Time(Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_000,
        });
        assert_eq!(time.for_people(), "2023-11-14 22:13:20");
        assert_eq!(time.for_programs(), "2023-11-14T22:13:20.123456Z");
    }

    #[test]
    fn people_see_no_escape_sequences_and_programs_get_texts_as_they_are() {
        let text = Cell::text("\x1b]0;PWNED\x07a\tb");
        assert_eq!(text.for_people(), "�]0;PWNED�a b");
        assert_eq!(text.for_programs(), "\x1b]0;PWNED\x07a\tb");
    }

    #[test]
    fn durations_take_the_unit_that_fits() {
        for (seconds, want) in [
            (0, "0 s"),
            (99, "99 s"),
            (100, "2 min"),
            (3600, "60 min"),
            (11_100, "3 h 05 min"),
            (190_000, "2 d 4 h"),
        ] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), want);
        }
    }
}
