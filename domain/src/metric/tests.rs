//! Values of metrics, of folds and of trials.

use super::{At, FoldMetrics, Goal, Metric, Metrics, Objective, TrialValue, is_loss};
use crate::limits::{FOLDS_MAX, LOSS_MAX};

fn objective(metric: Metric, at: At) -> Objective {
    Objective {
        metric,
        goal: metric.goal(),
        at,
    }
}

/// A fold of these epochs, each with a loss and an accuracy.
fn fold(epochs: &[(f64, f64)]) -> FoldMetrics {
    let mut fold = FoldMetrics::default();
    for (loss, accuracy) in epochs {
        fold.note(Metrics::from_iter([
            (Metric::ValLoss, *loss),
            (Metric::ValAccuracy, *accuracy),
        ]));
    }
    fold
}

#[test]
fn the_value_of_the_largest_metrics_is_finite() {
    for metric in Metric::ALL {
        let largest = [LOSS_MAX, -LOSS_MAX, 1.0, 0.0]
            .into_iter()
            .find(|value| metric.takes(*value));
        let worst = largest.expect("a value");
        let fold = FoldMetrics {
            last: Metrics::from_iter([(*metric, worst)]),
            best: Metrics::default(),
        };
        let value = objective(*metric, At::Last).of_trial(&vec![fold; FOLDS_MAX as usize], 1);
        let value = value.expect("there are folds");
        assert!(
            value.mean.is_finite() && value.std.is_some_and(f64::is_finite),
            "{metric}: {value:?}"
        );
    }
    assert!(is_loss(LOSS_MAX) && is_loss(-LOSS_MAX));
    for no_loss in [1e101, -1.7e308, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert!(!is_loss(no_loss), "{no_loss}");
    }
}

#[test]
fn a_metric_takes_what_it_can_be() {
    for metric in Metric::ALL {
        assert!(metric.takes(metric.perfect()), "{metric}");
        for none in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(!metric.takes(none), "{metric} {none}");
        }
        let beyond = match metric.goal() {
            Goal::Maximize => 1.1,
            Goal::Minimize => -1.1,
        };
        assert_eq!(metric.takes(beyond), metric.is_loss(), "{metric}");
    }
}

#[test]
fn a_trial_is_the_mean_of_its_folds() {
    let folds = [
        fold(&[(0.5, 0.75), (1.0, 0.5)]),
        fold(&[(0.5, 0.75), (2.0, 0.5)]),
        fold(&[(2.0, 0.75), (6.0, 0.5)]),
    ];
    let last = objective(Metric::ValLoss, At::Last);
    assert_eq!(
        last.of_trial(&folds, 1),
        Some(TrialValue {
            mean: 3.0,
            std: Some(7.0_f64.sqrt()),
            seed_std: None,
        })
    );
    // The same numbers as with two seeds: folds 0 and 1 of each.
    let value = last.of_trial(&[&folds[..], &folds[..1]].concat(), 2);
    assert_eq!(
        value.map(|value| value.mean),
        last.of_trial(&[&folds[..], &folds[..1]].concat(), 1)
            .map(|value| value.mean)
    );
    assert!(value.and_then(|value| value.seed_std).is_some_and(|std| std > 0.0));
    let best = objective(Metric::ValLoss, At::Best);
    assert_eq!(best.of_trial(&folds, 1).map(|v| v.mean), Some(1.0));
    assert_eq!(
        best.of_trial(&folds[..1], 1),
        Some(TrialValue {
            mean: 0.5,
            std: None,
            seed_std: None
        })
    );
    assert_eq!(best.of_trial(&[], 1), None);
    let accuracy = objective(Metric::ValAccuracy, At::Best);
    assert_eq!(accuracy.of_trial(&folds, 1).map(|v| v.mean), Some(0.75));
    let without = FoldMetrics {
        best: Metrics::default(),
        ..folds[0]
    };
    assert_eq!(accuracy.of_trial(&[folds[0], without], 1), None);
}
