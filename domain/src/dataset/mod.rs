//! Datasets: which files one is made of, how they are read, and the sizes that a study is checked against.
//!
//! A dataset has a training part and, where rows that validate have files of their own, a validation part; and, where refits look at one, a test
//! part. A part is one file with features and targets, or one file of each; whatever the format, reading a part gives [`Samples`]. Files are read in pieces: beside the numbers that come of
//! them, a reader takes a constant amount of memory.

mod allowance;
mod archive;
mod array;
mod array_rules;
mod columns;
mod content;
pub(crate) mod csv;
mod element;
mod exactness;
mod fashion_mnist;
mod features;
mod fit;
mod hash;
mod idx;
mod input;
mod inputs;
mod layout;
mod moment;
mod npy;
mod npz;
mod picture;
mod read_error;
mod row_keys;
mod samples;
mod shape;
mod signature;
mod source;
mod targets;
#[cfg(test)]
mod testing;

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
pub use self::features::{FeatureFormat, FeatureRows, read_features};
pub use self::fit::{FittedInput, FittedInputs, FittedTable, FittedTarget, QUANTILE_REACH};
pub use self::hash::{FileHash, FileHasher, NotAHash};
pub use self::input::first_bytes;
pub use self::inputs::{Cells, InputColumn, InputRule, Inputs};
pub use self::layout::Layout;
pub use self::moment::{Moment, NotADate};
pub use self::npz::{ArrayNames, Arrays, PICTURES};
pub use self::picture::{PICTURE_BYTES_MAX, Resize, is_picture, read_picture};
pub use self::read_error::ReadError;
pub use self::row_keys::{Says, SplitColumn};
pub use self::samples::{Features, RowsDigest, Samples, Targets};
pub use self::shape::{DatasetShape, SampleShape, TargetShape};
pub use self::source::{FilePlace, FileRef, PartName, Source};

use self::array::Array;
use self::read_error::Reason;
use crate::limits::DATASET_BYTES_MAX;

/// What to say of a file that is larger than [`DATASET_BYTES_MAX`], plain or unpacked.
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
    /// FashionMNIST: as [`Format::Idx`], and its classes have names. With what becomes of its pixels.
    FashionMnist(Scale),
    /// Features and targets in `.npy` files, one of each a part.
    Npy(ArrayRules),
    /// One `.npz` file a part, or one for both.
    Npz(Arrays, ArrayRules),
    /// Pictures that were resized and packed: one `.npz` file a part, with the arrays [`PICTURES`], and the names of its labels from 0 on.
    /// With what becomes of each channel.
    Pictures(Vec<String>, Scale),
}

/// Which part of a dataset is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role<'a> {
    /// The training part: its targets have to be there, and say which classes there are.
    Train,
    /// The validation part, where rows that validate have files of their own: its targets have to be there.
    Validation(&'a Known),
    /// The test part, which may be without targets.
    Test(&'a Known),
}

/// What the training part shows, by which other parts are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Its classes; `None` where numbers are predicted.
    pub classes: Option<Vec<String>>,
    /// Of a table of columns: what each of them is.
    pub inputs: Option<Inputs>,
}

impl<'a> Role<'a> {
    /// How a part is read; `known` is what the training part shows, for another one.
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

    /// What the training part shows, for another one.
    fn known(self) -> Option<&'a Known> {
        match self {
            Self::Train => None,
            Self::Validation(known) | Self::Test(known) => Some(known),
        }
    }

    /// The part that is read.
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

/// What is predicted.
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
    /// The features, or all of it.
    pub features: T,
    /// The targets.
    pub targets: Option<T>,
}

impl<T> Part<T> {
    /// The same files in another form.
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

/// Reads one part. What it takes is taken off the allowance.
///
/// # Errors
/// The first thing that is wrong with a file: it is too large, broken, of another format, or has numbers that are not
/// finite or that float32 does not tell apart, labels that are no class, or unequal numbers of features and targets. Or the
/// allowance is used up.
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

/// Reads an array of features, and one of targets if there is any. `names` are those of labels from 0 on.
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
