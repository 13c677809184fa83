//! `sequence`: all numbers of a row as channels of a sequence, one channel after the other: PyTorch's `nn.Unflatten`.
//! The input is a vector, such as the columns of a table, or an image, such as arrays [rows, channels, length].

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::FILTERS_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// A row as a sequence.
pub(super) struct Sequence;

impl Kind<1> for Sequence {
    const NAME: &'static str = "sequence";
    /// 0 stands for the input's channels: 1 for a vector, the rows of all channels for an image.
    const SETTINGS: &'static [Rule; 1] = &[Rule::new("channels", Takes::Whole(0, FILTERS_MAX)).or(0.0)];

    fn layer([channels]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::Sequence {
            channels: channels.as_whole()?,
        })
    }

    fn output([channels]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        let own = match input {
            Flow::Vector(_) | Flow::Table { .. } => (Range::exactly(1), input.len()),
            Flow::Image {
                channels,
                height,
                width,
            } => (channels.times(height), width),
            Flow::Sequence { channels, length } => (channels, length),
        };
        let length = input.len();
        match (channels.least, channels.most) {
            (_, 0) => Ok(Flow::Sequence {
                channels: own.0,
                length: own.1,
            }),
            (least, most) if least != most => Err(Misfit::of(
                "channels",
                "must be the same number in all trials".to_owned(),
            )),
            (1, _) => Ok(Flow::Sequence { channels, length }),
            (count, _) if length.least == length.most && length.least.is_multiple_of(count) => Ok(Flow::Sequence {
                channels,
                length: Range::between(length.least / count, length.least / count),
            }),
            (count, _) => Err(Misfit::of(
                "channels",
                format!("is {count}, and {input} cannot be cut into so many channels of equal length"),
            )),
        }
    }
}
