//! `adaptive_avg_pool2d`: the means of an image's size x size equal parts, whatever the image's size; PyTorch's `nn.AdaptiveAvgPool2d`.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::KERNEL_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Adaptive mean pooling.
pub(super) struct AdaptiveAvgPool2d;

impl Kind<1> for AdaptiveAvgPool2d {
    const NAME: &'static str = "adaptive_avg_pool2d";
    const SETTINGS: &'static [Rule; 1] = &[SIZE];

    fn layer([size]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::AdaptiveAvgPool2d { size: size.as_whole()? })
    }

    fn output([size]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        square(size, input)
    }
}

/// Side of the output.
pub(super) const SIZE: Rule = Rule::new("size", Takes::Whole(1, KERNEL_MAX));

/// An image resized to a square of that side.
pub(super) fn square(size: Range, input: Flow) -> Result<Flow, Misfit> {
    match input {
        Flow::Image { channels, .. } => Ok(Flow::Image {
            channels,
            height: size,
            width: size,
        }),
        Flow::Vector(_) | Flow::Table { .. } | Flow::Sequence { .. } => Err(Misfit::no_image(input)),
    }
}
