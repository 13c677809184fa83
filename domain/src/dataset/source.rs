//! Which files a study learns from.

use super::{Format, Part, ReadError};

/// A dataset whose files are named well.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// How its files are read.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileRef>,
    /// Files of the test part, which has no targets where nobody has labelled it.
    pub test: Option<Part<FileRef>>,
    /// Whether the test part may have the rows of the training part.
    pub test_is_train: bool,
}

impl Source {
    /// The field to be mended for what is wrong with a file of the training or of the test part. A column that is missing is the
    /// mistake of the field that names it, if that is for this part alone: what the training part has is named well.
    pub fn field_of(&self, is_test: bool, error: &ReadError) -> String {
        let part = self.test.as_ref().filter(|_| is_test).unwrap_or(&self.train);
        let file = part
            .targets
            .as_ref()
            .filter(|_| error.in_targets)
            .unwrap_or(&part.features);
        let named = error.column.as_ref().and_then(|name| match &self.format {
            Format::Csv(columns) if !is_test => Some(columns.field_of(name)),
            Format::Npz(arrays, _) if !is_test => {
                let is_features = arrays.train.features == *name;
                Some(
                    if is_features {
                        "dataset.npz.features"
                    } else {
                        "dataset.npz.target"
                    }
                    .to_owned(),
                )
            }
            Format::Npz(arrays, _) if arrays.test.features == *name => {
                (arrays.train.features != *name).then(|| "dataset.npz.test_features".to_owned())
            }
            Format::Npz(arrays, _) => {
                (arrays.train.target.as_ref() != Some(name)).then(|| "dataset.npz.test_target".to_owned())
            }
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
