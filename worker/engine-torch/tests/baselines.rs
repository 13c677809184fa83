//! Baselines: what models without a search reach, against values computed here.

mod device;
#[expect(dead_code, reason = "other tests use the rest")]
mod jobs;

use device::device;
use jobs::{ROWS, apart, members, together};
use trawl_dataset::{Features, Samples, Targets};
use trawl_domain::baseline::Baseline;
use trawl_domain::layer::Layer;
use trawl_domain::loss::Loss;
use trawl_domain::metric::{FoldMetrics, Metric};
use trawl_engine::{Control, Engine as _, FitJob, Table as _};
use trawl_engine_torch::{DeviceTable, Torch};

const FOLDS: u32 = 2;

fn measured(job: &FitJob<DeviceTable>) -> Vec<(Baseline, Vec<FoldMetrics>)> {
    Torch::new(device()).baselines(job, &Control::new()).expect("baselines")
}

/// A metric of a baseline, by fold.
fn values(found: &[(Baseline, Vec<FoldMetrics>)], baseline: Baseline, metric: Metric) -> Vec<f64> {
    let (_, folds) = found.iter().find(|(name, _)| *name == baseline).expect("this baseline");
    let of_fold = |fold: &FoldMetrics| fold.last.get(metric).expect("measured");
    folds.iter().map(of_fold).collect()
}

/// As [`together`], with one feature x and these targets of x, standardised or not.
fn of_line(loss: Loss, standardizes_target: bool, target: impl Fn(f32) -> f32) -> FitJob<DeviceTable> {
    let mut job = together(members());
    let x: Vec<f32> = (0..ROWS).map(|row| (row * 17 % 40) as f32 / 10.0).collect();
    let samples = Samples {
        rows: ROWS,
        shape: trawl_dataset::SampleShape::Vector(1),
        targets: Some(Targets::Numbers(x.iter().map(|x| target(*x)).collect())),
        features: Features::Floats(x),
        inputs: None,
        row_keys: None,
        standardizes_target,
    };
    job.architecture.input = samples.shape;
    job.architecture.loss = loss;
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    job
}

/// Features and targets of the rows that train and of those that validate.
type Halves = [Vec<(f64, f64)>; 2];

fn halves(job: &FitJob<DeviceTable>, fold: u32) -> Halves {
    let all: Vec<u32> = (0..ROWS).collect();
    let Features::Floats(x) = job.data.features(&all).expect("features") else {
        panic!("floats")
    };
    let Some(Targets::Numbers(y)) = job.data.targets().expect("targets") else {
        panic!("numbers")
    };
    let held_out = job.data.held_out(job.split, job.seed, fold).expect("a split");
    let (validate, train): (Vec<u32>, Vec<u32>) = all.iter().partition(|row| held_out.contains(row));
    [train, validate].map(|rows| {
        let row = |row: u32| (f64::from(x[row as usize]), f64::from(y[row as usize]));
        rows.into_iter().map(row).collect()
    })
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

#[track_caller]
fn near(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            (found - wanted).abs() <= 1e-5 * wanted.abs().max(1e-3),
            "{found} {wanted}"
        );
    }
}

#[test]
fn numbers_are_answered_by_the_training_rows_mean_and_by_least_squares() {
    for standardizes in [false, true] {
        let job = of_line(Loss::Mse, standardizes, |x| 1e3 + 20.0 * x + (9.0 * x).sin());
        let found = measured(&job);
        let (mut constant, mut linear) = (Vec::new(), Vec::new());
        for fold in 0..FOLDS {
            let [train, validate] = halves(&job, fold);
            let (x, y) = (mean(train.iter().map(|row| row.0)), mean(train.iter().map(|row| row.1)));
            let slope = train.iter().map(|row| (row.0 - x) * (row.1 - y)).sum::<f64>()
                / train.iter().map(|row| (row.0 - x).powi(2)).sum::<f64>();
            constant.push(mean(validate.iter().map(|row| (row.1 - y).powi(2))));
            linear.push(mean(
                validate.iter().map(|row| (row.1 - y - slope * (row.0 - x)).powi(2)),
            ));
        }
        assert!(linear[0] < 1.0 && constant[0] > 100.0, "{linear:?} {constant:?}");
        // A float has seven digits, and these targets take four of them.
        for (baseline, wanted) in [(Baseline::Constant, constant), (Baseline::Linear, linear)] {
            let values = values(&found, baseline, Metric::ValLoss);
            let apart = values.iter().zip(&wanted).map(|(a, b)| (a - b).abs() / b);
            assert!(
                apart.clone().all(|apart| apart < 2e-3),
                "{baseline}: {values:?} {wanted:?}"
            );
        }
    }
}

/// A step of these is too large for a CPU to train idle networks beside it.
#[test]
fn folds_of_wide_rows_are_answered_apart() {
    const WIDTH: u32 = 20_000;
    let mut job = together(members());
    let target = |row: u32| (row * row) as f32;
    let samples = Samples {
        rows: ROWS,
        shape: trawl_dataset::SampleShape::Vector(WIDTH),
        targets: Some(Targets::Numbers((0..ROWS).map(target).collect())),
        features: Features::Floats(vec![0.5; (ROWS * WIDTH) as usize]),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    job.architecture.input = samples.shape;
    job.architecture.loss = Loss::Mse;
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    let wanted: Vec<f64> = (0..FOLDS)
        .map(|fold| {
            let held_out = job.data.held_out(job.split, job.seed, fold).expect("a split");
            let (validate, train): (Vec<u32>, Vec<u32>) = (0..ROWS).partition(|row| held_out.contains(row));
            let answer = mean(train.iter().map(|row| f64::from(target(*row))));
            mean(validate.iter().map(|row| (f64::from(target(*row)) - answer).powi(2)))
        })
        .collect();
    assert!((wanted[0] - wanted[1]).abs() > 0.01 * wanted[0], "{wanted:?}");
    near(&values(&measured(&job), Baseline::Constant, Metric::ValLoss), &wanted);
}

#[test]
fn absolute_errors_are_answered_by_the_median() {
    let job = of_line(Loss::L1, false, |x| x.powi(4));
    let wanted: Vec<f64> = (0..FOLDS)
        .map(|fold| {
            let [mut train, validate] = halves(&job, fold);
            train.sort_by(|a, b| a.1.total_cmp(&b.1));
            let median = f64::midpoint(train[9].1, train[10].1);
            mean(validate.iter().map(|row| (row.1 - median).abs()))
        })
        .collect();
    near(&values(&measured(&job), Baseline::Constant, Metric::ValLoss), &wanted);
}

#[test]
fn classes_are_answered_by_their_shares_and_by_a_trained_layer() {
    let mut job = apart(members());
    let found = measured(&job);
    let Some(Targets::Classes { labels, .. }) = job.data.targets().expect("targets") else {
        panic!("classes")
    };
    let wanted: Vec<f64> = (0..FOLDS)
        .map(|fold| {
            let held_out = job.data.held_out(job.split, job.seed, fold).expect("a split");
            let share = |label: u32| {
                let train = (0..ROWS).filter(|row| !held_out.contains(row));
                train.filter(|row| labels[*row as usize] == label).count() as f64 / 20.0
            };
            mean(held_out.iter().map(|row| -share(labels[*row as usize]).ln()))
        })
        .collect();
    near(&values(&found, Baseline::Constant, Metric::ValLoss), &wanted);

    // Classes that one feature tells apart.
    let samples = Samples {
        rows: ROWS,
        shape: trawl_dataset::SampleShape::Vector(2),
        features: Features::Floats(
            (0..2 * ROWS)
                .map(|place| (place / 2 % 3 * (place % 2)) as f32)
                .collect(),
        ),
        targets: Some(Targets::Classes {
            labels: (0..ROWS).map(|row| row % 3).collect(),
            names: ["a", "b", "c"].map(str::to_owned).to_vec(),
        }),
        inputs: None,
        row_keys: None,
        standardizes_target: false,
    };
    job.architecture.input = samples.shape;
    job.architecture.layers = vec![Layer::Linear { units: 3 }];
    job.data = Torch::new(device()).load(&samples).expect("samples on the device");
    let found = measured(&job);
    assert_eq!(values(&found, Baseline::Linear, Metric::ValAccuracy), [1.0, 1.0]);
    assert!(
        values(&found, Baseline::Constant, Metric::ValAccuracy)
            .iter()
            .all(|share| *share < 0.5)
    );
}

#[test]
fn yes_and_no_is_answered_by_its_share() {
    let job = of_line(Loss::Bce, false, |x| f32::from(u8::from(x > 3.0)));
    let found = measured(&job);
    let wanted: Vec<f64> = (0..FOLDS)
        .map(|fold| {
            let [train, validate] = halves(&job, fold);
            let yes = mean(train.iter().map(|row| row.1));
            mean(
                validate
                    .iter()
                    .map(|row| -(if row.1 > 0.5 { yes } else { 1.0 - yes }).ln()),
            )
        })
        .collect();
    near(&values(&found, Baseline::Constant, Metric::ValLoss), &wanted);
    let linear = values(&found, Baseline::Linear, Metric::ValLoss);
    assert!(
        linear.iter().zip(&wanted).all(|(linear, constant)| linear < constant),
        "{linear:?} {wanted:?}"
    );
}

#[test]
fn a_baseline_without_a_finite_loss_is_left_out() {
    // The squares of such errors are beyond a float.
    let found = measured(&of_line(Loss::Mse, false, |x| 1e25 * (9.0 * x).sin()));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn there_are_none_once_training_has_to_end() {
    let control = Control::new();
    control.drain();
    let found = Torch::new(device()).baselines(&of_line(Loss::Mse, false, |x| x), &control);
    assert!(found.expect("no error").is_empty());
}
