//! The runs compared with PyTorch, shared by the test and the example that dumps their inputs.

pub(crate) mod methods;
mod networks;

use tch::Device;
use trawl_dataset::{
    Allowance, Columns, Content, Features, Format, Part, Prepare, Role, Rule, SampleShape, Samples, Scale, TargetKind,
    Targets, read,
};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::{Engine as _, FitJob};
use trawl_engine_torch::{DeviceTable, Torch};

pub(crate) use networks::{network_job, network_runs};

/// Rows of the table.
pub(crate) const ROWS: u32 = 100;

/// Name, rows per step and epochs. Of 80 training rows; the first is one step an epoch, the second has a last batch of 8.
pub(crate) const VARIANTS: [(&str, u32, u32); 2] = [("full_batch", 80, 100), ("mini_batch", 12, 15)];

/// One feature and one target of each row: a cubic with a ripple, in numbers that every platform rounds alike.
pub(crate) fn table() -> (Vec<f32>, Vec<f32>) {
    let row = |row: u32| {
        let x = f64::from(row) / 50.0 - 1.0;
        let ripple = f64::from(row * 37 % 11) / 11.0 - 0.5;
        (x as f32, (2.0 * x * x * x - x + 0.2 * ripple) as f32)
    };
    (0..ROWS).map(row).unzip()
}

/// The table with a column of four words before its number, and one of seven behind it.
pub(crate) fn words() -> Samples {
    let mut csv = "a,x,b,y\n".to_owned();
    let (features, targets) = table();
    for (row, (x, y)) in features.iter().zip(&targets).enumerate() {
        csv += &format!("a{},{x},b{},{y}\n", row * 5 % 4, row * 37 % 7);
    }
    let rule = Rule {
        numbers: Scale::None,
        ..Rule::default()
    };
    let columns = Columns {
        target: "y".to_owned(),
        prepare: Prepare {
            usual: rule,
            ..Prepare::default()
        },
        ..Columns::default()
    };
    let part = Part {
        features: &csv.as_str() as &dyn Content,
        targets: None,
    };
    let samples = read(
        &Format::Csv(columns),
        TargetKind::Number,
        Role::Train,
        part,
        &mut Allowance::whole(),
    );
    samples.expect("a table")
}

/// Every optimizer, SGD with momentum among them, with and without L2. All are members of the same job.
pub(crate) fn members() -> Vec<JobMember> {
    // Steps so small that PyTorch's f32 and f64 results agree: with RMSprop at 0.003 they differ by whole per cents.
    members_with(
        [
            (Optimizer::Adam, 0.003, 0.0),
            (Optimizer::Sgd, 0.01, 0.0),
            (Optimizer::Rmsprop, 0.0003, 0.0),
            (Optimizer::Sgd, 0.01, 0.9),
        ],
        5,
    )
}

/// Of AdamW; other optimizers ignore it.
const WEIGHT_DECAY: f64 = 0.05;

/// Each optimizer with its learning rate and momentum, without L2 and with it, over `folds` folds.
fn members_with(optimizers: [(Optimizer, f64, f64); 4], folds: u32) -> Vec<JobMember> {
    let with = |l2: f64| {
        optimizers.map(|(optimizer, learning_rate, momentum)| Hyperparameters {
            l2,
            momentum,
            weight_decay: WEIGHT_DECAY,
            ..Hyperparameters::new(optimizer, learning_rate)
        })
    };
    let member = |(n, hyperparameters)| JobMember {
        owner: FitOwner::Trial(n),
        fold: n % folds,
        hyperparameters,
    };
    (0..).zip(with(0.0).into_iter().chain(with(1e-3))).map(member).collect()
}

/// The members as one job on a 1-10-15-10-1 network.
pub(crate) fn job(activation: Activation, batch_size: u32, epochs: u32, device: Device) -> FitJob<DeviceTable> {
    table_job(activation, Loss::Mse, batch_size, epochs, members(), device)
}

/// Losses of numbers with their own run, in `loss_job`.
pub(crate) const LOSSES: [Loss; 2] = [Loss::Huber, Loss::L1];

/// A job of another loss, with AdamW among its optimizers.
pub(crate) fn loss_job(loss: Loss, device: Device) -> FitJob<DeviceTable> {
    let optimizers = [
        (Optimizer::Adam, 0.003, 0.0),
        (Optimizer::Adamw, 0.003, 0.0),
        (Optimizer::Rmsprop, 0.0003, 0.0),
        (Optimizer::Sgd, 0.01, 0.9),
    ];
    table_job(Activation::Tanh, loss, 12, 15, members_with(optimizers, 5), device)
}

/// A loss of classes with its own run.
#[derive(Clone, Debug)]
pub(crate) struct ClassRun {
    pub(crate) name: &'static str,
    pub(crate) loss: Loss,
    /// Whether members have label smoothing.
    smooths: bool,
    pub(crate) weights: Option<ClassWeights>,
}

/// Every setting of losses of classes, alone and with another one.
pub(crate) fn class_runs() -> Vec<ClassRun> {
    let named = [("b", 4.0), ("c", 0.5)].map(|(name, weight)| (name.to_owned(), weight));
    let named = Some(ClassWeights::Named(named.into()));
    let run = |name, loss, smooths, weights: &Option<ClassWeights>| ClassRun {
        name,
        loss,
        smooths,
        weights: weights.clone(),
    };
    let balanced = Some(ClassWeights::Balanced);
    vec![
        run("smoothing", Loss::CrossEntropy, true, &None),
        run("balanced", Loss::CrossEntropy, false, &balanced),
        run("weights_and_smoothing", Loss::CrossEntropy, true, &named),
        run("focal", Loss::Focal, false, &None),
        run("balanced_focal", Loss::Focal, false, &balanced),
        run("bce", Loss::Bce, false, &None),
    ]
}

/// Binary targets for each of the three classes: yes for a row's own class, and in some rows for another one.
pub(crate) fn binary() -> Vec<[f32; 3]> {
    let rows = (0..).zip(labels());
    let of = |row: u32, label: u32, class: u32| f32::from(u8::from(label == class || (row + class).is_multiple_of(5)));
    rows.map(|(row, label)| [0, 1, 2].map(|class| of(row, label, class)))
        .collect()
}

/// Labels of the table's rows: three classes, of which the first has most rows and the last fewest.
pub(crate) fn labels() -> Vec<u32> {
    let label = |row: u32| (u32::from(row > 55) + u32::from(row > 84) + u32::from((row * 37).is_multiple_of(11))) % 3;
    (0..ROWS).map(label).collect()
}

/// The job of such a run. Smoothing and gamma are each member's own, and 0 for some.
pub(crate) fn class_job(run: &ClassRun, device: Device) -> FitJob<DeviceTable> {
    let mut job = loss_job(run.loss, device);
    for (n, member) in job.members.iter_mut().enumerate() {
        let own = &mut member.hyperparameters;
        own.label_smoothing = if run.smooths { [0.1, 0.0, 0.3][n % 3] } else { 0.0 };
        own.focal_gamma = [2.0, 0.0, 0.5, 3.5, 1.0][n % 5];
    }
    job.class_weights.clone_from(&run.weights);
    job
}

fn table_job(
    activation: Activation,
    loss: Loss,
    batch_size: u32,
    epochs: u32,
    members: Vec<JobMember>,
    device: Device,
) -> FitJob<DeviceTable> {
    let mut layers = Vec::new();
    for units in [10, 15, 10] {
        layers.extend([Layer::Linear { units }, Layer::Activation(activation)]);
    }
    let (features, targets) = table();
    let targets = match loss.target_kind() {
        TargetKind::Number => Targets::Numbers(targets),
        TargetKind::Class => Targets::Classes {
            labels: labels(),
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        },
        TargetKind::Binary => Targets::Numbers(binary().concat()),
    };
    let units = match loss.target_kind() {
        TargetKind::Number => 1,
        TargetKind::Class | TargetKind::Binary => 3,
    };
    layers.push(Layer::Linear { units });
    FitJob {
        seed: Seed(42),
        architecture: Architecture {
            input: SampleShape::Vector(1),
            layers,
            loss,
            batch_size,
            epochs,
        },
        split: Split::Validation(Validation::k_fold(5)),
        members,
        end_epoch: epochs,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device)
            .load(&Samples {
                rows: ROWS,
                shape: SampleShape::Vector(1),
                features: Features::Floats(features),
                targets: Some(targets),
                inputs: None,
                row_keys: None,
                standardizes_target: false,
            })
            .expect("samples on the device"),
        test: None,
    }
}

/// Images of the convolutional runs, and the side of one.
pub(crate) const IMAGES: u32 = 125;
const SIDE: u32 = 16;
/// Of 100 training rows, so that an epoch is five steps, and ten epochs are 50.
const CNN_BATCH_SIZE: u32 = 20;
const CNN_EPOCHS: u32 = 10;

/// Images of ten classes, [images, 1, side, side], and their labels, by integer arithmetic: each class is a stripe of its own
/// slope and width, over a pattern that differs from image to image.
pub(crate) fn images() -> (Vec<u8>, Vec<u32>) {
    let label = |image: u32| image * 7 % 10;
    let pixel = |image: u32, place: u32| {
        let (y, x, class) = (place / SIDE, place % SIDE, label(image));
        let stripe = (x * (1 + class % 3) + y * (1 + class / 3) + image % 5) % (4 + class % 4) < 2;
        let pattern = (image * 31 + place * place * 17 + place * 7) % 64;
        (if stripe { 150 } else { 20 } + pattern) as u8
    };
    let pixels = (0..IMAGES).flat_map(|image| (0..SIDE * SIDE).map(move |place| pixel(image, place)));
    (pixels.collect(), (0..IMAGES).map(label).collect())
}

/// Steps so small that PyTorch's f32 and f64 results agree: with RMSprop at 0.002 they differ by one in a thousand.
pub(crate) fn cnn_members() -> Vec<JobMember> {
    members_with(
        [
            (Optimizer::Adam, 0.005, 0.0),
            (Optimizer::Sgd, 0.2, 0.0),
            (Optimizer::Rmsprop, 0.001, 0.0),
            (Optimizer::Sgd, 0.04, 0.9),
        ],
        5,
    )
}

/// A network of images with its own run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Images {
    /// Of the shape of the FashionMNIST example's, with fewer filters and units.
    Convolutions,
    /// Means of squares and of channels, and the activations that tables have not.
    Means,
}

impl Images {
    pub(crate) const ALL: [Self; 2] = [Self::Convolutions, Self::Means];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Convolutions => "convolutions",
            Self::Means => "means",
        }
    }

    fn layers(self) -> Vec<Layer> {
        let conv = |filters, kernel| {
            Layer::Conv2d(Conv {
                filters,
                kernel,
                stride: 1,
                padding: 0,
            })
        };
        let relu = Layer::Activation(Activation::Relu);
        match self {
            Self::Convolutions => vec![
                conv(6, 5),
                relu,
                Layer::MaxPool2d { kernel: 2 },
                conv(8, 5),
                relu,
                Layer::Flatten,
                Layer::Linear { units: 24 },
                relu,
                Layer::Linear { units: 10 },
            ],
            Self::Means => vec![
                conv(6, 5),
                Layer::Activation(Activation::Gelu),
                Layer::AvgPool2d { kernel: 2 },
                conv(8, 3),
                Layer::Activation(Activation::Silu),
                Layer::GlobalAvgPool,
                Layer::Linear { units: 24 },
                Layer::Activation(Activation::Elu),
                Layer::Linear { units: 10 },
            ],
        }
    }
}

/// The members as one job on such a network.
pub(crate) fn cnn_job(network: Images, device: Device) -> FitJob<DeviceTable> {
    let shape = SampleShape::Image {
        channels: 1,
        height: SIDE,
        width: SIDE,
    };
    let (pixels, labels) = images();
    FitJob {
        seed: Seed(42),
        architecture: Architecture {
            input: shape,
            layers: network.layers(),
            loss: Loss::CrossEntropy,
            batch_size: CNN_BATCH_SIZE,
            epochs: CNN_EPOCHS,
        },
        split: Split::Validation(Validation::k_fold(5)),
        members: cnn_members(),
        end_epoch: CNN_EPOCHS,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: Torch::new(device)
            .load(&Samples {
                rows: IMAGES,
                shape,
                features: Features::Bytes(pixels),
                targets: Some(Targets::Classes {
                    labels,
                    names: (0..10).map(|class| class.to_string()).collect(),
                }),
                inputs: None,
                row_keys: None,
                standardizes_target: false,
            })
            .expect("samples on the device"),
        test: None,
    }
}
