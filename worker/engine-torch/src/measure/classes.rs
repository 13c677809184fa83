//! Sums over rows with classes as targets.

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::Metric;
use trawl_engine::class_count::{self, ClassCount};

use super::ranking::Ranking;
use super::{Measured, counts, doubles, rows};
use crate::network;

/// Sums for the requested metrics of classes.
pub(super) struct Classes {
    /// Rows whose class is predicted, [stack].
    correct: Tensor,
    by_class: Option<ByClass>,
    /// The index of the class whose F1 is requested, instead of the mean over the classes.
    f1_class: Option<usize>,
    /// Negative logarithms of the right class's probability, [stack], in doubles.
    log_losses: Option<Tensor>,
    /// Squared distances between probabilities and classes, [stack], in doubles.
    squares: Option<Tensor>,
    ranking: Option<Ranking>,
}

/// Rows by class. Each tensor is [stack, classes], of integers, whose sum does not depend on their order.
pub(super) struct ByClass {
    /// True positives.
    right: Tensor,
    /// Rows of the class.
    rows: Tensor,
    /// Rows predicted as the class.
    predicted: Tensor,
}

impl Classes {
    /// Empty sums.
    pub(super) fn new(measured: &Measured<'_>, members: usize, stack: i64, device: Device) -> Self {
        let classes = measured.outputs;
        let wants = |wanted: &[Metric]| measured.metrics.iter().any(|metric| wanted.contains(metric));
        let sum = || Tensor::zeros([stack], (Kind::Double, device));
        Self {
            correct: Tensor::zeros([stack], (Kind::Int64, device)),
            by_class: wants(&[Metric::ValBalancedAccuracy, Metric::ValF1, Metric::ValF1Weighted])
                .then(|| ByClass::new(stack, classes, device)),
            f1_class: measured.f1_class,
            log_losses: wants(&[Metric::ValLogLoss]).then(sum),
            squares: wants(&[Metric::ValBrier]).then(sum),
            ranking: wants(&[Metric::ValAuc, Metric::ValAveragePrecision])
                .then(|| Ranking::new(members, classes, measured.rows as usize)),
        }
    }

    pub(super) fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        self.correct += network::correct(outputs, targets);
        if let Some(by_class) = &mut self.by_class {
            by_class.add(outputs, targets);
        }
        if self.log_losses.is_none() && self.squares.is_none() && self.ranking.is_none() {
            return;
        }
        let of_rows = |each: Tensor| each.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Double);
        let probabilities = rows::probabilities(outputs);
        if let Some(sum) = &mut self.log_losses {
            *sum += of_rows(rows::log_losses(&probabilities, targets));
        }
        if let Some(sum) = &mut self.squares {
            *sum += of_rows(rows::brier(&probabilities, targets));
        }
        if let Some(ranking) = &mut self.ranking {
            ranking.add(&probabilities, targets);
        }
    }

    /// Adds rows that are shown again.
    pub(super) fn add_again(&mut self, outputs: &Tensor, targets: &Tensor) {
        if let Some(ranking) = &mut self.ranking {
            ranking.add(&rows::probabilities(outputs), targets);
        }
    }

    /// After the last row: true if all rows have to be shown again.
    pub(super) fn want_rows_again(&mut self) -> bool {
        self.ranking.as_mut().is_some_and(Ranking::end_pass)
    }

    /// A metric after `rows` rows, by place; non-finite values are left out. `None` if it was not requested, or is no metric of classes.
    pub(super) fn values(&self, metric: Metric, rows: f64) -> Option<Vec<f64>> {
        let mean = |sum: &Tensor| doubles(&(sum / rows));
        match metric {
            Metric::ValAccuracy => Some(doubles(&self.correct).iter().map(|right| right / rows).collect()),
            Metric::ValBalancedAccuracy => Some(self.by_class.as_ref()?.each(class_count::balanced_accuracy)),
            Metric::ValF1 => Some(self.by_class.as_ref()?.each(|classes| match self.f1_class {
                Some(class) => classes[class].f1(),
                None => class_count::f1_macro(classes),
            })),
            Metric::ValF1Weighted => Some(self.by_class.as_ref()?.each(class_count::f1_weighted)),
            Metric::ValLogLoss => self.log_losses.as_ref().map(mean),
            Metric::ValBrier => self.squares.as_ref().map(mean),
            Metric::ValAuc => Some(self.ranking.as_ref()?.auc()),
            Metric::ValAveragePrecision => Some(self.ranking.as_ref()?.average_precision()),
            _ => None,
        }
    }
}

impl ByClass {
    /// Empty counts.
    pub(super) fn new(stack: i64, classes: usize, device: Device) -> Self {
        let count = || Tensor::zeros([stack, classes as i64], (Kind::Int64, device));
        Self {
            right: count(),
            rows: count(),
            predicted: count(),
        }
    }

    /// Adds rows that may belong to several classes: outputs, and 1 for each class of a row, [stack, rows, classes].
    pub(super) fn add_each(&mut self, outputs: &Tensor, targets: &Tensor) {
        let of_rows = |each: &Tensor| each.sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
        let (predicted, is_of) = (outputs.gt(0.0), targets.gt(0.5));
        self.rows += of_rows(&is_of);
        self.predicted += of_rows(&predicted);
        self.right += of_rows(&predicted.logical_and(&is_of));
    }

    fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        let predicted = outputs.argmax(2, false);
        let one = Tensor::ones_like(targets);
        let _ = self.rows.scatter_add_(1, targets, &one);
        let _ = self.predicted.scatter_add_(1, &predicted, &one);
        let right = predicted.eq_tensor(targets).to_kind(Kind::Int64);
        let _ = self.right.scatter_add_(1, targets, &right);
    }

    /// The value of `of` for each network's counts, by place.
    pub(super) fn each(&self, of: impl Fn(&[ClassCount]) -> f64) -> Vec<f64> {
        let (right, rows, predicted) = (counts(&self.right), counts(&self.rows), counts(&self.predicted));
        let counted = right.iter().zip(&rows).zip(&predicted);
        let counted: Vec<ClassCount> = counted
            .map(|((right, rows), predicted)| ClassCount {
                right: *right,
                rows: *rows,
                predicted: *predicted,
            })
            .collect();
        let classes = self.rows.size()[1] as usize;
        counted.chunks_exact(classes.max(1)).map(of).collect()
    }
}
