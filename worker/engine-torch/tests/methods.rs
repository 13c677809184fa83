//! Optimizers, schedules, clipping, averages and early stopping: members that differ in all of them at once, and the
//! results of early stopping.

mod device;
mod jobs;

use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::{EarlyStopping, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_engine::checkpoint::{MemberCheckpoint, read};
use trawl_engine::{Control, FitJob, Fitted, Networks as _, Outcome};
use trawl_engine_torch::{DeviceNetworks, DeviceTable};

use jobs::{MemberBits, Told, apart, hear, norms, norms_of_images, together};

/// Makes a job of members.
type Make = fn(Vec<JobMember>) -> FitJob<DeviceTable>;
type Trained = Fitted<DeviceNetworks>;

const EPOCHS: u32 = 9;

/// Members whose settings all differ, each with a period of its own.
fn members(count: u32) -> Vec<JobMember> {
    let member = |n: u32| {
        let at = |values: &[f64], period: u32| values[(n / period) as usize % values.len()];
        let optimizer = Optimizer::ALL[n as usize % Optimizer::ALL.len()];
        let mut member = jobs::member(n, n % 2, optimizer, at(&[0.9, 0.0, 0.5], 2), at(&[0.2, 0.0], 3));
        let own = &mut member.hyperparameters;
        own.schedule = Schedule::ALL[n as usize % Schedule::ALL.len()];
        own.learning_rate = if optimizer == Optimizer::Adadelta {
            1.0
        } else {
            at(&[0.01, 0.05], 5)
        };
        own.l2 = at(&[0.0, 1e-3], 3);
        own.weight_decay = at(&[0.01, 0.3], 2);
        own.nesterov = own.momentum > 0.0 && n % 4 < 2;
        (own.beta1, own.beta2) = (at(&[0.9, 0.5], 2), at(&[0.999, 0.9], 3));
        (own.eps, own.alpha, own.rho) = (at(&[1e-8, 1e-3], 4), at(&[0.99, 0.9], 2), at(&[0.9, 0.7], 3));
        (own.clip_norm, own.clip_value) = (at(&[0.0, 0.1, 1.0], 1), at(&[0.0, 0.05], 2));
        (own.warmup, own.decay, own.min_rate) = (at(&[0.0, 0.3], 2), at(&[0.5, 0.1], 3), at(&[0.0, 0.2], 4));
        (own.decay_epochs, own.plateau_epochs) = (1 + n % 3, n % 2);
        own.ema_decay = at(&[0.0, 0.9, 0.5], 2);
        own.early_stopping = (!n.is_multiple_of(3)).then(|| EarlyStopping {
            patience: 1 + n / 3 % 3,
            min_delta: at(&[0.0, 0.01], 3),
            metric: [Metric::ValLoss, Metric::ValMae][n as usize / 2 % 2],
        });
        member
    };
    (0..count).map(member).collect()
}

/// A job of some members, up to an epoch.
fn job(make: Make, members: Vec<JobMember>, end_epoch: u32) -> FitJob<DeviceTable> {
    let mut job = make(members);
    job.architecture.epochs = EPOCHS;
    job.end_epoch = end_epoch;
    job
}

/// The reported epochs, by member.
fn epochs(told: &[Told]) -> Vec<Vec<MemberBits>> {
    let mut epochs = Vec::new();
    for told in told {
        if let Told::Epoch(epoch, losses, diverged) = told {
            assert_eq!((*epoch as usize, diverged.len()), (epochs.len(), 0), "nobody diverges");
            epochs.push(losses.clone());
        }
    }
    epochs
}

/// Trains to the end; returns events and results.
fn train(job: &FitJob<DeviceTable>, from: &[MemberCheckpoint<'_>]) -> (Vec<Told>, Trained) {
    match hear(job, from, &Control::new(), |_| ()) {
        (told, Outcome::Finished(trained)) => (told, trained),
        (_, other) => panic!("{other:?}"),
    }
}

/// Trains to the end of the job, before the last epoch; returns events and the file of checkpoints.
fn pause(job: &FitJob<DeviceTable>, from: &[MemberCheckpoint<'_>]) -> (Vec<Told>, Vec<u8>) {
    let (mut told, outcome) = hear(job, from, &Control::new(), |_| ());
    assert!(matches!(outcome, Outcome::Paused), "{outcome:?}");
    match told.pop() {
        Some(Told::Checkpoint(_, content)) => (told, content),
        other => panic!("{other:?}"),
    }
}

/// True for members that stopped before the last epoch: they report an epoch twice.
fn have_stopped(told: &[Told]) -> Vec<bool> {
    let epochs = epochs(told);
    let [.., before, last] = &epochs[..] else {
        panic!("two epochs")
    };
    before.iter().zip(last).map(|(before, last)| before == last).collect()
}

fn is_the_same_in_every_job(make: Make, count: u32) {
    let all = members(count);
    let (told, trained) = train(&job(make, all.clone(), EPOCHS), &[]);
    let stopped = have_stopped(&told);
    assert!(stopped.contains(&true) && stopped.contains(&false), "{stopped:?}");
    let together = epochs(&told);
    for (n, member) in all.into_iter().enumerate() {
        let (told, alone) = train(&job(make, vec![member], EPOCHS), &[]);
        for (alone, together) in epochs(&told).iter().zip(&together) {
            assert_eq!((alone[0].1, &alone[0].2), (together[n].1, &together[n].2), "member {n}");
        }
        assert_eq!(alone.networks.weights(0), trained.networks.weights(n), "member {n}");
        assert_eq!(alone.metrics[0], trained.metrics[n], "member {n}");
    }
}

#[test]
fn a_member_of_a_full_stack_is_the_same_alone() {
    is_the_same_in_every_job(together, 64);
}

#[test]
fn a_member_with_norms_is_the_same_alone_and_in_a_stack() {
    is_the_same_in_every_job(norms, 40);
}

#[test]
fn a_member_that_takes_turns_is_the_same_alone() {
    is_the_same_in_every_job(apart_by_loss, 21);
}

#[test]
fn a_member_with_norms_of_images_is_the_same_alone() {
    is_the_same_in_every_job(|members| norms_of_images(by_loss(members)), 14);
}

fn apart_by_loss(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    apart(by_loss(members))
}

/// For classes, which have no mean absolute error.
fn by_loss(mut members: Vec<JobMember>) -> Vec<JobMember> {
    for member in &mut members {
        if let Some(stopping) = &mut member.hyperparameters.early_stopping {
            stopping.metric = [Metric::ValLoss, Metric::ValAccuracy][member.fold as usize];
        }
    }
    members
}

/// Members that pause twice, and go on among others each time.
fn goes_on_in_other_jobs(make: Make, count: u32) {
    let all = members(count);
    let (told, whole) = train(&job(make, all.clone(), EPOCHS), &[]);
    let expected = epochs(&told);
    // Places of members in the jobs that train them up to an epoch.
    let len = all.len();
    let by = |parts: usize| (0..parts).map(move |part| (part..len).step_by(parts).collect::<Vec<_>>());
    let ladder: [(u32, Vec<Vec<usize>>); 3] = [
        (3, by(5).collect()),
        (6, by(2).map(|places| places.into_iter().rev().collect()).collect()),
        (7, all_in_runs(len)),
    ];
    let (mut files, mut first) = (Vec::<Vec<u8>>::new(), 0);
    for (end, jobs) in ladder {
        let from: Vec<MemberCheckpoint<'_>> = files.iter().flat_map(|file| read(file).expect("checkpoints")).collect();
        let mut left = Vec::new();
        for places in jobs {
            let picked = places.iter().map(|place| all[*place].clone()).collect();
            let (told, file) = pause(&job(make, picked, end), &from);
            let told: Vec<_> = told.iter().filter_map(losses).collect();
            assert_eq!(told.len(), (end - first) as usize);
            for (epoch, told) in (first..).zip(told) {
                for (place, train_loss, metrics) in told {
                    let (_, train_before, metrics_before) = &expected[epoch as usize][places[*place]];
                    assert_eq!((train_loss, metrics), (train_before, metrics_before), "epoch {epoch}");
                }
            }
            left.push(file);
        }
        (files, first) = (left, end);
    }
    let from: Vec<MemberCheckpoint<'_>> = files.iter().flat_map(|file| read(file).expect("checkpoints")).collect();
    let (_, ended) = train(&job(make, all.clone(), EPOCHS), &from);
    for n in 0..all.len() {
        assert_eq!(ended.networks.weights(n), whole.networks.weights(n), "member {n}");
        assert_eq!(ended.metrics[n], whole.metrics[n], "member {n}");
    }
}

fn all_in_runs(len: usize) -> Vec<Vec<usize>> {
    let places: Vec<usize> = (0..len).collect();
    places.chunks(11).map(<[usize]>::to_vec).collect()
}

fn losses(told: &Told) -> Option<&Vec<MemberBits>> {
    match told {
        Told::Epoch(_, losses, _) => Some(losses),
        Told::Checkpoint(..) => None,
    }
}

#[test]
fn members_of_stacks_go_on_in_other_stacks() {
    goes_on_in_other_jobs(together, 40);
}

#[test]
fn members_with_norms_go_on_in_other_jobs() {
    goes_on_in_other_jobs(norms, 40);
}

#[test]
fn members_that_take_turns_go_on_in_other_jobs() {
    goes_on_in_other_jobs(apart_by_loss, 14);
}

#[test]
fn training_goes_on_from_every_step() {
    let job = job(together, members(16), EPOCHS);
    let (undisturbed, end) = train(&job, &[]);
    let control = Control::new();
    control.request_checkpoint();
    let (all, _) = hear(&job, &[], &control, |told| {
        if matches!(told, Told::Checkpoint(..)) {
            control.request_checkpoint();
        }
    });
    let mut tried = 0;
    for told in &all {
        let Told::Checkpoint(epochs, content) = told else {
            continue;
        };
        let (rest, end_of_rest) = train(&job, &read(content).expect("a checkpoint"));
        assert_eq!(rest, undisturbed[*epochs as usize..]);
        for n in 0..16 {
            assert_eq!(end_of_rest.networks.weights(n), end.networks.weights(n), "member {n}");
        }
        tried += 1;
    }
    // Three steps an epoch.
    assert_eq!(tried, 3 * EPOCHS);
}

/// One member that stops after an epoch without improvement; no epoch improves.
fn stopping_at_once(ema_decay: f64) -> JobMember {
    let mut member = jobs::member(0, 0, Optimizer::Adam, 0.0, 0.2);
    member.hyperparameters.ema_decay = ema_decay;
    member.hyperparameters.early_stopping = Some(EarlyStopping {
        patience: 2,
        min_delta: 1e6,
        metric: Metric::ValLoss,
    });
    member
}

#[test]
fn a_member_that_stops_ends_as_its_best_epoch_did() {
    for (make, ema_decay) in [(together as Make, 0.0), (together, 0.8), (norms, 0.0)] {
        let (told, stopped) = train(&job(make, vec![stopping_at_once(ema_decay)], EPOCHS), &[]);
        let mut only = job(make, vec![stopping_at_once(ema_decay)], 1);
        only.architecture.epochs = 1;
        let (first, best) = train(&only, &[]);
        let (first, told) = (epochs(&first), epochs(&told));
        assert_ne!(told[1], first[0], "the second epoch is as it was");
        assert!(
            told[2..].iter().all(|epoch| *epoch == first[0]),
            "the third and later ones are the first"
        );
        assert_eq!(stopped.networks.weights(0), best.networks.weights(0));
        assert_eq!(
            stopped.metrics[0].expect("validated").last,
            best.metrics[0].expect("validated").last
        );
    }
}

#[test]
fn epochs_of_members_that_have_all_stopped_take_no_steps() {
    let steps = |epochs: u32| {
        let mut job = job(together, vec![stopping_at_once(0.0); 3], epochs);
        job.architecture.epochs = epochs;
        let control = Control::new();
        let (told, _) = hear(&job, &[], &control, |_| ());
        assert_eq!(told.len(), epochs as usize);
        control.looks()
    };
    // Each step looks for a command once.
    assert_eq!(steps(1_000), steps(10) + 990);
}

#[test]
fn a_job_whose_members_have_stopped_is_drained() {
    let job = job(together, vec![stopping_at_once(0.0)], EPOCHS);
    let control = Control::new();
    let (told, outcome) = hear(&job, &[], &control, |told| {
        if matches!(told, Told::Epoch(5, ..)) {
            control.drain();
        }
    });
    assert!(matches!(outcome, Outcome::Interrupted));
    let Some(Told::Checkpoint(6, content)) = told.last() else {
        panic!("a checkpoint is the last that is told")
    };
    let whole = train(&job, &[]);
    let (rest, ended) = train(&job, &read(content).expect("a checkpoint"));
    assert_eq!(rest, whole.0[6..]);
    assert_eq!(ended.networks.weights(0), whole.1.networks.weights(0));
}

#[test]
fn a_fit_on_all_rows_does_not_stop() {
    let mut all = job(together, vec![stopping_at_once(0.0)], EPOCHS);
    all.split = Split::All;
    let mut patient = job(together, vec![stopping_at_once(0.0)], EPOCHS);
    patient.members[0].hyperparameters.early_stopping = None;
    patient.split = Split::All;
    let ((told, ended), (expected, patient)) = (train(&all, &[]), train(&patient, &[]));
    assert_eq!(told, expected);
    assert_eq!(ended.networks.weights(0), patient.networks.weights(0));
}

/// Validation and the kept weights use the average; training losses use the current weights.
#[test]
fn an_average_leaves_training_as_it_is() {
    let with = |ema_decay: f64| {
        let mut all = jobs::members();
        // The last one diverges.
        all.pop();
        for member in &mut all {
            member.hyperparameters.ema_decay = ema_decay;
        }
        let (told, trained) = train(&job(together, all, EPOCHS), &[]);
        (
            epochs(&told),
            (0..5).map(|n| trained.networks.weights(n)).collect::<Vec<_>>(),
        )
    };
    let ((plain, weights), (averaged, averages)) = (with(0.0), with(0.9));
    for (plain, averaged) in plain.iter().flatten().zip(averaged.iter().flatten()) {
        assert_eq!(plain.1, averaged.1);
        assert_ne!(plain.2, averaged.2);
    }
    assert!(
        weights
            .iter()
            .zip(&averages)
            .all(|(weights, average)| weights != average)
    );
}
