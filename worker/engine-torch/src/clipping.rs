//! Clipping of gradients: PyTorch's arithmetic, with each member's own bounds.

use tch::{Kind, Tensor};
use trawl_domain::optimizer::Hyperparameters;
use trawl_engine::FitJob;

use super::DeviceTable;
use super::stack::Stack;

/// The number that torch.nn.utils.clip_grad_norm_ adds to the norm.
const NORM_EPS: f64 = 1e-6;

/// The bounds of all networks of a stack, [stack, 1] each; `None` if no network has any.
#[derive(Debug)]
pub(super) struct Clipping {
    /// The least and the largest element of a gradient: infinite for networks without a bound.
    values: Option<(Tensor, Tensor)>,
    /// The largest norm, and true for networks without one.
    norms: Option<(Tensor, Tensor)>,
}

impl Clipping {
    pub(super) fn new(stack: &Stack, job: &FitJob<DeviceTable>) -> Self {
        let bounds = |bound: fn(&Hyperparameters) -> f64| {
            let own = stack.places().iter();
            let mut bounds: Vec<f64> = own.map(|member| bound(&job.members[*member].hyperparameters)).collect();
            bounds.resize(stack.size() as usize, 0.0);
            let bounds = bounds
                .iter()
                .any(|bound| *bound > 0.0)
                .then(|| Tensor::from_slice(&bounds));
            bounds.map(|bounds| bounds.to_kind(Kind::Float).unsqueeze(1).to_device(stack.device()))
        };
        Self {
            values: bounds(|own| own.clip_value).map(|largest| {
                let largest = largest.masked_fill(&largest.eq(0.0), f64::INFINITY);
                (-&largest, largest)
            }),
            norms: bounds(|own| own.clip_norm).map(|largest| (largest.shallow_clone(), largest.eq(0.0))),
        }
    }

    /// Clips the gradients of all networks, [stack, parameters]: first their elements, then their norms.
    pub(super) fn clip(&self, gradient: &mut Tensor) {
        if let Some((least, largest)) = &self.values {
            let _ = gradient.clamp_tensor_(Some(least), Some(largest));
        }
        if let Some((largest, unbounded)) = &self.norms {
            let norm = gradient
                .square()
                .sum_dim_intlist([1_i64].as_slice(), true, Kind::Float)
                .sqrt();
            let mut share = (largest / (norm + NORM_EPS)).clamp_max(1.0);
            let _ = share.masked_fill_(unbounded, 1.0);
            *gradient *= share;
        }
    }
}
