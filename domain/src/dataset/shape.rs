//! Sizes: of one row's features, of what a network puts out, of a whole dataset.

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

    /// Parts of a row that are prepared each by itself: the numbers of a vector, the channels of an image.
    pub fn inputs(self) -> u32 {
        match self {
            Self::Vector(len) => len,
            Self::Image { channels, .. } => channels,
        }
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
    /// So many numbers.
    Numbers(u32),
    /// A score for each of so many classes.
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
