//! Sums over rows with numbers as targets. With several targets a metric is the mean over them, as scikit-learn's with `uniform_average`.

use tch::{Kind, Tensor};
use trawl_domain::metric::Metric;

use super::{doubles, rows};

/// Sums for the metrics of numbers, in doubles: one for each network and target, [stack x targets].
pub(super) struct Numbers {
    /// Targets of a row.
    width: usize,
    /// The first row's targets, [stack x targets, 1, 1]: targets are summed relative to them, so that equal targets have no variance.
    origin: Tensor,
    /// Absolute errors.
    distances: Tensor,
    /// Absolute errors relative to the targets.
    relative_distances: Tensor,
    /// Squared errors.
    squares: Tensor,
    /// Targets, relative to [`Self::origin`].
    targets: Tensor,
    /// Their squares.
    squared_targets: Tensor,
}

impl Numbers {
    /// True for a metric that needs these sums.
    pub(super) fn has(metric: Metric) -> bool {
        matches!(
            metric,
            Metric::ValMae | Metric::ValR2 | Metric::ValRmse | Metric::ValMape
        )
    }

    /// Empty sums, for rows that begin with these targets.
    pub(super) fn new(targets: &Tensor) -> Self {
        let apart = apart(targets);
        let zeros = || Tensor::zeros([apart.size()[0]], (Kind::Double, targets.device()));
        Self {
            width: targets.size()[2] as usize,
            origin: apart.narrow(1, 0, 1).to_kind(Kind::Double),
            distances: zeros(),
            relative_distances: zeros(),
            squares: zeros(),
            targets: zeros(),
            squared_targets: zeros(),
        }
    }

    pub(super) fn add(&mut self, outputs: &Tensor, targets: &Tensor) {
        let of_rows = |each: &Tensor| each.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Double);
        let (outputs, targets) = (apart(outputs), apart(targets));
        self.relative_distances += of_rows(&rows::relative_distances(&outputs, &targets));
        let targets = targets.to_kind(Kind::Double);
        let off = outputs.to_kind(Kind::Double) - &targets;
        self.distances += of_rows(&off.abs());
        self.squares += of_rows(&off.square());
        let from_origin = targets - &self.origin;
        self.targets += of_rows(&from_origin);
        self.squared_targets += of_rows(&from_origin.square());
    }

    /// A metric after `rows` rows, by place; non-finite values are left out. `None` if it is no metric of numbers.
    pub(super) fn values(&self, metric: Metric, rows: f64) -> Option<Vec<f64>> {
        let values = match metric {
            Metric::ValMae => &self.distances / rows,
            Metric::ValMape => &self.relative_distances / rows,
            Metric::ValRmse => (&self.squares / rows).sqrt(),
            Metric::ValR2 => self.determination(rows),
            _ => return None,
        };
        let means = |values: &[f64]| values.iter().sum::<f64>() / self.width as f64;
        Some(doubles(&values).chunks(self.width).map(means).collect())
    }

    /// R²; not finite where all targets are equal.
    fn determination(&self, rows: f64) -> Tensor {
        let variance = &self.squared_targets - self.targets.square() / rows;
        1.0 - &self.squares / variance
    }
}

/// Makes each target a network's only one: [stack x targets, rows, 1] from [stack, rows, targets].
fn apart(of_rows: &Tensor) -> Tensor {
    let [stack, rows, width] = of_rows.size()[..] else {
        return of_rows.shallow_clone();
    };
    of_rows.transpose(1, 2).reshape([stack * width, rows, 1])
}
