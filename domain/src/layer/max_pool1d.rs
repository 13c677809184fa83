//! `max_pool1d`: the largest number of each piece of a sequence; pieces do not overlap, and a rest at the end is dropped.

use super::max_pool2d::{KERNEL, pieces};
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Maximum pooling of sequences.
pub(super) struct MaxPool1d;

impl Kind<1> for MaxPool1d {
    const NAME: &'static str = "max_pool1d";
    const SETTINGS: &'static [Rule; 1] = &[KERNEL];

    fn layer([kernel]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::MaxPool1d {
            kernel: kernel.as_whole()?,
        })
    }

    fn output([kernel]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        pooled(kernel, input)
    }
}

/// A sequence with one number for each piece of that length.
pub(super) fn pooled(kernel: Range, input: Flow) -> Result<Flow, Misfit> {
    match input {
        Flow::Sequence { channels, length } => Ok(Flow::Sequence {
            channels,
            length: pieces(kernel, length, length.least, "long")?,
        }),
        Flow::Vector(_) | Flow::Table { .. } | Flow::Image { .. } => Err(Misfit::no_sequence(input)),
    }
}
