//! Losses of all networks of a stack, each with its own settings: PyTorch's arithmetic.

use tch::{Kind, Reduction, Tensor};
use trawl_dataset::{TargetKind, Targets};
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::optimizer::Hyperparameters;
use trawl_engine::{EngineError, FitJob, Table as _};

use super::DeviceTable;
use super::batches::Rows;
use super::stack::Stack;

/// Lower bound of 1 - p in a focal loss: below it, the power has no finite slope if gamma is under 1.
const FOCAL_REST_MIN: f64 = 1e-12;

/// A loss, with the settings that differ between networks.
#[derive(Debug)]
pub(super) struct Criterion {
    loss: Loss,
    /// [stack, 1, 1]; `None` if all are 0.
    label_smoothing: Option<Tensor>,
    /// [stack, 1, 1]; for a focal loss.
    focal_gamma: Option<Tensor>,
    /// Weight of each class's rows, [stack, classes]; `None` if all weigh the same.
    class_weights: Option<Tensor>,
    /// Divisor of the targets' errors, [stack, 1, targets]; `None` where targets are learned as they are.
    deviation: Option<Tensor>,
}

impl Criterion {
    /// The losses of a stack's networks, which train on these rows.
    pub(super) fn new(job: &FitJob<DeviceTable>, stack: &Stack, rows: &Rows) -> Result<Self, EngineError> {
        let loss = job.architecture.loss;
        let of_each = |of: fn(&Hyperparameters) -> f64| {
            let each = stack.places().iter();
            let each: Vec<f64> = each.map(|member| of(&job.members[*member].hyperparameters)).collect();
            let any = each.iter().any(|value| *value != 0.0);
            let column = filled(each, stack.size()).to_kind(Kind::Float).view([-1, 1, 1]);
            (column.to_device(stack.device()), any)
        };
        let (smoothing, smooths) = of_each(|own| own.label_smoothing);
        let (gamma, _) = of_each(|own| own.focal_gamma);
        Ok(Self {
            loss,
            label_smoothing: (loss == Loss::CrossEntropy && smooths).then_some(smoothing),
            focal_gamma: (loss == Loss::Focal).then_some(gamma),
            class_weights: match &job.class_weights {
                Some(weights) => Some(class_weights(weights, &job.data, rows, stack)?),
                None => None,
            },
            deviation: stack.target_deviation().map(Tensor::shallow_clone),
        })
    }

    /// The kind of targets that it is for.
    pub(super) fn target_kind(&self) -> TargetKind {
        self.loss.target_kind()
    }

    /// A loss without settings and weights.
    #[cfg(test)]
    pub(super) fn plain(loss: Loss) -> Self {
        Self {
            loss,
            label_smoothing: None,
            focal_gamma: None,
            class_weights: None,
            deviation: None,
        }
    }

    /// Mean loss of each network over rows: outputs [stack, rows, outputs], and targets [stack, rows, targets] or labels [stack, rows]. With class
    /// weights, the sum of the weighted losses by the sum of the weights. [stack].
    pub(super) fn mean(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        self.over_rows(&self.losses(outputs, targets), targets)
    }

    /// The same, and the minimised loss: that of standardised targets, where they are learned so.
    pub(super) fn mean_and_minimised(&self, outputs: &Tensor, targets: &Tensor) -> (Tensor, Tensor) {
        let Some(deviation) = &self.deviation else {
            let mean = self.mean(outputs, targets);
            return (mean.shallow_clone(), mean);
        };
        // Divided by the deviation first: the square of a very small or large difference would underflow or overflow.
        let apart = (outputs - targets) / deviation;
        let (losses, unit) = match self.loss {
            Loss::L1 => (apart.abs(), deviation.shallow_clone()),
            Loss::Huber => (
                apart.huber_loss(&apart.zeros_like(), Reduction::None, 1.0),
                deviation.square(),
            ),
            Loss::Mse | Loss::CrossEntropy | Loss::Focal | Loss::Bce => (apart.square(), deviation.square()),
        };
        (
            self.over_rows(&(&losses * unit), targets),
            self.over_rows(&losses, targets),
        )
    }

    fn over_rows(&self, losses: &Tensor, targets: &Tensor) -> Tensor {
        match self.weight(targets) {
            None => losses.mean_dim([1_i64, 2].as_slice(), false, Kind::Float),
            Some(weight) => losses.sum_dim_intlist([1_i64, 2].as_slice(), false, Kind::Float) / weight,
        }
    }

    /// Sum of the rows' weights, [stack]; `None` if all weigh the same.
    pub(super) fn weight(&self, targets: &Tensor) -> Option<Tensor> {
        let weights = self.class_weights.as_ref()?.gather(1, targets, false);
        Some(weights.sum_dim_intlist([1_i64].as_slice(), false, Kind::Float))
    }

    /// The loss of each row and output, [stack, rows, outputs]; for classes, of each row, [stack, rows, 1], times its weight.
    pub(super) fn losses(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        match self.loss {
            Loss::Mse => (outputs - targets).square(),
            // torch.nn.HuberLoss with delta 1; for standardised targets, delta is their deviation.
            Loss::Huber => match &self.deviation {
                None => outputs.huber_loss(targets, Reduction::None, 1.0),
                Some(deviation) => {
                    let apart = (outputs - targets) / deviation;
                    apart.huber_loss(&apart.zeros_like(), Reduction::None, 1.0) * deviation.square()
                }
            },
            Loss::L1 => (outputs - targets).abs(),
            Loss::CrossEntropy => self.cross_entropy(outputs, targets),
            Loss::Focal => self.focal(outputs, targets),
            Loss::Bce => {
                let (weight, weight_of_yes) = (None::<Tensor>, None::<Tensor>);
                outputs.binary_cross_entropy_with_logits(targets, weight, weight_of_yes, Reduction::None)
            }
        }
    }

    /// As torch.nn.CrossEntropyLoss: with label smoothing e and k classes, (1 - e) times the loss of the right class,
    /// plus e / k times the sum over all classes, each with its weight.
    fn cross_entropy(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        let logarithms = outputs.log_softmax(2, Kind::Float);
        let right = self.weighted(-gather(&logarithms, targets), targets);
        let Some(smoothing) = &self.label_smoothing else {
            return right;
        };
        let all = match &self.class_weights {
            Some(weights) => -logarithms * weights.unsqueeze(1),
            None => -logarithms,
        };
        let all = all.sum_dim_intlist([2_i64].as_slice(), true, Kind::Float);
        right * (1.0 - smoothing) + all * (smoothing / outputs.size()[2] as f64)
    }

    fn focal(&self, outputs: &Tensor, targets: &Tensor) -> Tensor {
        let logarithms = gather(&outputs.log_softmax(2, Kind::Float), targets);
        let losses = match &self.focal_gamma {
            // Computes 1 - p without losing digits near p = 1.
            Some(gamma) => (-logarithms.expm1()).clamp_min(FOCAL_REST_MIN).pow(gamma) * -logarithms,
            None => -logarithms,
        };
        self.weighted(losses, targets)
    }

    fn weighted(&self, losses: Tensor, targets: &Tensor) -> Tensor {
        match &self.class_weights {
            Some(weights) => losses * weights.gather(1, targets, false).unsqueeze(2),
            None => losses,
        }
    }
}

/// The right class's values, [stack, rows, 1], from values of each class, [stack, rows, classes].
fn gather(of_classes: &Tensor, targets: &Tensor) -> Tensor {
    of_classes.gather(2, &targets.unsqueeze(2), false)
}

/// The weights of each network's classes, [stack, classes]; balanced weights use the rows that train the network.
fn class_weights(
    weights: &ClassWeights,
    data: &DeviceTable,
    rows: &Rows,
    stack: &Stack,
) -> Result<Tensor, EngineError> {
    let Some(Targets::Classes { labels, names }) = data.targets()? else {
        return Err(EngineError::BadJob(
            "it weighs classes, and its rows have none".to_owned(),
        ));
    };
    let of_rows = |rows: &[u32]| {
        let mut counts = vec![0; names.len()];
        rows.iter().for_each(|row| counts[labels[*row as usize] as usize] += 1);
        weights.of(&names, &counts)
    };
    let each: Vec<Vec<f64>> = rows.train().iter().map(|rows| of_rows(rows)).collect();
    let all = each
        .iter()
        .chain(std::iter::repeat(&each[0]))
        .take(stack.size() as usize);
    let all: Vec<f64> = all.flatten().copied().collect();
    let weights = Tensor::from_slice(&all).view([stack.size(), -1]);
    Ok(weights.to_kind(Kind::Float).to_device(stack.device()))
}

/// One value for each network of a stack; idle ones get that of the first.
fn filled(values: Vec<f64>, stack: i64) -> Tensor {
    let first = values.first().copied().unwrap_or_default();
    let all: Vec<f64> = values
        .into_iter()
        .chain(std::iter::repeat(first))
        .take(stack as usize)
        .collect();
    Tensor::from_slice(&all)
}
