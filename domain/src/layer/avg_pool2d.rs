//! `avg_pool2d`: the mean of each square; squares do not overlap, and rests at the far edges are dropped.

use super::max_pool2d::{KERNEL, pooled};
use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::Rule;
use crate::space::ParamValue;

/// Mean pooling.
pub(super) struct AvgPool2d;

impl Kind<1> for AvgPool2d {
    const NAME: &'static str = "avg_pool2d";
    const SETTINGS: &'static [Rule; 1] = &[KERNEL];

    fn layer([kernel]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::AvgPool2d {
            kernel: kernel.as_whole()?,
        })
    }

    fn output([kernel]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        pooled(kernel, input)
    }
}
