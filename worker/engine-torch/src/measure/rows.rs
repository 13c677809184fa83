//! Measurements of single rows: [stack, rows, 1] in doubles, unless stated otherwise.

use tch::{Kind, Tensor};
use trawl_dataset::TargetKind;
use trawl_domain::metric::Metric;

use crate::criterion::Criterion;

/// The loss of each row, [stack, rows]: the training loss, or the row's part of a metric that is a mean over rows. For the
/// accuracy of classes, 1 if the class is not predicted; for that of binary targets, the share of targets not predicted.
pub(crate) fn row_losses(metric: Metric, criterion: &Criterion, outputs: &Tensor, targets: &Tensor) -> Tensor {
    let of_outputs = |each: Tensor| each.mean_dim([2_i64].as_slice(), false, Kind::Float);
    match metric {
        Metric::ValAccuracy if criterion.target_kind() == TargetKind::Binary => {
            of_outputs(is_predicted(outputs, targets).logical_not().to_kind(Kind::Float))
        }
        Metric::ValAccuracy => outputs.argmax(2, false).ne_tensor(targets).to_kind(Kind::Float),
        Metric::ValMae => of_outputs((outputs - targets).abs()),
        Metric::ValMape => of_outputs(relative_distances(outputs, targets)),
        Metric::ValLogLoss => of_outputs(log_losses(&probabilities(outputs), targets)),
        Metric::ValBrier => of_outputs(brier(&probabilities(outputs), targets)),
        _ => of_outputs(criterion.losses(outputs, targets)),
    }
}

/// True for correctly predicted binary targets, [stack, rows, targets].
pub(super) fn is_predicted(outputs: &Tensor, targets: &Tensor) -> Tensor {
    outputs.gt(0.0).eq_tensor(&targets.gt(0.5))
}

/// The absolute error relative to the target, whose absolute value counts as at least 2^-52.
pub(super) fn relative_distances(outputs: &Tensor, targets: &Tensor) -> Tensor {
    let targets = targets.to_kind(Kind::Double);
    let distances = (outputs.to_kind(Kind::Double) - &targets).abs();
    distances / targets.abs().clamp_min(f64::EPSILON)
}

/// The classes' probabilities, [stack, rows, classes], by softmax over the outputs.
pub(super) fn probabilities(outputs: &Tensor) -> Tensor {
    outputs.softmax(2, Kind::Double)
}

/// The negative logarithm of the right class's probability, cut to [2^-52, 1 - 2^-52].
pub(super) fn log_losses(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    let right = probabilities.gather(2, &targets.unsqueeze(2), false);
    -right.clamp(f64::EPSILON, 1.0 - f64::EPSILON).log()
}

/// The sum over the classes of the squared distance between the probability and 1 for the right class, 0 for others;
/// for two classes the mean, because both distances are equal.
pub(super) fn brier(probabilities: &Tensor, targets: &Tensor) -> Tensor {
    let target = targets.unsqueeze(2);
    let right = probabilities.gather(2, &target, false);
    let squares = probabilities.scatter(2, &target, &(right - 1.0)).square();
    let sum = squares.sum_dim_intlist([2_i64].as_slice(), true, Kind::Double);
    if probabilities.size()[2] == 2 { sum / 2.0 } else { sum }
}
