//! Baselines: a constant and a linear model, measured like the networks of a job.
//!
//! Each is a network with one linear layer, so that rows, preparation, loss and metrics are those of a trial.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use trawl_dataset::{SampleShape, Targets};
use trawl_domain::baseline::Baseline;
use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::layer::Layer;
use trawl_domain::limits::FUSED_WORK_MAX;
use trawl_domain::loss::Loss;
use trawl_domain::metric::{FoldMetrics, Metric, is_loss};
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_engine::{Control, EngineError, FitJob, Outcome, Table as _};

use super::stack::ALIGN;
use super::state::{Group, Training};
use super::{DeviceTable, is_fused};

/// Steps of a linear model that is trained.
const STEPS: u32 = 2_000;
/// Rows of such a step, at most.
const BATCH_MAX: u32 = 256;
/// Its learning rate, which falls to 0 by half a cosine.
const LEARNING_RATE: f64 = 0.02;
/// Most weights of a linear model that is trained.
const WEIGHTS_MAX: u64 = 1 << 22;
/// Most numbers of the matrices that least squares needs at once, in doubles.
const MATRICES_LEN_MAX: u64 = 1 << 24;
/// Added to the diagonal of such a matrix, as a share of its mean: columns may be constant, or depend on each other.
const RIDGE: f64 = 1e-7;
/// Share of a class that no training row has, in rows: a logarithm needs one.
const ROWS_OF_NO_ROW: f64 = 0.5;

/// See [`trawl_engine::Engine::baselines`].
pub(super) fn baselines(
    job: &FitJob<DeviceTable>,
    device: Device,
    control: &Control,
) -> Result<Vec<(Baseline, Vec<FoldMetrics>)>, EngineError> {
    let Split::Validation(validation) = job.split else {
        return Ok(Vec::new());
    };
    // Members of a job have equal numbers of rows.
    let mut alike: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for fold in 0..validation.splits() {
        let held_out = job.data.held_out(job.split, job.seed, fold)?.len();
        alike.entry(held_out).or_default().push(fold);
    }
    let mut found = Vec::new();
    for baseline in Baseline::ALL {
        if let Some(by_fold) = of_folds(*baseline, job, &alike, device, control)? {
            found.push((*baseline, by_fold.into_values().collect()));
        }
    }
    Ok(found)
}

/// The metrics of one baseline, by fold; `None` if it cannot be had, or was stopped.
fn of_folds(
    baseline: Baseline,
    job: &FitJob<DeviceTable>,
    alike: &BTreeMap<usize, Vec<u32>>,
    device: Device,
    control: &Control,
) -> Result<Option<BTreeMap<u32, FoldMetrics>>, EngineError> {
    let mut by_fold = BTreeMap::new();
    for (held_out, folds) in alike {
        let rows = job.data.rows().saturating_sub(*held_out as u32);
        let Some(architecture) = architecture(&job.architecture, rows) else {
            return Ok(None);
        };
        let inputs = job.architecture.input.len();
        let is_trained = baseline == Baseline::Linear && !solves(architecture.loss);
        let members_max = match baseline {
            Baseline::Constant => folds.len(),
            Baseline::Linear if is_trained => folds.len() * usize::from(architecture.params() <= WEIGHTS_MAX),
            Baseline::Linear => (MATRICES_LEN_MAX / (inputs + 1).pow(2)) as usize,
        };
        if members_max == 0 {
            return Ok(None);
        }
        for folds in folds.chunks(members_max) {
            let job = job_of(job, architecture.clone(), folds);
            let fused = is_fused_for_few(&job.architecture, device);
            let mut training = Training::with_stacks(&job, fused, device)?;
            let measured = if is_trained {
                match training.run(&mut |_| {}, control)? {
                    Outcome::Finished(fitted) => fitted.metrics,
                    Outcome::Paused | Outcome::Interrupted => return Ok(None),
                }
            } else {
                for group in &mut training.groups {
                    let fitted = match baseline {
                        Baseline::Constant => constant(&job, group)?,
                        Baseline::Linear => least_squares(&job, group, control),
                    };
                    let Some((weight, bias)) = fitted else { return Ok(None) };
                    put(group, &weight, &bias);
                }
                let mut measured = vec![None; folds.len()];
                for group in &training.groups {
                    let Some(Some(metrics)) = training.validate(group, control) else {
                        return Ok(None);
                    };
                    for (place, metrics) in (0..group.stack.places().len()).zip(metrics) {
                        let mut of_fold = FoldMetrics::default();
                        of_fold.note(metrics);
                        measured[group.stack.member(place)] = Some(of_fold);
                    }
                }
                measured
            };
            for (fold, metrics) in folds.iter().zip(measured) {
                // A model whose loss is not finite is none, as a network would have diverged.
                let is_finite = |metrics: &FoldMetrics| metrics.last.get(Metric::ValLoss).is_some_and(is_loss);
                let Some(metrics) = metrics.filter(is_finite) else {
                    return Ok(None);
                };
                by_fold.insert(*fold, metrics);
            }
        }
    }
    Ok(Some(by_fold))
}

/// True if these networks, one for each fold, train in one stack. A CPU also trains the idle networks that fill a stack. They cost more than
/// launching each fold's operations by itself, unless a step is small. (How many networks a trial's job has must not change their results. So
/// a trial's networks are in a stack at any number.)
fn is_fused_for_few(architecture: &Architecture, device: Device) -> bool {
    let is_small = architecture.step_work() <= FUSED_WORK_MAX / ALIGN as u64;
    is_fused(architecture, device) && (device != Device::Cpu || is_small)
}

/// True if the linear model of this loss comes from least squares.
fn solves(loss: Loss) -> bool {
    match loss {
        Loss::Mse | Loss::L1 | Loss::Huber => true,
        Loss::CrossEntropy | Loss::Focal | Loss::Bce => false,
    }
}

/// One linear layer from the inputs of a network to its outputs; `None` if the inputs are none of its own.
fn architecture(network: &Architecture, train_rows: u32) -> Option<Architecture> {
    let units = u32::try_from(network.output().ok()?.len()).ok()?;
    let linear = Layer::Linear { units };
    let batch_size = (train_rows / 8).clamp(1, BATCH_MAX);
    let linear = Architecture {
        input: network.input,
        layers: match network.input {
            SampleShape::Image { .. } => vec![Layer::Flatten, linear],
            _ => vec![linear],
        },
        loss: network.loss,
        batch_size,
        epochs: STEPS.div_ceil(train_rows.div_ceil(batch_size).max(1)),
    };
    linear.shapes().is_ok().then_some(linear)
}

/// The job of these folds. Settings of the loss are those of the job's first member.
fn job_of(job: &FitJob<DeviceTable>, architecture: Architecture, folds: &[u32]) -> FitJob<DeviceTable> {
    let first = &job.members[0];
    let hyperparameters = Hyperparameters {
        schedule: Schedule::Cosine,
        label_smoothing: first.hyperparameters.label_smoothing,
        focal_gamma: first.hyperparameters.focal_gamma,
        ..Hyperparameters::new(Optimizer::Adam, LEARNING_RATE)
    };
    let members = folds.iter().map(|fold| JobMember {
        owner: first.owner,
        fold: *fold,
        hyperparameters: hyperparameters.clone(),
    });
    FitJob {
        end_epoch: architecture.epochs,
        architecture,
        members: members.collect(),
        row_losses: None,
        test: None,
        ..job.clone()
    }
}

/// Weights 0 and the best constant as bias, [members, 1, outputs]; `None` without targets.
fn constant(job: &FitJob<DeviceTable>, group: &Group) -> Result<Option<(Tensor, Tensor)>, EngineError> {
    let Some(targets) = job.data.targets()? else {
        return Ok(None);
    };
    let mut biases: Vec<f64> = Vec::new();
    for (place, rows) in group.rows.train().iter().enumerate() {
        let answers: Vec<f64> = match &targets {
            Targets::Classes { labels, names } => {
                let mut counts = vec![0.0; names.len()];
                rows.iter()
                    .for_each(|row| counts[labels[*row as usize] as usize] += 1.0);
                let share = |count: f64| (count.max(ROWS_OF_NO_ROW) / rows.len() as f64).ln();
                counts.into_iter().map(share).collect()
            }
            Targets::Numbers(numbers) => {
                let width = numbers.len() / job.data.rows().max(1) as usize;
                let of_target = |target: usize| {
                    let values = rows
                        .iter()
                        .map(|row| f64::from(numbers[*row as usize * width + target]));
                    best_number(job.architecture.loss, values.collect())
                };
                (0..width).map(of_target).collect()
            }
        };
        let standard = group.stack.fitted(place).and_then(|fitted| fitted.targets.as_ref());
        biases.extend(answers.into_iter().enumerate().map(|(target, answer)| {
            let standard = standard.and_then(|standard| standard.get(target));
            standard.map_or(answer, |own| (answer - f64::from(own.mean)) / f64::from(own.deviation))
        }));
    }
    let members = group.rows.train().len() as i64;
    let bias = Tensor::from_slice(&biases).view([members, 1, -1]);
    let inputs = job.architecture.input.len() as i64;
    let weight = Tensor::zeros([members, inputs, bias.size()[2]], (Kind::Double, Device::Cpu));
    Ok(Some((weight, bias)))
}

/// The number with the least loss for all of these: their mean, or median; for shares of yes, the logit.
fn best_number(loss: Loss, mut values: Vec<f64>) -> f64 {
    let len = values.len() as f64;
    match loss {
        Loss::L1 => {
            values.sort_by(f64::total_cmp);
            let middle = values.len() / 2;
            let (_, upper) = values.split_at(middle);
            let upper = upper.first().copied().unwrap_or_default();
            match values.len() % 2 {
                0 => f64::midpoint(values.get(middle.saturating_sub(1)).copied().unwrap_or_default(), upper),
                _ => upper,
            }
        }
        Loss::Bce => {
            let yes = values.iter().sum::<f64>().clamp(ROWS_OF_NO_ROW, len - ROWS_OF_NO_ROW);
            (yes / (len - yes)).ln()
        }
        Loss::Mse | Loss::Huber | Loss::CrossEntropy | Loss::Focal => values.iter().sum::<f64>() / len,
    }
}

/// Weights [members, inputs, outputs] and biases [members, 1, outputs] with the least sum of squares over the training rows, from the normal
/// equations in doubles; `None` if it was stopped.
fn least_squares(job: &FitJob<DeviceTable>, group: &Group, control: &Control) -> Option<(Tensor, Tensor)> {
    let stack = &group.stack;
    let members = stack.places().len() as i64;
    let order = group.rows.epoch_order(job, stack, 0, stack.device());
    let (mut squares, mut products) = (None::<Tensor>, None::<Tensor>);
    let add = |sum: &mut Option<Tensor>, part: Tensor| {
        *sum = Some(match sum.take() {
            Some(before) => before + part,
            None => part,
        });
    };
    tch::no_grad(|| {
        let piece = i64::from(job.architecture.batch_size);
        for start in (0..order.len()).step_by(piece.max(1) as usize) {
            if control.must_end() {
                return None;
            }
            let rows = piece.min(order.len() - start);
            let (features, targets) = job.data.gather(&order.piece(start, rows));
            let x = stack.prepare(&features).narrow(0, 0, members);
            let x = x.reshape([members, rows, -1]).to_kind(Kind::Double);
            let x = Tensor::cat(&[&x, &x.ones_like().narrow(2, 0, 1)], 2);
            let y = &targets - stack.in_own_unit(targets.zeros_like());
            let y = match stack.target_deviation() {
                Some(deviation) => y / deviation,
                None => y,
            };
            let transposed = x.transpose(1, 2);
            add(
                &mut products,
                transposed.bmm(&y.narrow(0, 0, members).to_kind(Kind::Double)),
            );
            add(&mut squares, transposed.bmm(&x));
        }
        // The solver of a GPU is a library of its own, which need not be there.
        let (squares, products) = (squares?.to_device(Device::Cpu), products?.to_device(Device::Cpu));
        let size = squares.size()[1];
        let mean = squares
            .diagonal(0, 1, 2)
            .mean_dim([1_i64].as_slice(), false, Kind::Double);
        let ridge = Tensor::eye(size, (Kind::Double, Device::Cpu)).unsqueeze(0) * mean.view([-1, 1, 1]) * RIDGE;
        let solved = Tensor::linalg_solve(&(squares + ridge), &products, true);
        Some((solved.narrow(1, 0, size - 1), solved.narrow(1, size - 1, 1)))
    })
}

/// Makes these the parameters of a group's members, whose networks are one linear layer.
fn put(group: &mut Group, weight: &Tensor, bias: &Tensor) {
    tch::no_grad(|| {
        for (own, value) in [(group.stack.weight(0), weight), (group.stack.bias(0), bias)] {
            let mut own = own.narrow(0, 0, value.size()[0]);
            own.copy_(&value.to_kind(Kind::Float).to_device(own.device()));
        }
    });
}
