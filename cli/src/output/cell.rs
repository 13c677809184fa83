//! One value of a listing, as a person and as a program read it.

use prost_types::{Struct, Timestamp};
use trawl_report::words::{Parameter, all_digits, column, number, parameter, spread, time_text};

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
    /// A number as tables show it among others.
    LinedUp(String),
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
        match parameter(params, name) {
            Some(Parameter::Number(number)) => Self::Number(number),
            Some(Parameter::Text(text)) => Self::Text(text),
            None => Self::Absent,
        }
    }

    /// True if it is aligned to the right.
    pub(crate) fn is_numeric(&self) -> bool {
        matches!(
            self,
            Self::Count(_) | Self::Number(_) | Self::Spread(..) | Self::LinedUp(_)
        )
    }

    /// For a table: numbers with a few digits, seconds, and texts that a terminal shows and does not obey.
    pub(crate) fn for_people(&self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Text(text) => shown(text),
            Self::Count(count) => count.to_string(),
            Self::Number(value) => number(*value),
            Self::Spread(value, std) => spread(Some(*value), Some(*std)),
            Self::LinedUp(text) => text.clone(),
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

/// Gives the numbers among cells that stand below or beside each other their decimals in common.
pub(crate) fn line_up<'a>(cells: impl IntoIterator<Item = &'a mut Cell>) {
    let numbers = cells.into_iter().filter_map(|cell| match *cell {
        Cell::Number(value) => Some((cell, (Some(value), None))),
        Cell::Spread(value, std) => Some((cell, (Some(value), Some(std)))),
        _ => None,
    });
    let (cells, numbers): (Vec<&mut Cell>, Vec<_>) = numbers.unzip();
    for (cell, text) in cells.into_iter().zip(column(&numbers)) {
        *cell = Cell::LinedUp(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_every_digit() {
        for number in [0.1 + 0.2, 1e-7, 1.0 / 3.0, 5e-324, f64::MAX] {
            let text = Cell::Number(number).for_programs();
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{text}");
        }
        assert_eq!(Cell::Number(12.0).for_programs(), "12");
    }

    #[test]
    fn numbers_of_a_column_line_up() {
        let mut cells = [
            Cell::Spread(0.300_423, 0.053_4),
            Cell::Absent,
            Cell::Number(0.5),
            Cell::Count(7),
        ];
        line_up(&mut cells);
        assert_eq!(cells.map(|cell| cell.for_people()), ["0.300 ± 0.053", "", "0.500", "7"]);
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
}
