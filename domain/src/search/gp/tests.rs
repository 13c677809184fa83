//! The process's parts against reference numbers.

use super::fit::{fit, ln_likelihood, ln_posterior};
use super::kernel::{Kernel, Theta};
use super::posterior::Posterior;
use super::{Gp, kept, outputs};
use crate::search::encode::{Encoding, Point};
use crate::search::oracle::{assert_close, configuration, configurations, numbers, reference, space};
use crate::search::seen::Seen;
use crate::search::standing::{Observed, Past, Standing};
use crate::seed::{Purpose, Seed};
use crate::space::{Distribution, ParamValue, Params, Space};

const NAMES: [&str; 5] = ["activation", "l2", "layers", "momentum", "units"];

#[test]
fn covariances_are_materns_with_hammings_distance_for_choices() {
    let reference = &reference()["process"];
    let space = space(&NAMES);
    let encoding = Encoding::new(&space);
    let kernel = Kernel::new(&encoding, &numbers(&reference["theta"]));
    let points: Vec<Point> = points(&encoding, &configurations(&reference["points"]));
    for (point, expected) in points.iter().zip(numbers(&reference["covariance"])) {
        assert_close(kernel.covariance(&points[0], point), expected, 1e-13, point);
    }
}

#[test]
fn the_likelihood_and_its_gradient_are_those_of_the_formula() {
    let reference = &reference()["process"];
    let space = space(&NAMES);
    let encoding = Encoding::new(&space);
    let points = points(&encoding, &configurations(&reference["points"]));
    let points: Vec<&Point> = points.iter().collect();
    let (theta, outputs) = (numbers(&reference["theta"]), numbers(&reference["outputs"]));
    let (value, gradient) = ln_likelihood(&encoding, &points, &outputs, &theta);
    assert_close(
        value,
        reference["ln_likelihood"].as_f64().expect("a number"),
        1e-12,
        "value",
    );
    let expected = numbers(&reference["gradient"]);
    assert_eq!(gradient.len(), expected.len());
    for (index, expected) in expected.into_iter().enumerate() {
        assert_close(gradient[index], expected, 1e-11, index);
    }
}

#[test]
fn the_gradient_of_the_posterior_is_its_slope() {
    let reference = &reference()["process"];
    let space = space(&NAMES);
    let encoding = Encoding::new(&space);
    let points = points(&encoding, &configurations(&reference["points"]));
    let points: Vec<&Point> = points.iter().collect();
    let (theta, outputs) = (numbers(&reference["theta"]), numbers(&reference["outputs"]));
    let (_, gradient) = ln_posterior(&encoding, &points, &outputs, &theta);
    for (index, slope) in gradient.into_iter().enumerate() {
        let at = |step: f64| {
            let mut theta: Theta = theta.clone();
            theta[index] += step;
            ln_posterior(&encoding, &points, &outputs, &theta).0
        };
        assert_close((at(1e-5) - at(-1e-5)) / 2e-5, slope, 1e-8, index);
    }
}

#[test]
fn beliefs_take_pending_points_into_their_variance_alone() {
    let reference = &reference()["process"];
    let space = space(&NAMES);
    let encoding = Encoding::new(&space);
    let kernel = Kernel::new(&encoding, &numbers(&reference["theta"]));
    let known = points(&encoding, &configurations(&reference["points"]));
    let mut posterior = Posterior::new(kernel, known, &numbers(&reference["outputs"]));
    let beliefs = reference["beliefs"].as_array().expect("beliefs");
    let asked: Vec<Point> = beliefs
        .iter()
        .map(|belief| encoding.point(&configuration(&belief["params"])))
        .collect();
    let mut renewed: Vec<_> = asked.iter().map(|point| posterior.belief(point)).collect();
    for point in points(&encoding, &configurations(&reference["pending"])) {
        posterior.note_pending(&point);
    }
    for ((expected, point), renewed) in beliefs.iter().zip(&asked).zip(&mut renewed) {
        let number = |name: &str| expected[name].as_f64().expect("a number");
        posterior.renew(point, renewed);
        // One made after the pending points, and one made before and renewed.
        for belief in [&posterior.belief(point), &*renewed] {
            assert_close(belief.mean, number("mean"), 1e-12, point);
            assert_close(belief.variance, number("variance"), 1e-12, point);
        }
    }
}

#[test]
fn the_fit_finds_which_parameter_matters() {
    let (low, high) = (0.0, 1.0);
    let space: Space = (["a", "b", "c"].into_iter())
        .map(|name| (name.to_owned(), Distribution::Uniform { low, high }))
        .collect();
    let encoding = Encoding::new(&space);
    let mut stream = Seed(4).stream(Purpose::Candidates { generation: 0 });
    let points: Vec<Point> = (0..60).map(|_| (0..3).map(|_| stream.unit()).collect()).collect();
    let outputs: Vec<f64> = points
        .iter()
        .map(|point| libm::sin(7.0 * point[1]) + 0.3 * point[2])
        .collect();
    let theta = fit(&encoding, &points.iter().collect::<Vec<_>>(), &outputs);
    assert!(
        theta[1] + 0.5 < theta[2] && theta[2] + 0.5 < theta[0],
        "length scales: {theta:?}"
    );
    assert!(theta[4] < -5.0, "there is no noise: {theta:?}");
    let (_, gradient) = ln_posterior(&encoding, &points.iter().collect::<Vec<_>>(), &outputs, &theta);
    assert!(gradient[..4].iter().all(|slope| slope.abs() < 0.5), "{gradient:?}");
}

#[test]
fn outputs_are_normal_quantiles_of_ranks() {
    let key = |key| Standing::Completed { key };
    let observed = observed(&[key(5.0), key(-2.0), Standing::Failed, key(3.0), Standing::Failed]);
    let found = outputs(&observed, &kept(&observed));
    // Ranks of five: the middles of fifths, and the two that failed share the end of the fourth.
    let expected = [
        0.0,
        -1.281_551_565_544_600_4,
        0.841_621_233_572_914_3,
        -0.524_400_512_708_041,
        0.841_621_233_572_914_3,
    ];
    for (found, expected) in found.into_iter().zip(expected) {
        assert_close(found, expected, 1e-14, expected);
    }
}

#[test]
fn beyond_its_size_the_process_keeps_the_best_and_the_latest() {
    // Each trial is better than the one before, except the last 250.
    let key = |trial: u32| Standing::Completed {
        key: if trial < 350 {
            -f64::from(trial)
        } else {
            f64::from(trial)
        },
    };
    let standings: Vec<Standing> = (0..600).map(key).collect();
    let kept = kept(&observed(&standings));
    let expected: Vec<usize> = (150..350).chain(400..600).collect();
    assert_eq!(kept, expected);
    let standings = &standings[..400];
    assert_eq!(super::kept(&observed(standings)).len(), 400);
}

#[test]
fn a_small_space_is_looked_through_whole() {
    let (low, high, step) = (0, 30, 1);
    let space = Space::from(["a", "b"].map(|name| (name.to_owned(), Distribution::IntUniform { low, high, step })));
    let encoding = Encoding::new(&space);
    let at = |a: i64, b: i64| {
        Params::from([
            ("a".to_owned(), ParamValue::Int(a)),
            ("b".to_owned(), ParamValue::Int(b)),
        ])
    };
    // A valley with its floor at (20, 9); the floor itself was not tried.
    let trials: Vec<(i64, i64)> = (0..=30)
        .step_by(5)
        .flat_map(|a| (0..=30).step_by(6).map(move |b| (a, b)))
        .collect();
    let past = |(trial, (a, b)): (usize, &(i64, i64))| Past {
        trial: trial as u32,
        params: at(*a, *b),
        standing: Standing::Completed {
            key: ((a - 20).pow(2) + (b - 9).pow(2)) as f64,
        },
    };
    let history: Vec<Past> = trials.iter().enumerate().map(past).collect();
    let mut stream = Seed(4).stream(Purpose::Candidates { generation: 0 });
    let mut gp = Gp::new(&encoding, &Observed::new(&encoding, &history), &mut stream);
    let proposed = gp.propose(&Seen::new(&space, &history)).expect("a proposal");
    let distance = |name: &str, floor: f64| (proposed[name].as_number().expect("a number") - floor).abs();
    assert!(distance("a", 20.0) <= 2.0 && distance("b", 9.0) <= 2.0, "{proposed:?}");
}

fn points(encoding: &Encoding<'_>, configurations: &[Params]) -> Vec<Point> {
    configurations.iter().map(|params| encoding.point(params)).collect()
}

/// A history with these standings, in a space without parameters.
fn observed(standings: &[Standing]) -> Observed {
    let past = |(trial, standing): (u32, &Standing)| Past {
        trial,
        params: Params::new(),
        standing: *standing,
    };
    let history: Vec<Past> = (0..).zip(standings).map(past).collect();
    Observed::new(&Encoding::new(&Space::new()), &history)
}
