//! Parts of spaces.

use std::collections::BTreeSet;

use super::{Bell, Condition, Configurations, Constraint, Distribution, ParamValue, Params, Space, cardinality};
use crate::search::oracle::{assert_close, reference, rows};
use crate::seed::{Purpose, Seed};

/// The first draws of a distribution for trial 3 under seed 7.
fn draws(distribution: &Distribution) -> Vec<ParamValue> {
    let mut stream = Seed(7).stream(Purpose::Param { trial: 3, name: "l2" });
    (0..3).map(|_| distribution.sample(&mut stream)).collect()
}

fn floats(bits: [u64; 3]) -> Vec<ParamValue> {
    bits.map(|bits| ParamValue::Float(f64::from_bits(bits))).into()
}

#[test]
fn draws_are_pinned_to_the_last_bit() {
    // A stored study depends on these numbers: a change here is a change of every study's trials.
    let values: Vec<ParamValue> = (0..5).map(ParamValue::Int).collect();
    let ints = |values: [i64; 3]| Vec::from(values.map(ParamValue::Int));
    let (low, high) = (1e-5, 1e-1);
    assert_eq!(draws(&Distribution::Choice(values)), ints([0, 2, 2]));
    let uniform = [0x3f8f_128a_6457_6c18, 0x3fae_9913_be81_cf48, 0x3fa9_d26a_b193_7d10];
    assert_eq!(draws(&Distribution::Uniform { low, high }), floats(uniform));
    let log_uniform = [0x3f05_306d_29b1_ef2c, 0x3f64_1f82_063a_cc59, 0x3f51_0b27_e2c6_ff10];
    assert_eq!(draws(&Distribution::LogUniform { low, high }), floats(log_uniform));
    let (low, high, step) = (3, 200, 3);
    assert_eq!(
        draws(&Distribution::IntUniform { low, high, step }),
        ints([33, 120, 102])
    );
    let step = 1;
    assert_eq!(
        draws(&Distribution::IntLogUniform { low, high, step }),
        ints([5, 37, 25])
    );
}

#[test]
fn draws_of_steps_and_bells_are_pinned_too() {
    let steps = Distribution::UniformSteps {
        low: 0.1,
        high: 0.9,
        step: 0.05,
    };
    let (low, high, step) = (8, 256, 8);
    let found = [
        steps,
        Distribution::IntLogUniform { low, high, step },
        Distribution::Normal(bell(0.02, 0.01)),
        Distribution::LogNormal(bell(-7.0, 2.0)),
    ]
    .map(|distribution| {
        let values = draws(&distribution).into_iter();
        let bits = values.map(|value| value.as_number().expect("a number").to_bits());
        bits.collect::<Vec<u64>>()
    });
    let pinned = [
        [0x3fc9_9999_9999_999a, 0x3fe3_3333_3333_3333, 0x3fe0_0000_0000_0000],
        [0x4020_0000_0000_0000, 0x4050_0000_0000_0000, 0x4044_0000_0000_0000],
        [0x3f85_7f7f_b09f_eae3, 0x3f97_40f0_90c5_35ac, 0x3f94_e158_43bd_835e],
        [0x3f20_6913_6a95_9cc0, 0x3f58_638e_752d_4c92, 0x3f4e_b70b_804f_67cd],
    ];
    assert_eq!(found, pinned);
}

#[test]
fn quantiles_go_through_every_value_in_order() {
    let (low, high) = (2, 9);
    let finite = [
        Distribution::Choice((0..7).map(ParamValue::Int).collect()),
        Distribution::IntUniform { low, high, step: 3 },
        Distribution::IntLogUniform { low, high, step: 1 },
        Distribution::IntLogUniform { low, high, step: 3 },
        Distribution::Ordered([16, 9, 128].map(|n| ParamValue::Text(n.to_string())).into()),
        Distribution::UniformSteps {
            low: 0.5,
            high: 4.0,
            step: 0.75,
        },
    ];
    for distribution in finite {
        let mut found: Vec<ParamValue> = (0..1000)
            .map(|i| distribution.quantile(f64::from(i) / 1000.0))
            .collect();
        found.dedup();
        let count = distribution.cardinality().expect("a finite distribution");
        let all: Vec<ParamValue> = (0..count).filter_map(|index| distribution.nth(index)).collect();
        assert_eq!(found, all, "{distribution:?}");
        let numbers: Vec<u64> = all.iter().filter_map(|value| distribution.index(value)).collect();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{distribution:?}");
        for elsewhere in [ParamValue::Int(-1), ParamValue::Int(10), ParamValue::Float(2.5)] {
            assert_eq!(distribution.index(&elsewhere), None, "{distribution:?} {elsewhere}");
        }
    }
}

#[test]
fn the_largest_quantile_stays_below_the_upper_end() {
    let last = 1.0_f64.next_down();
    let (low, high) = (1e-5, 1e-1);
    for distribution in [
        Distribution::Uniform { low, high },
        Distribution::LogUniform { low, high },
        Distribution::Normal(bell(0.0, 0.01)),
        Distribution::LogNormal(bell(-7.0, 2.0)),
    ] {
        let value = distribution.quantile(last).as_number().expect("a number");
        assert!((low..high).contains(&value), "{value}");
    }
    let widest = Distribution::IntUniform {
        low: -(1 << 53),
        high: 1 << 53,
        step: 1,
    };
    assert!(
        widest
            .quantile(last)
            .as_number()
            .is_some_and(|value| value <= 9_007_199_254_740_992.0)
    );
    assert_eq!(widest.cardinality(), Some((1 << 54) + 1));
}

#[test]
fn a_space_is_as_large_as_the_product_of_its_ranges() {
    let (low, high) = (1, 6);
    let mut space = Space::from([("a".to_owned(), Distribution::IntUniform { low, high, step: 2 })]);
    assert_eq!(cardinality(&Space::new()), Some(1));
    assert_eq!(cardinality(&space), Some(3));
    space.insert("b".to_owned(), Distribution::IntLogUniform { low, high, step: 1 });
    assert_eq!(cardinality(&space), Some(18));
    let all: Vec<Params> = {
        let all = Configurations::new(&space).expect("a finite space");
        assert_eq!(all.nth(18), None);
        (0..18).filter_map(|index| all.nth(index)).collect()
    };
    assert_eq!(
        all[1],
        Params::from([
            ("a".to_owned(), ParamValue::Int(1)),
            ("b".to_owned(), ParamValue::Int(2))
        ])
    );
    assert_eq!(
        all[17],
        Params::from([
            ("a".to_owned(), ParamValue::Int(5)),
            ("b".to_owned(), ParamValue::Int(6))
        ])
    );
    space.insert("c".to_owned(), Distribution::Uniform { low: 0.0, high: 1.0 });
    assert_eq!(cardinality(&space), None);
    let wide = Distribution::IntLogUniform {
        low,
        high: 1 << 53,
        step: 1,
    };
    let beyond = ["a", "b"].map(|name| (name.to_owned(), wide.clone()));
    assert_eq!(cardinality(&Space::from(beyond)), None);
}

fn bell(mean: f64, std: f64) -> Bell {
    let (low, high) = (1e-5, 1e-1);
    Bell { mean, std, low, high }
}

#[test]
fn bells_are_scipys() {
    for row in rows(&reference()["bells"]) {
        let [mean, std, low, high, unit, normal, log_normal] = row[..] else {
            panic!("{row:?} has seven numbers");
        };
        let bell = Bell { mean, std, low, high };
        for (distribution, expected) in [
            (Distribution::Normal(bell), normal),
            (Distribution::LogNormal(bell), log_normal),
        ] {
            let value = distribution.quantile(unit).as_number().expect("a number");
            assert_close(value / expected, 1.0, 1e-9, &row);
            let share = distribution.share(value).expect("a continuous range");
            assert_close(share, unit, 1e-9, &row);
        }
    }
}

#[test]
fn steps_reach_their_upper_end_despite_rounding() {
    let values = |low, high, step| -> Vec<f64> {
        let distribution = Distribution::UniformSteps { low, high, step };
        let count = distribution.cardinality().expect("a finite distribution");
        let values = (0..count).filter_map(|index| distribution.nth(index)?.as_number());
        values.collect()
    };
    assert_eq!(values(0.0, 0.3, 0.1), [0.0, 0.1, 0.2, 0.3]);
    assert_eq!(values(0.0, 0.39, 0.1).last(), Some(&0.3));
    assert_eq!(values(-1.0, 1.0, 0.5), [-1.0, -0.5, 0.0, 0.5, 1.0]);
    assert_eq!(values(0.2, 0.3, 1.0), [0.2]);
    let steps = Distribution::UniformSteps {
        low: 0.0,
        high: 0.3,
        step: 0.1,
    };
    // The setting's check sees the whole range, and whether all values are whole numbers.
    let [low, high, step] = [ParamValue::Int(0), ParamValue::Float(0.3), ParamValue::Float(0.1)];
    assert_eq!(steps.extremes(), [low, high, step]);
    assert_eq!(steps.nth(4), None);
}

#[test]
fn an_end_of_a_range_is_told_as_it_was_written() {
    let (low, high) = (1e-5, 1e-1);
    for distribution in [
        Distribution::Uniform { low, high },
        Distribution::LogUniform { low, high },
        Distribution::Normal(bell(0.05, 0.01)),
    ] {
        let extremes = distribution.extremes();
        let told: Vec<_> = extremes.iter().map(|end| distribution.written_end(end)).collect();
        assert_eq!(told, [Some(low), Some(high)]);
        assert_eq!(distribution.written_end(&ParamValue::Float(0.05)), None);
    }
    let finite = Distribution::Choice(vec![ParamValue::Float(low)]);
    assert_eq!(finite.written_end(&ParamValue::Float(low)), None);
}

fn words<const N: usize>(words: [&str; N]) -> Vec<ParamValue> {
    words.map(|word| ParamValue::Text(word.to_owned())).into()
}

fn named<const N: usize>(values: [(&str, ParamValue); N]) -> Params {
    values.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Parameters of an optimizer, and parameters of these: `b` has a parent that comes after it by name.
fn conditional() -> Space {
    let (low, high) = (1, 3);
    let mut space = Space::from(
        [
            ("b", Distribution::IntUniform { low, high, step: 1 }),
            ("c", Distribution::Choice(words(["x", "y"]))),
            ("free", Distribution::Choice(words(["u", "v"]))),
            ("optimizer", Distribution::Choice(words(["adam", "sgd", "rmsprop"]))),
        ]
        .map(|(name, distribution)| (name.to_owned(), distribution)),
    );
    let condition = |parent: &str, values| Condition::from([(parent.to_owned(), values)]);
    space.restrict("b".to_owned(), condition("optimizer", words(["sgd"])));
    space.restrict(
        "c".to_owned(),
        condition("b", vec![ParamValue::Int(2), ParamValue::Int(3)]),
    );
    space
}

#[test]
fn what_is_not_active_is_not_there() {
    let space = conditional();
    let all = |optimizer: &str, b| {
        let mut words = words([optimizer, "x", "u"]).into_iter();
        let mut word = || words.next().expect("a word");
        let mut params = named([("optimizer", word()), ("c", word()), ("free", word())]);
        params.insert("b".to_owned(), ParamValue::Int(b));
        assert_eq!(space.is_whole(&params), optimizer == "sgd" && b > 1);
        space.settle(&mut params);
        assert!(space.is_whole(&params));
        params.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(all("sgd", 2), ["b", "c", "free", "optimizer"]);
    assert_eq!(all("sgd", 1), ["b", "free", "optimizer"]);
    // Neither are the parameters that depend on it.
    assert_eq!(all("adam", 2), ["free", "optimizer"]);
    assert_eq!(space.lacking(), BTreeSet::from(["b", "c"]));
}

#[test]
fn a_condition_that_always_holds_makes_nothing_absent() {
    let mut space = conditional();
    let all = words(["adam", "sgd", "rmsprop"]);
    space.restrict("b".to_owned(), Condition::from([("optimizer".to_owned(), all)]));
    assert_eq!(space.lacking(), BTreeSet::from(["c"]));
    let b = Condition::from([("c".to_owned(), words(["x"]))]);
    assert_eq!(space.circular(), Vec::<&str>::new());
    space.restrict("b".to_owned(), b);
    assert_eq!(space.circular(), ["b", "c"]);
}

#[test]
fn configurations_without_a_parameter_come_once() {
    let mut space = conditional();
    // adam and rmsprop, sgd with b = 1, and sgd with each other b and each c; each with either value of free.
    let count = (2 + 1 + 2 * 2) * 2;
    assert_eq!(cardinality(&space), Some(count));
    let listed = |space: &Space| -> Vec<Params> {
        let all = Configurations::new(space).expect("a finite space");
        (0..all.count()).filter_map(|index| all.nth(index)).collect()
    };
    let all = listed(&space);
    assert_eq!(all.len() as u64, count);
    for (index, params) in all.iter().enumerate() {
        assert!(space.is_whole(params), "{params:?}");
        assert!(!all[..index].contains(params), "{params:?} comes twice");
    }
    // The values of c's condition do not exist.
    let constraint = Constraint::read("c == 'x' or b == 3", &space).expect("a constraint");
    space.constrain(constraint);
    let allowed = listed(&space);
    let expected: Vec<Params> = all.into_iter().filter(|params| space.allows(params)).collect();
    assert_eq!(expected.len(), 12);
    assert_eq!(allowed, expected);
    space.constrain(Constraint::read("free == 'u' and free == 'v'", &space).expect("a constraint"));
    assert_eq!(cardinality(&space), Some(0));
}

#[test]
fn too_many_combinations_are_not_gone_through() {
    let (low, high) = (1, 400);
    let mut space =
        Space::from(["a", "b"].map(|name| (name.to_owned(), Distribution::IntUniform { low, high, step: 1 })));
    assert_eq!(cardinality(&space), Some(160_000));
    space.constrain(Constraint::read("a < b", &space).expect("a constraint"));
    assert_eq!(cardinality(&space), None);
}
