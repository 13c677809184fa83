//! The runs that are compared with PyTorch: one place for the test and for the example that dumps their inputs.

use tch::Device;
use trawl_domain::dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::network::{Activation, Architecture, Hyperparameters, Layer, Loss, Optimizer};
use trawl_domain::seed::{Owner, Seed};
use trawl_worker::trainer::{DeviceTable, Member, TrainJob};

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

/// Every optimizer, SGD with momentum among them, with and without L2. All are members of the same job.
pub(crate) fn members() -> Vec<Member> {
    // Steps so small that PyTorch in f32 agrees with itself in f64: with RMSprop at 0.003 it does not, by whole per cents.
    let optimizers = [
        (Optimizer::Adam, 0.003, 0.0),
        (Optimizer::Sgd, 0.01, 0.0),
        (Optimizer::Rmsprop, 0.0003, 0.0),
        (Optimizer::Sgd, 0.01, 0.9),
    ];
    let with = |l2: f64| {
        optimizers.map(|(optimizer, learning_rate, momentum)| Hyperparameters {
            optimizer,
            learning_rate,
            l2,
            momentum,
            dropout: Vec::new(),
        })
    };
    let member = |(n, hyperparameters)| Member {
        owner: Owner::Trial(n),
        fold: n % 5,
        hyperparameters,
    };
    (0..).zip(with(0.0).into_iter().chain(with(1e-3))).map(member).collect()
}

/// The members as one job on a 1-10-15-10-1 network.
pub(crate) fn job(activation: Activation, batch_size: u32, epochs: u32) -> TrainJob {
    let mut layers = Vec::new();
    for units in [10, 15, 10] {
        layers.extend([Layer::Linear { units }, Layer::Activation(activation)]);
    }
    layers.push(Layer::Linear { units: 1 });
    let (features, targets) = table();
    TrainJob {
        seed: Seed(42),
        architecture: Architecture {
            input: SampleShape::Vector(1),
            layers,
            loss: Loss::Mse,
            batch_size,
            epochs,
        },
        split: Split::Validation(Validation::KFold(5)),
        members: members(),
        data: DeviceTable::new(
            &Samples {
                rows: ROWS,
                shape: SampleShape::Vector(1),
                features: Features::Floats(features),
                targets: Targets::Numbers(targets),
            },
            Device::Cpu,
        ),
        test: None,
    }
}
