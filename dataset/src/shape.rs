//! Sizes: of a row's features, of layers' and networks' outputs, of a whole dataset.

/// Size of a row's features, or of a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SampleShape {
    /// This number of numbers.
    Vector(u32),
    /// A vector from a table with columns of words.
    Table {
        /// Numbers in all.
        len: u32,
        /// Columns of words.
        columns: u32,
        /// Their numbers: one for each word.
        words: u32,
    },
    /// Channels with this many ordered numbers. Only between layers: no dataset has rows of this shape.
    Sequence {
        /// Channels.
        channels: u32,
        /// Numbers of each.
        length: u32,
    },
    /// An image with these channels, rows and columns.
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

    /// Parts of a row that are prepared separately: the numbers of a vector, the channels of an image.
    pub fn inputs(self) -> u32 {
        match self {
            Self::Vector(len) | Self::Table { len, .. } => len,
            Self::Sequence { channels, .. } | Self::Image { channels, .. } => channels,
        }
    }

    /// True without any number.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// [features], [channels, length], or [channels, height, width].
    pub fn dims(self) -> Vec<u32> {
        match self {
            Self::Vector(len) | Self::Table { len, .. } => vec![len],
            Self::Sequence { channels, length } => vec![channels, length],
            Self::Image {
                channels,
                height,
                width,
            } => vec![channels, height, width],
        }
    }

    /// For a table with columns of words, their number and their numbers; otherwise empty.
    pub fn words(self) -> Vec<u32> {
        match self {
            Self::Table { columns, words, .. } => vec![columns, words],
            _ => Vec::new(),
        }
    }

    /// The shape with the result of [`Self::words`] added; `None` if it has too few numbers.
    pub fn with_words(self, words: &[u32]) -> Option<Self> {
        match (self, words) {
            (shape, []) => Some(shape),
            (Self::Vector(len), &[columns, words]) if columns > 0 && words <= len => {
                Some(Self::Table { len, columns, words })
            }
            _ => None,
        }
    }

    /// The shape of a row with these dimensions; `None` if there are neither one nor three, or one is 0.
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
            Self::Vector(len) | Self::Table { len, .. } => write!(f, "{len}"),
            Self::Sequence { channels, length } => write!(f, "{channels}x{length}"),
            Self::Image {
                channels,
                height,
                width,
            } => write!(f, "{channels}x{height}x{width}"),
        }
    }
}

/// The required output of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetShape {
    /// This number of numbers.
    Numbers(u32),
    /// A score for each class.
    Classes(u32),
}

impl TargetShape {
    /// Outputs of a network.
    pub fn outputs(self) -> u32 {
        match self {
            Self::Numbers(outputs) | Self::Classes(outputs) => outputs,
        }
    }
}

/// Sizes of a dataset that a study is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetShape {
    /// Rows of the training part.
    pub train_rows: u32,
    /// Size of one row's features.
    pub sample: SampleShape,
    /// What is predicted.
    pub target: TargetShape,
}

impl DatasetShape {
    /// With the rows of a validation part appended.
    ///
    /// # Errors
    /// Why both cannot belong to one dataset, as a fault of the validation part.
    pub fn with(self, validation: Self) -> Result<Self, String> {
        if self.sample != validation.sample {
            let (own, train) = (validation.sample, self.sample);
            return Err(format!("has rows of {own}, and the training part rows of {train}"));
        }
        if self.target != validation.target {
            let (own, train) = (validation.target.outputs(), self.target.outputs());
            return Err(format!("has {own} targets a row, and the training part {train}"));
        }
        Ok(Self {
            train_rows: self.train_rows + validation.train_rows,
            ..self
        })
    }
}
