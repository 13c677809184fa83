//! The estimator's parts against reference numbers.

use super::parzen::{Factors, Parzen, normal_factors, weights};
use super::{Tpe, good_len};
use crate::search::encode::{Encoding, Point};
use crate::search::oracle::{assert_close, configuration, configurations, numbers, reference, rows, space};
use crate::search::standing::{Observed, Past, Standing};
use crate::seed::{Purpose, Seed};
use crate::space::{Distribution, ParamValue, Params, Space};

const NAMES: [&str; 3] = ["activation", "layers", "momentum"];

#[test]
fn densities_are_optunas() {
    let space = space(&NAMES);
    let encoding = Encoding::new(&space);
    for case in reference()["parzen"]["cases"].as_array().expect("cases") {
        let points = configurations(&case["points"]);
        let points: Vec<Point> = points.iter().map(|params| encoding.point(params)).collect();
        let density = Parzen::new(&encoding, &points);
        for asked in case["asked"].as_array().expect("points") {
            let point = encoding.point(&configuration(&asked["params"]));
            let expected = asked["ln_density"].as_f64().expect("a number");
            assert_close(
                density.ln_density(&encoding, &point),
                expected,
                1e-9,
                (points.len(), point),
            );
        }
    }
}

#[test]
fn a_tenth_is_good_and_the_last_25_weigh_most() {
    let reference = &reference()["parzen"];
    for row in rows(&reference["good"]) {
        assert_eq!(good_len(row[0] as usize), row[1] as usize, "of {}", row[0]);
    }
    for expected in rows(&reference["weights"]) {
        let found = weights(expected.len());
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            assert_close(found, expected, 1e-15, "a weight");
        }
    }
}

#[test]
fn draws_of_a_kernel_are_a_truncated_normal_distributions() {
    let (low, high) = (0.0, 1.0);
    let space = Space::from([("a".to_owned(), Distribution::Uniform { low, high })]);
    let encoding = Encoding::new(&space);
    for row in rows(&reference()["parzen"]["draws"]) {
        let [centre, width, unit, expected] = row[..] else {
            panic!("{row:?} has four numbers");
        };
        let factors = Factors::normal(vec![centre], vec![width]);
        assert_close(factors.draw(&encoding.axes[0], 0, unit), expected, 1e-12, row);
    }
}

#[test]
fn draws_of_a_density_are_as_frequent_as_it_says() {
    let space = space(&NAMES[..2]);
    let encoding = Encoding::new(&space);
    let points: Vec<Point> = [[0.0, 1.5], [0.0, 2.5], [2.0, 2.5]]
        .map(|[choice, cell]| vec![choice, cell / 6.0])
        .into();
    let density = Parzen::new(&encoding, &points);
    let mut stream = Seed(8).stream(Purpose::Proposal { trial: 0 });
    let draws: Vec<Point> = (0..20_000).map(|_| density.draw(&encoding, &mut stream)).collect();
    let mut sum = 0.0;
    for choice in 0..3 {
        for cell in 0..6 {
            let point = vec![f64::from(choice), (f64::from(cell) + 0.5) / 6.0];
            let probability = libm::exp(density.ln_density(&encoding, &point));
            let is_here = |drawn: &&Point| drawn[0] == point[0] && (drawn[1] - point[1]).abs() < 1e-9;
            let share = draws.iter().filter(is_here).count() as f64 / draws.len() as f64;
            // Five standard deviations.
            let margin = 5.0 * (probability * (1.0 - probability) / draws.len() as f64).sqrt();
            assert!(
                (share - probability).abs() < margin,
                "{point:?}: {share} instead of {probability}"
            );
            sum += probability;
        }
    }
    assert_close(sum, 1.0, 1e-12, "all probabilities");
}

#[test]
fn pending_trials_count_as_others() {
    let (low, high, step) = (1, 9, 1);
    let space = Space::from([("a".to_owned(), Distribution::IntUniform { low, high, step })]);
    let encoding = Encoding::new(&space);
    let past = |trial: u32| Past {
        trial,
        params: Params::from([("a".to_owned(), ParamValue::Int(i64::from(trial) + 1))]),
        standing: if trial == 1 {
            Standing::Pending
        } else {
            Standing::Completed {
                key: f64::from(8 - trial),
            }
        },
    };
    let history: Vec<Past> = (0..8).map(past).collect();
    let mut tpe = Tpe::new(&encoding, &Observed::new(&encoding, &history));
    // The best of seven results is trial 7's, whose value is 8; the others are six results and the pending trials.
    assert_eq!(tpe.groups[0].others.len(), 7);
    let others = |tpe: &Tpe<'_>| Parzen::new(&encoding, &tpe.groups[0].others).ln_density(&encoding, &[8.5 / 9.0]);
    let before = others(&tpe);
    tpe.note_pending(&[8.5 / 9.0]);
    assert!(others(&tpe) > before + 0.1, "{} after {before}", others(&tpe));
    assert_eq!(numbers(&serde_json::json!([tpe.groups[0].others[6][0]])), [1.5 / 9.0]);
}

#[test]
fn a_kernel_reaches_to_the_further_neighbour() {
    let Factors::Normal { widths, .. } = normal_factors(vec![0.5, 0.1, 0.9, 0.2]) else {
        panic!("numbers have normal kernels");
    };
    // 0.1's only neighbour is nearer than the least width of five kernels.
    for (found, expected) in widths.into_iter().zip([0.4, 1.0 / 6.0, 0.4, 0.3, 1.0]) {
        assert_close(found, expected, 1e-12, expected);
    }
}
