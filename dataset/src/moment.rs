//! Dates in cells, with a time or without.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde::{Deserialize, Serialize};

const DAY_US: f64 = 86_400e6;
/// As it is written.
const FORMAT: &str = "%Y-%m-%dT%H:%M:%S%.f";
/// Other formats of a date with a time.
const FORMATS: [&str; 3] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];

/// A date with a time, in microseconds since 1970; in UTC unless it has an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(i64);

impl Moment {
    /// Reads ISO 8601: 2026-01-31, at midnight; or with a time, 2026-01-31 13:45:00. Also reads 2026/01/31, whose order
    /// is clear from the year; 01/31/2026 is not read, because 01/02/2026 is ambiguous.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // A quick test rules most texts out.
        let (year, rest) = text.as_bytes().split_at_checked(4)?;
        let text = match rest.first() {
            _ if !year.iter().all(u8::is_ascii_digit) => return None,
            Some(b'-') => Cow::Borrowed(text),
            Some(b'/') => Cow::Owned(text.replacen('/', "-", 2)),
            _ => return None,
        };
        let text = &*text;
        let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
        let with_time = || {
            let mut formats = std::iter::once(&FORMAT).chain(&FORMATS);
            formats.find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        };
        let with_offset = || {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.to_utc().naive_utc())
        };
        let time = day().or_else(with_time).or_else(with_offset)?;
        Some(Self(time.and_utc().timestamp_micros()))
    }

    /// Microseconds since 1970.
    pub(super) fn micros(self) -> i64 {
        self.0
    }

    /// Days since another one.
    pub(super) fn days_since(self, other: Self) -> f64 {
        (self.0 - other.0) as f64 / DAY_US
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::from_timestamp_micros(self.0).unwrap_or_default().naive_utc();
        let is_day = self.0 % DAY_US as i64 == 0;
        write!(f, "{}", time.format(if is_day { "%Y-%m-%d" } else { FORMAT }))
    }
}

/// A text that is no date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no date, as 2026-01-31 or 2026-01-31T13:45:00")]
pub struct NotADate;

impl TryFrom<String> for Moment {
    type Error = NotADate;

    fn try_from(text: String) -> Result<Self, NotADate> {
        Self::parse(&text).ok_or(NotADate)
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        let moment = |text| Moment::parse(text).expect(text);
        for (text, written) in [
            ("2026-01-31", "2026-01-31"),
            ("1969-12-31 00:00", "1969-12-31"),
            ("2026/01/31", "2026-01-31"),
            ("2026/1/31 13:45", "2026-01-31T13:45:00"),
            ("2026-01-31 13:45", "2026-01-31T13:45:00"),
            ("2026-01-31T13:45:00.25", "2026-01-31T13:45:00.250"),
            ("2026-01-31T13:45:00+02:00", "2026-01-31T11:45:00"),
        ] {
            assert_eq!(moment(text).to_string(), written);
            assert_eq!(moment(written), moment(text));
        }
        for text in [
            "",
            "2026",
            "31.01.2026",
            "01/31/2026",
            "2026/31/01",
            "2026-01/31",
            "2026-13-01",
            "2026-01-31 25:00",
            "20260131",
            "2026-01-31x",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
        let days = moment("2026-02-02 06:00").days_since(moment("2026-01-31"));
        assert_eq!(days, 2.25);
    }
}
