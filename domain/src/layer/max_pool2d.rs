//! `max_pool2d`: the largest number of each square; squares do not overlap, and rests at the far edges are dropped.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::KERNEL_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Maximum pooling.
pub(super) struct MaxPool2d;

impl Kind<1> for MaxPool2d {
    const NAME: &'static str = "max_pool2d";
    const SETTINGS: &'static [Rule; 1] = &[KERNEL];

    fn layer([kernel]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::MaxPool2d {
            kernel: kernel.as_whole()?,
        })
    }

    fn output([kernel]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        pooled(kernel, input)
    }
}

/// Side of a square, or length of a piece.
pub(super) const KERNEL: Rule = Rule::new("kernel", Takes::Whole(1, KERNEL_MAX));

/// An image with one pixel for each square of that side.
pub(super) fn pooled(kernel: Range, input: Flow) -> Result<Flow, Misfit> {
    let Flow::Image {
        channels,
        height,
        width,
    } = input
    else {
        return Err(Misfit::no_image(input));
    };
    let smallest = height.least.min(width.least);
    Ok(Flow::Image {
        channels,
        height: pieces(kernel, height, smallest, "wide or high")?,
        width: pieces(kernel, width, smallest, "wide or high")?,
    })
}

/// The pieces of a side, if they fit into the smallest one; `word` describes it in errors: `wide or high`, or `long`.
pub(super) fn pieces(kernel: Range, side: Range, smallest: u64, word: &str) -> Result<Range, Misfit> {
    if kernel.most > smallest {
        let reason = format!("can be {}, and its input only {smallest} {word}", kernel.most);
        return Err(Misfit::of("kernel", reason));
    }
    Ok(Range::between(side.least / kernel.most, side.most / kernel.least))
}
