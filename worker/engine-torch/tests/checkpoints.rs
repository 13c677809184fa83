//! Checkpoints: training stopped at any step goes on as if it had never stopped, to the last bit.

mod device;
mod jobs;
mod refused;

use safetensors::SafeTensors;
use trawl_dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::augment::Augment;
use trawl_domain::fold::{Split, Validation};
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::{EarlyStopping, Hyperparameters, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_domain::seed::FitOwner;
use trawl_engine::checkpoint::read;
use trawl_engine::{Control, Engine as _, EngineError, FitJob, Fitted, Networks as _, Outcome};
use trawl_engine_torch::{DeviceNetworks, DeviceTable, Torch};

use jobs::{ROWS, Told, apart, members, norms, norms_of_images, together};
use refused::refused;

/// Trains from the beginning or from a file of checkpoints; an interrupted job has no result.
fn hear(
    job: &FitJob<DeviceTable>,
    checkpoint: Option<&[u8]>,
    control: &Control,
    hear: impl FnMut(&Told),
) -> (Vec<Told>, Option<Fitted<DeviceNetworks>>) {
    let from = checkpoint
        .map(|file| read(file).expect("a checkpoint"))
        .unwrap_or_default();
    match jobs::hear(job, &from, control, hear) {
        (all, Outcome::Finished(trained)) => (all, Some(trained)),
        (all, Outcome::Interrupted) => (all, None),
        (_, Outcome::Paused) => panic!("its epochs are all"),
    }
}

fn epochs(told: &[Told]) -> Vec<Told> {
    let is_epoch = |told: &&Told| matches!(told, Told::Epoch(..));
    told.iter().filter(is_epoch).cloned().collect()
}

fn assert_same_end(job: &FitJob<DeviceTable>, a: &Fitted<DeviceNetworks>, b: &Fitted<DeviceNetworks>) {
    for member in 0..job.members.len() {
        // The diverged member has weights too, and its NaNs are compared bit by bit.
        let weights = |trained: &Fitted<DeviceNetworks>| trained.networks.weights(member).expect("weights");
        assert_eq!(weights(a), weights(b));
    }
    assert_eq!(a.metrics, b.metrics);
}

/// Takes a checkpoint before every step, and goes on from each of them with the same results.
fn goes_on_from_every_step(job: &FitJob<DeviceTable>, steps: usize) {
    let (undisturbed, end) = hear(job, None, &Control::new(), |_| ());
    let end = end.expect("nobody interrupted");
    let control = Control::new();
    control.request_checkpoint();
    let (all, also_end) = hear(job, None, &control, |told| {
        if matches!(told, Told::Checkpoint(..)) {
            control.request_checkpoint();
        }
    });
    assert_eq!(epochs(&all), undisturbed, "telling checkpoints changes nothing");
    assert_same_end(job, &end, &also_end.expect("nobody interrupted"));
    let mut over = 0;
    let mut tried = 0;
    for told in &all {
        let Told::Checkpoint(epochs, content) = told else {
            over += 1;
            continue;
        };
        assert_eq!(*epochs, over);
        let (rest, end_of_rest) = hear(job, Some(content), &Control::new(), |_| ());
        assert_eq!(rest, undisturbed[over as usize..]);
        assert_same_end(job, &end, &end_of_rest.expect("nobody interrupted"));
        tried += 1;
    }
    assert_eq!(tried, steps);
}

#[test]
fn a_stack_goes_on_from_every_step() {
    // 3 epochs of 3 steps.
    goes_on_from_every_step(&together(members()), 9);
}

#[test]
fn members_that_take_turns_go_on_from_every_step() {
    // The member that diverges does so in the second epoch, and has no third.
    goes_on_from_every_step(&apart(members()), 3 * (6 + 6 + 5));
}

#[test]
fn norms_and_residuals_go_on_from_every_step() {
    // 3 epochs of 2 steps.
    goes_on_from_every_step(&norms(members()), 6);
    // Among images, the member that diverges does so in the first epoch.
    goes_on_from_every_step(&norms_of_images(members()), 3 * (6 + 5 + 5));
}

/// The same job, with changed images where members train on images.
fn augmented(mut job: FitJob<DeviceTable>) -> FitJob<DeviceTable> {
    for (n, member) in job.members.iter_mut().enumerate() {
        member.hyperparameters.augment = Augment {
            flip: 0.5,
            crop: n as u32 % 2,
            rotate: 20.0,
            cutout: n as u32 % 3,
            mixup: 0.5,
        };
    }
    job
}

#[test]
fn members_whose_images_are_changed_go_on_from_every_step() {
    goes_on_from_every_step(&augmented(apart(members())), 3 * (6 + 6 + 5));
    // Without the convolution they train together.
    let mut stack = augmented(apart(members()));
    stack.architecture.layers.remove(0);
    goes_on_from_every_step(&stack, 9);
}

#[test]
fn a_checkpoint_of_batch_norms_alone_is_within_its_bound() {
    // All state of a parameter: optimizer, average, best epoch, and the norm's statistics, twice.
    let member = |n: u32| {
        let mut member = members().remove(2);
        member.owner = FitOwner::Trial(n);
        member.hyperparameters.dropout = Vec::new();
        member.hyperparameters.ema_decay = 0.9;
        member.hyperparameters.early_stopping = Some(EarlyStopping {
            patience: 2,
            min_delta: 0.0,
            metric: Metric::ValLoss,
        });
        member
    };
    for (numbers, layers) in [(1, 40), (33, 9), (400, 12)] {
        let mut job = together((0..64).map(member).collect());
        let shape = SampleShape::Vector(numbers);
        let len = ROWS as usize * numbers as usize;
        let values: Vec<f32> = (0..len).map(|place| (place * 37 % 101) as f32 / 101.0).collect();
        let samples = Samples {
            rows: ROWS,
            shape,
            targets: Some(Targets::Numbers(values.clone())),
            features: Features::Floats(values),
            inputs: None,
            row_keys: None,
            standardizes_target: false,
        };
        job.architecture.input = shape;
        job.architecture.layers = vec![Layer::BatchNorm; layers];
        job.data = Torch::new(device::device())
            .load(&samples)
            .expect("samples on the device");
        let control = Control::new();
        let (told, _) = hear(&job, None, &control, |told| {
            if matches!(told, Told::Epoch(..)) {
                control.request_checkpoint();
            }
        });
        let largest = told.iter().filter_map(|told| match told {
            Told::Checkpoint(_, content) => Some(content.len() as u64),
            Told::Epoch(..) => None,
        });
        let (largest, bound) = (
            largest.max().expect("checkpoints"),
            job.architecture.checkpoint_bytes_max(64),
        );
        assert!(
            largest <= bound,
            "{layers} of {numbers}: {largest} bytes are more than {bound}"
        );
    }
}

/// Leaves at each step once, and goes on from there until the end.
#[test]
fn a_job_that_is_always_interrupted_comes_to_its_end() {
    for job in [together(members()), apart(members())] {
        let (undisturbed, end) = hear(&job, None, &Control::new(), |_| ());
        let mut checkpoint: Option<Vec<u8>> = None;
        let mut heard = Vec::new();
        let trained = loop {
            let control = Control::new();
            control.request_checkpoint();
            // At its first step it is asked to leave: it takes that step, and leaves before the next one, or while the
            // validation rows are measured.
            let (told, trained) = hear(&job, checkpoint.as_deref(), &control, |_| control.drain());
            heard.extend(epochs(&told));
            let Some(Told::Checkpoint(_, last)) = told.into_iter().rev().find(|t| matches!(t, Told::Checkpoint(..)))
            else {
                break trained;
            };
            if trained.is_some() {
                break trained;
            }
            assert_ne!(checkpoint.as_ref(), Some(&last), "it gets on");
            checkpoint = Some(last);
        };
        assert_eq!(heard, undisturbed);
        assert_same_end(&job, &end.expect("ends"), &trained.expect("ends"));
    }
}

#[test]
fn a_lost_lease_leaves_no_checkpoint() {
    let job = together(members());
    let control = Control::new();
    control.drain();
    control.stop();
    let (told, trained) = hear(&job, None, &control, |_| ());
    assert_eq!(told, []);
    assert!(trained.is_none());
}

#[test]
fn what_is_no_checkpoint_of_the_job_is_refused_before_anything_is_told() {
    let job = together(members());
    let control = Control::new();
    control.drain();
    let (told, _) = hear(&job, None, &control, |_| ());
    let [Told::Checkpoint(0, content)] = told.as_slice() else {
        panic!("a checkpoint before the first step")
    };
    let from = read(content).expect("a checkpoint");
    let mut other = together(members());
    other.members[0].hyperparameters.learning_rate = 0.02;
    assert_eq!(refused(&other, &from), "it has nothing of member 0");
    let mut longer = together(members());
    longer.architecture.epochs = 4;
    longer.end_epoch = 4;
    assert_eq!(refused(&longer, &from), "it has nothing of member 0");
    let torn = |content: &[u8]| match read(content) {
        Err(EngineError::BadCheckpoint(reason)) => reason,
        other => panic!("{other:?}"),
    };
    for len in [0, 7, 100, content.len() - 1] {
        torn(&content[..len]);
    }
    let trained = hear(&job, None, &Control::new(), |_| ()).1.expect("ends");
    assert_eq!(torn(&trained.networks.weights(0).expect("weights")), "it has no head");
    // A section for each member, in which a reader of the file finds the member as it was trained.
    let tensors = SafeTensors::deserialize(content).expect("safetensors");
    for (section, member) in from.iter().enumerate() {
        let len = |name: &str| {
            tensors
                .tensor(&format!("{section}.{name}"))
                .ok()
                .map(|tensor| tensor.shape()[0])
        };
        let found = ["parameters", "first", "second"].map(|name| member.numbers(name).map(<[_]>::len));
        assert_eq!(found, ["parameters", "first", "second"].map(len));
        assert!(found[0].is_some());
    }
}

const STOPPING: EarlyStopping = EarlyStopping {
    patience: 3,
    min_delta: 0.0,
    metric: Metric::ValLoss,
};

#[test]
fn a_checkpoint_is_named_by_all_that_its_members_numbers_depend_on_and_by_nothing_else() {
    let name_of = |job: &FitJob<DeviceTable>| {
        let control = Control::new();
        control.drain();
        let (told, _) = hear(job, None, &control, |_| ());
        let [Told::Checkpoint(0, content)] = told.as_slice() else {
            panic!("a checkpoint before the first step")
        };
        read(content).expect("a checkpoint")[0].state.identity.clone()
    };
    let named = |change: &dyn Fn(&mut FitJob<DeviceTable>)| {
        let mut job = together(members());
        change(&mut job);
        name_of(&job)
    };
    let weighing = |class_weights: Option<ClassWeights>| {
        let mut job = apart(members());
        job.class_weights = class_weights;
        name_of(&job)
    };
    let hyperparameters = |change: fn(&mut Hyperparameters)| {
        named(&|job: &mut FitJob<DeviceTable>| change(&mut job.members[0].hyperparameters))
    };
    let name = named(&|_| ());
    let mut others = vec![
        named(&|job| job.seed.0 += 1),
        named(&|job| job.architecture.layers[1] = Layer::Activation(Activation::Relu)),
        named(&|job| job.architecture.loss = Loss::Huber),
        named(&|job| job.architecture.batch_size += 1),
        named(&|job| job.architecture.epochs += 1),
        named(&|job| job.split = Split::Validation(Validation::holdout(0.5))),
        named(&|job| {
            job.split = Split::Validation(Validation {
                shuffle: false,
                ..Validation::k_fold(2)
            });
        }),
        named(&|job| job.members[0].owner = FitOwner::Refit(0)),
        named(&|job| job.members[0].owner = FitOwner::Trial(7)),
        named(&|job| job.members[0].fold = 1),
        hyperparameters(|own| own.optimizer = Optimizer::Adam),
        hyperparameters(|own| own.learning_rate *= 2.0),
        hyperparameters(|own| own.l2 *= 2.0),
        hyperparameters(|own| own.momentum = 0.5),
        hyperparameters(|own| own.weight_decay = 0.5),
        hyperparameters(|own| own.label_smoothing = 0.5),
        hyperparameters(|own| own.focal_gamma = 0.5),
        hyperparameters(|own| own.dropout = vec![0.5]),
        hyperparameters(|own| own.schedule = Schedule::Cosine),
        hyperparameters(|own| own.nesterov = true),
        hyperparameters(|own| own.beta1 = 0.5),
        hyperparameters(|own| own.beta2 = 0.5),
        hyperparameters(|own| own.eps = 0.5),
        hyperparameters(|own| own.alpha = 0.5),
        hyperparameters(|own| own.rho = 0.5),
        hyperparameters(|own| own.clip_norm = 0.5),
        hyperparameters(|own| own.clip_value = 0.5),
        hyperparameters(|own| own.warmup = 0.5),
        hyperparameters(|own| own.decay = 0.5),
        hyperparameters(|own| own.decay_epochs = 5),
        hyperparameters(|own| own.plateau_epochs = 5),
        hyperparameters(|own| own.min_rate = 0.5),
        hyperparameters(|own| own.ema_decay = 0.5),
        hyperparameters(|own| own.early_stopping = Some(STOPPING)),
        hyperparameters(|own| {
            own.early_stopping = Some(EarlyStopping {
                patience: 5,
                ..STOPPING
            });
        }),
        hyperparameters(|own| {
            own.early_stopping = Some(EarlyStopping {
                min_delta: 0.5,
                ..STOPPING
            });
        }),
        hyperparameters(|own| {
            own.early_stopping = Some(EarlyStopping {
                metric: Metric::ValMae,
                ..STOPPING
            });
        }),
    ];
    let twice = ClassWeights::Named([("b".to_owned(), 2.0)].into());
    others.extend([None, Some(ClassWeights::Balanced), Some(twice)].map(weighing));
    others.push(name.clone());
    let len = others.len();
    others.sort();
    others.dedup();
    assert_eq!(others.len(), len);
    assert_eq!(named(&|job| job.members.truncate(1)), name);
    assert_eq!(named(&|job| job.members.swap(1, 3)), name);
    assert_eq!(named(&|job| job.end_epoch = 1), name);
}
