//! What rows say of the networks of a stack: sums over the rows, piece by piece, and the metrics that come of them.

use tch::{Device, Kind, Tensor};
use trawl_domain::loss::Loss;
use trawl_domain::metric::{Metric, Metrics};
use trawl_engine::FitJob;

use super::{DeviceTable, network, to_vec};

/// Sums over rows; each tensor is [stack].
pub(super) struct Sums<'a> {
    loss: Loss,
    metrics: &'a [Metric],
    rows: i64,
    losses: Tensor,
    more: More,
}

enum More {
    Nothing,
    /// How many rows have the right class.
    Classes(Tensor),
    Numbers(Option<Numbers>),
}

/// What the metrics of numbers need, in doubles.
struct Numbers {
    /// The first target, [stack, 1, 1]: targets are summed by how far they are from it, so that equal ones have no variance.
    origin: Tensor,
    /// Of the distances between outputs and targets.
    distances: Tensor,
    /// Of their squares.
    squares: Tensor,
    /// Of the targets.
    targets: Tensor,
    /// Of their squares.
    squared_targets: Tensor,
}

impl<'a> Sums<'a> {
    /// Before the first row of a job.
    pub(super) fn new(job: &'a FitJob<DeviceTable>, has_classes: bool, stack: i64, device: Device) -> Self {
        let wants = |metric| job.metrics.contains(&metric);
        Self {
            loss: job.architecture.loss,
            metrics: &job.metrics,
            rows: 0,
            losses: Tensor::zeros([stack], (Kind::Float, device)),
            more: match has_classes {
                true => More::Classes(Tensor::zeros([stack], (Kind::Int64, device))),
                false if wants(Metric::ValMae) || wants(Metric::ValR2) => More::Numbers(None),
                false => More::Nothing,
            },
        }
    }

    /// Takes the next rows: outputs [stack, rows, outputs] and their targets.
    pub(super) fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        let rows = outputs.size()[1];
        self.rows += rows;
        self.losses += network::loss(self.loss, outputs, targets) * rows as f64;
        match &mut self.more {
            More::Nothing => {}
            More::Classes(correct) => *correct += network::correct(outputs, targets),
            More::Numbers(sums) => sums.get_or_insert_with(|| Numbers::new(targets)).add(outputs, targets),
        }
    }

    /// The metrics of each network, by place.
    pub(super) fn metrics(&self) -> Vec<Metrics> {
        let rows = self.rows as f64;
        let mut metrics = vec![Metrics::default(); self.losses.numel()];
        let mut set = |metric, values: Vec<f64>| {
            if metric != Metric::ValLoss && !self.metrics.contains(&metric) {
                return;
            }
            let there = metrics
                .iter_mut()
                .zip(values)
                .filter(|(_, value)| metric == Metric::ValLoss || metric.takes(*value));
            there.for_each(|(metrics, value)| metrics.set(metric, value));
        };
        let losses = to_vec(&(&self.losses / rows));
        set(Metric::ValLoss, losses.into_iter().map(f64::from).collect());
        match &self.more {
            More::Classes(correct) => set(
                Metric::ValAccuracy,
                doubles(correct).iter().map(|right| right / rows).collect(),
            ),
            More::Numbers(Some(sums)) => {
                set(
                    Metric::ValMae,
                    doubles(&sums.distances).iter().map(|sum| sum / rows).collect(),
                );
                set(Metric::ValR2, sums.determination(rows));
            }
            More::Nothing | More::Numbers(None) => {}
        }
        metrics
    }
}

impl Numbers {
    fn new(targets: &Tensor) -> Self {
        let zeros = || Tensor::zeros([targets.size()[0]], (Kind::Double, targets.device()));
        Self {
            origin: targets.narrow(1, 0, 1).to_kind(Kind::Double),
            distances: zeros(),
            squares: zeros(),
            targets: zeros(),
            squared_targets: zeros(),
        }
    }

    fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        let of_rows = |each: &Tensor| each.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Double);
        let targets = targets.to_kind(Kind::Double);
        let off = outputs.to_kind(Kind::Double) - &targets;
        self.distances += of_rows(&off.abs());
        self.squares += of_rows(&off.square());
        let from_origin = targets - &self.origin;
        self.targets += of_rows(&from_origin);
        self.squared_targets += of_rows(&from_origin.square());
    }

    /// Not finite where all targets are alike.
    fn determination(&self, rows: f64) -> Vec<f64> {
        let variance = &self.squared_targets - self.targets.square() / rows;
        doubles(&(1.0 - &self.squares / variance))
    }
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_device(Device::Cpu).to_kind(Kind::Double).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}
