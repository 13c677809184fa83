//! The bootstrap: draws rows repeatedly, with replacement.

use crate::seed::Stream;

/// Number of draws.
pub const DRAWS: usize = 1_000;
/// Most trials that can win a draw: the best ones. Later ones win none.
pub const TRIALS_MAX: usize = 64;
/// Losses of all trials together. With [`DRAWS`], it bounds the work to some seconds.
pub const LOSSES_MAX: usize = 1 << 21;

/// Number of best trials whose losses fit, with this many rows each: at least two.
pub fn trials_that_fit(rows: usize) -> usize {
    (LOSSES_MAX / rows.max(1)).clamp(2, TRIALS_MAX)
}

/// Interval of a number, with a probability of 90 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    const LEVEL: f64 = 0.9;

    /// From the 5th to the 95th percentile; `None` without values.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - Self::LEVEL) / 2.0;
        Some(Self {
            low: percentile(&values, tail)?,
            high: percentile(&values, 1.0 - tail)?,
        })
    }
}

/// The percentile of ascending values, interpolated between two.
fn percentile(ascending: &[f64], share: f64) -> Option<f64> {
    let place = share * (ascending.len().checked_sub(1)? as f64);
    let below = place as usize;
    let low = ascending[below];
    let high = ascending.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * (place - below as f64))
}

/// The losses of completed trials on the same rows.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLosses {
    /// Row by row, with one loss for each trial.
    losses: Vec<f32>,
    trials: usize,
}

/// The value of the best trial, corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrected {
    /// Mean loss.
    pub loss: f64,
    /// Its interval.
    pub interval: Interval,
}

impl RowLosses {
    /// Each trial's losses, in the order of the rows; among equal trials the first one wins. `None` unless there are at
    /// least two rows, equally many for each trial, and all losses are finite.
    pub fn new(trials: &[Vec<f32>]) -> Option<Self> {
        let rows = trials.first()?.len();
        let are_alike = trials.iter().all(|losses| losses.len() == rows);
        let are_finite = || trials.iter().flatten().all(|loss| loss.is_finite());
        if rows < 2 || !are_alike || !are_finite() {
            return None;
        }
        let row = |row| trials.iter().map(move |losses: &Vec<f32>| losses[row]);
        Some(Self {
            losses: (0..rows).flat_map(row).collect(),
            trials: trials.len(),
        })
    }

    /// The value of choosing the best of these trials, by bootstrap bias-corrected cross-validation (Tsamardinos, Greasidou and
    /// Borboudakis, "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation", 2018): the trial that is
    /// best on rows drawn with replacement is scored on the rows left out. The mean of these scores is the value of the choice.
    ///
    /// The interval uses the same scores. They scatter more than a mean over all rows, because a draw leaves out only some 37 % of the
    /// rows: with one trial, a score's variance is s²/out - s²/rows, and the mean's is s²/rows. So each score's distance from their mean is
    /// scaled to all rows by √(out / (rows - out)). With several trials, scores also scatter because different trials win, and so does the
    /// interval.
    pub fn corrected(&self, stream: &mut Stream) -> Option<Corrected> {
        let scores: Vec<Score> = (0..DRAWS).filter_map(|_| self.draw(stream)).collect();
        let loss = scores.iter().map(|score| score.loss).sum::<f64>() / scores.len() as f64;
        let of_all_rows = scores.iter().map(|score| loss + (score.loss - loss) * score.shrinkage);
        Some(Corrected {
            loss,
            interval: Interval::of(of_all_rows.collect())?,
        })
    }

    /// The score of one draw; `None` if no row is left out.
    fn draw(&self, stream: &mut Stream) -> Option<Score> {
        let rows = self.losses.len() / self.trials;
        let times = draw_rows(rows, stream);
        let mut drawn = vec![0.0; self.trials];
        let mut left_out = vec![0.0; self.trials];
        let mut out = 0_u32;
        for (losses, times) in self.losses.chunks_exact(self.trials).zip(times) {
            let (sums, weight) = if times == 0 {
                out += 1;
                (&mut left_out, 1.0)
            } else {
                (&mut drawn, f64::from(times))
            };
            for (sum, loss) in sums.iter_mut().zip(losses) {
                *sum += weight * f64::from(*loss);
            }
        }
        let best = (0..self.trials).min_by(|one, other| drawn[*one].total_cmp(&drawn[*other]).then(one.cmp(other)))?;
        let kept = rows as f64 - f64::from(out);
        (out > 0).then(|| Score {
            loss: left_out[best] / f64::from(out),
            shrinkage: libm::sqrt(f64::from(out) / kept),
        })
    }
}

/// The score of a draw.
struct Score {
    /// Mean loss, on the rows left out, of the trial that was best on the others.
    loss: f64,
    /// Factor that scales its distance from the truth to all rows.
    shrinkage: f64,
}

/// How often each row occurs in a draw of as many rows.
fn draw_rows(rows: usize, stream: &mut Stream) -> Vec<u32> {
    let mut times = vec![0; rows];
    for _ in 0..rows {
        times[stream.below(rows as u64) as usize] += 1;
    }
    times
}

/// Interval of the mean loss on rows that influenced no choice; `None` unless there are at least two and all are finite.
pub fn mean_interval(losses: &[f32], stream: &mut Stream) -> Option<Interval> {
    let rows = losses.len();
    if rows < 2 || !losses.iter().all(|loss| loss.is_finite()) {
        return None;
    }
    let mean = |_| {
        let drawn = (0..rows).map(|_| f64::from(losses[stream.below(rows as u64) as usize]));
        drawn.sum::<f64>() / rows as f64
    };
    Interval::of((0..DRAWS).map(mean).collect())
}

#[cfg(test)]
mod tests {
    use super::{Interval, LOSSES_MAX, RowLosses, TRIALS_MAX, mean_interval, percentile, trials_that_fit};
    use crate::seed::{Purpose, Seed, Stream};
    use crate::winner::coverage::reference;

    fn stream() -> Stream {
        Seed(7).stream(Purpose::WinnerRows)
    }

    /// Equally good trials, with losses of single rows.
    fn alike(trials: usize, rows: usize) -> Vec<Vec<f32>> {
        let mut stream = Seed(3).stream(Purpose::Grid);
        let mut losses = || (0..rows).map(|_| stream.unit_f32()).collect();
        (0..trials).map(|_| losses()).collect()
    }

    #[test]
    fn percentiles_are_numpy_s() {
        let cases: Vec<(Vec<f64>, f64, f64)> = serde_json::from_value(reference()["percentile"].clone()).unwrap();
        assert!(cases.len() > 5);
        for (values, share, expected) in cases {
            let found = percentile(&values, share).unwrap();
            assert!((found - expected).abs() < 1e-14, "{found} instead of {expected}");
        }
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_best_of_equals_is_no_better_than_they_are() {
        let trials = alike(40, 200);
        let mean = |losses: &Vec<f32>| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / 200.0;
        let best = trials.iter().map(mean).fold(f64::INFINITY, f64::min);
        let found = RowLosses::new(&trials).unwrap().corrected(&mut stream()).unwrap();
        assert!(best < 0.465, "{best}");
        assert!((found.loss - 0.5).abs() < 0.01, "{found:?}");
        assert!(found.interval.low < 0.5 && 0.5 < found.interval.high, "{found:?}");
    }

    #[test]
    fn a_single_trial_has_the_interval_of_its_mean() {
        // By Student's t, with SciPy: t.interval(0.9, n - 1, mean, standard error).
        let (losses, low, high): (Vec<f32>, f64, f64) =
            serde_json::from_value(reference()["mean_interval"].clone()).unwrap();
        let width = high - low;
        let is_close = |found: Interval| {
            assert!((found.low - low).abs() < 0.06 * width, "{found:?} {low} {high}");
            assert!((found.high - high).abs() < 0.06 * width, "{found:?} {low} {high}");
        };
        is_close(mean_interval(&losses, &mut stream()).unwrap());
        is_close(
            RowLosses::new(&[losses])
                .unwrap()
                .corrected(&mut stream())
                .unwrap()
                .interval,
        );
    }

    #[test]
    fn a_clear_winner_is_worth_what_it_measured() {
        let mut trials = alike(10, 400);
        trials[3].iter_mut().for_each(|loss| *loss -= 1.0);
        let alone = RowLosses::new(&trials[3..4]).unwrap().corrected(&mut stream());
        let among = RowLosses::new(&trials).unwrap().corrected(&mut stream());
        assert_eq!(alone, among);
    }

    #[test]
    fn the_same_losses_give_the_same_numbers() {
        let losses = RowLosses::new(&alike(5, 30)).unwrap();
        assert_eq!(losses.corrected(&mut stream()), losses.corrected(&mut stream()));
        let other = losses.corrected(&mut Seed(8).stream(Purpose::WinnerRows));
        assert_ne!(losses.corrected(&mut stream()), other);
    }

    #[test]
    fn losses_that_say_nothing_are_refused() {
        for none in [
            vec![],
            vec![vec![]],
            vec![vec![1.0]],
            vec![vec![1.0, 2.0], vec![1.0]],
            vec![vec![1.0, f32::NAN]],
            vec![vec![f32::INFINITY, 1.0]],
        ] {
            assert_eq!(RowLosses::new(&none), None, "{none:?}");
        }
        assert_eq!(mean_interval(&[1.0], &mut stream()), None);
        assert_eq!(mean_interval(&[1.0, f32::NAN], &mut stream()), None);
    }

    #[test]
    fn the_work_is_bounded() {
        assert_eq!(trials_that_fit(1_000), TRIALS_MAX);
        assert_eq!(trials_that_fit(100_000), 20);
        assert_eq!(trials_that_fit(usize::MAX), 2);
        for rows in [1, 1_000, 60_000, 100_000] {
            assert!(rows * trials_that_fit(rows) <= LOSSES_MAX);
        }
    }
}
