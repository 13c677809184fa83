//! Measurements agree with scikit-learn, whatever pieces the rows come in. `tests/reference/make_metrics.py` renews the data.

use serde_json::Value;
use tch::{Device, Tensor};
use trawl_domain::loss::Loss;
use trawl_domain::metric::{Metric, Metrics};

use super::ranking::Ranking;
use super::rows::probabilities;
use super::{Measured, Sums};
use crate::criterion::Criterion;

/// The rounding difference between two orders of the same sums of doubles.
const TOLERANCE: f64 = 1e-12;

fn cases(of: &str) -> Vec<Value> {
    let data: Value = serde_json::from_str(include_str!("../../tests/data/metrics.json")).expect("JSON");
    data[of].as_array().expect("cases").clone()
}

fn numbers(values: &Value) -> Vec<f32> {
    let each = values.as_array().expect("numbers").iter();
    each.map(|value| value.as_f64().expect("a number") as f32).collect()
}

/// Outputs [rows, outputs], and the targets of the rows.
struct Rows {
    outputs: Tensor,
    targets: Tensor,
    loss: Loss,
}

impl Rows {
    fn of_classes(case: &Value) -> Self {
        let outputs: Vec<Vec<f32>> = case["outputs"].as_array().expect("rows").iter().map(numbers).collect();
        let labels = case["labels"].as_array().expect("labels").iter();
        let labels: Vec<i64> = labels.map(|label| label.as_i64().expect("a label")).collect();
        let classes = outputs[0].len();
        Self {
            outputs: Tensor::from_slice(&outputs.concat()).view([-1, classes as i64]),
            targets: Tensor::from_slice(&labels),
            loss: Loss::CrossEntropy,
        }
    }

    fn of_numbers(case: &Value) -> Self {
        Self {
            outputs: Tensor::from_slice(&numbers(&case["outputs"])).view([-1, 1]),
            targets: Tensor::from_slice(&numbers(&case["targets"])).view([-1, 1]),
            loss: Loss::Mse,
        }
    }

    fn of_binary(case: &Value) -> Self {
        let rows = |name: &str| {
            let rows: Vec<Vec<f32>> = case[name].as_array().expect("rows").iter().map(numbers).collect();
            Tensor::from_slice(&rows.concat()).view([rows.len() as i64, -1])
        };
        Self {
            outputs: rows("outputs"),
            targets: rows("targets"),
            loss: Loss::Bce,
        }
    }

    /// Each target with the output for the row at the other end.
    fn flipped(self) -> Self {
        Self {
            outputs: self.outputs.flip([0]),
            ..self
        }
    }

    /// The same rows in the opposite order for a second network.
    fn stack(&self) -> (Tensor, Tensor) {
        let both = |rows: &Tensor| Tensor::stack(&[rows.shallow_clone(), rows.flip([0])], 0);
        (both(&self.outputs), both(&self.targets))
    }

    /// The metrics of both networks, for rows in pieces of this length.
    fn measure(&self, metrics: &[Metric], piece: i64) -> Vec<Metrics> {
        self.measure_f1_of(None, metrics, piece)
    }

    /// The same, with the F1 of one class.
    fn measure_f1_of(&self, f1_class: Option<usize>, metrics: &[Metric], piece: i64) -> Vec<Metrics> {
        let (outputs, targets) = self.stack();
        let rows = outputs.size()[1];
        let criterion = Criterion::plain(self.loss);
        let measured = Measured {
            criterion: &criterion,
            metrics,
            outputs: outputs.size()[2] as usize,
            f1_class,
            rows,
        };
        let mut sums = Sums::new(measured, 2, 2, Device::Cpu);
        for start in (0..rows).step_by(piece as usize) {
            let len = piece.min(rows - start);
            sums.add(&outputs.narrow(1, start, len), &targets.narrow(1, start, len));
        }
        assert!(!sums.want_rows_again());
        sums.metrics()
    }

    fn compare(&self, case: &Value) {
        for piece in [1, 7, 1000] {
            for (network, measured) in self.measure(Metric::ALL, piece).into_iter().enumerate() {
                let expected = case["metrics"].as_object().expect("metrics");
                for (name, expected) in expected {
                    let metric: Metric = name.parse().expect("a metric");
                    let what = format!("{}, network {network}, pieces of {piece}: {name}", case["name"]);
                    let got = measured.get(metric);
                    let Some(expected) = expected.as_f64() else {
                        assert_eq!(got, None, "{what}");
                        assert!(metric.may_lack(), "{what}");
                        continue;
                    };
                    let got = got.unwrap_or_else(|| panic!("{what}: there is none"));
                    let off = (got - expected).abs();
                    assert!(off <= TOLERANCE * expected.abs(), "{what}: {got} is not {expected}");
                }
                // The expected values cover all metrics for such targets.
                let names: Vec<&str> = measured.iter().map(|(metric, _)| metric.as_str()).collect();
                let known = |name: &&str| *name == "val_loss" || expected.contains_key(*name);
                assert!(names.iter().all(known), "{names:?}");
            }
        }
    }
}

#[test]
fn metrics_of_classes_agree_with_scikit_learn() {
    for case in cases("classes") {
        Rows::of_classes(&case).compare(&case);
    }
}

#[test]
fn metrics_of_yes_and_no_agree_with_scikit_learn() {
    for case in cases("binary") {
        Rows::of_binary(&case).compare(&case);
    }
}

#[test]
fn the_mean_f1_is_that_of_the_f1_of_each_class() {
    let mut different = 0;
    for case in cases("classes") {
        let rows = Rows::of_classes(&case);
        let f1 = |class| {
            rows.measure_f1_of(class, &[Metric::ValF1], 7)[0]
                .get(Metric::ValF1)
                .expect("F1")
        };
        let classes = rows.outputs.size()[1] as usize;
        let labels: Vec<i64> = Vec::try_from(&rows.targets).expect("labels");
        let each: Vec<f64> = (0..classes).map(|class| f1(Some(class))).collect();
        if (0..classes as i64).all(|class| labels.contains(&class)) {
            assert_eq!(f1(None), each.iter().sum::<f64>() / classes as f64, "{}", case["name"]);
        }
        different += usize::from(each.iter().any(|one| *one != each[0]));
    }
    assert!(different > 1, "the classes are alike in all but {different} cases");
}

#[test]
fn metrics_of_numbers_agree_with_scikit_learn() {
    for case in cases("numbers") {
        Rows::of_numbers(&case).compare(&case);
    }
}

#[test]
fn what_is_not_wanted_is_not_measured() {
    let case = &cases("classes")[0];
    let names = |metrics: &[Metric]| {
        let measured = Rows::of_classes(case).measure(metrics, 1000)[0];
        measured.iter().map(|(metric, _)| metric).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), [Metric::ValLoss]);
    for metric in Metric::ALL {
        let expected: &[Metric] = match (metric, case["metrics"].get(metric.as_str())) {
            (_, Some(_)) => &[Metric::ValLoss, *metric],
            (_, None) => &[Metric::ValLoss],
        };
        assert_eq!(names(&[*metric]), expected, "{metric}");
    }
}

/// Rows are shown again for scores that did not fit into memory.
#[test]
fn rankings_are_the_same_in_little_memory() {
    for case in cases("classes") {
        let rows = Rows::of_classes(&case);
        let (outputs, targets) = rows.stack();
        let (len, classes) = (targets.size()[1] as usize, rows.outputs.size()[1] as usize);
        let columns = if classes == 2 { 2 } else { 2 * classes };
        let within = |scores_max: usize| {
            let mut ranking = Ranking::within(scores_max, 2, classes, len);
            let mut passes = 1;
            loop {
                ranking.add(&probabilities(&outputs), &targets);
                if !ranking.end_pass() {
                    break;
                }
                passes += 1;
            }
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            (passes, bits(ranking.auc()), bits(ranking.average_precision()))
        };
        let all = within(columns * len);
        assert_eq!((all.0, all.1.len()), (1, 2));
        for (scores_max, passes) in [(1, columns), (3 * len, columns.div_ceil(3))] {
            let some = within(scores_max);
            assert_eq!(some, (passes, all.1.clone(), all.2.clone()), "{}", case["name"]);
        }
    }
}

/// With several targets a metric is the mean over them.
#[test]
fn several_targets_count_alike() {
    let metrics = [Metric::ValMae, Metric::ValMape, Metric::ValRmse, Metric::ValR2];
    let cases = cases("numbers");
    let lens = |case: &Value| numbers(&case["targets"]).len();
    let (one, other) = (&cases[0], cases[1..].iter().find(|case| lens(case) == lens(&cases[0])));
    // If no other case has as many rows, the same rows in reverse.
    let other = other.map_or_else(|| Rows::of_numbers(one).flipped(), Rows::of_numbers);
    let one = Rows::of_numbers(one);
    let both = Rows {
        outputs: Tensor::cat(&[&one.outputs, &(&other.outputs * 3.0)], 1),
        targets: Tensor::cat(&[&one.targets, &(&other.targets * 3.0)], 1),
        loss: Loss::Mse,
    };
    let other = Rows {
        outputs: other.outputs * 3.0,
        targets: other.targets * 3.0,
        loss: Loss::Mse,
    };
    let of = |rows: &Rows, metric: Metric| rows.measure(&metrics, 7)[0].get(metric);
    for metric in metrics {
        let each = [&one, &other].map(|rows| of(rows, metric));
        let ([Some(first), Some(second)], Some(found)) = (each, of(&both, metric)) else {
            panic!("{metric} is there")
        };
        let mean = f64::midpoint(first, second);
        assert!(
            (found - mean).abs() <= TOLERANCE * mean.abs().max(1.0),
            "{metric}: {found} for {mean}"
        );
    }
}
