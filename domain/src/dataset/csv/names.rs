//! The columns of a table by their names.

use std::collections::HashMap;

use super::super::{ReadError, Reason};
use super::Header;
use super::records::Record;
use crate::near::near;

/// What columns of a file without a header are called, with their number from 0.
pub const NUMBERED: &str = "column_";

/// The names of the columns.
pub(super) struct Names {
    names: Vec<String>,
    /// The place of each; `None` for a name that several columns have.
    places: HashMap<String, Option<usize>>,
    /// Whether they are numbers, as there is no header.
    is_numbered: bool,
}

impl Names {
    /// By the first record of a file.
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

    /// Where the fields of a row are counted.
    pub(super) fn what(&self) -> &'static str {
        if self.is_numbered {
            "the first line"
        } else {
            "the header"
        }
    }

    /// The place of a column that has to be there.
    pub(super) fn place(&self, name: &str) -> Result<usize, ReadError> {
        self.find(name)?.ok_or_else(|| self.missing(name))
    }

    /// The place of a column that may be left out; one that is only written otherwise was not left out.
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
        let near = near(name, self.names.iter().map(String::as_str));
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
                    None if quote.shows() && only.contains(';') => {
                        "; values are separated by commas, not by ';'".to_owned()
                    }
                    None if quote.shows() && only.contains('\t') => {
                        "; values are separated by commas, not by tabs".to_owned()
                    }
                    _ => String::new(),
                };
                format!("has no column '{name}'; its columns are {names}{hint}")
            }),
        )
    }
}

fn of_column(name: &str, reason: Reason) -> ReadError {
    ReadError {
        column: Some(name.to_owned()),
        ..ReadError::features(reason)
    }
}
