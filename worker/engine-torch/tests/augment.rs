//! Images are changed while networks train, for each member as its own settings say, and never where they are measured.

mod device;
mod harness;

use device::device;
use harness::run;
use trawl_dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::augment::Augment;
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Purpose, Seed};
use trawl_engine::{Control, Engine as _, EngineError, FitJob, Networks as _};
use trawl_engine_torch::{DeviceTable, Torch};

const ROWS: u32 = 40;
const HEIGHT: u32 = 6;
const WIDTH: u32 = 5;
const SHAPE: SampleShape = SampleShape::Image {
    channels: 2,
    height: HEIGHT,
    width: WIDTH,
};
const SEED: Seed = Seed(11);

fn table(classes: bool) -> DeviceTable {
    let pixels = (0..u64::from(ROWS) * SHAPE.len()).map(|place| (place * place * 7 % 251) as u8);
    let samples = Samples {
        rows: ROWS,
        shape: SHAPE,
        features: Features::Bytes(pixels.collect()),
        targets: Some(if classes {
            Targets::Classes {
                labels: (0..ROWS).map(|row| row * 5 % 3).collect(),
                names: ["a", "b", "c"].map(str::to_owned).into(),
            }
        } else {
            Targets::Numbers((0..ROWS).map(|row| (row * 7 % 11) as f32 / 4.0).collect())
        }),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    Torch::new(device()).load(&samples).expect("samples on the device")
}

fn job(layers: &[Layer], classes: bool, members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let outputs = if classes { 3 } else { 1 };
    FitJob {
        seed: SEED,
        architecture: Architecture {
            input: SHAPE,
            layers: [layers, &[Layer::Flatten, Layer::Linear { units: outputs }]].concat(),
            loss: if classes { Loss::CrossEntropy } else { Loss::Mse },
            batch_size: 7,
            epochs: 3,
        },
        split: Split::Validation(Validation::k_fold(4)),
        members,
        end_epoch: 3,
        metrics: Metric::ALL.to_vec(),
        class_weights: None,
        f1_class: None,
        row_losses: None,
        data: table(classes),
        test: None,
    }
}

/// Every setting alone, some together, and none.
fn settings(n: u32) -> Augment {
    let none = Augment::default();
    match n % 7 {
        0 => none,
        1 => Augment { flip: 0.5, ..none },
        2 => Augment { crop: 2, ..none },
        3 => Augment { rotate: 25.0, ..none },
        4 => Augment { cutout: 3, ..none },
        5 => Augment { mixup: 0.4, ..none },
        _ => Augment {
            flip: 1.0,
            crop: 1,
            rotate: 90.0,
            cutout: 2,
            mixup: 1.0,
        },
    }
}

fn member(n: u32, augment: Augment) -> JobMember {
    JobMember {
        owner: FitOwner::Trial(n),
        fold: n % 4,
        hyperparameters: Hyperparameters {
            augment,
            ..Hyperparameters::new([Optimizer::Adam, Optimizer::Sgd][n as usize % 2], 0.01)
        },
    }
}

const CONV: Layer = Layer::Conv2d(Conv {
    filters: 3,
    kernel: 3,
    stride: 1,
    padding: 1,
});
const TANH: Layer = Layer::Activation(Activation::Tanh);

#[test]
fn a_member_is_the_same_in_every_job_whatever_becomes_of_the_images_of_others() {
    for (layers, classes, together) in [
        (&[TANH][..], false, true),
        (&[TANH], true, true),
        (&[CONV, TANH], true, false),
    ] {
        let members: Vec<JobMember> = (0..64).map(|n| member(n, settings(n))).collect();
        let all = job(layers, classes, members.clone());
        assert_eq!(Torch::new(device()).is_fused(&all.architecture), together);
        let all = run(&all);
        assert_eq!(all.diverged, []);
        for n in (0..members.len()).step_by(5) {
            let alone = run(&job(layers, classes, vec![members[n].clone()]));
            assert_eq!(alone.losses[0], all.losses[n], "{layers:?}: member {n} alone");
            assert_eq!(alone.trained.networks.weights(0), all.trained.networks.weights(n));
        }
    }
}

#[test]
fn settings_that_change_nothing_change_no_bit_and_others_do() {
    let bits = |augment: Augment| run(&job(&[CONV, TANH], true, vec![member(1, augment)])).losses;
    let plain = bits(Augment::default());
    for n in 1..7 {
        assert_ne!(bits(settings(n)), plain, "{:?}", settings(n));
    }
    let members = vec![member(1, Augment::default()), member(2, settings(6))];
    assert_eq!(
        run(&job(&[TANH], true, members)).losses[0],
        run(&job(&[TANH], true, vec![member(1, Augment::default())])).losses[0]
    );
}

/// With steps too small to move any weight, all networks are as they began.
#[test]
fn rows_that_are_measured_are_never_changed() {
    let still = |augment: Augment| {
        let mut member = member(3, augment);
        member.hyperparameters.learning_rate = 1e-30;
        let losses = run(&job(&[CONV, TANH], true, vec![member])).losses.remove(0);
        losses.into_iter().unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (plain_train, plain) = still(Augment::default());
    for n in 1..7 {
        let (train, measured) = still(settings(n));
        assert_eq!(measured, plain, "{:?}", settings(n));
        assert_ne!(train, plain_train, "{:?}", settings(n));
        // They change differently in each epoch, which is more than another order of the same sum.
        let (first, second) = (f64::from_bits(train[0]), f64::from_bits(train[1]));
        assert!((first / second - 1.0).abs() > 1e-5, "{:?}", settings(n));
    }
}

/// Without activations, a network's output for mixed rows is the mix of its outputs.
#[test]
fn mixed_rows_are_learned_by_both_of_their_targets() {
    let augment = Augment {
        mixup: 2.0,
        ..Augment::default()
    };
    let mut member = member(5, augment);
    member.hyperparameters.learning_rate = 1e-30;
    let (owner, fold) = (member.owner, 0);
    member.fold = fold;
    let mut job = job(&[], false, vec![member]);
    job.split = Split::All;
    (job.architecture.epochs, job.end_epoch) = (1, 1);
    let ran = run(&job);
    let network = &ran.trained.networks;
    let outputs = network
        .outputs(0, &job.data, &(0..ROWS).collect::<Vec<u32>>())
        .expect("outputs");
    let order = SEED
        .stream(Purpose::BatchOrder { owner, fold, epoch: 0 })
        .permutation(ROWS as usize);
    let mut sum = 0.0;
    for (step, batch) in (0..).zip(order.chunks(7)) {
        let mut stream = SEED.stream(Purpose::Augment {
            owner,
            fold,
            epoch: 0,
            step,
        });
        batch.iter().for_each(|_| {
            augment.draw(HEIGHT, WIDTH, &mut stream);
        });
        let share = f64::from(augment.share(&mut stream));
        for (row, other) in batch.iter().zip(batch.iter().rev()) {
            let output = |row: u32| f64::from(outputs[row as usize]);
            let target = |row: u32| f64::from(row * 7 % 11) / 4.0;
            let mixed = share * output(*row) + (1.0 - share) * output(*other);
            sum += share * (mixed - target(*row)).powi(2) + (1.0 - share) * (mixed - target(*other)).powi(2);
        }
    }
    let (found, expected) = (f64::from_bits(ran.losses[0][0].0), sum / f64::from(ROWS));
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} is not {expected}");
}

#[test]
fn rows_that_are_no_images_are_not_changed() {
    let mut job = job(&[], false, vec![member(1, settings(1))]);
    let samples = Samples {
        rows: 2,
        shape: SampleShape::Vector(1),
        features: Features::Floats(vec![1.0, 2.0]),
        targets: Some(Targets::Numbers(vec![1.0, 2.0])),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    job.architecture.input = samples.shape;
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    (job.split, job.architecture.batch_size) = (Split::All, 2);
    let refused = Torch::new(device()).fit(&job, &[], &mut |_| {}, &Control::new());
    assert_eq!(
        refused.expect_err("no images"),
        EngineError::BadJob("it augments rows that are no images".to_owned())
    );
}
