//! Racing: trials of a generation are trained rung by rung, each time on more folds and for more epochs, and the worse ones are
//! dropped in between.
//!
//! Decisions are a function of the study and of the generation's measurements at the rung: on the same folds, the same rows, the
//! same epochs. So neither the workers nor their order matter, and a partial trial is never compared with a whole one. Folds come
//! before epochs, because one fold for all epochs ranks configurations better than all folds for a few.

use crate::fold::Validation;
use crate::pareto;

/// The part of a trial that is trained before a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// Folds, from 1 to the validation's number.
    pub folds: u32,
    /// Share of the epochs, above 0 and at most 1.
    pub share: f64,
}

/// Settings of racing.
#[derive(Clone, Debug, PartialEq)]
pub struct Racing {
    /// Ascending in folds and share; the last one is a whole trial.
    ladder: Vec<Rung>,
    /// Share of the trials that go on from each rung but the last, above 0 and below 1.
    keep: f64,
}

/// A trial that reached a rung.
#[derive(Clone, Debug, PartialEq)]
pub struct AtRung {
    /// Number.
    pub trial: u32,
    /// Its rank keys there, of each objective; `None` if it diverged or failed.
    pub keys: Option<Vec<f64>>,
}

impl Racing {
    /// Default share of the trials that go on.
    pub const KEEP: f64 = 0.5;

    /// The default ladder: one fold for a ninth, for a third and for all of the epochs; then all folds.
    pub fn usual(validation: Validation) -> Vec<Rung> {
        let shares = [1.0 / 9.0, 1.0 / 3.0, 1.0].into_iter();
        let mut ladder: Vec<Rung> = shares.map(|share| Rung { folds: 1, share }).collect();
        if validation.folds() > 1 {
            ladder.push(Self::whole(validation));
        }
        ladder
    }

    /// A whole trial.
    fn whole(validation: Validation) -> Rung {
        Rung {
            folds: validation.folds(),
            share: 1.0,
        }
    }

    /// Racing on an ascending ladder; whole trials are added as the last rung if missing. If all trials have `epochs`, a rung
    /// that trains nothing beyond the one before is left out. `None` if only one rung is left: then nothing is raced.
    pub fn new(mut ladder: Vec<Rung>, keep: f64, validation: Validation, epochs: Option<u32>) -> Option<Self> {
        let whole = Self::whole(validation);
        if ladder.last() != Some(&whole) {
            ladder.push(whole);
        }
        if let Some(epochs) = epochs {
            ladder.dedup_by_key(|rung| (rung.folds, rung.epochs(epochs)));
        }
        (ladder.len() > 1).then_some(Self { ladder, keep })
    }

    /// The rung with whole trials.
    pub fn last_rung(&self) -> u32 {
        self.ladder.len() as u32 - 1
    }

    /// The rungs, from the lowest.
    pub fn ladder(&self) -> &[Rung] {
        &self.ladder
    }

    /// Share of the trials that go on from each rung but the last.
    pub fn keep(&self) -> f64 {
        self.keep
    }

    /// The folds of a trial that a rung trains, and up to which epoch, for a trial with `epochs`. Generations begin
    /// with different folds, so that no single fold decides which configurations are good.
    pub fn folds(&self, generation: u32, rung: u32, validation: Validation, epochs: u32) -> (Vec<u32>, u32) {
        let Rung { folds, .. } = self.ladder[rung as usize];
        let all = validation.folds();
        let mut trained: Vec<u32> = (0..folds).map(|fold| (generation + fold) % all).collect();
        trained.sort_unstable();
        (trained, self.ladder[rung as usize].epochs(epochs))
    }

    /// Number of trials that go on from a rung, out of `trials`: at least one.
    pub fn kept(&self, trials: u32) -> u32 {
        ((f64::from(trials) * self.keep).ceil() as u32).clamp(1, trials.max(1))
    }

    /// The trials that go on, ascending, out of all that reached a rung: the best ones, and among equals those with lower numbers. With
    /// several objectives, the best are the first by their [places](pareto::places). Trials that diverged or failed do not go on.
    pub fn promote(&self, came: &[AtRung]) -> Vec<u32> {
        let mut measured: Vec<(u32, &[f64])> = came
            .iter()
            .filter_map(|at| Some((at.trial, at.keys.as_deref()?)))
            .collect();
        measured.sort_unstable_by_key(|(trial, _)| *trial);
        let (trials, keys): (Vec<u32>, Vec<&[f64]>) = measured.into_iter().unzip();
        let kept = self.kept(came.len() as u32) as usize;
        let places = pareto::places(&keys);
        let promoted = trials.into_iter().zip(places).filter(|(_, place)| *place < kept);
        promoted.map(|(trial, _)| trial).collect()
    }

    /// Epoch reports of a generation of `trials` trials with `epochs` each, if none diverges: the largest possible number.
    pub fn epoch_reports(&self, trials: u32, epochs: u32) -> u64 {
        let mut trials = trials;
        let mut reports = 0;
        let mut before = (0, 0);
        for rung in &self.ladder {
            let end = rung.epochs(epochs);
            let (folds, done) = before;
            let further = u64::from(folds) * u64::from(end - done);
            let new = u64::from(rung.folds - folds) * u64::from(end);
            reports += u64::from(trials) * (further + new);
            before = (rung.folds, end);
            trials = self.kept(trials);
        }
        reports
    }
}

impl Rung {
    /// Its epochs out of `of`: the share, rounded, and at least one.
    fn epochs(self, of: u32) -> u32 {
        ((f64::from(of) * self.share).round() as u32).clamp(1, of)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::{AtRung, Racing, Rung};
    use crate::fold::Validation;

    fn usual(validation: Validation, epochs: u32) -> Option<Racing> {
        Racing::new(Racing::usual(validation), Racing::KEEP, validation, Some(epochs))
    }

    fn rungs(racing: &Racing, validation: Validation, epochs: u32) -> Vec<(Vec<u32>, u32)> {
        (0..=racing.last_rung())
            .map(|rung| racing.folds(7, rung, validation, epochs))
            .collect()
    }

    #[test]
    fn the_usual_ladder_cuts_folds_before_epochs() {
        let k_fold = Validation::k_fold(5);
        let racing = usual(k_fold, 81).expect("four rungs");
        assert_eq!(
            rungs(&racing, k_fold, 81),
            [(vec![2], 9), (vec![2], 27), (vec![2], 81), (vec![0, 1, 2, 3, 4], 81)]
        );
        // 16 on 9 epochs, 8 on 18 more, 4 on 54 more, and 2 on the four other folds.
        assert_eq!(racing.epoch_reports(16, 81), 16 * 9 + 8 * 18 + 4 * 54 + 2 * 4 * 81);
    }

    #[test]
    fn without_folds_the_ladder_has_epochs_alone() {
        let holdout = Validation::holdout(0.2);
        let racing = usual(holdout, 9).expect("three rungs");
        assert_eq!(rungs(&racing, holdout, 9), [(vec![0], 1), (vec![0], 3), (vec![0], 9)]);
    }

    #[test]
    fn rungs_that_train_nothing_more_are_none() {
        let holdout = Validation::holdout(0.2);
        assert_eq!(usual(holdout, 1), None);
        let racing = usual(holdout, 2).expect("two rungs");
        assert_eq!(rungs(&racing, holdout, 2), [(vec![0], 1), (vec![0], 2)]);
        let k_fold = Validation::k_fold(2);
        let racing = usual(k_fold, 1).expect("two rungs");
        assert_eq!(rungs(&racing, k_fold, 1), [(vec![1], 1), (vec![0, 1], 1)]);
    }

    #[test]
    fn a_ladder_ends_with_whole_trials() {
        let validation = Validation::k_fold(3);
        let short = vec![Rung { folds: 2, share: 0.5 }];
        let racing = Racing::new(short, 0.25, validation, None).expect("two rungs");
        assert_eq!(racing.ladder().last(), Some(&Rung { folds: 3, share: 1.0 }));
        assert_eq!(racing.folds(1, 0, validation, 10), (vec![1, 2], 5));
    }

    #[test]
    fn the_best_go_on_and_of_equal_ones_the_first() {
        let racing = usual(Validation::k_fold(5), 81).expect("four rungs");
        let at = |trial, key: Option<f64>| AtRung {
            trial,
            keys: key.map(|key| vec![key]),
        };
        let came = [
            at(16, Some(0.5)),
            at(17, None),
            at(18, Some(0.25)),
            at(19, Some(0.5)),
            at(20, Some(-1.0)),
        ];
        assert_eq!(racing.promote(&came), [16, 18, 20]);
        // Diverged trials count among those that reached the rung, and do not go on.
        assert_eq!(
            racing.promote(&[at(0, None), at(1, None), at(2, Some(1.0)), at(3, None)]),
            [2]
        );
        assert_eq!(racing.promote(&[at(0, None)]), [0_u32; 0]);
        // With several objectives: the ends of the front, before the points between them.
        let front = [[0.0, 3.0], [1.0, 1.0], [3.0, 0.0], [3.0, 3.0]];
        let came = (0..).zip(front).map(|(trial, keys)| AtRung {
            trial,
            keys: Some(keys.into()),
        });
        assert_eq!(racing.promote(&came.collect::<Vec<_>>()), [0, 2]);
    }

    proptest! {
        #[test]
        fn a_generation_narrows_to_one_at_least(trials in 1_u32..600, epochs in 1_u32..400, keep in 0.01..0.99) {
            let validation = Validation::k_fold(5);
            let racing = Racing::new(Racing::usual(validation), keep, validation, Some(epochs));
            let racing = racing.expect("folds alone make two rungs");
            prop_assert!((1..=trials).contains(&racing.kept(trials)));
            let whole = u64::from(trials) * 5 * u64::from(epochs);
            prop_assert!(racing.epoch_reports(trials, epochs) <= whole);
        }
    }
}
