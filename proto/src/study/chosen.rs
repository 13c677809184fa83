//! Checks configurations that a user chose.

use prost_types::Struct;
use trawl_domain::limits::CHOSEN_TRIALS_MAX;
use trawl_domain::search::completed;
use trawl_domain::seed::Seed;
use trawl_domain::space::{Distribution, Params, Space};
use trawl_domain::violation::Violations;

use super::settings::scalar;

/// Checks the configurations in `trials`, numbered from `first_trial` on; returns their valid values.
pub fn check(trials: &[Struct], seed: Seed, space: &Space, first_trial: u32, v: &mut Violations) -> Vec<Params> {
    if trials.len() > CHOSEN_TRIALS_MAX {
        v.add(
            "trials",
            format!("must be at most {CHOSEN_TRIALS_MAX}, and {} are not", trials.len()),
        );
        return Vec::new();
    }
    let one = |(index, trial): (usize, &Struct)| {
        let mut params = Params::new();
        for (name, value) in &trial.fields {
            let field = format!("trials[{index}].{name}");
            let Some(distribution) = space.get(name) else {
                v.add(field, format!("there is no parameter '{name}' in the space"));
                continue;
            };
            let Some(value) = scalar(&field, value, v) else {
                continue;
            };
            if distribution.contains(&value) {
                params.insert(name.clone(), value);
            } else {
                v.add(field, format!("must be {}, and {value} is not", told(distribution)));
            }
        }
        if params.len() == trial.fields.len() && completed(seed, space, first_trial + index as u32, &params).is_none() {
            v.add(
                format!("trials[{index}]"),
                "is no configuration: one of its parameters is never active beside the others, or a constraint is broken",
            );
        }
        params
    };
    trials.iter().enumerate().map(one).collect()
}

/// Describes the allowed values.
fn told(distribution: &Distribution) -> String {
    match distribution {
        Distribution::Choice(values) | Distribution::Ordered(values) => {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            format!("one of {}", values.join(", "))
        }
        Distribution::Uniform { low, high } | Distribution::LogUniform { low, high } => {
            format!("a number from {low} to {high}")
        }
        Distribution::Normal(bell) | Distribution::LogNormal(bell) => {
            format!("a number from {} to {}", bell.low, bell.high)
        }
        Distribution::UniformSteps { low, high, .. } => {
            // Rounded, as values are: after 0.1, a step of 0.2 is at 0.3, not at 0.30000000000000004.
            let second = distribution.nth(1).map(|second| format!("{second}, "));
            format!("one of {low}, {}… up to {high}", second.unwrap_or_default())
        }
        Distribution::IntUniform { low, high, step: 1 } | Distribution::IntLogUniform { low, high, step: 1 } => {
            format!("a whole number from {low} to {high}")
        }
        Distribution::IntUniform { low, high, step } | Distribution::IntLogUniform { low, high, step } => {
            format!("one of {low}, {}, … up to {high}", low + step)
        }
    }
}
