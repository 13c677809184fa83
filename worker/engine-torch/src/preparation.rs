//! Preparation: each network of a stack sees its rows by what was fitted on its own training rows.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use trawl_domain::dataset::{FittedInput, FittedInputs};

/// What rows of a table become before they go into the networks of a stack. Each tensor is [stack, 1, inputs].
#[derive(Debug)]
pub(super) struct Preparation {
    /// By place in the stack.
    fitted: Vec<Arc<FittedInputs>>,
    fill: Tensor,
    shift: Tensor,
    factor: Tensor,
    /// 1 where the logarithm is taken; `None` where it never is.
    log: Option<Tensor>,
}

impl Preparation {
    /// For networks that were fitted so, by place; idle ones are as the first. `None` without any, or if they are not alike.
    pub(super) fn new(fitted: Vec<Arc<FittedInputs>>, stack: i64, device: Device) -> Option<Self> {
        let width = fitted.first()?.0.len();
        let fitted: Vec<Arc<FittedInputs>> = fitted.into_iter().filter(|fitted| fitted.0.len() == width).collect();
        let tensor = |of: fn(&FittedInput) -> f32| {
            let padded = fitted.iter().chain(std::iter::repeat(&fitted[0])).take(stack as usize);
            let values: Vec<f32> = padded.flat_map(|fitted| fitted.0.iter().map(of)).collect();
            Tensor::from_slice(&values)
                .view([stack, 1, width as i64])
                .to_device(device)
        };
        let has_log = fitted.iter().any(|fitted| fitted.0.iter().any(|input| input.log));
        Some(Self {
            fill: tensor(|input| input.fill),
            shift: tensor(|input| input.shift),
            factor: tensor(|input| input.factor),
            log: has_log.then(|| tensor(|input| f32::from(u8::from(input.log))).to_kind(Kind::Bool)),
            fitted,
        })
    }

    /// What was fitted for the network at a place.
    pub(super) fn fitted(&self, place: usize) -> Option<&FittedInputs> {
        self.fitted.get(place).map(Arc::as_ref)
    }

    /// Rows [stack, rows, inputs] as they go into the networks.
    pub(super) fn apply(&self, rows: &Tensor) -> Tensor {
        let mut x = self.fill.where_self(&rows.isnan(), rows);
        if let Some(log) = &self.log {
            x = x.log1p().where_self(log, &x);
        }
        (x - &self.shift) * &self.factor
    }
}
