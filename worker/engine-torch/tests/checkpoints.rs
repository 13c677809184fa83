//! What checkpoints promise: training that stopped at any step goes on from there as if it had never stopped, to the last bit.

mod device;

use device::device;
use safetensors::SafeTensors;
use trawl_domain::dataset::{Features, SampleShape, Samples, TargetKind, Targets};
use trawl_domain::fold::{Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Conv2d, Layer};
use trawl_domain::loss::Loss;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{Owner, Seed};
use trawl_engine::{Control, Engine as _, EngineError, Event, FitJob, Fitted, Networks as _, Outcome};
use trawl_engine_torch::{DeviceNetworks, DeviceTable, Torch};

const TANH: Layer = Layer::Activation(Activation::Tanh);
const ROWS: u32 = 40;
const SIDE: u32 = 6;

fn member(trial: u32, fold: u32, optimizer: Optimizer, momentum: f64, dropout: f64) -> JobMember {
    JobMember {
        owner: Owner::Trial(trial),
        fold,
        hyperparameters: Hyperparameters {
            optimizer,
            learning_rate: 0.01,
            l2: 1e-3,
            momentum,
            weight_decay: 0.0,
            dropout: vec![dropout],
        },
    }
}

/// All optimizers, with and without momentum and dropout; and one member that diverges.
fn members() -> Vec<JobMember> {
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
    };
    FitJob {
        seed: Seed(11),
        architecture: Architecture {
            input: shape,
            layers,
            loss,
            // 20 training rows: the last batch of an epoch is smaller than the others.
            batch_size: 8,
            epochs: 3,
        },
        split: Split::Validation(Validation::KFold(2)),
        members,
        data: Torch::new(device()).load(&samples).expect("samples on the device"),
        test: None,
    }
}

/// Members that train as one stack.
fn together() -> FitJob<DeviceTable> {
    let layers = vec![
        Layer::Linear { units: 5 },
        TANH,
        Layer::Dropout,
        Layer::Linear { units: 1 },
    ];
    let job = job(layers, Loss::Mse, SampleShape::Vector(2), members());
    assert!(Torch::new(device()).trains_together(&job.architecture));
    job
}

/// Members that take turns within each epoch.
fn apart() -> FitJob<DeviceTable> {
    let conv = Conv2d {
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
    let job = job(layers, Loss::CrossEntropy, shape, members());
    assert!(!Torch::new(device()).trains_together(&job.architecture));
    job
}

/// What training told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    /// An epoch, its losses as bits by member, and who diverged.
    Epoch(u32, Vec<(usize, u64, Option<u64>, Option<u64>)>, Vec<usize>),
    /// Epochs that were over, and the checkpoint.
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
                    losses.val_loss.map(f64::to_bits),
                    losses.val_accuracy.map(f64::to_bits),
                )
            });
            Told::Epoch(epoch, bits.collect(), diverged.to_vec())
        }
        Event::Checkpoint { epochs, content } => Told::Checkpoint(epochs, content),
    }
}

/// Trains from the beginning or from a checkpoint; `hear` may command something at every event.
fn hear(
    job: &FitJob<DeviceTable>,
    checkpoint: Option<&[u8]>,
    control: &Control,
    mut hear: impl FnMut(&Told),
) -> (Vec<Told>, Option<Fitted<DeviceNetworks>>) {
    let mut all = Vec::new();
    let mut emit = |event: Event<'_>| {
        all.push(told(event));
        hear(all.last().expect("was just told"));
    };
    let outcome = Torch::new(device()).fit(job, checkpoint, &mut emit, control);
    match outcome.expect("trains") {
        Outcome::Finished(trained) => (all, Some(trained)),
        Outcome::Interrupted => (all, None),
    }
}

fn epochs(told: &[Told]) -> Vec<Told> {
    let is_epoch = |told: &&Told| matches!(told, Told::Epoch(..));
    told.iter().filter(is_epoch).cloned().collect()
}

fn assert_same_end(job: &FitJob<DeviceTable>, a: &Fitted<DeviceNetworks>, b: &Fitted<DeviceNetworks>) {
    for member in 0..job.members.len() {
        // The member that diverged has weights too, and NaN is NaN in every bit.
        let weights = |trained: &Fitted<DeviceNetworks>| trained.networks.weights(member).expect("weights");
        assert_eq!(weights(a), weights(b));
    }
    assert_eq!(a.metrics, b.metrics);
}

/// A checkpoint before every step; and from each of them on, all is as it was.
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
    goes_on_from_every_step(&together(), 9);
}

#[test]
fn members_that_take_turns_go_on_from_every_step() {
    // The member that diverges does so in the second epoch, and has no third.
    goes_on_from_every_step(&apart(), 3 * (6 + 6 + 5));
}

/// Leaves at each step once, and goes on from there until the end.
#[test]
fn a_job_that_is_always_interrupted_comes_to_its_end() {
    for job in [together(), apart()] {
        let (undisturbed, end) = hear(&job, None, &Control::new(), |_| ());
        let mut checkpoint: Option<Vec<u8>> = None;
        let mut heard = Vec::new();
        let trained = loop {
            let control = Control::new();
            control.request_checkpoint();
            // It is at its first step when it is told to leave: it takes that, and leaves before the next one, or while the
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
    let job = together();
    let control = Control::new();
    control.drain();
    control.stop();
    let (told, trained) = hear(&job, None, &control, |_| ());
    assert_eq!(told, []);
    assert!(trained.is_none());
}

#[test]
fn what_is_no_checkpoint_of_the_job_is_refused_before_anything_is_told() {
    let job = together();
    let control = Control::new();
    control.drain();
    let (told, _) = hear(&job, None, &control, |_| ());
    let [Told::Checkpoint(0, content)] = told.as_slice() else {
        panic!("a checkpoint before the first step")
    };
    let refused = |job: &FitJob<DeviceTable>, content: &[u8]| {
        let mut emit = |event: Event<'_>| panic!("told {event:?}");
        match Torch::new(device()).fit(job, Some(content), &mut emit, &Control::new()) {
            Err(EngineError::BadCheckpoint(reason)) => reason,
            other => panic!("{other:?}"),
        }
    };
    let mut other = together();
    other.members[0].hyperparameters.learning_rate = 0.02;
    assert_eq!(refused(&other, content), "it is of another job");
    let mut longer = together();
    longer.architecture.epochs = 4;
    assert_eq!(refused(&longer, content), "it is of another job");
    for len in [0, 7, 100, content.len() - 1] {
        refused(&job, &content[..len]);
    }
    let weights = hear(&job, None, &Control::new(), |_| ())
        .1
        .expect("ends")
        .networks
        .weights(0)
        .expect("weights");
    assert_eq!(refused(&job, &weights), "it has no head");
    // Tensors by member: whoever reads the file finds each as it was trained.
    let tensors = SafeTensors::deserialize(content).expect("safetensors");
    let shape = |name: &str| tensors.tensor(name).expect("a tensor").shape().to_vec();
    assert_eq!(shape("parameters")[0], job.members.len());
    assert_eq!(shape("first"), shape("parameters"));
    assert_eq!(shape("second"), shape("parameters"));
}
