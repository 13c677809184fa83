//! `flatten`: a sequence or an image as a vector, channel by channel, row by row.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// A sequence or an image as a vector.
pub(super) struct Flatten;

impl Kind<0> for Flatten {
    const NAME: &'static str = "flatten";
    const SETTINGS: &'static [Rule; 0] = &[];

    fn layer([]: [&ParamValue; 0]) -> Option<Layer> {
        Some(Layer::Flatten)
    }

    fn output([]: [Range; 0], input: Flow) -> Result<Flow, Misfit> {
        Ok(Flow::Vector(input.len()))
    }
}
