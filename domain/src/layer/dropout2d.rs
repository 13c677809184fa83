//! `dropout2d`: inverted dropout of whole channels while training. Each channel of an image is zeroed with probability p, and the others are
//! scaled by 1 / (1 - p).

use super::dropout::P;
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Dropout of channels. Its probability may differ between networks that train together.
pub(super) struct Dropout2d;

impl Kind<1> for Dropout2d {
    const NAME: &'static str = "dropout2d";
    const SETTINGS: &'static [Rule; 1] = &[P];
    const KEEPS_SHAPE: bool = true;

    fn layer(_: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::Dropout2d)
    }

    fn output(_: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        match input {
            Flow::Image { .. } => Ok(input),
            Flow::Vector(_) | Flow::Table { .. } | Flow::Sequence { .. } => Err(Misfit::new(format!(
                "takes an image, and gets {input}: take dropout in its place"
            ))),
        }
    }
}
