//! Losses of single rows at the end of training.

mod device;
mod jobs;

use device::device;
use jobs::{MemberBits, ROWS, Told, apart, hear, members, norms, norms_of_images, together};
use trawl_dataset::{Features, Samples, Targets};
use trawl_domain::fold::Split;
use trawl_domain::job::JobMember;
use trawl_domain::layer::Layer;
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_engine::{Control, Engine as _, FitJob, Outcome, checkpoint};
use trawl_engine_torch::{DeviceTable, Torch};

type Bits = Vec<Vec<u32>>;

/// The losses of the rows, as bits by member, and the reported last epoch.
fn row_losses(job: &FitJob<DeviceTable>, from: &[u8]) -> (Bits, Vec<MemberBits>) {
    let from = if from.is_empty() {
        Vec::new()
    } else {
        checkpoint::read(from).expect("a checkpoint")
    };
    let (told, outcome) = hear(job, &from, &Control::new(), |_| {});
    let Outcome::Finished(fitted) = outcome else {
        panic!("did not finish")
    };
    let bits = |losses: &Vec<f32>| losses.iter().map(|loss| loss.to_bits()).collect();
    let last = told.into_iter().rev().find_map(|told| match told {
        Told::Epoch(_, losses, _) => Some(losses),
        Told::Checkpoint(..) => None,
    });
    (fitted.row_losses.iter().map(bits).collect(), last.unwrap_or_default())
}

/// As [`together`], with two binary targets.
fn yes_and_no(members: Vec<JobMember>) -> FitJob<DeviceTable> {
    let mut job = together(members);
    job.architecture.loss = Loss::Bce;
    job.architecture.layers.pop();
    job.architecture.layers.push(Layer::Linear { units: 2 });
    let samples = Samples {
        rows: ROWS,
        shape: job.architecture.input,
        features: Features::Floats((0..2 * ROWS).map(|place| (place * 37 % 101) as f32 / 101.0).collect()),
        targets: Some(Targets::Numbers(
            (0..2 * ROWS).map(|place| (place * 7 % 5 % 2) as f32).collect(),
        )),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    job
}

fn of(metric: Metric, mut job: FitJob<DeviceTable>) -> FitJob<DeviceTable> {
    job.row_losses = Some(metric);
    job
}

#[test]
fn their_mean_is_the_metric_and_a_member_that_diverged_has_none() {
    let cases = [
        (Metric::ValLoss, together(members())),
        (Metric::ValMae, together(members())),
        (Metric::ValMape, together(members())),
        (Metric::ValLoss, apart(members())),
        (Metric::ValAccuracy, apart(members())),
        (Metric::ValLogLoss, apart(members())),
        (Metric::ValBrier, apart(members())),
        (Metric::ValLoss, yes_and_no(members())),
        (Metric::ValAccuracy, yes_and_no(members())),
    ];
    for (metric, job) in cases {
        let (losses, last) = row_losses(&of(metric, job), &[]);
        assert_eq!(last.len(), 5, "{metric}: one of six diverged");
        for (member, _, metrics) in last {
            let measured = metrics
                .iter()
                .find(|(measured, _)| *measured == metric)
                .expect("measured")
                .1;
            let losses = &losses[member];
            assert_eq!(losses.len(), 20, "{metric}");
            let mean = losses.iter().map(|loss| f64::from(f32::from_bits(*loss))).sum::<f64>() / 20.0;
            let (value, measured) = (metric.of_mean_loss(mean), f64::from_bits(measured));
            assert!(
                (value - measured).abs() <= 1e-6 * measured.abs(),
                "{metric}: {value} {measured}"
            );
        }
        assert!(losses[5].is_empty(), "{metric}");
    }
}

#[test]
fn they_are_the_same_alone_and_in_every_stack() {
    for job in [together as fn(_) -> _, yes_and_no, apart, norms, norms_of_images] {
        let (all, _) = row_losses(&of(Metric::ValLoss, job(members())), &[]);
        for (place, member) in members().into_iter().enumerate() {
            let (alone, _) = row_losses(&of(Metric::ValLoss, job(vec![member])), &[]);
            assert_eq!(alone[0], all[place], "member {place}");
        }
    }
}

#[test]
fn they_are_the_same_after_a_checkpoint() {
    let job = || of(Metric::ValLoss, together(members()));
    let (whole, _) = row_losses(&job(), &[]);
    let mut first = job();
    first.end_epoch = 2;
    let (told, _) = hear(&first, &[], &Control::new(), |_| {});
    let Some(Told::Checkpoint(_, content)) = told.last() else {
        panic!("no checkpoint")
    };
    assert_eq!(row_losses(&job(), content).0, whole);
}

#[test]
fn there_are_none_unless_they_are_asked_for() {
    assert!(row_losses(&together(members()), &[]).0.iter().all(Vec::is_empty));
    // No row validates, and there are no test rows.
    let mut all = of(Metric::ValLoss, together(vec![members().remove(0)]));
    all.split = Split::All;
    assert!(row_losses(&all, &[]).0.iter().all(Vec::is_empty));
}
