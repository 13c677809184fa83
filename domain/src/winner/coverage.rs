//! Studies with a known truth: how often the interval contains it. And reference numbers: `tests/data/winner.json`, by
//! `tests/data/winner_oracle.py`.

use serde_json::Value;

use super::{Interval, RowLosses, mean_interval};
use crate::seed::{Purpose, Seed, Stream};

/// Reference numbers.
pub(super) fn reference() -> Value {
    serde_json::from_str(include_str!("../../tests/data/winner.json")).expect("reference numbers")
}

/// How studies of a kind are made. A row is harder or easier for all trials alike; that is the share `shared` of its
/// losses' variance. The truths of trials differ by `spread` standard errors.
#[derive(Clone, Copy, Debug)]
struct Kind {
    are_misses: bool,
    trials: usize,
    rows: usize,
    shared: f64,
    spread: f64,
}

/// Standard normal (Box and Muller).
fn normal(stream: &mut Stream) -> f64 {
    let (radius, angle) = (1.0 - stream.unit(), stream.unit());
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(std::f64::consts::TAU * angle)
}

impl Kind {
    /// The trials' losses, and their true values.
    fn study(self, stream: &mut Stream) -> (Vec<Vec<f32>>, Vec<f64>) {
        let hardness: Vec<f64> = (0..self.rows).map(|_| normal(stream)).collect();
        let (shared, own) = (libm::sqrt(self.shared), libm::sqrt(1.0 - self.shared));
        let mut trial = || {
            let offset = self.spread / libm::sqrt(self.rows as f64) * normal(stream);
            let mut deviation = |hardness: &f64| shared * hardness + own * normal(stream) + offset;
            if self.are_misses {
                // One row in five is missed by a trial with the mean value.
                let threshold = 0.841_621_233_572_914_3;
                let miss = |hardness| f32::from(deviation(hardness) > threshold);
                let losses = hardness.iter().map(miss).collect();
                return (
                    losses,
                    0.5 * libm::erfc((threshold - offset) / std::f64::consts::SQRT_2),
                );
            }
            let losses = hardness
                .iter()
                .map(|hardness| (3.0 + deviation(hardness)) as f32)
                .collect();
            (losses, 3.0 + offset)
        };
        (0..self.trials).map(|_| trial()).unzip()
    }
}

fn has(interval: Interval, truth: f64) -> bool {
    (interval.low..=interval.high).contains(&truth)
}

/// Number of studies, out of 200, whose interval contains the best trial's true value; and the same for the interval of its plain mean.
fn covered(kind: Kind) -> (u32, u32) {
    let mut counts = (0, 0);
    for study in 0..200 {
        let (losses, truths) = kind.study(&mut Seed(study).stream(Purpose::Grid));
        let mean = |losses: &Vec<f32>| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
        let means: Vec<f64> = losses.iter().map(mean).collect();
        let best = (0..means.len())
            .min_by(|a, b| means[*a].total_cmp(&means[*b]))
            .expect("trials");
        let mut stream = Seed(study).stream(Purpose::WinnerRows);
        let naive = mean_interval(&losses[best], &mut stream.clone()).expect("an interval");
        let corrected = RowLosses::new(&losses).and_then(|losses| losses.corrected(&mut stream));
        counts.0 += u32::from(has(corrected.expect("an interval").interval, truths[best]));
        counts.1 += u32::from(has(naive, truths[best]));
    }
    counts
}

#[test]
fn intervals_of_90_percent_have_the_truth_in_about_90_percent_of_studies() {
    let losses = Kind {
        are_misses: false,
        trials: 40,
        rows: 100,
        shared: 0.5,
        spread: 1.0,
    };
    let kinds = [
        losses,
        Kind { shared: 0.9, ..losses },
        Kind { spread: 3.0, ..losses },
        Kind {
            are_misses: true,
            spread: 2.0,
            ..losses
        },
    ];
    for kind in kinds {
        let (covered, naive) = covered(kind);
        assert!((170..=190).contains(&covered), "{covered} of 200: {kind:?}");
        // If rows are hard for all trials alike, or trials differ widely, the choice adds little bias.
        if kind.shared < 0.8 && kind.spread < 2.0 {
            assert!(naive < 170, "{naive} of 200 without a correction: {kind:?}");
        }
    }
}
