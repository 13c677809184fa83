//! `conv2d`: cross-correlation with square kernels and a bias, PyTorch's `nn.Conv2d`.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::{FILTERS_MAX, KERNEL_MAX};
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Convolution of images.
pub(super) struct Conv2d;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv {
    /// Channels of the output.
    pub filters: u32,
    /// Side of the kernel, or its length.
    pub kernel: u32,
    /// Step between two places of the kernel.
    pub stride: u32,
    /// Zeros added at each edge or end.
    pub padding: u32,
}

/// The settings of [`Conv`], in its order.
pub(super) const RULES: [Rule; 4] = [
    Rule::new("filters", Takes::Whole(1, FILTERS_MAX)),
    Rule::new("kernel", Takes::Whole(1, KERNEL_MAX)),
    Rule::new("stride", Takes::Whole(1, KERNEL_MAX)).or(1.0),
    Rule::new("padding", Takes::Whole(0, KERNEL_MAX)).or(0.0),
];

impl Conv {
    pub(super) fn new([filters, kernel, stride, padding]: [&ParamValue; 4]) -> Option<Self> {
        Some(Self {
            filters: filters.as_whole()?,
            kernel: kernel.as_whole()?,
            stride: stride.as_whole()?,
            padding: padding.as_whole()?,
        })
    }

    pub(super) fn sizes(self) -> [u32; 4] {
        [self.filters, self.kernel, self.stride, self.padding]
    }
}

/// The number of positions of a kernel along a side; `word` describes the side in errors: `wide or high`, or `long`.
pub(super) fn places(side: Range, [kernel, stride, padding]: [Range; 3], word: &str) -> Result<Range, Misfit> {
    let (least, most) = (side.least + 2 * padding.least, side.most + 2 * padding.most);
    let least_room = least.checked_sub(kernel.most).ok_or_else(|| {
        let reason = format!(
            "can be {}, and its input with its padding only {least} {word}",
            kernel.most
        );
        Misfit::of("kernel", reason)
    })?;
    Ok(Range::between(
        least_room / stride.most + 1,
        (most - kernel.least) / stride.least + 1,
    ))
}

impl Kind<4> for Conv2d {
    const NAME: &'static str = "conv2d";
    const SETTINGS: &'static [Rule; 4] = &RULES;

    fn layer(values: [&ParamValue; 4]) -> Option<Layer> {
        Conv::new(values).map(Layer::Conv2d)
    }

    fn output([filters, sizes @ ..]: [Range; 4], input: Flow) -> Result<Flow, Misfit> {
        let Flow::Image { height, width, .. } = input else {
            return Err(Misfit::no_image(input));
        };
        Ok(Flow::Image {
            channels: filters,
            height: places(height, sizes, "wide or high")?,
            width: places(width, sizes, "wide or high")?,
        })
    }

    fn weight([filters, kernel, ..]: [Range; 4], input: Flow) -> Option<Vec<Range>> {
        match input {
            Flow::Image { channels, .. } => Some(vec![filters, channels, kernel, kernel]),
            Flow::Vector(_) | Flow::Table { .. } | Flow::Sequence { .. } => None,
        }
    }
}
