//! `avg_pool1d`: the mean of each piece of a sequence; pieces do not overlap, and a rest at the end is dropped.

use super::max_pool1d::pooled;
use super::max_pool2d::KERNEL;
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Mean pooling of sequences.
pub(super) struct AvgPool1d;

impl Kind<1> for AvgPool1d {
    const NAME: &'static str = "avg_pool1d";
    const SETTINGS: &'static [Rule; 1] = &[KERNEL];

    fn layer([kernel]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::AvgPool1d {
            kernel: kernel.as_whole()?,
        })
    }

    fn output([kernel]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        pooled(kernel, input)
    }
}
