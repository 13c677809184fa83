//! Jobs for tests of checkpoints, and the events of their training.

use trawl_dataset::{Features, SampleShape, Samples, TargetKind, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::checkpoint::MemberCheckpoint;
use trawl_engine::{Control, Engine as _, Event, FitJob, Outcome};
use trawl_engine_torch::{DeviceNetworks, DeviceTable, Torch};

use crate::device::device;

const TANH: Layer = Layer::Activation(Activation::Tanh);
pub(crate) const ROWS: u32 = 40;
const EPOCHS: u32 = 3;
const SIDE: u32 = 6;

pub(crate) fn member(trial: u32, fold: u32, optimizer: Optimizer, momentum: f64, dropout: f64) -> JobMember {
    JobMember {
        owner: FitOwner::Trial(trial),
        fold,
        hyperparameters: Hyperparameters {
            l2: 1e-3,
            momentum,
            weight_decay: 0.0,
            dropout: vec![dropout],
            ..Hyperparameters::new(optimizer, 0.01)
        },
    }
}

/// All optimizers, with and without momentum and dropout; and one member that diverges.
pub(crate) fn members() -> Vec<JobMember> {
    let mut members = vec![
        member(0, 0, Optimizer::Rmsprop, 0.0, 0.1),
        member(0, 1, Optimizer::Rmsprop, 0.0, 0.0),
        member(1, 0, Optimizer::Adam, 0.0, 0.2),
        member(2, 1, Optimizer::Sgd, 0.9, 0.3),
        member(3, 0, Optimizer::Sgd, 0.0, 0.0),
    ];
    let mut lost = member(4, 1, Optimizer::Sgd, 0.9, 0.0);
    lost.hyperparameters.learning_rate = 1e9;
    members.push(lost);
    members
}

fn job(layers: Vec<Layer>, loss: Loss, shape: SampleShape, members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let values: Vec<f32> = (0..u64::from(ROWS) * shape.len())
        .map(|place| (place * 37 % 101) as f32 / 101.0 - 0.5)
        .collect();
    let targets = match loss.target_kind() {
        TargetKind::Number => Targets::Numbers((0..ROWS).map(|row| (row as f32 / 7.0).sin()).collect()),
        TargetKind::Binary => Targets::Numbers((0..ROWS).map(|row| (row * 7 % 5 % 2) as f32).collect()),
        TargetKind::Class => Targets::Classes {
            labels: (0..ROWS).map(|row| row * 7 % 3).collect(),
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        },
    };
    let samples = Samples {
        rows: ROWS,
        shape,
        features: Features::Floats(values),
        targets: Some(targets),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    FitJob {
        seed: Seed(11),
        architecture: Architecture {
            input: shape,
            layers,
            loss,
            // 20 training rows: the last batch of an epoch is smaller than the others.
            batch_size: 8,
            epochs: EPOCHS,
        },
        split: Split::Validation(Validation::k_fold(2)),
        members,
        end_epoch: EPOCHS,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device()).load(&samples).expect("samples on the device"),
        test: None,
    }
}

/// Members that train as one stack.
pub(crate) fn together(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let layers = vec![
        Layer::Linear { units: 5 },
        TANH,
        Layer::Dropout,
        Layer::Linear { units: 1 },
    ];
    let job = job(layers, Loss::Mse, SampleShape::Vector(2), members);
    assert!(Torch::new(device()).is_fused(&job.architecture));
    job
}

/// Members that take turns within each epoch.
pub(crate) fn apart(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let conv = Conv {
        filters: 2,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let layers = vec![
        Layer::Conv2d(conv),
        TANH,
        Layer::Flatten,
        Layer::Dropout,
        Layer::Linear { units: 3 },
    ];
    let shape = SampleShape::Image {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };
    let job = job(layers, Loss::CrossEntropy, shape, members);
    assert!(!Torch::new(device()).is_fused(&job.architecture));
    job
}

/// Members that train as one stack, with norms and residuals. The last batch of 20 training rows has one row.
pub(crate) fn norms(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let mut job = together(members);
    job.architecture.layers = vec![
        Layer::Linear { units: 5 },
        Layer::BatchNorm,
        TANH,
        Layer::Residual { layers: 4 },
        Layer::LayerNorm,
        Layer::Dropout,
        Layer::Residual { layers: 1 },
        Layer::BatchNorm,
        Layer::Linear { units: 1 },
    ];
    job.architecture.batch_size = 19;
    job
}

/// Members that take turns within each epoch, with norms, residuals and dropout of images.
pub(crate) fn norms_of_images(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let mut job = apart(members);
    let layers = &mut job.architecture.layers;
    let conv = Conv {
        filters: 2,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    layers.splice(
        1..4,
        [
            Layer::BatchNorm,
            TANH,
            Layer::Residual { layers: 3 },
            Layer::Conv2d(conv),
            Layer::Dropout2d,
            Layer::BatchNorm,
            Layer::Flatten,
        ],
    );
    job
}

/// Member, training loss, metrics on the validation rows.
pub(crate) type MemberBits = (usize, u64, Vec<(Metric, u64)>);

/// An event of training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// An epoch, its losses as bits by member, and the diverged members.
    Epoch(u32, Vec<MemberBits>, Vec<usize>),
    /// Epochs completed, and the checkpoint.
    Checkpoint(u32, Vec<u8>),
}

fn told(event: Event<'_>) -> Told {
    match event {
        Event::Epoch {
            epoch,
            losses,
            diverged,
        } => {
            let bits = losses.iter().map(|losses| {
                (
                    losses.member,
                    losses.train_loss.to_bits(),
                    losses
                        .metrics
                        .iter()
                        .map(|(metric, value)| (metric, value.to_bits()))
                        .collect(),
                )
            });
            Told::Epoch(epoch, bits.collect(), diverged.to_vec())
        }
        Event::Checkpoint { epochs, content } => Told::Checkpoint(epochs, content),
    }
}

/// Trains from checkpoints, or from the beginning without any; `hear` may give a command at every event.
pub(crate) fn hear(
    job: &FitJob<DeviceTable>,
    from: &[MemberCheckpoint<'_>],
    control: &Control,
    mut hear: impl FnMut(&Told),
) -> (Vec<Told>, Outcome<DeviceNetworks>) {
    let mut all = Vec::new();
    let mut emit = |event: Event<'_>| {
        all.push(told(event));
        hear(all.last().expect("was just told"));
    };
    let outcome = Torch::new(device()).fit(job, from, &mut emit, control);
    (all, outcome.expect("trains"))
}
