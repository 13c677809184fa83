//! Sizes between layers: ranges, because searched settings have many values.

use std::fmt;

use trawl_dataset::SampleShape;

/// The least and the largest value of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub least: u64,
    /// The largest.
    pub most: u64,
    /// The source of the size, if there is only one: sizes with the same source are equal.
    pub source: Option<u32>,
}

impl Range {
    /// A size that is known.
    pub fn exactly(size: u32) -> Self {
        let size = u64::from(size);
        Self {
            least: size,
            most: size,
            source: None,
        }
    }

    /// A number between two others.
    pub fn between(least: u64, most: u64) -> Self {
        Self {
            least,
            most,
            source: None,
        }
    }

    /// True if both are the same number, whatever it is.
    pub fn is_same(self, other: Self) -> bool {
        let ends = |range: Self| (range.least, range.most);
        let is_exact = self.least == self.most && ends(self) == ends(other);
        is_exact || (self.source.is_some() && self.source == other.source)
    }

    /// A size that is one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            source: self.source.filter(|_| self.source == other.source),
        }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self::between(
            self.least.saturating_mul(other.least),
            self.most.saturating_mul(other.most),
        )
    }

    fn exact(self) -> Option<u32> {
        u32::try_from(self.least).ok().filter(|_| self.least == self.most)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.least == self.most {
            write!(f, "{}", self.least)
        } else {
            write!(f, "{} to {}", self.least, self.most)
        }
    }
}

/// The numbers of one row, between two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// This number of numbers.
    Vector(Range),
    /// Numbers, some of them from columns of words: the input of the first layer.
    Table {
        /// Numbers in all.
        len: u32,
        /// Columns of words.
        columns: u32,
        /// Their numbers.
        words: u32,
    },
    /// Ordered numbers, such as a time series.
    Sequence {
        /// Channels.
        channels: Range,
        /// Numbers of each.
        length: Range,
    },
    /// An image.
    Image {
        /// Channels.
        channels: Range,
        /// Rows.
        height: Range,
        /// Columns.
        width: Range,
    },
}

impl Flow {
    /// Numbers in all.
    pub fn len(self) -> Range {
        match self {
            Self::Vector(len) => len,
            Self::Table { len, .. } => Range::exactly(len),
            Self::Sequence { channels, length } => channels.times(length),
            Self::Image {
                channels,
                height,
                width,
            } => channels.times(height).times(width),
        }
    }

    /// The input of a layer that does not distinguish columns of words.
    #[must_use]
    pub fn plain(self) -> Self {
        match self {
            Self::Table { .. } => Self::Vector(self.len()),
            other => other,
        }
    }

    /// True if both have the same shape, whatever it is.
    pub fn is_same(self, other: Self) -> bool {
        self.sizes_with(other, Range::is_same)
            .is_some_and(|same| same.into_iter().all(|same| same))
    }

    /// A flow that is one or the other; `None` for different kinds, such as a vector and an image.
    pub fn or(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        let sizes = self.sizes_with(other, Range::or)?;
        match sizes[..] {
            [channels, height, width] => Some(Self::Image {
                channels,
                height,
                width,
            }),
            [channels, length] => Some(Self::Sequence { channels, length }),
            _ => sizes.first().copied().map(Self::Vector),
        }
    }

    /// Combines each size of both; `None` for different kinds.
    fn sizes_with<T>(self, other: Self, with: impl Fn(Range, Range) -> T) -> Option<Vec<T>> {
        let (sizes, others) = (self.sizes(), other.sizes());
        let is_alike = sizes.len() == others.len();
        is_alike.then(|| sizes.into_iter().zip(others).map(|(a, b)| with(a, b)).collect())
    }

    fn sizes(self) -> Vec<Range> {
        match self {
            Self::Vector(_) | Self::Table { .. } => vec![self.len()],
            Self::Sequence { channels, length } => vec![channels, length],
            Self::Image {
                channels,
                height,
                width,
            } => vec![channels, height, width],
        }
    }

    /// Positions at which the same weights are applied: a sequence's numbers or an image's pixels; otherwise 1.
    pub(super) fn places(self) -> u64 {
        match self {
            Self::Vector(_) | Self::Table { .. } => 1,
            Self::Sequence { length, .. } => length.most,
            Self::Image { height, width, .. } => height.times(width).most,
        }
    }

    /// The shape, if it is known and its sizes fit.
    pub(super) fn shape(self) -> Option<SampleShape> {
        match self {
            Self::Vector(len) => len.exact().map(SampleShape::Vector),
            Self::Table { len, columns, words } => Some(SampleShape::Table { len, columns, words }),
            Self::Sequence { channels, length } => Some(SampleShape::Sequence {
                channels: channels.exact()?,
                length: length.exact()?,
            }),
            Self::Image {
                channels,
                height,
                width,
            } => Some(SampleShape::Image {
                channels: channels.exact()?,
                height: height.exact()?,
                width: width.exact()?,
            }),
        }
    }
}

impl From<SampleShape> for Flow {
    fn from(shape: SampleShape) -> Self {
        match shape {
            SampleShape::Vector(len) => Self::Vector(Range::exactly(len)),
            SampleShape::Table { len, columns, words } => Self::Table { len, columns, words },
            SampleShape::Sequence { channels, length } => Self::Sequence {
                channels: Range::exactly(channels),
                length: Range::exactly(length),
            },
            SampleShape::Image {
                channels,
                height,
                width,
            } => Self::Image {
                channels: Range::exactly(channels),
                height: Range::exactly(height),
                width: Range::exactly(width),
            },
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vector(_) | Self::Table { .. } => write!(f, "a vector of {}", self.len()),
            Self::Sequence { channels, length } => write!(f, "a sequence of {channels} x {length}"),
            Self::Image {
                channels,
                height,
                width,
            } => write!(f, "an image of {channels} x {height} x {width}"),
        }
    }
}
