//! Stop: ends a search before its last trial.
//!
//! All conditions except time are decided generation by generation, from the results that a generation may know: so the set of trials
//! depends only on the study. Time does not: the trials that began in time depend on the workers, and the record shows which did.

use crate::search::{Generations, Past, Standing};

/// Conditions that end a search; the first one that holds does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stop {
    /// Hours after the submission, above 0. No trial begins later; trials that have begun are trained to their end.
    pub hours: Option<f64>,
    /// Epochs trained, over all folds.
    pub fold_epochs: Option<u64>,
    /// A trial with this rank key or a better one.
    pub rank_key: Option<f64>,
    /// Consecutive generations without a new best value, at least 1.
    pub generations_without_gain: Option<u32>,
    /// Failed trials, at least 1.
    pub failed_trials: Option<u32>,
}

impl Stop {
    /// True if results decide any of it.
    pub fn looks_at_results(&self) -> bool {
        self.fold_epochs.is_some()
            || self.rank_key.is_some()
            || self.generations_without_gain.is_some()
            || self.failed_trials.is_some()
    }

    /// The reason to end the search, in words, if there is one. `known` has the trials with known results, in the order
    /// of their numbers; `fold_epochs` is the number of epochs of their folds.
    pub fn reason(&self, known: &[Past], generations: Generations, fold_epochs: u64) -> Option<String> {
        let failed = known.iter().filter(|past| past.standing == Standing::Failed).count();
        if let Some(most) = self.failed_trials.filter(|most| failed >= *most as usize) {
            return Some(format!("{failed} trials failed (stop.failed_trials: {most})"));
        }
        if let Some(wanted) = self.rank_key
            && let Some((trial, _)) = keys(known).find(|(_, key)| *key <= wanted)
        {
            return Some(format!(
                "trial {trial} reached the value that was asked for (stop.value)"
            ));
        }
        if let Some(most) = self.fold_epochs.filter(|most| fold_epochs >= *most) {
            return Some(format!(
                "{fold_epochs} epochs of folds were trained (stop.fold_epochs: {most})"
            ));
        }
        let patience = self.generations_without_gain?;
        let last = generations.of(known.last()?.trial);
        let best = keys(known).fold(None, |best: Option<(u32, f64)>, (trial, key)| match best {
            Some((_, least)) if least <= key => best,
            _ => Some((trial, key)),
        });
        // Before any trial completes, there is no gain to wait for: failed_trials covers that.
        let since = last - generations.of(best?.0);
        (since >= patience)
            .then(|| format!("{since} generations brought no better value (stop.generations_without_gain: {patience})"))
    }
}

/// The completed trials, with their rank keys.
fn keys(known: &[Past]) -> impl Iterator<Item = (u32, f64)> {
    known.iter().filter_map(|past| match past.standing {
        Standing::Completed { key } => Some((past.trial, key)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::Stop;
    use crate::search::{Generations, Past, Standing};
    use crate::space::Params;

    fn past(standings: &[Standing]) -> Vec<Past> {
        (0..)
            .zip(standings)
            .map(|(trial, standing)| Past {
                trial,
                params: Params::new(),
                standing: *standing,
            })
            .collect()
    }

    const PAIRS: Generations = Generations { size: 2, lag: 1 };

    fn done(keys: &[f64]) -> Vec<Past> {
        past(
            &keys
                .iter()
                .map(|key| Standing::Completed { key: *key })
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_search_without_bounds_goes_on() {
        assert_eq!(Stop::default().reason(&done(&[1.0, 0.0]), PAIRS, u64::MAX), None);
        assert!(
            !Stop {
                hours: Some(1.0),
                ..Stop::default()
            }
            .looks_at_results()
        );
    }

    #[test]
    fn a_value_as_good_as_wanted_ends_it() {
        let stop = Stop {
            rank_key: Some(0.5),
            ..Stop::default()
        };
        assert_eq!(stop.reason(&done(&[1.0, 0.6]), PAIRS, 0), None);
        let said = stop.reason(&done(&[1.0, 0.6, 0.5, 0.1]), PAIRS, 0);
        assert_eq!(
            said.as_deref(),
            Some("trial 2 reached the value that was asked for (stop.value)")
        );
    }

    #[test]
    fn failures_and_epochs_are_counted() {
        let failed = past(&[Standing::Failed, Standing::Completed { key: 1.0 }, Standing::Failed]);
        let stop = |failed_trials| Stop {
            failed_trials,
            ..Stop::default()
        };
        assert_eq!(stop(Some(3)).reason(&failed, PAIRS, 0), None);
        let said = stop(Some(2)).reason(&failed, PAIRS, 0);
        assert_eq!(said.as_deref(), Some("2 trials failed (stop.failed_trials: 2)"));
        let stop = Stop {
            fold_epochs: Some(10),
            ..Stop::default()
        };
        assert_eq!(stop.reason(&failed, PAIRS, 9), None);
        let said = stop.reason(&failed, PAIRS, 12);
        assert_eq!(
            said.as_deref(),
            Some("12 epochs of folds were trained (stop.fold_epochs: 10)")
        );
    }

    #[test]
    fn generations_without_a_better_value_are_counted_from_the_first_best() {
        let stop = Stop {
            generations_without_gain: Some(2),
            ..Stop::default()
        };
        // The best value is from generation 0; an equal one in generation 1 is no gain.
        assert_eq!(stop.reason(&done(&[1.0, 0.5, 0.5, 2.0]), PAIRS, 0), None);
        let said = stop.reason(&done(&[1.0, 0.5, 0.5, 2.0, 3.0, 4.0]), PAIRS, 0);
        assert_eq!(
            said.as_deref(),
            Some("2 generations brought no better value (stop.generations_without_gain: 2)")
        );
        assert_eq!(stop.reason(&past(&[Standing::Failed; 8]), PAIRS, 0), None);
    }
}
