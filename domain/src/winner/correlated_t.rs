//! Comparison of trials by the folds that they share.

use super::student;

/// A trial is separable from the best one if the best one is better with this probability.
pub const SEPARABLE: f64 = 0.95;

/// A completed trial with its folds' measurements.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    /// Number.
    pub trial: u32,
    /// Keys of the folds, in order; ascending from best to worst.
    pub fold_keys: Vec<f64>,
}

/// Separation of the best trial from the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Separation {
    /// Probability that it is better than the second one; `None` if there is none, or with a single fold.
    pub p_better: Option<f64>,
    /// Trials that the best one beats with a probability below [`SEPARABLE`], by rank.
    pub not_separable_from: Vec<u32>,
}

/// The probability that one trial is better than another, from the keys of equally many folds of each, ascending from best to worst: the
/// Bayesian correlated t-test (Corani and Benavoli, "A Bayesian approach for comparing cross-validated algorithms on multiple data sets",
/// 2015), with the variance of Nadeau and Bengio ("Inference for the generalization error", 2003), since folds share most of their training
/// rows: `test_ratio` is the number of test rows for each training row. `None` for fewer than two folds.
pub fn p_better(one: &[f64], other: &[f64], test_ratio: f64) -> Option<f64> {
    let folds = one.len().min(other.len());
    if folds < 2 {
        return None;
    }
    let gains: Vec<f64> = one.iter().zip(other).map(|(one, other)| other - one).collect();
    let k = folds as f64;
    let mean = gains.iter().sum::<f64>() / k;
    let variance = gains.iter().map(|gain| (gain - mean) * (gain - mean)).sum::<f64>() / (k - 1.0);
    let scale = libm::sqrt(variance * (1.0 / k + test_ratio));
    if scale == 0.0 {
        return Some(match mean.total_cmp(&0.0) {
            std::cmp::Ordering::Less => 0.0,
            _ if mean == 0.0 => 0.5,
            _ => 1.0,
        });
    }
    Some(student::distribution(mean / scale, folds as u32 - 1))
}

/// Separation of the first of these trials, which are sorted by rank; `test_ratio` as for [`p_better`].
pub fn separation(ranked: &[Contender], test_ratio: f64) -> Separation {
    let Some((best, others)) = ranked.split_first() else {
        return Separation {
            p_better: None,
            not_separable_from: Vec::new(),
        };
    };
    let against = |other: &Contender| p_better(&best.fold_keys, &other.fold_keys, test_ratio);
    Separation {
        p_better: others.first().and_then(against),
        not_separable_from: others
            .iter()
            .filter(|other| against(other).is_some_and(|p| p < SEPARABLE))
            .map(|other| other.trial)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Contender, p_better, separation};
    use crate::winner::coverage::reference;

    #[test]
    fn it_is_scipy_s() {
        let cases: Vec<(Vec<f64>, Vec<f64>, f64)> =
            serde_json::from_value(reference()["correlated_t"].clone()).unwrap();
        assert!(cases.len() > 20);
        for (one, other, expected) in cases {
            let ratio = 1.0 / (one.len() as f64 - 1.0);
            let found = p_better(&one, &other, ratio).unwrap();
            assert!((found - expected).abs() < 1e-13, "{found} instead of {expected}");
            let back = p_better(&other, &one, ratio).unwrap();
            assert!((found + back - 1.0).abs() < 1e-13);
        }
    }

    #[test]
    fn folds_that_do_not_differ_say_all_or_nothing() {
        assert_eq!(p_better(&[1.0, 2.0], &[1.0, 2.0], 1.0), Some(0.5));
        assert_eq!(p_better(&[1.0, 2.0], &[1.5, 2.5], 1.0), Some(1.0));
        assert_eq!(p_better(&[1.5, 2.5], &[1.0, 2.0], 1.0), Some(0.0));
        assert_eq!(p_better(&[1.0], &[2.0], 1.0), None);
        assert_eq!(p_better(&[], &[], 1.0), None);
    }

    #[test]
    fn repeats_of_the_same_rows_say_less_than_as_many_folds() {
        let (one, other) = ([1.0, 2.0, 1.5, 1.0, 2.0, 1.5], [1.3, 2.1, 1.9, 1.2, 2.2, 1.4]);
        let twice_three = p_better(&one, &other, 1.0 / 2.0).unwrap();
        let six = p_better(&one, &other, 1.0 / 5.0).unwrap();
        assert!(0.5 < twice_three && twice_three < six, "{twice_three} {six}");
    }

    #[test]
    fn trials_like_the_best_are_named_and_others_are_not() {
        let contender = |trial, offset: f64, swing: f64| Contender {
            trial,
            fold_keys: (0..5)
                .map(|fold| f64::from(fold) + offset + if fold % 2 == 0 { swing } else { -swing })
                .collect(),
        };
        let ranked = [
            contender(4, 0.0, 0.0),
            contender(2, 0.01, 0.1),
            contender(9, 0.3, 0.01),
            contender(1, 0.31, 0.9),
        ];
        let found = separation(&ranked, 0.25);
        assert!(found.p_better.is_some_and(|p| (0.5..0.95).contains(&p)), "{found:?}");
        assert_eq!(found.not_separable_from, [2, 1]);
        assert_eq!(separation(&ranked[..1], 0.25).p_better, None);
        assert_eq!(separation(&[], 0.25).not_separable_from, [0; 0]);
    }
}
