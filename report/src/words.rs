//! How numbers, times and lists are written for people: alike in tables of the command line, in reports and on pages.

use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{Struct, Timestamp};
use trawl_proto::v1::{Baseline, DataSummary, StudySummary};

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

/// A number by itself: with four significant digits, or with all before the point; as `1.9e-5` below a thousandth, and from a million on.
pub fn number(number: f64) -> String {
    alike([number]).concat()
}

/// A number up to the second significant digit of its standard deviation: `0.300 ± 0.053`. Without one, as [`number`]; empty where there is none.
pub fn spread(value: Option<f64>, std: Option<f64>) -> String {
    column(&[(value, std)]).concat()
}

/// Numbers that stand below each other, with their standard deviations, each as [`spread`] writes it, but all with the decimals of the one
/// that has most.
pub fn column(numbers: &[(Option<f64>, Option<f64>)]) -> Vec<String> {
    let decimals = Decimals::of(numbers.iter().filter_map(|(value, std)| Some(((*value)?, *std))));
    let text = |(value, std): &(Option<f64>, Option<f64>)| value.map(|value| decimals.text(value, *std));
    numbers.iter().map(|number| text(number).unwrap_or_default()).collect()
}

/// A parameter of trials that stand below each other, likewise.
pub fn parameters(of_trials: &[Option<Parameter>]) -> Vec<String> {
    let numbers = of_trials.iter().map(|parameter| match parameter {
        Some(Parameter::Number(number)) => (Some(*number), None),
        Some(Parameter::Text(_)) | None => (None, None),
    });
    let numbers = column(&numbers.collect::<Vec<_>>());
    let text = |(parameter, number): (&Option<Parameter>, String)| match parameter {
        Some(Parameter::Text(text)) => text.clone(),
        Some(Parameter::Number(_)) | None => number,
    };
    of_trials.iter().zip(numbers).map(text).collect()
}

/// Numbers that stand beside each other, likewise.
pub fn alike<const N: usize>(numbers: [f64; N]) -> [String; N] {
    let decimals = Decimals::of(numbers.iter().map(|number| (*number, None)));
    numbers.map(|number| decimals.text(number, None))
}

/// How many decimals numbers have that are written alike.
#[derive(Clone, Copy, Debug, Default)]
struct Decimals {
    plain: usize,
    /// Of the mantissas of numbers with an exponent.
    exponential: usize,
}

impl Decimals {
    /// Significant digits of a number without a standard deviation,
    const DIGITS: usize = 4;
    /// and of one whose standard deviation is far smaller.
    const DIGITS_MAX: i32 = 6;

    fn of(numbers: impl Iterator<Item = (f64, Option<f64>)>) -> Self {
        let mut most = Self::default();
        for (value, std) in numbers.filter(|(value, _)| value.is_finite()) {
            let (mantissa, exponent) = rounded(value, Self::DIGITS);
            let decimals = match std.filter(|std| std.is_finite() && *std > 0.0) {
                Some(std) => (1 - rounded(std, 2).1).min(Self::DIGITS_MAX - 1 - exponent),
                None => mantissa - exponent,
            };
            if is_exponential(value, std) {
                most.exponential = most.exponential.max(usize::try_from(decimals + exponent).unwrap_or(0));
            } else {
                most.plain = most.plain.max(usize::try_from(decimals).unwrap_or(0));
            }
        }
        most
    }

    fn text(self, value: f64, std: Option<f64>) -> String {
        let Self { plain, exponential } = self;
        let is_exponential = is_exponential(value, std);
        let text = match is_exponential {
            _ if !value.is_finite() => all_digits(value),
            true => format!("{value:.exponential$e}"),
            false => format!("{value:.plain$}"),
        };
        let Some(std) = std else { return text };
        let two_digits = format!("{std:.1e}");
        let decimal = match plain {
            0 => format!("{:.0}", two_digits.parse().unwrap_or(std)),
            _ => format!("{std:.plain$}"),
        };
        let is_lost = std > 0.0 && !decimal.contains(|digit: char| ('1'..='9').contains(&digit));
        let std = match is_exponential || is_lost {
            _ if !std.is_finite() => all_digits(std),
            true => two_digits,
            false => decimal,
        };
        format!("{text} ± {std}")
    }
}

/// True for a number that is written with an exponent: it is below a thousandth, or a million and more, and so is its standard deviation.
fn is_exponential(value: f64, std: Option<f64>) -> bool {
    let largest = std.map_or(value.abs(), |std| std.max(value.abs()));
    largest != 0.0 && !(-3..6).contains(&rounded(largest, Decimals::DIGITS).1)
}

/// A number rounded to so many significant digits: the decimals of its mantissa, without zeros at their end, and its exponent.
fn rounded(number: f64, digits: usize) -> (i32, i32) {
    let text = format!("{number:.decimals$e}", decimals = digits - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let decimals = mantissa.trim_end_matches('0').split_once('.');
    let decimals = decimals.map_or(0, |(_, decimals)| decimals.len());
    (i32::try_from(decimals).unwrap_or(0), exponent.parse().unwrap_or(0))
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

/// What a study learns from: its files by the names that its submitter gave them, rows and inputs, as in `houses.csv, 506 rows, 12 inputs`.
/// Names may have the first digits of the file's hash behind them.
pub fn data_text(data: &DataSummary, with_hashes: bool) -> String {
    let files = data.files.iter().map(|file| {
        let hash = file.sha256.get(..8).unwrap_or(&file.sha256);
        let name = match (file.field.as_str(), file.name.as_str()) {
            ("dataset.fashion_mnist", _) => return "FashionMNIST".to_owned(),
            (_, "") => format!("sha256:{hash}"),
            (_, name) if with_hashes => format!("{name} ({hash})"),
            (_, name) => name.to_owned(),
        };
        match file.field.rsplit('.').next() {
            Some(part) if !part.starts_with("train") => format!("{part} {name}"),
            _ => name,
        }
    });
    let dims: Vec<String> = data.input.iter().map(u32::to_string).collect();
    let inputs = match data.input.as_slice() {
        [1] => "1 input".to_owned(),
        [inputs] => format!("{inputs} inputs"),
        _ => format!("inputs of {}", dims.join(" x ")),
    };
    let sizes = [format!("{} rows", data.train_rows), inputs];
    files.chain(sizes).collect::<Vec<_>>().join(", ")
}

/// What models without a search reach, as in `constant 1.05 ± 0.11, linear 0.93 ± 0.10`, and which of them the best trial does not beat. Empty without any.
pub fn baselines_text(study: &StudySummary) -> String {
    let values: Vec<_> = study
        .baselines
        .iter()
        .map(|one| (Some(one.value), one.value_std))
        .collect();
    let texts = study.baselines.iter().zip(column(&values));
    let texts: Vec<String> = texts.map(|(one, value)| format!("{} {value}", one.baseline)).collect();
    let is_as_good = |one: &&Baseline| match (study.best_value, study.goal.as_str()) {
        (Some(best), "maximize") => one.value >= best,
        (Some(best), _) => one.value <= best,
        (None, _) => false,
    };
    let as_good: Vec<&str> = study
        .baselines
        .iter()
        .filter(is_as_good)
        .map(|one| one.baseline.as_str())
        .collect();
    match as_good.as_slice() {
        [] => texts.join(", "),
        names => format!("{}; no trial beats {}", texts.join(", "), names.join(" and ")),
    }
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
    use trawl_proto::v1::DataFile;

    use super::*;

    #[test]
    fn a_baseline_that_no_trial_beats_is_said() {
        let baseline = |baseline: &str, value| Baseline {
            baseline: baseline.into(),
            value,
            value_std: Some(0.1),
        };
        let mut study = StudySummary {
            goal: "minimize".into(),
            best_value: Some(0.3),
            baselines: vec![baseline("constant", 1.05), baseline("linear", 0.93)],
            ..Default::default()
        };
        assert_eq!(baselines_text(&study), "constant 1.05 ± 0.10, linear 0.93 ± 0.10");
        study.best_value = Some(0.95);
        let of_linear = "constant 1.05 ± 0.10, linear 0.93 ± 0.10; no trial beats linear";
        assert_eq!(baselines_text(&study), of_linear);
        study.goal = "maximize".into();
        let of_constant = "constant 1.05 ± 0.10, linear 0.93 ± 0.10; no trial beats constant";
        assert_eq!(baselines_text(&study), of_constant);
        assert_eq!(baselines_text(&StudySummary::default()), "");
    }

    #[test]
    fn a_number_has_four_significant_digits_and_one_notation() {
        for (value, want) in [
            (0.0, "0"),
            (10.0, "10"),
            (150.0, "150"),
            (12_345.678, "12346"),
            (0.304_906, "0.3049"),
            (1.5, "1.5"),
            (123.456_789, "123.5"),
            (0.001, "0.001"),
            (0.000_123_456_78, "1.235e-4"),
            (0.000_999_96, "0.001"),
            (1.9e-5, "1.9e-5"),
            (-2.5e-9, "-2.5e-9"),
            (999_999.96, "1e6"),
            (-25_000_000.0, "-2.5e7"),
            (1e300, "1e300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), want, "{value:?}");
        }
    }

    #[test]
    fn a_value_ends_with_the_second_digit_of_its_spread() {
        for (value, std, want) in [
            (0.300_423, 0.053_402_7, "0.300 ± 0.053"),
            (0.3421, 0.109, "0.34 ± 0.11"),
            (2_872.3, 310.4, "2872 ± 310"),
            (28.7, 9.96, "29 ± 10"),
            (1.934e-5, 2.1e-6, "1.93e-5 ± 2.1e-6"),
            (3.456e6, 1.2e5, "3.46e6 ± 1.2e5"),
            // Nothing hides a digit that counts, and nobody reads a seventh one.
            (0.0001, 0.017, "0.000 ± 0.017"),
            (0.3, 1.04e-9, "0.300000 ± 1.0e-9"),
            (0.25, 0.0, "0.25 ± 0.00"),
            (0.25, f64::NAN, "0.25 ± NaN"),
        ] {
            assert_eq!(spread(Some(value), Some(std)), want, "{value:?} ± {std:?}");
        }
        assert_eq!(spread(Some(0.25), None), "0.25");
        assert_eq!(spread(None, None), "");
    }

    #[test]
    fn numbers_of_a_column_have_their_decimals_in_common() {
        let spreads = [
            (Some(0.300_423), Some(0.053_4)),
            (Some(0.304_167), Some(0.110_319)),
            (None, None),
            (Some(0.5), None),
        ];
        assert_eq!(column(&spreads), ["0.300 ± 0.053", "0.304 ± 0.110", "", "0.500"]);
        let sizes = [4.0, 12.0].map(|size| (Some(size), None));
        assert_eq!(column(&sizes), ["4", "12"]);
        let rates = [0.0196, 0.1, 1.9e-5, 0.000_375].map(|rate| Some(Parameter::Number(rate)));
        assert_eq!(parameters(&rates), ["0.0196", "0.1000", "1.90e-5", "3.75e-4"]);
        let mixed = [Some(Parameter::Number(0.5)), None, Some(Parameter::Text("none".into()))];
        assert_eq!(parameters(&mixed), ["0.5", "", "none"]);
        assert_eq!(alike([0.53, 0.5, 0.561]), ["0.530", "0.500", "0.561"]);
    }

    #[test]
    fn data_has_the_names_that_somebody_gave_it() {
        let file = |field: &str, name: &str| DataFile {
            field: field.to_owned(),
            name: name.to_owned(),
            sha256: "b1529bd7c0ffee".into(),
        };
        let houses = DataSummary {
            files: vec![
                file("dataset.csv.train", "data/houses.csv"),
                file("dataset.csv.test", "new.csv"),
            ],
            train_rows: 506,
            input: vec![12],
        };
        assert_eq!(
            data_text(&houses, false),
            "data/houses.csv, test new.csv, 506 rows, 12 inputs"
        );
        assert_eq!(
            data_text(&houses, true),
            "data/houses.csv (b1529bd7), test new.csv (b1529bd7), 506 rows, 12 inputs"
        );
        let images = DataSummary {
            files: vec![file("dataset.idx.train_images", "")],
            train_rows: 60_000,
            input: vec![1, 28, 28],
        };
        assert_eq!(
            data_text(&images, false),
            "sha256:b1529bd7, 60000 rows, inputs of 1 x 28 x 28"
        );
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
