//! Which files a study learns from.

use super::{Format, Part, ReadError};

/// A dataset whose files are named well.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// How its files are read.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileRef>,
    /// Files of the validation part, where rows that validate have files of their own.
    pub validation: Option<Part<FileRef>>,
    /// Files of the test part, which has no targets where nobody has labelled it.
    pub test: Option<Part<FileRef>>,
    /// Whether the test part may have the rows of the training part.
    pub test_is_train: bool,
}

/// A part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartName {
    /// What networks are trained on.
    Train,
    /// What trials are measured on, where it has files of its own.
    Validation,
    /// What refits are measured on.
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

    /// All files: those of the training part, then of the validation part, then of the test part.
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        let further = self.validation.iter().chain(&self.test);
        self.train.files().chain(further.flat_map(Part::files))
    }

    /// The field to be mended for what is wrong with a file of a part. A column that is missing is the mistake of the field that names it, if that
    /// is for this part alone: what the training part has is named well.
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

/// A file that a study names.
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
    /// A path, or `sha256:` and the hash of a file that was registered.
    Named(String),
    /// A file of FashionMNIST, by its name and the hash of its plain bytes.
    FashionMnist {
        /// Name.
        name: &'static str,
        /// SHA-256 in hexadecimal.
        sha256: &'static str,
    },
}
