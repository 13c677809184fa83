//! How numbers, times and lists are written for people: alike in tables of the command line, in reports and on pages.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Timestamp};
use trawl_proto::v1::StudySummary;

/// A parameter of a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A number.
    Number(f64),
    /// A choice that is no number.
    Text(String),
}

/// The parameter of that name; `None` where the trial lacks it.
pub fn parameter(params: Option<&Struct>, name: &str) -> Option<Parameter> {
    match params?.fields.get(name)?.kind.as_ref()? {
        Kind::NumberValue(number) => Some(Parameter::Number(*number)),
        Kind::StringValue(text) => Some(Parameter::Text(text.clone())),
        Kind::BoolValue(truth) => Some(Parameter::Text(truth.to_string())),
        // No parameter takes such a value.
        Kind::NullValue(_) | Kind::ListValue(_) | Kind::StructValue(_) => None,
    }
}

/// Seconds are enough for a person: `2026-11-23 12:34:56`, in UTC.
pub fn time_text(time: &Timestamp) -> String {
    let whole = time.to_string();
    whole.get(..19).unwrap_or(&whole).replace('T', " ")
}

/// Trials by number, the first ones; `None` without any.
pub fn trial_list(numbers: &[u32]) -> Option<String> {
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
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A number with six significant digits; whole numbers keep all of theirs.
pub fn six_digits(number: f64) -> String {
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
pub fn all_digits(number: f64) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

/// A length of time in the unit that a person would take: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..100 => format!("{seconds} s"),
        100..5970 => format!("{minutes} min"),
        5970..86_370 => format!("{} h {:02} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

/// From submission to end.
pub fn elapsed_text(study: &StudySummary) -> Option<String> {
    let (start, end) = (study.created_at?, study.finished_at?);
    let seconds = u64::try_from(end.seconds.checked_sub(start.seconds)?).ok()?;
    Some(duration_text(Duration::from_secs(seconds)))
}

/// How the trials of a study ended: `298 of 300 completed, 2 failed`.
pub fn trials_text(study: &StudySummary) -> String {
    let others = [
        (study.trials_running, "running"),
        (study.trials_pruned, "pruned"),
        (study.trials_failed, "failed"),
    ];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let others = others.map(|(count, state)| format!(", {count} {state}"));
    format!(
        "{} of {} completed{}",
        study.trials_completed,
        study.trials_total,
        others.collect::<String>()
    )
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
