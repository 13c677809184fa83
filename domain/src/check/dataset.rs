//! Checks what a study learns from: which files there are, and whether they are named well.

use std::collections::BTreeSet;

use crate::dataset::{Arrays, Columns, FASHION_MNIST_FILES, Format, Part};
use crate::limits::{FEATURES_MAX, PATH_BYTES_MAX};
use crate::study_draft::{CsvDraft, DatasetDraft, NpzDraft};
use crate::violation::Violations;

/// A dataset whose files are named well.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// How its files are read.
    pub format: Format,
    /// Files of the training part.
    pub train: Part<FileRef>,
    /// Files of the test part.
    pub test: Option<Part<FileRef>>,
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

/// The files of a dataset, if all is well with their names.
pub(super) fn check(dataset: Option<&DatasetDraft>, has_refit: bool, v: &mut Violations) -> Option<Source> {
    let before = v.iter().count();
    let source = match dataset {
        None => {
            v.add(
                "dataset",
                "is missing: name one kind of dataset: csv, idx, fashion_mnist, npy or npz",
            );
            return None;
        }
        Some(DatasetDraft::FashionMnist) => {
            let file = |index: usize| {
                let (name, sha256) = FASHION_MNIST_FILES[index];
                FileRef {
                    field: "dataset.fashion_mnist".to_owned(),
                    place: FilePlace::FashionMnist { name, sha256 },
                }
            };
            let part = |first: usize| Part {
                features: file(first),
                targets: Some(file(first + 1)),
            };
            Source {
                format: Format::FashionMnist,
                train: part(0),
                test: Some(part(2)),
            }
        }
        Some(DatasetDraft::Csv(csv)) => {
            let format = Format::Csv(columns(csv, v));
            let files = [("train", &csv.train), ("test", &csv.test)];
            single_files(format, "csv", files, has_refit, v)
        }
        Some(DatasetDraft::Npz(npz)) => {
            let format = Format::Npz(arrays(npz, v));
            let files = [("train", &npz.train), ("test", &npz.test)];
            single_files(format, "npz", files, has_refit, v)
        }
        Some(DatasetDraft::Idx(idx)) => {
            let train = [("train_images", &idx.train_images), ("train_labels", &idx.train_labels)];
            let test = [("test_images", &idx.test_images), ("test_labels", &idx.test_labels)];
            paired_files(Format::Idx, "idx", train, test, has_refit, v)
        }
        Some(DatasetDraft::Npy(npy)) => {
            let train = [
                ("train_features", &npy.train_features),
                ("train_targets", &npy.train_targets),
            ];
            let test = [
                ("test_features", &npy.test_features),
                ("test_targets", &npy.test_targets),
            ];
            paired_files(Format::Npy, "npy", train, test, has_refit, v)
        }
    };
    (v.iter().count() == before).then_some(source)
}

type Named<'a> = (&'static str, &'a String);

/// Features and targets in one file a part.
fn single_files(
    format: Format,
    kind: &str,
    [train, test]: [Named<'_>; 2],
    has_refit: bool,
    v: &mut Violations,
) -> Source {
    let part = |features: FileRef| Part {
        features,
        targets: None,
    };
    let train = file(kind, train, true, None, v);
    let test = (has_refit || !test.1.is_empty()).then(|| part(file(kind, test, true, Some(has_refit), v)));
    Source {
        format,
        train: part(train),
        test,
    }
}

/// Features and targets in a file of each a part.
fn paired_files(
    format: Format,
    kind: &str,
    train: [Named<'_>; 2],
    test: [Named<'_>; 2],
    has_refit: bool,
    v: &mut Violations,
) -> Source {
    let mut part = |[features, targets]: [Named<'_>; 2], for_refit: Option<bool>| Part {
        features: file(kind, features, true, for_refit, v),
        targets: Some(file(kind, targets, true, for_refit, v)),
    };
    let has_test = has_refit || test.iter().any(|(_, path)| !path.is_empty());
    Source {
        format,
        train: part(train, None),
        test: has_test.then(|| part(test, Some(has_refit))),
    }
}

/// `for_refit` is `None` for the training part, and says of the test part whether a refit asks for it.
fn file(kind: &str, (name, path): Named<'_>, required: bool, for_refit: Option<bool>, v: &mut Violations) -> FileRef {
    let field = format!("dataset.{kind}.{name}");
    if path.is_empty() && required {
        let why = match for_refit {
            Some(true) => "is missing: a refit is measured on it",
            Some(false) => "is missing: its pair is there",
            None => "is missing",
        };
        v.add(&field, why);
    } else if path.len() > PATH_BYTES_MAX || path.contains('\0') {
        v.add(&field, format!("must be a path of at most {PATH_BYTES_MAX} bytes"));
    }
    FileRef {
        field,
        place: FilePlace::Named(path.clone()),
    }
}

fn columns(csv: &CsvDraft, v: &mut Violations) -> Columns {
    if csv.features.is_empty() || csv.features.len() > FEATURES_MAX {
        v.add("dataset.csv.features", format!("must name 1 to {FEATURES_MAX} columns"));
    }
    let mut seen = BTreeSet::new();
    for (index, feature) in csv.features.iter().enumerate() {
        if feature.is_empty() {
            v.add(format!("dataset.csv.features[{index}]"), "is empty");
        } else if !seen.insert(feature) {
            v.add(
                format!("dataset.csv.features[{index}]"),
                format!("'{feature}' is named twice"),
            );
        }
    }
    if csv.target.is_empty() {
        v.add("dataset.csv.target", "is missing");
    } else if seen.contains(&csv.target) {
        v.add("dataset.csv.target", format!("'{}' is a feature too", csv.target));
    }
    Columns {
        features: csv.features.clone(),
        target: csv.target.clone(),
    }
}

fn arrays(npz: &NpzDraft, v: &mut Violations) -> Arrays {
    for (field, name) in [("features", &npz.features), ("target", &npz.target)] {
        if name.is_empty() || name.len() > PATH_BYTES_MAX {
            v.add(format!("dataset.npz.{field}"), "must name an array of the archive");
        }
    }
    Arrays {
        features: npz.features.clone(),
        target: npz.target.clone(),
    }
}
