//! What epoch reports and refits measure, and the statistics over folds.

use std::collections::BTreeMap;

use trawl_proto::v1::{EpochReport, RefitSummary};

/// A number that is measured after every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Loss,
    /// The share of rows whose class was predicted; of classifications alone.
    Accuracy,
}

impl Metric {
    pub(crate) const ALL: [Self; 2] = [Self::Loss, Self::Accuracy];

    /// As titles and ids have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
        }
    }

    /// On the training rows.
    pub(crate) fn train(self, report: &EpochReport) -> Option<f64> {
        match self {
            Self::Loss => Some(report.train_loss),
            Self::Accuracy => None,
        }
    }

    /// On the validation rows.
    pub(crate) fn validation(self, report: &EpochReport) -> Option<f64> {
        match self {
            Self::Loss => report.val_loss,
            Self::Accuracy => report.val_accuracy,
        }
    }

    /// On the test rows.
    pub(crate) fn test(self, refit: &RefitSummary) -> Option<f64> {
        match self {
            Self::Loss => refit.test_loss,
            Self::Accuracy => refit.test_accuracy,
        }
    }
}

/// Mean and sample standard deviation over the folds that reported an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) mean: f64,
    /// 0 for a single fold.
    pub(crate) std: f64,
    pub(crate) folds: usize,
}

/// The spread over folds by epoch, of what `number` finds in the reports of folds.
pub(crate) fn over_folds(
    reports: &[EpochReport],
    number: impl Fn(&EpochReport) -> Option<f64>,
) -> BTreeMap<u32, Spread> {
    let mut by_epoch: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    for report in reports.iter().filter(|report| report.fold.is_some()) {
        if let Some(number) = number(report) {
            by_epoch.entry(report.epoch).or_default().push(number);
        }
    }
    by_epoch
        .into_iter()
        .map(|(epoch, numbers)| (epoch, spread(&numbers)))
        .collect()
}

fn spread(numbers: &[f64]) -> Spread {
    let folds = numbers.len();
    let mean = numbers.iter().sum::<f64>() / folds as f64;
    let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
    let std = if folds > 1 {
        (squares / (folds - 1) as f64).sqrt()
    } else {
        0.0
    };
    Spread { mean, std, folds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_mean_and_sample_standard_deviation_of_the_folds() {
        let report = |fold, epoch, val_loss| EpochReport {
            fold,
            epoch,
            val_loss,
            ..Default::default()
        };
        let reports = [
            report(Some(0), 0, Some(1.0)),
            report(Some(1), 0, Some(3.0)),
            report(Some(0), 1, Some(2.0)),
            report(Some(1), 1, None),
            report(None, 0, Some(99.0)),
        ];
        let spreads = over_folds(&reports, |report| Metric::Loss.validation(report));
        let want = [
            (
                0,
                Spread {
                    mean: 2.0,
                    std: 2.0_f64.sqrt(),
                    folds: 2,
                },
            ),
            (
                1,
                Spread {
                    mean: 2.0,
                    std: 0.0,
                    folds: 1,
                },
            ),
        ];
        assert_eq!(spreads, want.into());
    }
}
