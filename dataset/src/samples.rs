//! One part of a dataset, read.

use std::hash::{DefaultHasher, Hasher};

use super::{Cells, DatasetShape, FeatureRows, Inputs, Known, ReadError, Reason, SampleShape, TargetShape};
use crate::TRAINS;

/// One part of a dataset, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Rows.
    pub rows: u32,
    /// Size of one row's features.
    pub shape: SampleShape,
    /// Rows × features, row by row; images channel by channel.
    pub features: Features,
    /// One a row; `None` for an unlabelled test part.
    pub targets: Option<Targets>,
    /// The inputs of a table of columns, or of a prepared array: one for each number of a vector, or channel of an image.
    pub inputs: Option<Inputs>,
    /// The split column's value for each row, or which rows belong to a validation part: see
    /// [`crate::fold::RowKeys::column`]. `None` without either.
    pub row_keys: Option<Vec<u32>>,
    /// See [`super::Prepare::standardizes_target`].
    pub standardizes_target: bool,
}

/// The features of all rows.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Network inputs: finite, except NaN for an empty cell in a table of columns.
    Floats(Vec<f32>),
    /// Pixels, which are divided by 255 for the network.
    Bytes(Vec<u8>),
    /// Whole numbers from 0 to 255, used as they are: a table of bytes.
    Whole(Vec<u8>),
}

impl Features {
    /// These rows, followed by others. If the two are stored differently, all become network inputs.
    fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::Bytes(own), Self::Bytes(others)) => Self::Bytes(joined(own, others)),
            (Self::Whole(own), Self::Whole(others)) => Self::Whole(joined(own, others)),
            (own, others) => Self::Floats(joined(own.into_floats(), others.into_floats())),
        }
    }

    fn into_floats(self) -> Vec<f32> {
        match self {
            Self::Floats(values) => values,
            Self::Bytes(pixels) => pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect(),
            Self::Whole(values) => values.into_iter().map(f32::from).collect(),
        }
    }
}

/// The targets of all rows: one or more numbers for each row, or a class.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Finite numbers: rows × targets, row by row.
    Numbers(Vec<f32>),
    /// Indices of classes.
    Classes {
        /// One a row, below `names.len()`.
        labels: Vec<u32>,
        /// The classes by index.
        names: Vec<String>,
    },
}

impl Targets {
    /// These, followed by others: labels of the same classes.
    fn and(self, others: Self) -> Self {
        match (self, others) {
            (Self::Numbers(own), Self::Numbers(others)) => Self::Numbers(joined(own, others)),
            (
                Self::Classes { labels, names },
                Self::Classes {
                    labels: others,
                    names: _,
                },
            ) => Self::Classes {
                labels: joined(labels, others),
                names,
            },
            // Both parts have the same kind of target, because the study sets it.
            (own, _) => own,
        }
    }
}

/// A digest that is equal for equal rows, features and targets, in any order. It is a sum of 64-bit hashes, so two
/// different parts collide with a probability of 2^-64. Valid within one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowsDigest {
    rows: u32,
    sum: u64,
}

impl Features {
    /// The number at a place, as the input of a network without preparation.
    pub(super) fn at(&self, place: usize) -> f32 {
        match self {
            Self::Floats(values) => values[place],
            Self::Bytes(values) => f32::from(values[place]) / 255.0,
            Self::Whole(values) => f32::from(values[place]),
        }
    }
}

impl Samples {
    /// Rows with their targets.
    pub(super) fn new(rows: FeatureRows, targets: Option<Targets>) -> Self {
        let FeatureRows {
            rows, shape, features, ..
        } = rows;
        Self {
            rows,
            shape,
            features,
            targets,
            inputs: None,
            row_keys: None,
            standardizes_target: false,
        }
    }

    /// The sizes that a study is checked against, for the training part; `None` without targets.
    pub fn dataset_shape(&self) -> Option<DatasetShape> {
        let targets = self.targets.as_ref()?;
        Some(DatasetShape {
            train_rows: self.rows,
            sample: self.shape,
            target: match targets {
                Targets::Numbers(numbers) => TargetShape::Numbers((numbers.len() / self.rows.max(1) as usize) as u32),
                Targets::Classes { names, .. } => TargetShape::Classes(names.len() as u32),
            },
        })
    }

    /// The rows of a training part, followed by its validation part, which validates in fold 0.
    ///
    /// # Errors
    /// The fault of the validation part: its rows do not fit this dataset.
    pub fn with_validation(self, validation: Self) -> Result<Self, ReadError> {
        let (Some(train), Some(shape)) = (self.dataset_shape(), validation.dataset_shape()) else {
            return Err(ReadError::targets("is missing"));
        };
        let shape = train.with(shape);
        // Sizes are not content of a file.
        shape.map_err(|reason| ReadError::features(Reason::plain(reason)))?;
        let mut row_keys = vec![TRAINS; self.rows as usize];
        row_keys.resize((self.rows + validation.rows) as usize, 0);
        Ok(Self {
            rows: self.rows + validation.rows,
            features: self.features.and(validation.features),
            targets: self
                .targets
                .zip(validation.targets)
                .map(|(own, others)| own.and(others)),
            row_keys: Some(row_keys),
            ..self
        })
    }

    /// Names of the classes; `None` without classes or targets.
    pub fn classes(&self) -> Option<&[String]> {
        match &self.targets {
            Some(Targets::Classes { names, .. }) => Some(names),
            Some(Targets::Numbers(_)) | None => None,
        }
    }

    /// Facts that other parts are read by, for the training part.
    pub fn known(&self) -> Known {
        Known {
            classes: self.classes().map(<[_]>::to_vec),
            inputs: self.inputs.clone(),
        }
    }

    /// Rows of each class; empty without classes or targets.
    pub fn class_sizes(&self) -> Vec<u32> {
        let Some(Targets::Classes { labels, names }) = &self.targets else {
            return Vec::new();
        };
        let mut sizes = vec![0; names.len()];
        labels.iter().for_each(|label| sizes[*label as usize] += 1);
        sizes
    }

    /// Empty cells of each column of a table with a rule for them; arrays have none.
    pub fn gaps(&self) -> Vec<u32> {
        let Some(inputs) = &self.inputs else {
            return Vec::new();
        };
        let (SampleShape::Vector(_) | SampleShape::Table { .. }, Features::Floats(values)) =
            (self.shape, &self.features)
        else {
            return vec![0; inputs.columns().len()];
        };
        let width = inputs.len().max(1);
        let mut place = 0;
        let gaps = inputs.columns().iter().map(|column| {
            let own = place;
            place += column.len();
            let is_gap = |row: &[f32]| match &column.cells {
                // The empty word comes first.
                Cells::Words { words, .. } => words.first().is_some_and(String::is_empty) && row[own] == 1.0,
                Cells::Number { .. } | Cells::Boolean { .. } | Cells::Date { .. } => row[own].is_nan(),
            };
            values.chunks_exact(width).filter(|row| is_gap(row)).count() as u32
        });
        gaps.collect()
    }

    /// See [`RowsDigest`].
    pub fn rows_digest(&self) -> RowsDigest {
        let len = self.shape.len() as usize;
        let row_hash = |row: usize| {
            let mut hash = DefaultHasher::new();
            let place = row * len..(row + 1) * len;
            // As network inputs: an array of bytes may equal one of floats.
            match &self.features {
                Features::Floats(values) => values[place].iter().for_each(|value| float(&mut hash, *value)),
                Features::Whole(values) => values[place]
                    .iter()
                    .for_each(|value| float(&mut hash, f32::from(*value))),
                Features::Bytes(values) => hash.write(&values[place]),
            }
            match &self.targets {
                Some(Targets::Numbers(numbers)) => {
                    let width = numbers.len() / self.rows.max(1) as usize;
                    let of_row = &numbers[row * width..(row + 1) * width];
                    of_row.iter().for_each(|number| float(&mut hash, *number));
                }
                Some(Targets::Classes { labels, .. }) => hash.write_u32(labels[row]),
                None => {}
            }
            hash.finish()
        };
        RowsDigest {
            rows: self.rows,
            sum: (0..self.rows as usize).fold(0, |sum: u64, row| sum.wrapping_add(row_hash(row))),
        }
    }
}

/// Reuses the memory of the first ones where it can.
fn joined<T>(mut own: Vec<T>, others: Vec<T>) -> Vec<T> {
    own.extend(others);
    own
}

fn float(hash: &mut DefaultHasher, value: f32) {
    // Adding 0 makes both zeros equal.
    hash.write_u32((value + 0.0).to_bits());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(features: Features, targets: Option<Targets>) -> RowsDigest {
        let shape = SampleShape::Vector(2);
        let rows = FeatureRows {
            rows: 3,
            shape,
            features,
            replaced: Vec::new(),
        };
        Samples::new(rows, targets).rows_digest()
    }

    #[test]
    fn rows_of_a_validation_part_follow_and_validate() {
        let samples = |shape: u32, features: Features, targets: Vec<f32>| {
            let rows = FeatureRows {
                rows: targets.len() as u32,
                shape: SampleShape::Vector(shape),
                features,
                replaced: Vec::new(),
            };
            Samples::new(rows, Some(Targets::Numbers(targets)))
        };
        let train = samples(2, Features::Whole(vec![1, 2, 3, 4]), vec![0.5, 1.5]);
        let validation = samples(2, Features::Floats(vec![5.5, 6.0]), vec![2.5]);
        let both = train.clone().with_validation(validation).expect("rows of one dataset");
        assert_eq!(both.rows, 3);
        assert_eq!(both.features, Features::Floats(vec![1.0, 2.0, 3.0, 4.0, 5.5, 6.0]));
        assert_eq!(both.targets, Some(Targets::Numbers(vec![0.5, 1.5, 2.5])));
        assert_eq!(both.row_keys, Some(vec![TRAINS, TRAINS, 0]));
        let pixels = samples(2, Features::Bytes(vec![0, 255]), vec![1.0]);
        let both = pixels.clone().with_validation(pixels).expect("pixels stay bytes");
        assert_eq!(both.features, Features::Bytes(vec![0, 255, 0, 255]));
        let wider = samples(3, Features::Floats(vec![0.0; 3]), vec![1.0]);
        let refused = train.clone().with_validation(wider).expect_err("other rows");
        assert_eq!(refused.reason, "has rows of 3, and the training part rows of 2");
        let mut twofold = samples(2, Features::Floats(vec![0.0; 2]), vec![1.0]);
        twofold.targets = Some(Targets::Numbers(vec![1.0, 2.0]));
        let refused = train.with_validation(twofold).expect_err("other targets");
        assert_eq!(refused.reason, "has 2 targets a row, and the training part 1");
    }

    #[test]
    fn equal_rows_have_one_digest_in_any_order() {
        let numbers = |numbers: [f32; 3]| Some(Targets::Numbers(numbers.into()));
        let floats = |values: [f32; 6]| Features::Floats(values.into());
        let digest = part(floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), numbers([7.0, 8.0, 0.0]));
        assert_eq!(
            digest,
            part(floats([5.0, 6.0, 3.0, 4.0, 1.0, 2.0]), numbers([-0.0, 8.0, 7.0]))
        );
        assert_eq!(
            digest,
            part(Features::Whole(vec![1, 2, 3, 4, 5, 6]), numbers([7.0, 8.0, 0.0]))
        );
        assert_ne!(
            digest,
            part(floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), numbers([8.0, 7.0, 0.0]))
        );
        assert_ne!(
            digest,
            part(floats([2.0, 1.0, 3.0, 4.0, 5.0, 6.0]), numbers([7.0, 8.0, 0.0]))
        );
        assert_ne!(digest, part(floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), None));
    }
}
