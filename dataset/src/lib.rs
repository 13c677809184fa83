//! Datasets: their files, how these are read into columns and rows, and the sizes that a study is checked against.
//!
//! A dataset has a training part. It has a validation part if validation rows have files of their own, and a test part if refits
//! use one. A part is one file with features and targets, or one file of each. Reading a part gives [`Samples`], whatever the
//! format. Files are read in pieces: beside the resulting numbers, a reader takes a constant amount of memory.
//! Nothing here opens files: callers pass open ones.

mod allowance;
mod archive;
mod array;
mod array_rules;
mod columns;
mod content;
mod csv;
mod element;
mod exactness;
mod fashion_mnist;
mod fit;
mod hash;
mod idx;
mod inputs;
mod layout;
pub mod limits;
mod moment;
mod npy;
mod npz;
mod picture;
mod read_error;
mod reader;
mod replaced;
mod row_keys;
mod samples;
mod shape;
mod signature;
mod source;
pub mod spelling;
mod targets;
#[cfg(test)]
mod testing;
mod unlabelled;
pub mod word;

pub use self::allowance::Allowance;
pub use self::array_rules::{ARRAY_SCALES, ArrayRules};
pub use self::columns::{
    Columns, Dialect, Encoding, Header, Kind, MISSING_TEXTS, Missing, NotAQuote, Prepare, Quoting, Rule, Scale,
    Selection,
};
pub use self::content::{Content, FileContent, ReadSeek};
pub use self::csv::names::NUMBERED;
pub use self::csv::survey::{Survey, SurveyCells, SurveyColumn, survey};
pub use self::fashion_mnist::{FASHION_MNIST_CLASSES, FASHION_MNIST_FILES};
pub use self::fit::{FittedInput, FittedInputs, FittedTable, FittedTarget, QUANTILE_REACH};
pub use self::hash::{FileHash, FileHasher, NotAHash};
pub use self::inputs::{Cells, InputColumn, InputRule, Inputs};
pub use self::layout::Layout;
pub use self::moment::{Moment, NotADate};
pub use self::npz::{ArrayNames, Arrays, PICTURES};
pub use self::picture::{PICTURE_BYTES_MAX, Resize, is_picture, read_picture};
pub use self::read_error::ReadError;
pub use self::reader::first_bytes;
pub use self::replaced::Replaced;
pub use self::row_keys::{Says, SplitColumn, TRAINS};
pub use self::samples::{Features, RowsDigest, Samples, Targets};
pub use self::shape::{DatasetShape, SampleShape, TargetShape};
pub use self::source::{FilePlace, FileRef, PartName, Source};
pub use self::unlabelled::{FeatureFormat, FeatureRows, read_features};

use self::array::Array;
use self::read_error::Reason;
use crate::limits::DATASET_BYTES_MAX;

/// The message about a file larger than [`DATASET_BYTES_MAX`], plain or unpacked.
pub const TOO_LARGE: &str = "is larger than 1 GiB, plain or unpacked, which is the most that is read: leave out columns or rows, save it as .npy of \
     float32, or split it into features and targets";
const _: () = assert!(DATASET_BYTES_MAX == 1 << 30, "the message has to say it");

/// How the files of a dataset are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// One CSV file a part.
    Csv(Columns),
    /// Images and labels in IDX files, one of each a part.
    Idx(ArrayRules),
    /// FashionMNIST: as [`Format::Idx`], with named classes. Has the scaling of its pixels.
    FashionMnist(Scale),
    /// Features and targets in `.npy` files, one of each a part.
    Npy(ArrayRules),
    /// One `.npz` file a part, or one for both.
    Npz(Arrays, ArrayRules),
    /// Resized and packed pictures: one `.npz` file a part, with the arrays [`PICTURES`]. Has the names of its labels
    /// from 0 on, and the scaling of each channel.
    Pictures(Vec<String>, Scale),
}

/// The part of a dataset to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role<'a> {
    /// The training part: its targets are required, and determine the classes.
    Train,
    /// The validation part, if it has files of its own: its targets are required.
    Validation(&'a Known),
    /// The test part, which may lack targets.
    Test(&'a Known),
}

/// Facts from the training part, which other parts are read by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its classes; `None` where numbers are predicted.
    pub classes: Option<Vec<String>>,
    /// For a table of columns: the kind of each.
    pub inputs: Option<Inputs>,
}

impl<'a> Role<'a> {
    /// The role of a part; for other parts, `known` has the facts from the training part.
    pub fn of(part: PartName, known: &'a Known) -> Self {
        match part {
            PartName::Train => Self::Train,
            PartName::Validation => Self::Validation(known),
            PartName::Test => Self::Test(known),
        }
    }

    fn classes(self) -> Option<&'a [String]> {
        self.known()?.classes.as_deref()
    }

    /// Facts from the training part, for another one.
    fn known(self) -> Option<&'a Known> {
        match self {
            Self::Train => None,
            Self::Validation(known) | Self::Test(known) => Some(known),
        }
    }

    /// The part to read.
    fn part(self) -> PartName {
        match self {
            Self::Train => PartName::Train,
            Self::Validation(_) => PartName::Validation,
            Self::Test(_) => PartName::Test,
        }
    }

    /// True if rows may be without targets.
    fn may_be_unlabelled(self) -> bool {
        self.part() == PartName::Test
    }
}

/// Kind of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A number.
    Number,
    /// One of some classes.
    Class,
    /// Yes or no: 1 or 0.
    Binary,
}

/// Features and targets of one part; `targets` is `None` where both are in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part<T> {
    /// The features, or both.
    pub features: T,
    /// The targets.
    pub targets: Option<T>,
}

impl<T> Part<T> {
    /// Converts the files.
    pub fn map<U>(self, mut f: impl FnMut(T) -> U) -> Part<U> {
        Part {
            features: f(self.features),
            targets: self.targets.map(f),
        }
    }

    /// The same files, borrowed.
    pub fn as_ref(&self) -> Part<&T> {
        Part {
            features: &self.features,
            targets: self.targets.as_ref(),
        }
    }

    /// The files, features first.
    pub fn files(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.features).chain(&self.targets)
    }
}

/// Reads one part, and charges the allowance.
///
/// # Errors
/// The first fault of a file: it is too large, broken, of another format, or has numbers that are not finite or that
/// float32 merges, labels that are no class, or unequal numbers of features and targets. Or the allowance is used up.
pub fn read(
    format: &Format,
    kind: TargetKind,
    role: Role<'_>,
    part: Part<&dyn Content>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let (scale, samples) = match format {
        Format::Csv(columns) => return csv::read(part.features, columns, kind, role, allowance),
        Format::Npz(arrays, rules) => {
            let samples = npz::read(part.features, arrays, rules.layout, None, kind, role, allowance)?;
            (rules.scale, samples)
        }
        Format::Pictures(classes, scale) => {
            let names: Vec<&str> = classes.iter().map(String::as_str).collect();
            let (arrays, layout) = (npz::pictures(), Some(Layout::ChannelsFirst));
            let samples = npz::read(part.features, &arrays, layout, Some(&names), kind, role, allowance)?;
            (*scale, samples)
        }
        Format::Idx(rules) => (
            rules.scale,
            pair(idx::open, rules.layout, None, kind, role, part, allowance)?,
        ),
        Format::FashionMnist(scale) => {
            let names = Some(&FASHION_MNIST_CLASSES[..]);
            (*scale, pair(idx::open, None, names, kind, role, part, allowance)?)
        }
        Format::Npy(rules) => (
            rules.scale,
            pair(npy::open, rules.layout, None, kind, role, part, allowance)?,
        ),
    };
    Ok(Samples {
        inputs: array_rules::inputs(scale, samples.shape)?,
        ..samples
    })
}

/// Reads an array of features, and one of targets if there is any. `names` has the names of labels from 0 on.
fn pair(
    open: for<'a> fn(&'a dyn Content) -> Result<Array<'a>, Reason>,
    layout: Option<Layout>,
    names: Option<&[&str]>,
    kind: TargetKind,
    role: Role<'_>,
    part: Part<&dyn Content>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let features = || open(part.features).map_err(ReadError::features);
    let rows = features()?.rows(layout, None, &features, allowance)?;
    let targets = match part.targets {
        Some(targets) => {
            let targets = open(targets).map_err(ReadError::targets)?;
            Some(targets.targets(rows.rows, kind, role, names, allowance)?)
        }
        None if !role.may_be_unlabelled() => return Err(ReadError::targets("is missing")),
        None => None,
    };
    Ok(Samples::new(rows, targets))
}
