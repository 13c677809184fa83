//! Grid search: every configuration of a finite space once.

use std::ops::Range;

use crate::limits::TRIALS_MAX;
use crate::seed::{Purpose, Seed};
use crate::space::{COMBINATIONS_MAX, Configurations, Params, Space, cardinality};
use crate::violation::Violation;

/// Most configurations of a grid: a study's largest number of trials.
pub const CONFIGURATIONS_MAX: u64 = TRIALS_MAX as u64;

/// Checks that a space is a grid.
///
/// # Errors
/// A violation of `sampler.grid`, which names the parameters with infinitely many values; or of `constraints`, which allow nothing.
pub(super) fn check(space: &Space) -> Result<(), Violation> {
    let continuous = space
        .iter()
        .filter(|(_, distribution)| distribution.cardinality().is_none());
    let continuous: Vec<&str> = continuous.map(|(name, _)| name.as_str()).collect();
    let description = match (continuous.as_slice(), cardinality(space)) {
        ([], Some(0)) => {
            return Err(Violation {
                field: "constraints".to_owned(),
                description: "no configuration of the space meets all of them".to_owned(),
            });
        }
        ([], Some(1..=CONFIGURATIONS_MAX)) => return Ok(()),
        ([], Some(count)) => format!("the space has {count} configurations; a grid has at most {CONFIGURATIONS_MAX}"),
        ([], None) if space.is_conditional() || !space.constraints().is_empty() => format!(
            "needs at most {CONFIGURATIONS_MAX} configurations, and at most {COMBINATIONS_MAX} combinations of the parameters that \
             conditions and constraints speak of, and the space has more"
        ),
        ([], None) => {
            format!("the space has more than {CONFIGURATIONS_MAX} configurations, which is as many as a grid has")
        }
        (names, _) => format!(
            "needs a finite number of configurations, and these are continuous: {}; choice, ordered, int_uniform, int_log_uniform and uniform with a step are not",
            names.join(", ")
        ),
    };
    Err(Violation {
        field: "sampler.grid".to_owned(),
        description,
    })
}

/// The configurations of these trials, up to the end of the grid. Empty if the space is no grid.
pub(super) fn configurations(seed: Seed, space: &Space, trials: Range<u32>) -> Vec<Params> {
    let all = Configurations::new(space).filter(|all| all.count() <= CONFIGURATIONS_MAX);
    let Some(all) = all else {
        return Vec::new();
    };
    let order = seed.stream(Purpose::Grid).permutation(all.count() as usize);
    let indices = trials.map_while(|trial| order.get(trial as usize));
    indices.filter_map(|index| all.nth(u64::from(*index))).collect()
}

#[cfg(test)]
mod tests {
    use super::{check, configurations};
    use crate::seed::Seed;
    use crate::space::{Configurations, Distribution, ParamValue, Space};

    fn space() -> Space {
        let (low, high) = (1, 5);
        Space::from([
            (
                "a".to_owned(),
                Distribution::Choice([2, 4, 8].map(ParamValue::Int).into()),
            ),
            ("b".to_owned(), Distribution::IntUniform { low, high, step: 2 }),
            ("c".to_owned(), Distribution::IntLogUniform { low, high, step: 1 }),
        ])
    }

    #[test]
    fn every_configuration_comes_once() {
        let space = space();
        assert_eq!(check(&space), Ok(()));
        let mut found = Vec::new();
        // Requested in pieces, and beyond the end.
        for first in (0..48).step_by(16) {
            found.extend(configurations(Seed(3), &space, first..first + 16));
        }
        assert_eq!(found.len(), 45);
        let all = Configurations::new(&space).expect("a finite space");
        for index in 0..45 {
            let params = all.nth(index).expect("a configuration");
            assert_eq!(found.iter().filter(|found| **found == params).count(), 1, "{params:?}");
        }
    }

    #[test]
    fn the_seed_shuffles_the_grid() {
        let space = space();
        let of_seed = |seed| configurations(Seed(seed), &space, 0..45);
        assert_ne!(of_seed(1), of_seed(2));
        // Half of it has seen every value of every parameter.
        for (name, distribution) in &space {
            let half = &of_seed(1)[..22];
            for index in 0..distribution.cardinality().expect("a finite distribution") {
                let value = distribution.nth(index).expect("a value");
                assert!(half.iter().any(|params| params[name] == value), "{name} {value}");
            }
        }
    }

    #[test]
    fn what_has_no_end_is_no_grid() {
        let mut space = space();
        let (low, high) = (0.0, 1.0);
        space.insert("d".to_owned(), Distribution::Uniform { low, high });
        let violation = check(&space).expect_err("a continuous range");
        assert_eq!(violation.field, "sampler.grid");
        assert!(violation.description.contains("continuous: d;"), "{violation}");
        assert!(configurations(Seed(3), &space, 0..4).is_empty());
        let (low, high) = (1, 1_000_000);
        space.insert("d".to_owned(), Distribution::IntLogUniform { low, high, step: 1 });
        let violation = check(&space).expect_err("too many");
        assert!(violation.description.contains("45000000 configurations"), "{violation}");
    }
}
