//! Coordinates and their values.

use super::{Encoding, Kind};
use crate::space::{Condition, Distribution, ParamValue, Params, Space};

fn space() -> Space {
    let (low, high) = (3, 40);
    let words = ["relu", "tanh"].map(|word| ParamValue::Text(word.to_owned()));
    Space::from(
        [
            ("a", Distribution::Choice(words.into())),
            ("b", Distribution::IntUniform { low, high, step: 4 }),
            ("c", Distribution::IntLogUniform { low, high, step: 1 }),
            ("d", Distribution::LogUniform { low: 1e-5, high: 0.1 }),
            ("e", Distribution::Uniform { low: -2.0, high: 6.0 }),
        ]
        .map(|(name, distribution)| (name.to_owned(), distribution)),
    )
}

#[test]
fn every_value_comes_back_from_its_coordinate() {
    let space = space();
    let encoding = Encoding::new(&space);
    for axis in &encoding.axes {
        for i in 0..200 {
            let coordinate = axis.at(f64::from(i) / 200.0);
            let value = axis.value(coordinate);
            let again = axis.coordinate(Some(&value));
            assert!((again - coordinate).abs() < 1e-12, "{}: {value}", axis.name());
            if axis.kind != Kind::Real {
                assert_eq!(axis.value(again), value, "{}", axis.name());
            }
        }
    }
}

#[test]
fn coordinates_are_the_shares_of_the_draws() {
    let space = space();
    let encoding = Encoding::new(&space);
    let values = [
        ParamValue::Text("tanh".to_owned()),
        ParamValue::Int(7),
        ParamValue::Int(3),
        ParamValue::Float(1e-3),
        ParamValue::Float(0.0),
    ];
    let params: Params = space.keys().cloned().zip(values).collect();
    let point = encoding.point(&params);
    // Ten values of b: 3, 7, …, 39. The cell of 3 in c is from 0 to ln(4/3) of ln(41/3).
    let cell = libm::log(4.0 / 3.0) / libm::log(41.0 / 3.0);
    let expected = [1.0, 0.15, cell / 2.0, 0.5, 0.25];
    for (coordinate, expected) in point.iter().zip(expected) {
        assert!((coordinate - expected).abs() < 1e-12, "{point:?}");
    }
    assert_eq!(encoding.params(&point)["b"], ParamValue::Int(7));
    let (from, to) = encoding.axes[2].cell(point[2]);
    assert!(from.abs() < 1e-12 && (to - cell).abs() < 1e-12, "{from} {to}");
    let (from, to) = encoding.axes[1].cell(point[1]);
    assert!((from - 0.1).abs() < 1e-12 && (to - 0.2).abs() < 1e-12, "{from} {to}");
}

#[test]
fn whole_numbers_have_neighbours_within_their_range() {
    let space = space();
    let encoding = Encoding::new(&space);
    for (axis, first, second) in [(&encoding.axes[1], 3, 7), (&encoding.axes[2], 3, 4)] {
        let coordinate = axis.coordinate(Some(&ParamValue::Int(first)));
        let [below, above] = axis.neighbours(coordinate);
        assert_eq!(below, None);
        assert_eq!(above.map(|above| axis.value(above)), Some(ParamValue::Int(second)));
    }
}

#[test]
fn order_is_seen_and_what_is_not_active_is_in_the_middle() {
    let (low, high, step) = (0.0, 0.5, 0.25);
    let mut space = Space::from(
        [
            ("a", Distribution::Ordered([64, 16, 8, 32].map(ParamValue::Int).into())),
            ("b", Distribution::UniformSteps { low, high, step }),
            ("c", Distribution::Choice([true, false].map(ParamValue::Bool).into())),
            ("d", Distribution::Uniform { low: 0.0, high: 2.0 }),
        ]
        .map(|(name, distribution)| (name.to_owned(), distribution)),
    );
    for name in ["b", "c"] {
        let condition = Condition::from([("a".to_owned(), vec![ParamValue::Int(16)])]);
        space.restrict(name.to_owned(), condition);
    }
    let encoding = Encoding::new(&space);
    let point = |a: i64, rest: &[(&str, ParamValue)]| {
        let all = [("a", ParamValue::Int(a)), ("d", ParamValue::Float(1.0))];
        let all = all.iter().chain(rest);
        encoding.point(&all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    };
    let rest = [("b", ParamValue::Float(0.25)), ("c", ParamValue::Bool(true))];
    assert_eq!(point(16, &rest), [0.375, 0.5, 0.0, 0.5, 1.0]);
    // The choice has a third value, and a further coordinate marks both as inactive.
    assert_eq!(point(8, &[]), [0.625, 0.5, 2.0, 0.5, 0.0]);
    assert_eq!(encoding.dimensions(), 5);
    // A step of `a` deactivates or activates them.
    let mut moved = point(16, &rest);
    moved[0] = 0.125;
    assert_eq!(encoding.settled(moved), point(64, &[]));
    let mut moved = point(8, &[]);
    moved[0] = encoding.axes[0].neighbours(moved[0])[0].expect("16 is before 8");
    let brought = [("b", ParamValue::Float(0.25)), ("c", ParamValue::Bool(false))];
    assert_eq!(encoding.settled(moved), point(16, &brought));
    let active = |a: usize| [0, 1, 2, 3].map(|axis| encoding.is_active(axis, &point([16, 8][a], &rest[..2 - 2 * a])));
    assert_eq!((active(0), active(1)), ([true; 4], [true, false, false, true]));
}

#[test]
fn a_value_from_elsewhere_has_a_place() {
    let space = space();
    let encoding = Encoding::new(&space);
    let point = encoding.point(&Params::from([
        ("a".to_owned(), ParamValue::Text("gelu".to_owned())),
        ("b".to_owned(), ParamValue::Int(1_000)),
        ("c".to_owned(), ParamValue::Int(1)),
        ("d".to_owned(), ParamValue::Float(-1.0)),
    ]));
    assert_eq!(point[0], 2.0);
    assert!(
        point[1] > 0.99 && point[2] < 0.1 && point[3] == 0.0 && point[4] == 0.5,
        "{point:?}"
    );
}
