//! `global_avg_pool`: the mean of each channel of a sequence or an image, as a vector.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// A number for each channel.
pub(super) struct GlobalAvgPool;

impl Kind<0> for GlobalAvgPool {
    const NAME: &'static str = "global_avg_pool";
    const SETTINGS: &'static [Rule; 0] = &[];

    fn layer([]: [&ParamValue; 0]) -> Option<Layer> {
        Some(Layer::GlobalAvgPool)
    }

    fn output([]: [Range; 0], input: Flow) -> Result<Flow, Misfit> {
        match input {
            Flow::Sequence { channels, .. } | Flow::Image { channels, .. } => Ok(Flow::Vector(channels)),
            Flow::Vector(_) | Flow::Table { .. } => Err(Misfit::no_image(input)),
        }
    }
}
