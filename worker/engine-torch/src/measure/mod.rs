//! Measures the networks of a stack: sums over the rows, piece by piece, and metrics computed from the sums.
//!
//! All sums except the losses' are doubles. Within a piece they follow libtorch's order, which is the same for each network of a stack;
//! pieces are added in the order in which they come. So a member's metrics are identical to the last bit, alone and in any job.

mod binary;
mod classes;
mod numbers;
mod ranking;
mod rows;
#[cfg(test)]
mod tests;

use tch::{Device, Kind, Tensor};
use trawl_dataset::TargetKind;
use trawl_domain::metric::{Metric, Metrics};

use super::criterion::Criterion;
use super::to_vec;
use binary::Binary;
use classes::Classes;
use numbers::Numbers;

pub(super) use rows::row_losses;

/// Sums over rows; each tensor is [stack].
pub(super) struct Sums<'a> {
    criterion: &'a Criterion,
    metrics: &'a [Metric],
    rows: i64,
    losses: Tensor,
    /// Sums of the rows' weights; `None` if all weigh the same.
    weights: Option<Tensor>,
    more: More,
    /// False once all rows were seen and are shown again.
    is_first_pass: bool,
}

enum More {
    Nothing,
    Classes(Classes),
    Numbers(Option<Numbers>),
    Binary(Binary),
}

/// The requested measurements and their rows.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    /// The loss of the training.
    pub(super) criterion: &'a Criterion,
    /// Requested metrics beside the loss, among those that such targets allow.
    pub(super) metrics: &'a [Metric],
    /// Outputs for a row: one for each class or target.
    pub(super) outputs: usize,
    /// The index of the class whose F1 is requested; `None` for the mean over the classes.
    pub(super) f1_class: Option<usize>,
    /// Rows of all pieces together.
    pub(super) rows: i64,
}

impl<'a> Sums<'a> {
    /// Empty sums. The first `members` networks of the stack are not idle.
    pub(super) fn new(measured: Measured<'a>, members: usize, stack: i64, device: Device) -> Self {
        let Measured { criterion, metrics, .. } = measured;
        Self {
            criterion,
            metrics,
            rows: 0,
            losses: Tensor::zeros([stack], (Kind::Float, device)),
            weights: None,
            more: match criterion.target_kind() {
                TargetKind::Class => More::Classes(Classes::new(&measured, members, stack, device)),
                TargetKind::Binary => More::Binary(Binary::new(&measured, members, stack, device)),
                TargetKind::Number if metrics.iter().copied().any(Numbers::has) => More::Numbers(None),
                TargetKind::Number => More::Nothing,
            },
            is_first_pass: true,
        }
    }

    /// Adds the next rows: outputs [stack, rows, outputs] and their targets.
    pub(super) fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        if !self.is_first_pass {
            match &mut self.more {
                More::Classes(classes) => classes.add_again(outputs, targets),
                More::Binary(binary) => binary.add_again(outputs, targets),
                More::Nothing | More::Numbers(_) => {}
            }
            return;
        }
        let rows = outputs.size()[1];
        self.rows += rows;
        let losses = self.criterion.mean(outputs, targets);
        match self.criterion.weight(targets) {
            None => self.losses += losses * rows as f64,
            Some(weight) => {
                self.losses += losses * &weight;
                self.weights = Some(match self.weights.take() {
                    Some(before) => before + weight,
                    None => weight,
                });
            }
        }
        match &mut self.more {
            More::Nothing => {}
            More::Classes(classes) => classes.add(outputs, targets),
            More::Binary(binary) => binary.add(outputs, targets),
            More::Numbers(sums) => sums.get_or_insert_with(|| Numbers::new(targets)).add(outputs, targets),
        }
    }

    /// After the last row: true if all rows have to be shown again, because memory did not suffice for one pass.
    pub(super) fn want_rows_again(&mut self) -> bool {
        self.is_first_pass = false;
        match &mut self.more {
            More::Classes(classes) => classes.want_rows_again(),
            More::Binary(binary) => binary.want_rows_again(),
            More::Nothing | More::Numbers(_) => false,
        }
    }

    /// The metrics of each network, by place.
    pub(super) fn metrics(&self) -> Vec<Metrics> {
        let rows = self.rows as f64;
        let mut metrics = vec![Metrics::default(); self.losses.numel()];
        let mut set = |metric: Metric, values: Vec<f64>| {
            let there = metrics
                .iter_mut()
                .zip(values)
                .filter(|(_, value)| metric == Metric::ValLoss || metric.takes(*value));
            there.for_each(|(metrics, value)| metrics.set(metric, value));
        };
        let losses = to_vec(&match &self.weights {
            Some(weights) => &self.losses / weights,
            None => &self.losses / rows,
        });
        set(Metric::ValLoss, losses.into_iter().map(f64::from).collect());
        for metric in self.metrics {
            let values = match &self.more {
                More::Classes(classes) => classes.values(*metric, rows),
                More::Binary(binary) => binary.values(*metric, rows),
                More::Numbers(Some(sums)) => sums.values(*metric, rows),
                More::Nothing | More::Numbers(None) => None,
            };
            if let Some(values) = values {
                set(*metric, values);
            }
        }
        metrics
    }
}

/// Numbers on the CPU.
fn doubles(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

/// Non-negative integers, on the CPU.
fn counts(tensor: &Tensor) -> Vec<u64> {
    let tensor = tensor.to_device(Device::Cpu).contiguous();
    let mut values = vec![0_i64; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values.into_iter().map(|count| count as u64).collect()
}
