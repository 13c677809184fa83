//! The engine's promises about members: they do not affect each other, they end as stated, and their results are kept.

mod device;
mod harness;

use device::device;
use harness::run;
use safetensors::SafeTensors;
use trawl_dataset::{
    Allowance, Columns, Content, Features, Format, Part, Role, SampleShape, Samples, TargetKind, Targets, read,
};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
use trawl_engine::{Control, Engine as _, EngineError, Event, FitJob, Networks as _, Outcome};
use trawl_engine_torch::{DeviceTable, Torch};

const ACTIVATIONS: [Activation; 4] = [
    Activation::Relu,
    Activation::LeakyRelu,
    Activation::Sigmoid,
    Activation::Tanh,
];
const FIVE_FOLDS: Split = Split::Validation(Validation::k_fold(5));
const ROWS: usize = 100;

/// Two features, one target; `shift` makes another table.
fn rows(shift: f64) -> (Vec<f32>, Vec<f32>) {
    let mut features = Vec::new();
    let mut targets = Vec::new();
    for row in 0..ROWS as u32 {
        let x = f64::from(row) / 50.0 - 1.0 + shift;
        let ripple = f64::from(row * 37 % 11) / 11.0 - 0.5;
        features.extend([x as f32, ripple as f32]);
        targets.push((2.0 * x * x * x - x + 0.2 * ripple) as f32);
    }
    (features, targets)
}

fn table(shift: f64) -> DeviceTable {
    let (features, targets) = rows(shift);
    let samples = Samples {
        rows: ROWS as u32,
        shape: SampleShape::Vector(2),
        features: Features::Floats(features),
        targets: Some(Targets::Numbers(targets)),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    Torch::new(device()).load(&samples).expect("samples on the device")
}

/// A dropout layer behind each hidden activation.
fn layers(hidden: &[u32], activation: Activation) -> Vec<Layer> {
    let hidden = hidden.iter().flat_map(|units| {
        [
            Layer::Linear { units: *units },
            Layer::Activation(activation),
            Layer::Dropout,
        ]
    });
    hidden.chain([Layer::Linear { units: 1 }]).collect()
}

fn job(layers: Vec<Layer>, members: Vec<JobMember>) -> FitJob<DeviceTable> {
    FitJob {
        seed: Seed(11),
        architecture: Architecture {
            input: SampleShape::Vector(2),
            layers,
            loss: Loss::Mse,
            batch_size: 12,
            epochs: 4,
        },
        split: FIVE_FOLDS,
        members,
        end_epoch: 4,
        metrics: trawl_domain::metric::Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: table(0.0),
        test: None,
    }
}

/// Everything that may differ between members does.
fn member(n: u32, dropouts: usize) -> JobMember {
    let optimizer = [Optimizer::Rmsprop, Optimizer::Adam, Optimizer::Sgd, Optimizer::Adamw][n as usize % 4];
    let hyperparameters = Hyperparameters {
        l2: [0.0, 1e-3, 1e-5, 0.0][n as usize % 4],
        momentum: if optimizer == Optimizer::Sgd {
            [0.0, 0.9, 0.5][n as usize / 3 % 3]
        } else {
            0.0
        },
        dropout: (0..dropouts as u32)
            .map(|layer| [0.0, 0.2, 0.5][((n / 2 + layer) % 3) as usize])
            .collect(),
        ..Hyperparameters::new(optimizer, 1e-3 * f64::from(1 + n % 7))
    };
    JobMember {
        owner: FitOwner::Trial(n),
        fold: n % 5,
        hyperparameters,
    }
}

#[test]
fn a_member_is_the_same_in_every_job() {
    for &activation in Activation::ALL {
        for hidden in [[10, 15, 10].as_slice(), &[64, 128]] {
            let members: Vec<JobMember> = (0..64).map(|n| member(n, hidden.len())).collect();
            let together = run(&job(layers(hidden, activation), members.clone())).losses;
            for n in (0..members.len()).step_by(9) {
                let alone = run(&job(layers(hidden, activation), vec![members[n].clone()])).losses;
                assert_eq!(alone[0].len(), 4);
                let what = format!("{activation} {hidden:?}: member {n} alone");
                assert_eq!(alone[0], together[n], "{what}");
            }
            for first in (0..62).step_by(7) {
                let few = run(&job(layers(hidden, activation), members[first..first + 3].to_vec())).losses;
                let what = format!("{activation} {hidden:?}: three members from {first}");
                for (few, together) in few.iter().zip(&together[first..]) {
                    assert_eq!(few, together, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_member_with_norms_and_residuals_is_the_same_in_every_job() {
    // 80 training rows: the last batch after one of 79 has one row.
    for (width, batch_size) in [(10, 12), (33, 79)] {
        let layers = vec![
            Layer::Linear { units: width },
            Layer::BatchNorm,
            Layer::Activation(Activation::Selu),
            Layer::Dropout,
            Layer::Residual { layers: 5 },
            Layer::LayerNorm,
            Layer::Linear { units: width },
            Layer::Residual { layers: 2 },
            Layer::BatchNorm,
            Layer::Activation(Activation::Softplus),
            Layer::Dropout,
            Layer::Linear { units: 1 },
        ];
        let members: Vec<JobMember> = (0..64).map(|n| member(n, 2)).collect();
        let losses = |members: &[JobMember]| {
            let mut job = job(layers.clone(), members.to_vec());
            job.architecture.batch_size = batch_size;
            let ran = run(&job);
            let weights = (0..members.len()).map(|n| ran.trained.networks.weights(n).expect("weights"));
            (ran.losses, weights.collect::<Vec<_>>())
        };
        let (together, weights) = losses(&members);
        for n in (0..members.len()).step_by(7) {
            let (alone, weights_alone) = losses(&members[n..=n]);
            assert_eq!(alone[0], together[n], "{width} wide: member {n} alone");
            assert!(
                weights_alone[0] == weights[n],
                "{width} wide: weights of member {n} alone"
            );
        }
        for first in (0..62).step_by(7) {
            let (few, _) = losses(&members[first..first + 3]);
            assert_eq!(
                few,
                together[first..first + 3],
                "{width} wide: three members from {first}"
            );
        }
    }
}

/// Images of 2 channels, with many equal numbers.
fn images() -> (SampleShape, DeviceTable) {
    let shape = SampleShape::Image {
        channels: 2,
        height: 7,
        width: 5,
    };
    let (_, targets) = rows(0.0);
    let features = (0..ROWS as u64 * shape.len()).map(|place| (place * 37 % 101 % 13) as f32 / 8.0 - 0.75);
    let samples = Samples {
        rows: ROWS as u32,
        shape,
        features: Features::Floats(features.collect()),
        targets: Some(Targets::Numbers(targets)),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    (
        shape,
        Torch::new(device()).load(&samples).expect("samples on the device"),
    )
}

/// A table with columns of four and nine words beside a number, some of which no row of a fold has.
fn words() -> (SampleShape, DeviceTable) {
    let (features, targets) = rows(0.0);
    let mut csv = "a,x,b,y\n".to_owned();
    for (row, y) in targets.iter().enumerate() {
        let rare = if row == 7 { "once" } else { "often" };
        csv += &format!("a{},{},b{}{rare},{y}\n", row * 5 % 4, features[2 * row], row * 37 % 8);
    }
    let columns = Columns {
        target: "y".to_owned(),
        ..Columns::default()
    };
    let part = Part {
        features: &csv.as_str() as &dyn Content,
        targets: None,
    };
    let format = Format::Csv(columns);
    let samples = read(&format, TargetKind::Number, Role::Train, part, &mut Allowance::whole()).expect("a table");
    let shape = SampleShape::Table {
        len: 14,
        columns: 2,
        words: 13,
    };
    assert_eq!(samples.shape, shape);
    (
        shape,
        Torch::new(device()).load(&samples).expect("samples on the device"),
    )
}

/// Trains such layers on these rows with 64 members, and each seventh of these alone.
fn is_the_same_alone((shape, data): (SampleShape, DeviceTable), layers: &[Layer], together: bool) {
    let dropouts = layers.iter().filter(|layer| layer.drops()).count();
    let members: Vec<JobMember> = (0..64).map(|n| member(n, dropouts)).collect();
    let losses = |members: &[JobMember]| {
        let mut job = job(layers.to_vec(), members.to_vec());
        job.architecture.input = shape;
        job.data = data.clone();
        assert_eq!(Torch::new(device()).is_fused(&job.architecture), together);
        run(&job).losses
    };
    let all = losses(&members);
    for n in (0..members.len()).step_by(7) {
        assert_eq!(losses(&members[n..=n])[0], all[n], "{layers:?}: member {n} alone");
    }
}

#[test]
fn a_member_with_adaptive_pools_is_the_same_in_every_job() {
    is_the_same_alone(
        images(),
        &[
            Layer::AdaptiveMaxPool2d { size: 6 },
            Layer::Residual { layers: 2 },
            Layer::BatchNorm,
            Layer::AdaptiveAvgPool2d { size: 6 },
            Layer::AdaptiveAvgPool2d { size: 4 },
            Layer::Dropout2d,
            Layer::Flatten,
            Layer::Linear { units: 1 },
        ],
        true,
    );
}

#[test]
fn a_member_on_sequences_is_the_same_in_every_job() {
    let conv = Conv {
        filters: 3,
        kernel: 3,
        stride: 2,
        padding: 1,
    };
    let ends = [
        Layer::MaxPool1d { kernel: 2 },
        Layer::BatchNorm,
        Layer::Dropout,
        Layer::AvgPool1d { kernel: 2 },
    ];
    let sequence = |channels| Layer::Sequence { channels };
    let layers = |first: &[Layer], last: Layer| [first, &ends, &[last, Layer::Linear { units: 1 }]].concat();
    is_the_same_alone(images(), &layers(&[sequence(7)], Layer::GlobalAvgPool), true);
    let reshaped = [Layer::Flatten, Layer::Linear { units: 24 }, sequence(3)];
    is_the_same_alone(images(), &layers(&reshaped, Layer::Flatten), true);
    let convolved = [sequence(5), Layer::Conv1d(conv)];
    is_the_same_alone(images(), &layers(&convolved, Layer::Flatten), false);
}

#[test]
fn a_member_with_an_embedding_is_the_same_in_every_job() {
    let layers = [
        Layer::Embedding { dim: 5 },
        Layer::BatchNorm,
        Layer::Dropout,
        Layer::Linear { units: 1 },
    ];
    is_the_same_alone(words(), &layers, true);
}

#[test]
fn the_same_job_twice_is_the_same_bits() {
    let job = job(
        layers(&[10, 15, 10], Activation::Tanh),
        (0..12).map(|n| member(n, 3)).collect(),
    );
    let (first, second) = (run(&job), run(&job));
    assert_eq!(first.losses, second.losses);
    for n in 0..12 {
        assert_eq!(first.trained.networks.weights(n), second.trained.networks.weights(n));
    }
}

#[test]
fn a_member_that_diverges_leaves_alone() {
    let layers = layers(&[10, 15, 10], Activation::Relu);
    let members: Vec<JobMember> = (0..9).map(|n| member(n, 3)).collect();
    let without = run(&job(layers.clone(), members.clone()));
    assert_eq!(without.diverged, []);

    let mut wild = member(50, 3);
    wild.hyperparameters.optimizer = Optimizer::Sgd;
    wild.hyperparameters.learning_rate = 1e3;
    wild.hyperparameters.dropout = vec![0.0; 3];
    let mut more = members.clone();
    more.insert(4, wild);
    let mut with = run(&job(layers, more));
    assert_eq!(with.diverged.iter().map(|(_, member)| *member).collect::<Vec<_>>(), [4]);
    assert_eq!(
        with.losses.remove(4).len(),
        with.diverged[0].0 as usize,
        "no losses once it diverged"
    );
    for (n, (with, without)) in with.losses.iter().zip(&without.losses).enumerate() {
        assert_eq!(with, without, "member {n} beside one that diverges");
    }
    assert!(with.trained.networks.weights(0).is_ok());
}

#[test]
fn an_control_stops_before_the_next_epoch() {
    let mut job = job(layers(&[10], Activation::Relu), vec![member(0, 1)]);
    job.architecture.epochs = 1000;
    job.end_epoch = 1000;
    let control = Control::new();
    let mut epochs = Vec::new();
    let mut emit = |event: Event<'_>| {
        let Event::Epoch { epoch, .. } = event else { return };
        epochs.push(epoch);
        if epoch == 2 {
            control.stop();
        }
    };
    let outcome = Torch::new(device())
        .fit(&job, &[], &mut emit, &control)
        .expect("is stopped");
    assert!(matches!(outcome, Outcome::Interrupted));
    assert_eq!(epochs, [0, 1, 2]);
}

#[test]
fn weights_reproduce_the_test_loss() {
    for activation in ACTIVATIONS {
        let layers = layers(&[10, 15], activation);
        let mut job = job(layers.clone(), (0..5).map(|n| member(n, 2)).collect());
        job.split = Split::All;
        job.test = Some(table(0.01));
        let ran = run(&job);
        assert!(ran.losses.iter().flatten().all(|(_, measured)| measured.is_empty()));
        let (features, targets) = rows(0.01);
        for (n, test_loss) in ran.trained.test.iter().enumerate() {
            let test_loss = test_loss.expect("there are test rows").loss;
            let file = ran.trained.networks.weights(n).expect("weights");
            let by_hand = loss_by_hand(&layers, &file, &features, &targets);
            assert!(
                (by_hand - test_loss).abs() / by_hand < 1e-5,
                "{activation} {n}: {test_loss} is not {by_hand}"
            );
        }
    }
}

/// The mean squared error of weights as `nn.Sequential` would have it, in f64.
fn loss_by_hand(layers: &[Layer], file: &[u8], features: &[f32], targets: &[f32]) -> f64 {
    let weights = SafeTensors::deserialize(file).expect("safetensors");
    let tensor = |name: String| -> (Vec<usize>, Vec<f64>) {
        let tensor = weights.tensor(&name).expect("a tensor");
        let value = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("4 bytes")));
        (
            tensor.shape().to_vec(),
            tensor.data().chunks_exact(4).map(value).collect(),
        )
    };
    let mut sum = 0.0;
    for (row, target) in features.chunks_exact(2).zip(targets) {
        let mut x: Vec<f64> = row.iter().copied().map(f64::from).collect();
        for (index, layer) in layers.iter().enumerate() {
            match layer {
                Layer::Linear { units } => {
                    let (shape, weight) = tensor(format!("{index}.weight"));
                    let (bias_shape, bias) = tensor(format!("{index}.bias"));
                    assert_eq!(
                        (shape, bias_shape),
                        (vec![*units as usize, x.len()], vec![*units as usize])
                    );
                    let output =
                        |(row, bias): (&[f64], &f64)| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f64>() + bias;
                    x = weight.chunks_exact(x.len()).zip(&bias).map(output).collect();
                }
                Layer::Activation(kind) => x.iter_mut().for_each(|x| {
                    *x = match kind {
                        Activation::Relu => x.max(0.0),
                        Activation::LeakyRelu => x.max(0.01 * *x),
                        Activation::Sigmoid => 1.0 / (1.0 + (-*x).exp()),
                        Activation::Tanh => x.tanh(),
                        other => panic!("no network here has {other}"),
                    }
                }),
                other => assert_eq!(*other, Layer::Dropout),
            }
        }
        sum += (x[0] - f64::from(*target)).powi(2);
    }
    sum / targets.len() as f64
}

#[test]
fn dropout_is_each_members_own() {
    let with_dropout = |p: f64| {
        let mut members: Vec<JobMember> = (0..6).map(|n| member(n, 2)).collect();
        members[2].hyperparameters.dropout = vec![p, p];
        run(&job(layers(&[10, 10], Activation::Relu), members)).losses
    };
    let (without, with) = (with_dropout(0.0), with_dropout(0.5));
    for n in 0..6 {
        assert_eq!(without[n] == with[n], n != 2, "member {n}");
    }
}

fn error_of(job: &FitJob<DeviceTable>) -> EngineError {
    let outcome = Torch::new(device()).fit(job, &[], &mut |_| panic!("nothing is trained"), &Control::new());
    outcome.expect_err("does not fit together")
}

#[test]
fn a_job_that_does_not_fit_together_is_refused() {
    let none = job(layers(&[10], Activation::Relu), Vec::new());
    assert!(matches!(error_of(&none), EngineError::BadJob(_)));

    // Of 100 rows, folds 0 and 1 of 7 validate on 15, the others on 14.
    let mut unequal = job(layers(&[10], Activation::Relu), (0..3).map(|n| member(n, 1)).collect());
    unequal.split = Split::Validation(Validation::k_fold(7));
    assert!(matches!(error_of(&unequal), EngineError::BadJob(_)));

    let mut dropout = job(layers(&[10], Activation::Relu), vec![member(0, 1)]);
    dropout.members[0].hyperparameters.dropout.clear();
    assert!(matches!(error_of(&dropout), EngineError::BadJob(_)));
}

#[test]
fn a_panic_while_training_ends_the_job_and_not_the_thread() {
    let job = job(layers(&[10], Activation::Tanh), vec![member(1, 1)]);
    let mut told = 0;
    let mut emit = |_: Event<'_>| {
        told += 1;
        assert!(told < 2, "the second epoch is too much");
    };
    let ended = Torch::new(device()).fit(&job, &[], &mut emit, &Control::new());
    match ended {
        Err(EngineError::Failed(error)) => assert!(error.contains("the second epoch is too much"), "{error}"),
        other => panic!("{other:?}"),
    }
    // Nothing of it hinders the next one.
    assert_eq!(run(&job).losses[0].len(), 4);
}
