//! Datasets: which files one is made of, how they are read, and the sizes that a study is checked against.
//!
//! A dataset has a training part and, where refits look at one, a test part. A part is one file with features and targets, or
//! one file of each; whatever the format, reading a part gives [`Samples`].

mod allowance;
mod csv;
mod features;
mod hash;
mod idx;
mod npy;
mod npz;
mod read_error;

pub use self::allowance::Allowance;
pub use self::csv::Columns;
pub use self::features::{FeatureFormat, FeatureRows, read_features};
pub use self::hash::{FileHash, FileHasher, NotAHash};
pub use self::npz::Arrays;
pub use self::read_error::ReadError;

use self::read_error::Reason;
use crate::limits::{DATASET_BYTES_MAX, SAMPLE_LEN_MAX};

/// How the files of a dataset are read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One CSV file a part, with a header line.
    Csv(Columns),
    /// Images and labels in IDX files, one of each a part.
    Idx,
    /// FashionMNIST: as [`Format::Idx`], and its classes have names.
    FashionMnist,
    /// Features and targets in `.npy` files, one of each a part.
    Npy,
    /// One `.npz` file a part.
    Npz(Arrays),
}

/// What is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A number.
    Number,
    /// One of some classes.
    Class,
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

/// Size of one row's features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SampleShape {
    /// So many numbers.
    Vector(u32),
    /// An image of so many channels, rows and columns.
    Image {
        /// Channels.
        channels: u32,
        /// Rows.
        height: u32,
        /// Columns.
        width: u32,
    },
}

impl SampleShape {
    /// Numbers in all.
    pub fn len(self) -> u64 {
        self.dims().iter().map(|dim| u64::from(*dim)).product()
    }

    /// True without any number.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// [features], or [channels, height, width].
    pub fn dims(self) -> Vec<u32> {
        match self {
            Self::Vector(len) => vec![len],
            Self::Image {
                channels,
                height,
                width,
            } => vec![channels, height, width],
        }
    }

    /// The shape with these dimensions; `None` if there are neither one nor three, or one is 0.
    pub fn from_dims(dims: &[u32]) -> Option<Self> {
        match *dims {
            _ if dims.contains(&0) => None,
            [len] => Some(Self::Vector(len)),
            [channels, height, width] => Some(Self::Image {
                channels,
                height,
                width,
            }),
            _ => None,
        }
    }
}

impl std::fmt::Display for SampleShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vector(len) => write!(f, "{len}"),
            Self::Image {
                channels,
                height,
                width,
            } => write!(f, "{channels}x{height}x{width}"),
        }
    }
}

/// What a network has to put out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetShape {
    /// One number.
    Number,
    /// A score for each of so many classes.
    Classes(u32),
}

impl TargetShape {
    /// Outputs of a network.
    pub fn outputs(self) -> u32 {
        match self {
            Self::Number => 1,
            Self::Classes(classes) => classes,
        }
    }
}

/// Sizes of a study's dataset: what a study is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetShape {
    /// Rows of the training part.
    pub train_rows: u32,
    /// Size of one row's features.
    pub sample: SampleShape,
    /// What is predicted.
    pub target: TargetShape,
}

/// One part of a dataset, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Rows.
    pub rows: u32,
    /// Size of one row's features.
    pub shape: SampleShape,
    /// Rows × features, row by row.
    pub features: Features,
    /// One a row.
    pub targets: Targets,
}

/// The features of all rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// As they go into a network; all finite.
    Floats(Vec<f32>),
    /// Pixels: divided by 255 they go into a network.
    Bytes(Vec<u8>),
    /// Whole numbers from 0 to 255, which go into a network as they are: a table of bytes.
    Whole(Vec<u8>),
}

/// The targets of all rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Finite numbers.
    Numbers(Vec<f32>),
    /// Indices of classes.
    Classes {
        /// One a row, below `names.len()`.
        labels: Vec<u32>,
        /// The classes by index.
        names: Vec<String>,
    },
}

impl Samples {
    /// The sizes that a study is checked against, if this is the training part.
    pub fn dataset_shape(&self) -> DatasetShape {
        DatasetShape {
            train_rows: self.rows,
            sample: self.shape,
            target: match &self.targets {
                Targets::Numbers(_) => TargetShape::Number,
                Targets::Classes { names, .. } => TargetShape::Classes(names.len() as u32),
            },
        }
    }

    /// Names of the classes; `None` where numbers are predicted.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.targets {
            Targets::Numbers(_) => None,
            Targets::Classes { names, .. } => Some(names),
        }
    }
}

/// Reads one part. `classes` are those of the training part where this is the test part; `None` finds them. What the part takes
/// is taken off the allowance.
///
/// # Errors
/// The first thing that is wrong with a file: it is too large, broken, of another format, or has numbers that are not
/// finite, labels that are no class, or unequal numbers of features and targets. Or the allowance is used up.
pub fn read(
    format: &Format,
    kind: TargetKind,
    part: Part<&[u8]>,
    classes: Option<&[String]>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    check_bytes(part.features)?;
    part.targets.map_or(Ok(()), check_bytes).map_err(|error| ReadError {
        in_targets: true,
        ..error
    })?;
    let targets = || part.targets.ok_or_else(|| ReadError::targets("is missing"));
    let samples = match format {
        Format::Csv(columns) => csv::read(part.features, columns, kind, classes, allowance)?,
        Format::Idx => idx::read(part.features, targets()?, kind, None, classes, allowance)?,
        Format::FashionMnist => {
            let known = Some(&FASHION_MNIST_CLASSES[..]);
            idx::read(part.features, targets()?, kind, known, classes, allowance)?
        }
        Format::Npy => npy::read_pair(part.features, targets()?, kind, classes, allowance)?,
        Format::Npz(arrays) => npz::read(part.features, arrays, kind, classes, allowance)?,
    };
    check_sample(samples.shape)?;
    Ok(samples)
}

fn check_bytes(file: &[u8]) -> Result<(), ReadError> {
    if file.len() as u64 > DATASET_BYTES_MAX {
        let reason = format!("is larger than {DATASET_BYTES_MAX} bytes");
        return Err(ReadError::features(Reason::plain(reason)));
    }
    Ok(())
}

fn check_sample(shape: SampleShape) -> Result<(), ReadError> {
    if shape.len() > SAMPLE_LEN_MAX {
        return Err(ReadError::features(Reason::quoting(|quote| {
            let len = quote.of(shape.len());
            format!("has {len} features a row; at most {SAMPLE_LEN_MAX} are allowed")
        })));
    }
    Ok(())
}

/// The classes of FashionMNIST by label (Xiao, Rasul and Vollgraf, 2017).
pub const FASHION_MNIST_CLASSES: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// The files of FashionMNIST: name, and hash of the plain bytes. Images and labels of the training part, then of the test
/// part.
pub const FASHION_MNIST_FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    (
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    (
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    (
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];

/// Rows, and the shape of one, of an array of these sizes: [rows, features], [rows, height, width] or
/// [rows, channels, height, width]. `None` for others.
fn rows_of(dims: &[u32]) -> Option<(u32, SampleShape)> {
    let (rows, sample) = dims.split_first()?;
    let shape = match *sample {
        [height, width] => SampleShape::Image {
            channels: 1,
            height,
            width,
        },
        [channels, height, width] => SampleShape::Image {
            channels,
            height,
            width,
        },
        [len] => SampleShape::Vector(len),
        _ => return None,
    };
    Some((*rows, shape))
}

/// Labels that are whole numbers from 0 on. `known` names their classes, or else each is the name of its class.
fn numbered_classes(
    labels: Vec<u32>,
    known: Option<&[&str]>,
    classes: Option<&[String]>,
) -> Result<Targets, ReadError> {
    let highest = labels.iter().copied().max().unwrap_or(0) as usize;
    let names: Vec<String> = match (classes, known) {
        (Some(classes), _) => classes.to_vec(),
        (None, Some(known)) => known.iter().map(|name| (*name).to_owned()).collect(),
        (None, None) => (0..=highest).map(|class| class.to_string()).collect(),
    };
    if let Some(row) = labels.iter().position(|label| *label as usize >= names.len()) {
        return Err(ReadError::targets(Reason::quoting(|quote| {
            let (label, classes) = (quote.of(labels[row]), quote.of(names.len()));
            format!("row {row}: label {label} is none of the {classes} classes")
        })));
    }
    if names.len() < 2 {
        return Err(ReadError::targets("has a single class: there is nothing to tell apart"));
    }
    Ok(Targets::Classes { labels, names })
}

#[cfg(test)]
mod tests {
    /// As `numpy.save` writes it.
    pub(super) fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(content);
        file
    }
}
