//! Preparation: transforms rows and targets of each network of a stack by the statistics of that network's own training rows.

use std::ops::Range;
use std::sync::Arc;

use tch::{Device, Kind, Tensor};
use trawl_dataset::{FittedInput, FittedInputs, FittedTable, FittedTarget, SampleShape};

use super::quantiles::QuantileTensors;

/// Transforms rows of a table into inputs of a stack's networks, and their outputs back.
#[derive(Debug)]
pub(super) struct Preparation {
    /// By place in the stack.
    fitted: Vec<Arc<FittedTable>>,
    inputs: Option<InputTensors>,
    target: Option<TargetTensors>,
}

/// Each [stack, 1, inputs], or of images [stack, 1, channels, 1, 1].
#[derive(Debug)]
struct InputTensors {
    /// `None` for images, which have no gaps.
    fill: Option<Tensor>,
    shift: Tensor,
    factor: Tensor,
    /// 1 where the logarithm is taken; `None` where it never is.
    log: Option<Tensor>,
    /// `None` where no input uses quantiles.
    quantiles: Option<QuantileTensors>,
}

/// Each [stack, 1, targets].
#[derive(Debug)]
struct TargetTensors {
    mean: Tensor,
    deviation: Tensor,
}

impl Preparation {
    /// Preparation of networks with rows of this shape, fitted for each place; idle networks use the first. `None` without any, or if their forms differ.
    pub(super) fn new(fitted: Vec<Arc<FittedTable>>, shape: SampleShape, stack: i64, device: Device) -> Option<Self> {
        let width = |fitted: &FittedTable| fitted.inputs.as_ref().map_or(0, |inputs| inputs.0.len());
        let outputs = |fitted: &FittedTable| fitted.targets.as_ref().map_or(0, Vec::len);
        let quantiles = |fitted: &FittedTable| fitted.inputs.as_ref().map(FittedInputs::quantiles);
        let sizes = |fitted: &FittedTable| (width(fitted), outputs(fitted), quantiles(fitted));
        let first = fitted.first()?;
        let of_first = sizes(first);
        let is_alike = |other: &Arc<FittedTable>| sizes(other) == of_first && other.words == first.words;
        if !fitted.iter().all(is_alike) {
            return None;
        }
        let padded = || fitted.iter().chain(std::iter::repeat(first)).take(stack as usize);
        let inputs = || padded().flat_map(|fitted| fitted.inputs.iter().flat_map(|inputs| &inputs.0));
        let targets: Vec<FittedTarget> = padded()
            .flat_map(|fitted| fitted.targets.iter().flatten().copied())
            .collect();
        let tensor = |values: Vec<f32>| Tensor::from_slice(&values).view([stack, 1, -1]).to_device(device);
        let is_image = matches!(shape, SampleShape::Image { .. });
        let of_inputs = |of: fn(&FittedInput) -> f32| {
            let of_all = tensor(inputs().map(of).collect());
            if is_image {
                of_all.unsqueeze(-1).unsqueeze(-1)
            } else {
                of_all
            }
        };
        let of_target = |of: fn(&FittedTarget) -> f32| tensor(targets.iter().map(of).collect());
        let has_log = inputs().any(|input| input.log);
        Some(Self {
            inputs: (width(first) > 0).then(|| InputTensors {
                fill: (!is_image).then(|| of_inputs(|input| input.fill)),
                shift: of_inputs(|input| input.shift),
                factor: of_inputs(|input| input.factor),
                quantiles: QuantileTensors::new(padded().filter_map(|fitted| fitted.inputs.as_ref()), stack, device),
                log: has_log.then(|| of_inputs(|input| f32::from(u8::from(input.log))).to_kind(Kind::Bool)),
            }),
            target: (outputs(first) > 0).then(|| TargetTensors {
                mean: of_target(|target| target.mean),
                deviation: of_target(|target| target.deviation),
            }),
            fitted,
        })
    }

    /// The preparation fitted for the network at a place.
    pub(super) fn fitted(&self, place: usize) -> Option<&FittedTable> {
        self.fitted.get(place).map(Arc::as_ref)
    }

    /// The inputs of each column of words.
    pub(super) fn words(&self) -> &[Range<usize>] {
        self.fitted.first().map_or(&[], |fitted| &fitted.words)
    }

    /// Inputs of the networks, from rows [stack, rows, inputs] or images [stack, rows, channels, height, width].
    pub(super) fn apply(&self, rows: &Tensor) -> Tensor {
        let Some(inputs) = &self.inputs else {
            return rows.shallow_clone();
        };
        let mut x = match &inputs.fill {
            Some(fill) => fill.where_self(&rows.isnan(), rows),
            None => rows.shallow_clone(),
        };
        if let Some(log) = &inputs.log {
            x = x.log1p().where_self(log, &x);
        }
        if let Some(quantiles) = &inputs.quantiles {
            x = quantiles.apply(&x);
        }
        (x - &inputs.shift) * &inputs.factor
    }

    /// See [`super::stack::Stack::in_own_unit`].
    pub(super) fn in_own_unit(&self, outputs: Tensor) -> Tensor {
        match &self.target {
            None => outputs,
            Some(target) => outputs * &target.deviation + &target.mean,
        }
    }

    /// See [`super::stack::Stack::target_deviation`].
    pub(super) fn target_deviation(&self) -> Option<&Tensor> {
        Some(&self.target.as_ref()?.deviation)
    }
}
