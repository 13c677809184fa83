//! The files that a study learns from.

use super::{Format, Part, ReadError};

/// A dataset whose files are named correctly.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The format of its files.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileRef>,
    /// Files of the validation part, if it has its own.
    pub validation: Option<Part<FileRef>>,
    /// Files of the test part, which may lack targets.
    pub test: Option<Part<FileRef>>,
    /// True if the test part may have the rows of the training part.
    pub test_is_train: bool,
}

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName {
    /// Networks train on it.
    Train,
    /// Trials are measured on it, if it has files of its own.
    Validation,
    /// Refits are measured on it.
    Test,
}

impl Source {
    /// The files of a part, if it has files of its own.
    pub fn part(&self, part: PartName) -> Option<&Part<FileRef>> {
        match part {
            PartName::Train => Some(&self.train),
            PartName::Validation => self.validation.as_ref(),
            PartName::Test => self.test.as_ref(),
        }
    }

    /// All files, in this order: training part, validation part, test part.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let further = self.validation.iter().chain(&self.test);
        self.train.files().chain(further.flat_map(Part::files))
    }

    /// The field to correct for a fault in a part's file. For a missing column it is the field that names the column,
    /// if that field is for this part alone: names that fit the training part are right.
    pub fn field_of(&self, part: PartName, error: &ReadError) -> String {
        let files = self.part(part).unwrap_or(&self.train);
        let file = files
            .targets
            .as_ref()
            .filter(|_| error.in_targets)
            .unwrap_or(&files.features);
        let named = error.column.as_ref().and_then(|name| match &self.format {
            Format::Csv(columns) if part == PartName::Train => Some(columns.field_of(name)),
            Format::Npz(arrays, _) => arrays.field_of(part, name),
            _ => None,
        });
        named.unwrap_or_else(|| file.field.clone())
    }
}

/// A file named by a study.
#[derive(Clone, Debug, PartialEq)]
pub struct FileRef {
    /// The field that names it.
    pub field: String,
    /// Where it is.
    pub place: FilePlace,
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq)]
pub enum FilePlace {
    /// A path, or `sha256:` and the hash of a registered file.
    Named(String),
    /// A file of FashionMNIST, by its name and the hash of its plain bytes.
    FashionMnist {
        /// Name.
        name: &'static str,
        /// SHA-256 in hexadecimal.
        sha256: &'static str,
    },
}
