//! Targets: numbers, or classes by one rule for all formats.
//!
//! The classes are the distinct labels of the training rows in ascending order: as numbers if all are numbers, otherwise as text.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::exactness::Numbers;
use super::{Reason, TargetKind, Targets};
use crate::limits::{CLASS_NAME_BYTES_MAX, CLASSES_MAX};

/// The targets of a part during reading.
pub(super) enum Column<'a> {
    Numbers(Numbers),
    Classes(Classes<'a>),
    Binary(Vec<f32>),
}

/// A fault of all targets together, and the place of a target that shows it.
pub(super) struct Misplaced {
    pub(super) place: Option<u64>,
    pub(super) reason: Reason,
}

impl<'a> Column<'a> {
    /// `known` has the classes if no new ones are allowed.
    pub(super) fn new(kind: TargetKind, known: Option<&'a [String]>) -> Self {
        match kind {
            TargetKind::Number => Self::Numbers(Numbers::new()),
            TargetKind::Class => Self::Classes(Classes::new(known)),
            TargetKind::Binary => Self::Binary(Vec::new()),
        }
    }

    /// Reserves memory for `rows` rows.
    pub(super) fn reserve(&mut self, rows: usize) {
        match self {
            Self::Numbers(numbers) => numbers.reserve(rows),
            Self::Classes(classes) => classes.labels.reserve_exact(rows),
            Self::Binary(values) => values.reserve_exact(rows),
        }
    }

    pub(super) fn finish(self) -> Result<Targets, Misplaced> {
        match self {
            Self::Numbers(numbers) => numbers
                .finish()
                .map(Targets::Numbers)
                .map_err(|(place, reason)| Misplaced {
                    place: Some(place),
                    reason,
                }),
            Self::Classes(classes) => classes.finish().map_err(|reason| Misplaced { place: None, reason }),
            Self::Binary(values) => Ok(Targets::Numbers(values)),
        }
    }
}

/// The value of a binary target.
pub(super) fn binary(number: f64) -> Result<f32, Reason> {
    if number == 0.0 || number == 1.0 {
        return Ok(number as f32);
    }
    Err(Reason::quoting(|quote| {
        format!("is {}, and loss: bce predicts what is 0 or 1", quote.of(number))
    }))
}

/// Joins several targets of the same rows: numbers side by side. `None` without any.
pub(super) fn side_by_side(mut targets: Vec<Targets>) -> Option<Targets> {
    if targets.len() <= 1 {
        return targets.pop();
    }
    let columns: Vec<Vec<f32>> = targets
        .into_iter()
        .filter_map(|targets| match targets {
            Targets::Numbers(numbers) => Some(numbers),
            Targets::Classes { .. } => None,
        })
        .collect();
    let rows = columns.first().map_or(0, Vec::len);
    let values = (0..rows).flat_map(|row| columns.iter().map(move |column| column[row]));
    Some(Targets::Numbers(values.collect()))
}

/// Labels, with classes numbered by appearance until all are known.
pub(super) struct Classes<'a> {
    known: Option<&'a [String]>,
    indices: HashMap<String, u32>,
    labels: Vec<u32>,
}

impl<'a> Classes<'a> {
    fn new(known: Option<&'a [String]>) -> Self {
        Self {
            known,
            indices: known.unwrap_or_default().iter().cloned().zip(0..).collect(),
            labels: Vec::new(),
        }
    }

    /// Adds the label of the next row.
    pub(super) fn push(&mut self, name: &str) -> Result<(), Reason> {
        let index = self.index(name)?;
        self.push_index(index);
        Ok(())
    }

    /// Adds a label by the result of [`Self::index`].
    pub(super) fn push_index(&mut self, index: u32) {
        self.labels.push(index);
    }

    /// The number of a class: a new one, unless new ones are not allowed.
    pub(super) fn index(&mut self, name: &str) -> Result<u32, Reason> {
        if let Some(index) = self.indices.get(name) {
            return Ok(*index);
        }
        if name.is_empty() {
            return Err("is empty, where a class should stand".into());
        }
        if self.known.is_some() {
            return Err(Reason::quoting(|quote| {
                format!("'{}' is no class of the training rows", quote.of(name))
            }));
        }
        if name.len() > CLASS_NAME_BYTES_MAX {
            let reason = format!("has a name that is longer than {CLASS_NAME_BYTES_MAX} bytes");
            return Err(Reason::plain(reason));
        }
        if self.indices.len() >= CLASSES_MAX {
            let hint = if self.indices.keys().all(|name| number(name).is_some()) {
                "; for numbers to be predicted set loss: mse"
            } else {
                ""
            };
            let reason = format!(
                "is different label number {}, and at most {CLASSES_MAX} are allowed{hint}",
                CLASSES_MAX + 1
            );
            return Err(Reason::plain(reason));
        }
        let index = self.indices.len() as u32;
        self.indices.insert(name.to_owned(), index);
        Ok(index)
    }

    fn finish(self) -> Result<Targets, Reason> {
        if let Some(known) = self.known {
            return Ok(Targets::Classes {
                labels: self.labels,
                names: known.to_vec(),
            });
        }
        let mut names: Vec<(String, u32)> = self.indices.into_iter().collect();
        if names.len() < 2 {
            return Err("has a single class: there is nothing to tell apart".into());
        }
        sort(&mut names)?;
        let mut place = vec![0; names.len()];
        for (index, (_, label)) in names.iter().enumerate() {
            place[*label as usize] = index as u32;
        }
        let mut labels = self.labels;
        labels.iter_mut().for_each(|label| *label = place[*label as usize]);
        Ok(Targets::Classes {
            labels,
            names: names.into_iter().map(|(name, _)| name).collect(),
        })
    }
}

/// Ascending, so that classes depend on the file's content and not on its order.
fn sort(names: &mut [(String, u32)]) -> Result<(), Reason> {
    let mut numbers: Vec<(Number, &str)> = names
        .iter()
        .filter_map(|(name, _)| number(name).map(|number| (number, name.as_str())))
        .collect();
    numbers.sort_by(|(a, a_name), (b, b_name)| compare(a, b).then_with(|| a_name.cmp(b_name)));
    let twice = numbers.windows(2).find(|pair| compare(&pair[0].0, &pair[1].0).is_eq());
    if let Some([(_, first), (_, second)]) = twice {
        return Err(Reason::quoting(|quote| {
            let (first, second) = (quote.of(first), quote.of(second));
            format!("has the labels '{first}' and '{second}', which are one number: write it in one way")
        }));
    }
    if numbers.len() == names.len() {
        let place: HashMap<String, usize> = numbers.iter().map(|(_, name)| (*name).to_owned()).zip(0..).collect();
        names.sort_by_key(|(name, _)| place.get(name).copied());
    } else {
        names.sort();
    }
    Ok(())
}

/// A numeric label. Whole numbers are compared exactly: doubles skip large ones.
type Number = (f64, i128);

fn number(name: &str) -> Option<Number> {
    let value = name.parse::<f64>().ok().filter(|value| value.is_finite())?;
    // Texts with the same double are either all compared as whole numbers or none, so that the order is consistent.
    let is_whole = value.fract() == 0.0 && value.abs() < 1e38;
    let whole = name.parse().unwrap_or(value as i128);
    // Both zeros are one.
    Some((value + 0.0, if is_whole { whole } else { 0 }))
}

fn compare((a, a_whole): &Number, (b, b_whole): &Number) -> Ordering {
    a.total_cmp(b).then_with(|| a_whole.cmp(b_whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Result<Vec<String>, String> {
        let mut classes = Classes::new(None);
        names.iter().try_for_each(|name| classes.push(name)).expect("labels");
        match classes.finish() {
            Ok(Targets::Classes { labels, names: found }) => {
                let back: Vec<&str> = labels.iter().map(|label| found[*label as usize].as_str()).collect();
                assert_eq!(back, names, "labels go with their names");
                Ok(found)
            }
            Ok(Targets::Numbers(_)) => panic!("numbers"),
            Err(reason) => Err(super::super::ReadError::features(reason).reason),
        }
    }

    #[test]
    fn classes_ascend_as_what_they_are() {
        for (labels, sorted) in [
            (&["10", "9", "2", "9"][..], &["2", "9", "10"][..]),
            (&["1", "-1"], &["-1", "1"]),
            (&["1", "0.5", "-2.25"], &["-2.25", "0.5", "1"]),
            (&["dog", "cat", "dog"], &["cat", "dog"]),
            (&["10", "9", "none"], &["10", "9", "none"]),
            (
                &["9007199254740993", "9007199254740992"],
                &["9007199254740992", "9007199254740993"],
            ),
        ] {
            assert_eq!(classes(labels).expect("classes"), sorted);
        }
    }

    #[test]
    fn one_number_in_two_texts_is_refused() {
        for labels in [&["1", "2", "1.0"][..], &["0", "-0"], &["1e3", "1000", "much"]] {
            let reason = classes(labels).expect_err("one number twice");
            assert!(reason.contains("which are one number"), "{reason}");
        }
        assert_eq!(
            classes(&["7", "7"]).expect_err("one class"),
            "has a single class: there is nothing to tell apart"
        );
    }

    #[test]
    fn too_many_labels_that_are_numbers_are_perhaps_to_be_predicted() {
        let mut classes = Classes::new(None);
        let refused = (0..)
            .find_map(|label: u32| classes.push(&label.to_string()).err())
            .expect("too many");
        assert_eq!(
            super::super::ReadError::features(refused).reason,
            "is different label number 4097, and at most 4096 are allowed; for numbers to be predicted set loss: mse"
        );
    }
}
