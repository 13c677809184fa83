//! Sums of rows whose targets are yes or no, as scikit-learn has them of an indicator matrix.

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::Metric;
use trawl_engine::class_count;

use super::classes::ByClass;
use super::ranking::Ranking;
use super::{Measured, doubles, rows};

/// What the metrics of yes and no need, as far as they are wanted.
pub(super) struct Binary {
    outputs: usize,
    /// How many targets are predicted, of all rows, [stack].
    correct: Tensor,
    /// Rows in which a target is yes, by target.
    by_target: Option<ByClass>,
    ranking: Option<Ranking>,
}

impl Binary {
    /// Before the first row.
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

    /// Takes rows for the second time, or a further one.
    pub(super) fn add_again(&mut self, outputs: &Tensor, targets: &Tensor) {
        if let Some(ranking) = &mut self.ranking {
            ranking.add(&outputs.to_kind(Kind::Double).sigmoid(), &targets.to_kind(Kind::Int64));
        }
    }

    /// After the last row: true if they have to be shown once more.
    pub(super) fn want_rows_again(&mut self) -> bool {
        self.ranking.as_mut().is_some_and(Ranking::end_pass)
    }

    /// A metric after so many rows, by place; what is not finite is none. `None` if it was not wanted, or is no metric of yes and no.
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
