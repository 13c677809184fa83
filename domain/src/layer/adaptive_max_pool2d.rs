//! `adaptive_max_pool2d`: the maxima of an image's size x size equal parts, whatever the image's size; PyTorch's `nn.AdaptiveMaxPool2d`.

use super::adaptive_avg_pool2d::{SIZE, square};
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Adaptive maximum pooling.
pub(super) struct AdaptiveMaxPool2d;

impl Kind<1> for AdaptiveMaxPool2d {
    const NAME: &'static str = "adaptive_max_pool2d";
    const SETTINGS: &'static [Rule; 1] = &[SIZE];

    fn layer([size]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::AdaptiveMaxPool2d { size: size.as_whole()? })
    }

    fn output([size]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        square(size, input)
    }
}
