//! The basis of rungs: members of several jobs train to the end of an epoch, and go on in jobs with other members, as
//! if each had trained in one job from beginning to end, to the last bit.

mod device;
mod jobs;
mod refused;

use std::collections::BTreeMap;

use trawl_dataset::{Features, SampleShape, Samples, Targets};
use trawl_domain::job::JobMember;
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::Optimizer;
use trawl_engine::checkpoint::{MemberCheckpoint, read};
use trawl_engine::{Control, Engine as _, FitJob, Networks as _, Outcome};
use trawl_engine_torch::{DeviceTable, Torch};

use device::device;
use jobs::{ROWS, Told, apart, hear, member, members, norms, norms_of_images, together};
use refused::refused;

const EPOCHS: u32 = 6;

/// Makes a job of members.
type Make = fn(Vec<JobMember>) -> FitJob<DeviceTable>;

/// Losses of a member's epochs, as bits, by epoch and member.
type Losses = BTreeMap<(u32, usize), (u64, Vec<(Metric, u64)>)>;

/// All optimizers, with and without state, L2 and dropout. The diverging member does so in the second epoch.
fn all() -> Vec<JobMember> {
    let mut all = members();
    all.extend([
        member(5, 0, Optimizer::Adamw, 0.0, 0.4),
        member(6, 1, Optimizer::Sgd, 0.0, 0.2),
        member(7, 0, Optimizer::Adam, 0.0, 0.0),
        member(8, 1, Optimizer::Adamw, 0.0, 0.0),
        member(9, 0, Optimizer::Rmsprop, 0.0, 0.5),
        member(9, 1, Optimizer::Sgd, 0.5, 0.0),
    ]);
    for (n, member) in all.iter_mut().enumerate() {
        member.hyperparameters.l2 = if n % 3 == 0 { 0.0 } else { 1e-3 };
        member.hyperparameters.weight_decay = 0.1;
    }
    all
}

/// Place of the member that diverges.
const DIVERGES: usize = 5;

/// A job of these of all members, up to an epoch.
fn job(make: Make, picked: &[usize], end_epoch: u32) -> FitJob<DeviceTable> {
    let all = all();
    let mut job = make(picked.iter().map(|n| all[*n].clone()).collect());
    job.architecture.epochs = EPOCHS;
    job.end_epoch = end_epoch;
    job
}

/// Adds a job's events to the losses of all members.
fn note(losses: &mut Losses, picked: &[usize], told: &[Told]) {
    for told in told {
        let Told::Epoch(epoch, of_members, _) = told else {
            continue;
        };
        for (place, train_loss, metrics) in of_members {
            let told = losses.insert((*epoch, picked[*place]), (*train_loss, metrics.clone()));
            assert_eq!(told, None, "an epoch is told once");
        }
    }
}

/// Trains to the end of the job, before the last epoch; returns the file of checkpoints.
fn pause(job: &FitJob<DeviceTable>, picked: &[usize], from: &[MemberCheckpoint<'_>], losses: &mut Losses) -> Vec<u8> {
    let (mut told, outcome) = hear(job, from, &Control::new(), |_| ());
    assert!(matches!(outcome, Outcome::Paused), "{outcome:?}");
    note(losses, picked, &told);
    match told.pop() {
        Some(Told::Checkpoint(epochs, content)) if epochs == job.end_epoch => content,
        other => panic!("{other:?}"),
    }
}

fn all_of(files: &[Vec<u8>]) -> Vec<MemberCheckpoint<'_>> {
    files.iter().flat_map(|file| read(file).expect("checkpoints")).collect()
}

fn survivors_go_on_in_other_jobs(make: Make) {
    let everybody: Vec<usize> = (0..all().len()).collect();
    let (told, whole) = hear(&job(make, &everybody, EPOCHS), &[], &Control::new(), |_| ());
    let Outcome::Finished(whole) = whole else {
        panic!("nobody interrupted")
    };
    let mut expected = Losses::new();
    note(&mut expected, &everybody, &told);
    assert_eq!(whole.alive.iter().position(|alive| !alive), Some(DIVERGES));

    let mut losses = Losses::new();
    // Only the second job has SGD without momentum alone; the others have both.
    let first = [vec![0, 1, 2, 3, 4, 5], vec![6, 7], vec![8, 9, 10, 11]];
    let files = first.map(|picked| pause(&job(make, &picked, 2), &picked, &[], &mut losses));
    // Members 0 and 10 are left behind; the diverged one goes along once, and is dropped then.
    let second = [vec![9, 7, 4, 2], vec![11, 1, DIVERGES, 3, 6, 8]];
    let from = all_of(&files);
    let files = second.map(|picked| pause(&job(make, &picked, 5), &picked, &from, &mut losses));
    let third = [3, 8, 7, 1, 11, 4, 6, 2, 9];
    let last = job(make, &third, EPOCHS);
    let (told, ended) = hear(&last, &all_of(&files), &Control::new(), |_| ());
    note(&mut losses, &third, &told);

    expected.retain(|(epoch, n), _| third.contains(n) || *epoch < 2);
    assert_eq!(losses, expected);
    let Outcome::Finished(ended) = ended else {
        panic!("it is the end")
    };
    for (place, n) in third.into_iter().enumerate() {
        assert_eq!(ended.metrics[place], whole.metrics[n]);
        assert!(ended.alive[place]);
        assert_eq!(ended.networks.weights(place), whole.networks.weights(n));
    }
}

#[test]
fn survivors_of_stacks_go_on_in_other_stacks() {
    survivors_go_on_in_other_jobs(together);
}

/// Stacks on columns and targets prepared by statistics of each fold's training rows, with gaps, logarithms and words.
fn prepared(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let inputs = serde_json::json!([
        { "name": "a", "kind": "number", "scale": "standardize", "missing": "median", "indicator": true },
        { "name": "b", "kind": "number", "scale": "log1p", "missing": { "value": 0.25 } },
        { "name": "c", "kind": "words", "words": ["x"], "others": false, "missing": "refused" },
    ]);
    let values = (0..ROWS).flat_map(|row| {
        let number = |factor: u32| (row * factor % 23) as f32 / 7.0;
        let is_gap = row % 5 == 3;
        let a = if is_gap { f32::NAN } else { number(11) };
        let b = if row % 7 == 1 { f32::NAN } else { number(5) };
        [a, f32::from(u8::from(is_gap)), b, f32::from(u8::from(row % 3 == 0))]
    });
    let samples = Samples {
        rows: ROWS,
        shape: SampleShape::Vector(4),
        features: Features::Floats(values.collect()),
        targets: Some(Targets::Numbers(
            (0..ROWS)
                .flat_map(|row| [(row as f32 / 7.0).sin(), 900.0 * (row as f32 / 5.0).cos()])
                .collect(),
        )),
        inputs: Some(serde_json::from_value(inputs).expect("inputs")),
        row_keys: None,
        standardizes_target: true,
    };
    let mut job = together(members);
    job.architecture.input = samples.shape;
    // Two targets, behind a residual that is the last.
    job.architecture.layers.pop();
    job.architecture.layers.extend([
        Layer::Linear { units: 2 },
        Layer::Residual { layers: 1 },
        Layer::Activation(Activation::Tanh),
    ]);
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    job
}

#[test]
fn survivors_on_prepared_columns_go_on_in_other_stacks() {
    survivors_go_on_in_other_jobs(prepared);
}

#[test]
fn survivors_that_take_turns_go_on_in_other_jobs() {
    survivors_go_on_in_other_jobs(apart);
}

#[test]
fn survivors_with_norms_and_residuals_go_on_in_other_stacks() {
    survivors_go_on_in_other_jobs(norms);
}

#[test]
fn survivors_with_norms_of_images_go_on_in_other_jobs() {
    survivors_go_on_in_other_jobs(norms_of_images);
}

/// A job that is drained amid its epochs goes on from its own file, and pauses where it should.
#[test]
fn a_part_of_the_epochs_goes_on_from_any_step() {
    for make in [together as Make, apart] {
        let picked = [0, 3, 6];
        let mut expected = Losses::new();
        let first = pause(&job(make, &picked, 2), &picked, &[], &mut expected);
        let part = job(make, &picked, 4);
        let end = pause(&part, &picked, &all_of(std::slice::from_ref(&first)), &mut expected);
        let (mut file, mut tried) = (first, 0);
        loop {
            let control = Control::new();
            control.request_checkpoint();
            let drain = |told: &Told| {
                if matches!(told, Told::Checkpoint(..)) {
                    control.drain();
                }
            };
            let (told, outcome) = hear(&part, &read(&file).expect("checkpoints"), &control, drain);
            let Some(Told::Checkpoint(_, last)) = told.into_iter().next_back() else {
                panic!("a checkpoint is the last that is told")
            };
            file = last;
            if matches!(outcome, Outcome::Paused) {
                break;
            }
            tried += 1;
        }
        assert!(tried > 5, "{tried}");
        assert_eq!(file, end);
    }
}

#[test]
fn members_that_are_not_at_one_position_are_refused() {
    let mut losses = Losses::new();
    let at = |picked: &[usize], to: u32, losses: &mut Losses| pause(&job(together, picked, to), picked, &[], losses);
    let files = [at(&[0, 1], 2, &mut losses), at(&[2], 3, &mut losses)];
    let from = all_of(&files);
    let mixed = job(together, &[0, 2], 4);
    assert_eq!(refused(&mixed, &from), "its members are not at one epoch of the job");
    let over = job(together, &[0, 1], 1);
    assert_eq!(refused(&over, &from), "its members are not at one epoch of the job");
    let absent = job(together, &[0, 3], 4);
    assert_eq!(refused(&absent, &from), "it has nothing of member 1");

    let amid = [vec![0], vec![1]].map(|picked| {
        let control = Control::new();
        let mut steps = picked[0];
        control.request_checkpoint();
        let (told, _) = hear(&job(together, &picked, 2), &[], &control, |_| {
            if steps == 0 {
                control.drain();
            } else {
                control.request_checkpoint();
            }
            steps = steps.saturating_sub(1);
        });
        match told.into_iter().next_back() {
            Some(Told::Checkpoint(0, content)) => content,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(
        refused(&job(together, &[0, 1], 2), &all_of(&amid)),
        "its members are not at one step of an epoch"
    );
}
