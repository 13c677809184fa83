//! `conv2d`: cross-correlation with square kernels and a bias, PyTorch's `nn.Conv2d`.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::{FILTERS_MAX, KERNEL_MAX};
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conv2d {
    /// Channels of the output.
    pub filters: u32,
    /// Side of the kernel.
    pub kernel: u32,
    /// Step between two places of the kernel.
    pub stride: u32,
    /// Zeros added at each edge.
    pub padding: u32,
}

impl Kind<4> for Conv2d {
    const NAME: &'static str = "conv2d";
    const SETTINGS: &'static [Rule; 4] = &[
        Rule::new("filters", Takes::Whole(1, FILTERS_MAX)),
        Rule::new("kernel", Takes::Whole(1, KERNEL_MAX)),
        Rule::new("stride", Takes::Whole(1, KERNEL_MAX)).or(1.0),
        Rule::new("padding", Takes::Whole(0, KERNEL_MAX)).or(0.0),
    ];

    fn layer([filters, kernel, stride, padding]: [&ParamValue; 4]) -> Option<Layer> {
        Some(Layer::Conv2d(Self {
            filters: filters.as_whole()?,
            kernel: kernel.as_whole()?,
            stride: stride.as_whole()?,
            padding: padding.as_whole()?,
        }))
    }

    fn output([filters, kernel, stride, padding]: [Range; 4], input: Flow) -> Result<Flow, Misfit> {
        let Flow::Image { height, width, .. } = input else {
            return Err(Misfit::new(format!("takes an image, and gets {input}")));
        };
        let places = |side: Range| {
            let (least, most) = (side.least + 2 * padding.least, side.most + 2 * padding.most);
            let least_room = least.checked_sub(kernel.most).ok_or_else(|| {
                Misfit::of(
                    "kernel",
                    format!(
                        "can be {}, and its input with its padding only {least} wide or high",
                        kernel.most
                    ),
                )
            })?;
            Ok(Range::between(
                least_room / stride.most + 1,
                (most - kernel.least) / stride.least + 1,
            ))
        };
        Ok(Flow::Image {
            channels: filters,
            height: places(height)?,
            width: places(width)?,
        })
    }

    fn weight([filters, kernel, ..]: [Range; 4], input: Flow) -> Option<Vec<Range>> {
        match input {
            Flow::Image { channels, .. } => Some(vec![filters, channels, kernel, kernel]),
            Flow::Vector(_) => None,
        }
    }
}
