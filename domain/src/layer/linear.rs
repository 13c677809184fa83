//! `linear`: y = x W^T + b, PyTorch's `nn.Linear`.

use super::{Flow, Kind, Layer, Misfit, Range};
use crate::limits::UNITS_MAX;
use crate::rule::{Rule, Takes};
use crate::space::ParamValue;

/// Fully connected.
pub(super) struct Linear;

impl Kind<1> for Linear {
    const NAME: &'static str = "linear";
    const SETTINGS: &'static [Rule; 1] = &[Rule::new("units", Takes::Whole(1, UNITS_MAX))];

    fn layer([units]: [&ParamValue; 1]) -> Option<Layer> {
        Some(Layer::Linear {
            units: units.as_whole()?,
        })
    }

    fn output([units]: [Range; 1], input: Flow) -> Result<Flow, Misfit> {
        match input {
            Flow::Vector(_) | Flow::Table { .. } => Ok(Flow::Vector(units)),
            Flow::Sequence { .. } | Flow::Image { .. } => Err(Misfit::new(format!(
                "takes a vector, and gets {input}: put a flatten before it"
            ))),
        }
    }

    fn weight([units]: [Range; 1], input: Flow) -> Option<Vec<Range>> {
        Some(vec![units, input.len()])
    }

    fn output_after_unknown([units]: [Range; 1]) -> Option<Flow> {
        Some(Flow::Vector(units))
    }
}
