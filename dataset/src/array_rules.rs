//! Preparation of arrays' features.

use super::columns::{Missing, Scale};
use super::inputs::{Cells, InputColumn, Inputs};
use super::{Layout, ReadError, Reason, SampleShape};
use crate::limits::FEATURES_MAX;

/// How arrays are read, and how their features are prepared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ArrayRules {
    /// The order of the axes of images; `None` where the study leaves it out.
    pub layout: Option<Layout>,
    /// Scaling of each number of a vector, or of each channel of an image after its pixels are divided by 255.
    pub scale: Scale,
}

impl Default for ArrayRules {
    /// Arrays without preparation.
    fn default() -> Self {
        Self {
            layout: None,
            scale: Scale::None,
        }
    }
}

impl From<Option<Layout>> for ArrayRules {
    fn from(layout: Option<Layout>) -> Self {
        Self {
            layout,
            ..Self::default()
        }
    }
}

/// Scalings for arrays: those that need no decision about each number.
pub const ARRAY_SCALES: [Scale; 3] = [Scale::Standardize, Scale::MinMax, Scale::None];

/// The inputs of an array's rows; `None` without preparation.
pub(super) fn inputs(scale: Scale, shape: SampleShape) -> Result<Option<Inputs>, ReadError> {
    if scale == Scale::None {
        return Ok(None);
    }
    let name = match shape {
        SampleShape::Vector(_) | SampleShape::Table { .. } | SampleShape::Sequence { .. } => "x",
        SampleShape::Image { .. } => "channel ",
    };
    let inputs = shape.inputs();
    if inputs as usize > FEATURES_MAX {
        return Err(ReadError::features(Reason::quoting(|quote| {
            format!(
                "has rows of {} features, and prepare takes at most {FEATURES_MAX}: leave prepare out, and prepare the array beforehand",
                quote.of(inputs)
            )
        })));
    }
    let column = |place: u32| InputColumn {
        name: format!("{name}{place}"),
        cells: Cells::Number {
            scale,
            missing: Missing::Refused,
        },
        indicator: false,
    };
    Ok(Some(Inputs((0..inputs).map(column).collect())))
}
