//! `conv1d`: cross-correlation of sequences with a bias, PyTorch's `nn.Conv1d`.

use super::conv2d::{Conv, RULES, places};
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Convolution of sequences.
pub(super) struct Conv1d;

impl Kind<4> for Conv1d {
    const NAME: &'static str = "conv1d";
    const SETTINGS: &'static [Rule; 4] = &RULES;

    fn layer(values: [&ParamValue; 4]) -> Option<Layer> {
        Conv::new(values).map(Layer::Conv1d)
    }

    fn output([filters, sizes @ ..]: [Range; 4], input: Flow) -> Result<Flow, Misfit> {
        let Flow::Sequence { length, .. } = input else {
            return Err(Misfit::no_sequence(input));
        };
        Ok(Flow::Sequence {
            channels: filters,
            length: places(length, sizes, "long")?,
        })
    }

    fn weight([filters, kernel, ..]: [Range; 4], input: Flow) -> Option<Vec<Range>> {
        match input {
            Flow::Sequence { channels, .. } => Some(vec![filters, channels, kernel]),
            Flow::Vector(_) | Flow::Table { .. } | Flow::Image { .. } => None,
        }
    }
}
