//! Sums over rows with binary targets, computed as scikit-learn does for an indicator matrix.

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::Metric;
use trawl_engine::class_count;

use super::classes::ByClass;
use super::ranking::Ranking;
use super::{Measured, doubles, rows};

/// Sums for the requested metrics of binary targets.
pub(super) struct Binary {
    outputs: usize,
    /// Correctly predicted targets over all rows, [stack].
    correct: Tensor,
    /// Counts by target: rows with a yes, or predicted as one.
    by_target: Option<ByClass>,
    ranking: Option<Ranking>,
}

impl Binary {
    /// Empty sums.
    pub(super) fn new(measured: &Measured<'_>, members: usize, stack: i64, device: Device) -> Self {
        let wants = |wanted: &[Metric]| measured.metrics.iter().any(|metric| wanted.contains(metric));
        let outputs = measured.outputs;
        Self {
            outputs,
            correct: Tensor::zeros([stack], (Kind::Int64, device)),
            by_target: wants(&[Metric::ValF1, Metric::ValF1Weighted]).then(|| ByClass::new(stack, outputs, device)),
            ranking: wants(&[Metric::ValAuc, Metric::ValAveragePrecision])
                .then(|| Ranking::of_each(members, outputs, measured.rows as usize)),
        }
    }

    pub(super) fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        let right = rows::is_predicted(outputs, targets);
        self.correct += right.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Int64);
        if let Some(by_target) = &mut self.by_target {
            by_target.add_each(outputs, targets);
        }
        self.add_again(outputs, targets);
    }

    /// Adds rows that are shown again.
    pub(super) fn add_again(&mut self, outputs: &Tensor, targets: &Tensor) {
        if let Some(ranking) = &mut self.ranking {
            ranking.add(&outputs.to_kind(Kind::Double).sigmoid(), &targets.to_kind(Kind::Int64));
        }
    }

    /// After the last row: true if all rows have to be shown again.
    pub(super) fn want_rows_again(&mut self) -> bool {
        self.ranking.as_mut().is_some_and(Ranking::end_pass)
    }

    /// A metric after `rows` rows, by place; non-finite values are left out. `None` if it was not requested, or is no metric of binary targets.
    pub(super) fn values(&self, metric: Metric, rows: f64) -> Option<Vec<f64>> {
        match metric {
            Metric::ValAccuracy => {
                let targets = rows * self.outputs as f64;
                Some(doubles(&self.correct).iter().map(|right| right / targets).collect())
            }
            Metric::ValF1 => Some(self.by_target.as_ref()?.each(class_count::f1_mean)),
            Metric::ValF1Weighted => Some(self.by_target.as_ref()?.each(class_count::f1_weighted)),
            Metric::ValAuc => Some(self.ranking.as_ref()?.auc()),
            Metric::ValAveragePrecision => Some(self.ranking.as_ref()?.average_precision()),
            _ => None,
        }
    }
}
