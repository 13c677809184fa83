//! `layer_norm`: (x - mean) / deviation of a vector's own numbers, then times a weight, plus a bias. PyTorch's
//! `nn.LayerNorm` with its default: `eps` 1e-5.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Layer normalisation.
pub(super) struct LayerNorm;

impl Kind<0> for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const SETTINGS: &'static [Rule; 0] = &[];
    const KEEPS_SHAPE: bool = true;

    fn layer([]: [&ParamValue; 0]) -> Option<Layer> {
        Some(Layer::LayerNorm)
    }

    fn output([]: [Range; 0], input: Flow) -> Result<Flow, Misfit> {
        match input {
            Flow::Vector(_) | Flow::Table { .. } => Ok(input),
            Flow::Sequence { .. } | Flow::Image { .. } => Err(Misfit::new(format!(
                "takes a vector, and gets {input}: put a flatten before it, or take batch_norm in its place"
            ))),
        }
    }

    fn weight([]: [Range; 0], input: Flow) -> Option<Vec<Range>> {
        match input {
            Flow::Vector(len) => Some(vec![len]),
            Flow::Table { .. } | Flow::Sequence { .. } | Flow::Image { .. } => None,
        }
    }
}
