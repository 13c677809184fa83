//! The names of a table's columns.

use std::collections::HashMap;

use super::super::columns::{Columns, Header, Selection};
use super::super::{ReadError, Reason};
use super::records::Record;
use crate::limits::FEATURES_MAX;
use crate::spelling::nearest;

/// Prefix of column names in a file without a header; the number from 0 follows.
pub const NUMBERED: &str = "column_";

/// Possible delimiters, the most frequent first.
pub(super) const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// The names of the columns.
pub(super) struct Names {
    names: Vec<String>,
    /// The place of each name; `None` for a name of several columns.
    places: HashMap<String, Option<usize>>,
    /// True if there is no header, and names are numbered.
    is_numbered: bool,
}

impl Names {
    /// The names from the first record of a file.
    pub(super) fn new(first: Option<&Record<'_>>, header: Header) -> Result<Self, ReadError> {
        let first = first.ok_or_else(|| ReadError::features("is empty"))?;
        let name = |index: usize| match header {
            Header::Checked | Header::Present => first.field(index).map(str::to_owned),
            Header::Absent => Ok(format!("{NUMBERED}{index}")),
        };
        let names = (0..first.len()).map(name).collect::<Result<Vec<_>, _>>()?;
        let is_number = |name: &String| name.parse::<f64>().is_ok_and(f64::is_finite);
        if header == Header::Checked && names.iter().all(is_number) {
            return Err(ReadError::features(Reason::plain(format!(
                "line {} looks like a row, as all of its cells are numbers: set header: false if the file has no header, or \
                 header: true if these are the names",
                first.line
            ))));
        }
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            places
                .entry(name.clone())
                .and_modify(|place| *place = None)
                .or_insert(Some(place));
        }
        Ok(Self {
            names,
            places,
            is_numbered: header == Header::Absent,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn name(&self, place: usize) -> &str {
        &self.names[place]
    }

    /// Name of the place where a row's fields are counted.
    pub(super) fn what(&self) -> &'static str {
        if self.is_numbered {
            "the first line"
        } else {
            "the header"
        }
    }

    /// The place of a column that must exist.
    pub(super) fn place(&self, name: &str) -> Result<usize, ReadError> {
        self.find(name)?.ok_or_else(|| self.missing(name))
    }

    /// The feature columns, by name.
    pub(super) fn select(&self, columns: &Columns) -> Result<Vec<String>, ReadError> {
        let mut features: Vec<String> = Vec::new();
        match &columns.features {
            Selection::Named(named) => {
                for name in named {
                    let is_pattern = name.contains('*') && !self.places.contains_key(name);
                    if !is_pattern {
                        self.place(name)?;
                        if !features.contains(name) {
                            features.push(name.clone());
                        }
                        continue;
                    }
                    let before = features.len();
                    for known in self
                        .names
                        .iter()
                        .filter(|known| !columns.is_special(known) && matches(name, known))
                    {
                        self.place(known)?;
                        if !features.contains(known) {
                            features.push(known.clone());
                        }
                    }
                    if features.len() == before {
                        return Err(of_column(
                            name,
                            Reason::quoting(|quote| {
                                format!(
                                    "has no column that is like '{name}', but for other features; its columns are {}",
                                    quote.of(self.names.join(", "))
                                )
                            }),
                        ));
                    }
                }
            }
            Selection::AllBut(left_out) => {
                if let Some(name) = left_out.iter().find(|name| !self.is_like_some(name)) {
                    return Err(self.missing(name));
                }
                for known in &self.names {
                    let is_left_out = left_out.iter().any(|name| name == known || matches(name, known));
                    if !columns.is_special(known) && !is_left_out {
                        self.place(known)?;
                        features.push(known.clone());
                    }
                }
            }
        }
        let mut prepared = columns.prepare.columns.keys();
        if let Some(name) = prepared.find(|name| !features.contains(name)) {
            let is_left_out = self.places.contains_key(name);
            let left_out = || {
                of_column(
                    name,
                    Reason::plain(format!("has no feature '{name}': the column is left out")),
                )
            };
            return Err(if is_left_out { left_out() } else { self.missing(name) });
        }
        if features.is_empty() || features.len() > FEATURES_MAX {
            let len = features.len();
            return Err(ReadError::features(Reason::quoting(|quote| {
                format!(
                    "has {} columns that are features, and 1 to {FEATURES_MAX} are allowed: name fewer",
                    quote.of(len)
                )
            })));
        }
        Ok(features)
    }

    fn is_like_some(&self, name: &str) -> bool {
        self.places.contains_key(name) || (name.contains('*') && self.names.iter().any(|known| matches(name, known)))
    }

    /// The place of an optional column; a name that differs only in case is an error.
    pub(super) fn place_if_there(&self, name: &str) -> Result<Option<usize>, ReadError> {
        let place = self.find(name)?;
        if place.is_none() && self.names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(self.missing(name));
        }
        Ok(place)
    }

    fn find(&self, name: &str) -> Result<Option<usize>, ReadError> {
        match self.places.get(name) {
            Some(Some(place)) => Ok(Some(*place)),
            Some(None) => Err(of_column(
                name,
                Reason::plain(format!("has the column '{name}' more than once")),
            )),
            None => Ok(None),
        }
    }

    fn missing(&self, name: &str) -> ReadError {
        let near = nearest(name, self.names.iter().map(String::as_str));
        let only = if let [only] = self.names.as_slice() { only } else { "" };
        of_column(
            name,
            Reason::quoting(|quote| {
                if self.is_numbered {
                    let len = quote.of(self.names.len());
                    return format!("has no column '{name}': it has {len} columns, from {NUMBERED}0 on");
                }
                let names = quote.of(self.names.join(", "));
                let hint = match near {
                    Some(near) if quote.shows() => format!("; did you mean '{}'?", quote.of(near)),
                    None if quote.shows() && DELIMITERS.iter().any(|delimiter| only.contains(*delimiter)) => {
                        "; csv.delimiter says what stands between cells".to_owned()
                    }
                    _ => String::new(),
                };
                format!("has no column '{name}'; its columns are {names}{hint}")
            }),
        )
    }
}

/// True if a name matches a pattern, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

fn of_column(name: &str, reason: Reason) -> ReadError {
    ReadError {
        column: Some(name.to_owned()),
        ..ReadError::features(reason)
    }
}
