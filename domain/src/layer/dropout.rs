//! `dropout`: inverted dropout while training. Each input is zeroed with probability p, and the others are scaled by 1 / (1 - p).

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Dropout. Its probability may differ between networks that train together.
pub(super) struct Dropout;

impl Kind<1> for Dropout {
    const NAME: &'static str = "dropout";
    const SETTINGS: &'static [Rule; 1] = &[P];
    const KEEPS_SHAPE: bool = true;

    fn layer(_: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::Dropout)
    }

    fn output(_: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        Ok(input)
    }
}

/// Probability of being zeroed.
pub(super) const P: Rule = Rule::new("p", Takes::SHARE).members_own();
