//! Spaces with dependent parameters.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{SMALL, bits, is_drawn, search};
use crate::search::{GP_RESULTS_MAX, Past, Sampler, Standing, propose};
use crate::seed::Seed;
use crate::space::{Bell, Condition, Constraint, Distribution, ParamValue, Params, Space, cardinality};

fn words<const N: usize>(words: [&str; N]) -> Vec<ParamValue> {
    words.map(|word| ParamValue::Text(word.to_owned())).into()
}

/// Everything that a space can have, with a constraint that a third of the draws meets.
fn dependent() -> Space {
    let (mean, std, low, high) = (-5.0, 1.0, 1e-4, 1e-1);
    let bell = Bell { mean, std, low, high };
    let mut space = Space::from(
        [
            (
                "batch_size",
                Distribution::Ordered([16, 32, 64].map(ParamValue::Int).into()),
            ),
            (
                "layers",
                Distribution::IntLogUniform {
                    low: 1,
                    high: 16,
                    step: 3,
                },
            ),
            ("momentum", Distribution::Uniform { low: 0.0, high: 0.99 }),
            (
                "nesterov",
                Distribution::Choice([true, false].map(ParamValue::Bool).into()),
            ),
            ("optimizer", Distribution::Choice(words(["adam", "sgd", "rmsprop"]))),
            ("rate", Distribution::LogNormal(bell)),
            (
                "smoothing",
                Distribution::UniformSteps {
                    low: 0.0,
                    high: 0.5,
                    step: 0.1,
                },
            ),
            (
                "width",
                Distribution::Normal(Bell {
                    mean: 40.0,
                    std: 30.0,
                    low: 8.0,
                    high: 64.0,
                }),
            ),
        ]
        .map(|(name, distribution)| (name.to_owned(), distribution)),
    );
    let condition = |parent: &str, values| Condition::from([(parent.to_owned(), values)]);
    space.restrict("momentum".to_owned(), condition("optimizer", words(["sgd", "rmsprop"])));
    space.restrict("nesterov".to_owned(), condition("optimizer", words(["sgd"])));
    let constraint = Constraint::read("batch_size > 16 and width * layers < 200", &space);
    space.constrain(constraint.expect("a constraint"));
    space
}

/// Choices and integers alone: 28 configurations.
fn finite() -> Space {
    let (low, high) = (1, 4);
    let mut space = Space::from(
        [
            ("depth", Distribution::IntUniform { low, high, step: 1 }),
            ("kind", Distribution::Choice(words(["a", "b"]))),
            ("skip", Distribution::IntUniform { low, high, step: 1 }),
        ]
        .map(|(name, distribution)| (name.to_owned(), distribution)),
    );
    space.restrict("skip".to_owned(), Condition::from([("kind".to_owned(), words(["b"]))]));
    space.constrain(Constraint::read("skip <= depth", &space).expect("a constraint"));
    space
}

fn samplers() -> impl Strategy<Value = Sampler> {
    prop_oneof![
        Just(Sampler::Random),
        Just(Sampler::Sobol),
        Just(Sampler::Gp(SMALL)),
        Just(Sampler::Tpe(SMALL)),
    ]
}

/// sgd with momentum near 0.9 is best, and adam is better than sgd with another momentum.
fn loss(params: &Params) -> f64 {
    let number = |name: &str| params.get(name).and_then(ParamValue::as_number);
    let rate = number("rate").map_or(0.0, |rate| libm::log(rate / 0.01).abs());
    let optimizer = match params.get("optimizer") {
        Some(ParamValue::Text(word)) if word == "adam" => 0.5,
        _ => number("momentum").map_or(1.0, |momentum| 4.0 * (momentum - 0.9).abs()),
    };
    rate + optimizer
}

fn result(trial: u32, params: &Params) -> Standing {
    match trial % 7 {
        3 => Standing::Failed,
        5 => Standing::Pruned {
            rung: 0,
            key: loss(params),
        },
        _ => Standing::Completed { key: loss(params) },
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(12))]

    #[test]
    fn proposals_have_what_is_active_and_meet_the_constraints(sampler in samplers(), seed: u64) {
        let space = dependent();
        let learns = sampler.generations().is_some();
        let history = search(sampler, seed, &space, 40, result);
        prop_assert_eq!(history.len(), 40);
        for past in &history {
            prop_assert!(space.is_whole(&past.params) && space.allows(&past.params), "{:?}", past.params);
            for (name, value) in &past.params {
                let distribution = space.get(name).expect("a parameter");
                prop_assert!(is_drawn(distribution, value), "{} {:?}", name, past.params);
            }
        }
        let has = |name: &str| history.iter().filter(|past| past.params.contains_key(name)).count();
        // A sampler that learns may stay with one optimizer.
        prop_assert!(learns || (1..40).contains(&has("momentum")));
    }

    #[test]
    fn conditions_take_values_out_and_change_none(seed: u64, trial in 0_u32..1_000_000) {
        let space = dependent();
        let plain: Space = space.iter().map(|(name, distribution)| (name.clone(), distribution.clone())).collect();
        let mut first = propose(&Sampler::Random, Seed(seed), &plain, 0, trial, 1, &[]).remove(0);
        space.settle(&mut first);
        let found = propose(&Sampler::Random, Seed(seed), &space, 0, trial, 1, &[]).remove(0);
        // Forbidden draws are repeated.
        prop_assert_eq!(space.allows(&first), found == first);
    }

    #[test]
    fn a_finite_space_is_searched_whole(sampler in samplers(), seed: u64) {
        let space = finite();
        prop_assert_eq!(cardinality(&space), Some(4 + 10));
        let learns = sampler.generations().is_some();
        let history = search(sampler, seed, &space, 14, result);
        for (index, past) in history.iter().enumerate() {
            prop_assert!(space.allows(&past.params));
            prop_assert!(!learns || history[..index].iter().all(|earlier| earlier.params != past.params));
        }
        let grid = propose(&Sampler::Grid, Seed(seed), &space, 0, 0, 20, &[]);
        prop_assert_eq!(grid.len(), 14);
        for params in &grid {
            prop_assert!(space.is_whole(params) && space.allows(params), "{:?}", params);
            prop_assert_eq!(grid.iter().filter(|other| *other == params).count(), 1);
        }
    }

    #[test]
    fn no_history_is_too_strange(sampler in samplers(), seed: u64, key in any::<f64>()) {
        let space = dependent();
        // A user's configuration: with an inactive parameter, a missing one, and a value outside the space.
        let own = Params::from([
            ("optimizer".to_owned(), ParamValue::Text("lion".to_owned())),
            ("momentum".to_owned(), ParamValue::Float(7.0)),
            ("batch_size".to_owned(), ParamValue::Int(1)),
        ]);
        let history: Vec<Past> = (0..12)
            .map(|trial| Past { trial, params: own.clone(), standing: Standing::Completed { key } })
            .collect();
        for params in propose(&sampler, Seed(seed), &space, 2, 12, 6, &history) {
            prop_assert!(space.is_whole(&params) && space.allows(&params), "{:?}", params);
        }
    }
}

#[test]
fn samplers_that_learn_find_the_better_branch() {
    let space = dependent();
    let mean = |sampler: Sampler| {
        let best = |seed| {
            let history = search(sampler, seed, &space, 60, |_, params| Standing::Completed {
                key: loss(params),
            });
            history
                .iter()
                .map(|past| loss(&past.params))
                .fold(f64::INFINITY, f64::min)
        };
        (0..10).map(best).sum::<f64>() / 10.0
    };
    let (random, gp, tpe) = (
        mean(Sampler::Random),
        mean(Sampler::Gp(SMALL)),
        mean(Sampler::Tpe(SMALL)),
    );
    assert!(
        gp < 0.6 * random && tpe < 0.8 * random,
        "random {random}, gp {gp}, tpe {tpe}"
    );
}

#[test]
fn auto_is_an_estimator_where_parameters_may_be_absent() {
    let last = |sampler, space: &Space| search(sampler, 3, space, 24, result).remove(23).params;
    let (auto, gp, tpe) = (Sampler::Auto(SMALL), Sampler::Gp(SMALL), Sampler::Tpe(SMALL));
    let space = dependent();
    const { assert!(24 < GP_RESULTS_MAX) };
    assert_eq!(last(auto, &space), last(tpe, &space));
    let plain: Space = space
        .iter()
        .map(|(name, distribution)| (name.clone(), distribution.clone()))
        .collect();
    assert_eq!(last(auto, &plain), last(gp, &plain));
}

#[test]
fn proposals_in_a_dependent_space_are_pinned_to_the_last_bit() {
    let samplers = [Sampler::Random, Sampler::Sobol, Sampler::Gp(SMALL), Sampler::Tpe(SMALL)];
    let found = samplers.map(|sampler| bits(&search(sampler, 7, &dependent(), 37, result)[36].params));
    // The constraints forbid the point of the sequence.
    let pinned = [
        "64 1 3fec05eb922de7d5 true sgd 3f5de4f5038c33be 3fe0000000000000 402cd9d983fe7230",
        "64 1 3fec05eb922de7d5 true sgd 3f5de4f5038c33be 3fe0000000000000 402cd9d983fe7230",
        "32 4 adam 3f899793484d9016 0 4048fe0d8d3c3860",
        "64 1 adam 3f8c8a109a60655f 0 40362d618842477a",
    ];
    assert_eq!(found, pinned);
}

#[test]
fn constraints_that_leave_too_little_are_refused() {
    let check = |sampler: Sampler, constraint: &str| {
        let mut space = finite();
        space.constrain(Constraint::read(constraint, &space).expect("a constraint"));
        let checked = sampler.check(Seed(1), &space);
        checked.map_err(|violation| violation.to_string())
    };
    for sampler in [Sampler::Random, Sampler::Grid] {
        assert_eq!(check(sampler, "depth > 1"), Ok(()));
        let refused = check(sampler, "depth > 2 and depth < 3").expect_err("nothing is left");
        assert!(refused.starts_with("constraints: "), "{refused}");
    }
    // A needle in a haystack: the sampler that goes through all configurations finds it.
    let (low, high) = (1, 140);
    let parameter = |name: &str| (name.to_owned(), Distribution::IntUniform { low, high, step: 1 });
    let mut space = Space::from([parameter("a"), parameter("b")]);
    space.constrain(Constraint::read("a == 17 and b == 4", &space).expect("a constraint"));
    assert_eq!(Sampler::Grid.check(Seed(1), &space), Ok(()));
    assert_eq!(Sampler::Grid.trials_max(&space), Some(1));
    let refused = Sampler::Random
        .check(Seed(1), &space)
        .expect_err("it is drawn too rarely");
    assert_eq!(
        refused.to_string(),
        "constraints: rule out each of the first 1000 configurations that are drawn: loosen them, or narrow the ranges to what they \
         allow"
    );
}
