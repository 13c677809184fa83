//! Inputs that networks of a stack see as quantiles of their own training rows.

use tch::{Device, Kind, Tensor};
use trawl_dataset::{FittedInputs, QUANTILE_REACH};

/// The quantiles of the inputs that use them; see [`trawl_dataset::FittedInput`].
#[derive(Debug)]
pub(super) struct QuantileTensors {
    /// Places of these inputs, [inputs].
    places: Tensor,
    /// [stack, inputs, quantiles], ascending, in doubles, which separate shares near 1.
    points: Tensor,
}

impl QuantileTensors {
    /// For all networks of a stack; an input has equally many quantiles in each. `None` without any.
    pub(super) fn new<'a>(fitted: impl Iterator<Item = &'a FittedInputs>, stack: i64, device: Device) -> Option<Self> {
        let mut places = Vec::new();
        let mut points: Vec<f64> = Vec::new();
        for fitted in fitted {
            places = fitted.quantiles().iter().map(|(place, _)| *place as i64).collect();
            points.extend(fitted.0.iter().flat_map(|input| &input.quantiles));
        }
        (!places.is_empty()).then(|| Self {
            points: Tensor::from_slice(&points)
                .view([stack, places.len() as i64, -1])
                .to_device(device),
            places: Tensor::from_slice(&places).to_device(device),
        })
    }

    /// Rows [stack, rows, inputs], with these inputs replaced by their normal scores.
    pub(super) fn apply(&self, rows: &Tensor) -> Tensor {
        let points = &self.points;
        let last = points.size()[2] - 1;
        let values = rows.index_select(2, &self.places).transpose(1, 2);
        let values = values.contiguous().to_kind(Kind::Double);
        // The number of quantiles below each value, and of quantiles not above it.
        let below = values.searchsorted(points, false, false, "left", None::<Tensor>);
        let not_above = values.searchsorted(points, false, true, "right", None::<Tensor>);
        let before = points.gather(2, &(&below - 1).clamp(0, last), false);
        let after = points.gather(2, &below.clamp(0, last), false);
        let between = &below - 1 + (&values - &before) / (after - before);
        let among_equals = (&below + &not_above - 1).to_kind(Kind::Double) / 2.0;
        let place = among_equals.where_self(&not_above.gt_tensor(&below), &between);
        let share = place / last as f64;
        // Values outside all quantiles have no place between two; where all quantiles are equal, values take the lowest.
        let share = share.masked_fill(&values.ge_tensor(&points.narrow(2, last, 1)), 1.0);
        let share = share.masked_fill(&values.le_tensor(&points.narrow(2, 0, 1)), 0.0);
        let normal = (share * 2.0 - 1.0).erfinv() * std::f64::consts::SQRT_2;
        let normal = normal.clamp(-QUANTILE_REACH, QUANTILE_REACH).to_kind(Kind::Float);
        rows.index_copy(2, &self.places, &normal.transpose(1, 2))
    }
}
