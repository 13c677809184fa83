//! Checks the sampler.

use trawl_domain::limits::{GENERATION_TRIALS_MAX, LEARNING_TRIALS_MAX, PENDING_TRIALS_MAX};
use trawl_domain::search::{Generations, Sampler};
use trawl_domain::seed::Seed;
use trawl_domain::space::Space;
use trawl_domain::violation::Violations;

use crate::v1;
use v1::sampler::Kind;

/// Least number of trials of a generation: a single one has no comparison.
const TRIALS_MIN: u32 = 2;

/// The sampler and its generations; each if it is valid.
pub(super) fn check(
    sampler: Option<&v1::Sampler>,
    seed: Seed,
    space: &Space,
    max_trials: u32,
    v: &mut Violations,
) -> (Option<Sampler>, Option<Generations>) {
    let left_out = v1::Sampler::default();
    let sampler = sampler.unwrap_or(&left_out);
    let sound = generations(sampler, v);
    let generations = sound.unwrap_or_default();
    let made = match sampler.kind {
        None if max_trials <= LEARNING_TRIALS_MAX => Sampler::Auto(generations),
        None | Some(Kind::Random(_)) => Sampler::Random,
        Some(Kind::Grid(_)) => Sampler::Grid,
        Some(Kind::Sobol(_)) => Sampler::Sobol,
        Some(Kind::Gp(_)) => Sampler::Gp(generations),
        Some(Kind::Tpe(_)) => Sampler::Tpe(generations),
        Some(Kind::Auto(_)) => Sampler::Auto(generations),
    };
    if let Err(violation) = made.check(seed, space) {
        v.add(violation.field, violation.description);
        return (None, sound);
    }
    if made.generations().is_none() {
        if sampler.lag.is_some() {
            v.add(
                "sampler.lag",
                "is for gp, tpe and auto alone, which learn: leave it out",
            );
        }
    } else {
        if max_trials > LEARNING_TRIALS_MAX {
            let learns =
                format!("must be at most {LEARNING_TRIALS_MAX} where the sampler learns, and {max_trials} is not");
            v.add("max_trials", learns);
        }
        let pending = generations.startup_trials();
        if pending > PENDING_TRIALS_MAX {
            let Generations { size, lag } = generations;
            v.add(
                "sampler.generation",
                format!(
                    "times (lag + 1) must be at most {PENDING_TRIALS_MAX}, and {size} x {} is not",
                    u64::from(lag) + 1
                ),
            );
        }
    }
    (Some(made), sound)
}

fn generations(sampler: &v1::Sampler, v: &mut Violations) -> Option<Generations> {
    let usual = Generations::default();
    let generations = Generations {
        size: sampler.generation.unwrap_or(usual.size),
        lag: sampler.lag.unwrap_or(usual.lag),
    };
    if !(TRIALS_MIN..=GENERATION_TRIALS_MAX).contains(&generations.size) {
        let size = generations.size;
        v.add(
            "sampler.generation",
            format!("must be from {TRIALS_MIN} to {GENERATION_TRIALS_MAX}, and {size} is not"),
        );
        return None;
    }
    Some(generations)
}
