//! Student's t distribution, with a whole number of degrees of freedom.

use std::f64::consts::FRAC_2_PI;

/// P(T <= t) for `freedom` degrees of freedom, at least 1, to some 15 digits after the point: the finite sums of Abramowitz and
/// Stegun, "Handbook of Mathematical Functions", 26.7.3 and 26.7.4.
pub(super) fn distribution(t: f64, freedom: u32) -> f64 {
    if t.is_infinite() {
        return if t < 0.0 { 0.0 } else { 1.0 };
    }
    let angle = libm::atan(t / libm::sqrt(f64::from(freedom)));
    // cos² of the angle: 1 / (1 + tan²), without its rounding.
    let cos_squared = 1.0 / (1.0 + t * t / f64::from(freedom));
    let is_odd = freedom % 2 == 1;
    let mut power = if is_odd { libm::sqrt(cos_squared) } else { 1.0 };
    let mut sum = 0.0;
    let first = if is_odd { 2 } else { 1 };
    for below in (first..freedom).step_by(2) {
        sum += power;
        power *= f64::from(below) / f64::from(below + 1) * cos_squared;
    }
    let sine = libm::sin(angle);
    let between = if is_odd {
        FRAC_2_PI * (angle + sine * sum)
    } else {
        sine * sum
    };
    (0.5 + 0.5 * between).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::distribution;
    use crate::winner::coverage::reference;

    #[test]
    fn it_is_scipy_s() {
        let rows: Vec<(f64, u32, f64)> = serde_json::from_value(reference()["student"].clone()).unwrap();
        assert!(rows.len() > 100);
        for (t, freedom, expected) in rows {
            let found = distribution(t, freedom);
            // SciPy itself is off by 1e-14 where t is small.
            assert!(
                (found - expected).abs() < 1e-13,
                "t {t}, {freedom}: {found} instead of {expected}"
            );
        }
    }

    #[test]
    fn its_ends_are_0_and_1() {
        for freedom in 1..64 {
            assert_eq!(distribution(f64::NEG_INFINITY, freedom), 0.0);
            assert_eq!(distribution(0.0, freedom), 0.5);
            assert_eq!(distribution(f64::INFINITY, freedom), 1.0);
        }
    }
}
