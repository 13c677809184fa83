//! `batch_norm`: (x - mean) / deviation over a batch's rows, for each number of a vector or each channel of a sequence or an image; then
//! times a weight, plus a bias. PyTorch's `nn.BatchNorm1d` and `nn.BatchNorm2d` with their defaults: `momentum` 0.1, `eps` 1e-5.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Batch normalisation.
pub(super) struct BatchNorm;

impl Kind<0> for BatchNorm {
    const NAME: &'static str = "batch_norm";
    const SETTINGS: &'static [Rule; 0] = &[];
    const KEEPS_SHAPE: bool = true;

    fn layer([]: [&ParamValue; 0]) -> Option<Layer> {
        Some(Layer::BatchNorm)
    }

    fn output([]: [Range; 0], input: Flow) -> Result<Flow, Misfit> {
        Ok(input)
    }

    fn weight([]: [Range; 0], input: Flow) -> Option<Vec<Range>> {
        Some(vec![match input {
            Flow::Vector(_) | Flow::Table { .. } => input.len(),
            Flow::Sequence { channels, .. } | Flow::Image { channels, .. } => channels,
        }])
    }
}
