//! Early stopping: a member's best epoch, and when the member stops.

use serde::{Deserialize, Serialize};
use trawl_domain::metric::Metrics;
use trawl_domain::optimizer::EarlyStopping;

/// A member's losses and metrics of one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochLosses {
    /// Mean over the training rows.
    pub train_loss: f64,
    /// On the validation rows.
    pub metrics: Metrics,
}

/// The state of a member with a patience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its best epoch; `None` before the first one ended.
    pub best: Option<EpochLosses>,
    /// Epochs since then.
    waited: u32,
}

/// The role of an epoch for a member with a patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The best one so far: its weights are kept.
    Best,
    /// Not better than the best one.
    Endured,
    /// Not better, like as many before it as the patience allows: the member stops.
    Stopped,
}

impl Standing {
    /// Records the next epoch of a member that has not stopped. An epoch without the metric is worse than any with it.
    pub fn note(&mut self, rule: EarlyStopping, losses: EpochLosses) -> Verdict {
        let key = |losses: &EpochLosses| {
            let value = losses.metrics.get(rule.metric);
            value.map_or(f64::INFINITY, |value| rule.metric.goal().key(value))
        };
        if self.best.is_none_or(|best| key(&losses) < key(&best) - rule.min_delta) {
            self.best = Some(losses);
            self.waited = 0;
            return Verdict::Best;
        }
        self.waited += 1;
        if self.has_stopped(rule) {
            Verdict::Stopped
        } else {
            Verdict::Endured
        }
    }

    /// True once its patience has run out.
    pub fn has_stopped(&self, rule: EarlyStopping) -> bool {
        self.waited >= rule.patience
    }
}

#[cfg(test)]
mod tests {
    use trawl_domain::metric::{Metric, Metrics};
    use trawl_domain::optimizer::EarlyStopping;

    use super::{EpochLosses, Standing, Verdict};

    fn epoch(metric: Metric, value: Option<f64>) -> EpochLosses {
        EpochLosses {
            train_loss: 1.0,
            metrics: Metrics::from_iter(value.map(|value| (metric, value))),
        }
    }

    /// The verdicts on epochs with these values.
    fn verdicts(rule: EarlyStopping, values: &[Option<f64>]) -> Vec<Verdict> {
        let mut standing = Standing::default();
        let mut note = |value: &Option<f64>| standing.note(rule, epoch(rule.metric, *value));
        values.iter().map(&mut note).collect()
    }

    #[test]
    fn a_member_stops_after_its_patience() {
        use Verdict::{Best, Endured, Stopped};
        let rule = EarlyStopping {
            patience: 2,
            min_delta: 0.0,
            metric: Metric::ValLoss,
        };
        let losses = [3.0, 2.0, 2.0, 1.5, 1.6, 1.5].map(Some);
        assert_eq!(verdicts(rule, &losses), [Best, Best, Endured, Best, Endured, Stopped]);
        let rule = EarlyStopping { min_delta: 0.5, ..rule };
        // An improvement of half a unit does not exceed the threshold.
        assert_eq!(
            verdicts(rule, &[3.0, 2.5, 2.4, 1.0].map(Some)),
            [Best, Endured, Best, Best]
        );
        let rule = EarlyStopping {
            min_delta: 0.0,
            metric: Metric::ValR2,
            ..rule
        };
        let scores = [None, None, Some(-2.0), Some(-3.0), Some(0.1), None, Some(0.0)];
        assert_eq!(
            verdicts(rule, &scores),
            [Best, Endured, Best, Endured, Best, Endured, Stopped]
        );
    }

    #[test]
    fn a_standing_goes_through_json_to_the_last_bit() {
        let rule = EarlyStopping {
            patience: 2,
            min_delta: 0.0,
            metric: Metric::ValLoss,
        };
        let mut standing = Standing::default();
        standing.note(rule, epoch(Metric::ValLoss, Some(0.1 + 0.2)));
        standing.note(rule, epoch(Metric::ValLoss, Some(7.0)));
        let json = serde_json::to_string(&standing).expect("JSON");
        assert_eq!(serde_json::from_str::<Standing>(&json).expect("a standing"), standing);
    }
}
