//! The normal distribution and derived functions. Plain doubles, standardised unless a name says otherwise.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

/// ln φ(z), the logarithm of the density.
pub(crate) fn ln_density(z: f64) -> f64 {
    -0.5 * z * z - 0.5 * libm::log(2.0 * PI)
}

/// Φ(z), the distribution function.
pub(crate) fn distribution(z: f64) -> f64 {
    0.5 * libm::erfc(-z * FRAC_1_SQRT_2)
}

/// Φ(to) - Φ(from), for from <= to, without cancellation in the upper tail.
pub(crate) fn interval(from: f64, to: f64) -> f64 {
    if from > 0.0 {
        distribution(-from) - distribution(-to)
    } else {
        distribution(to) - distribution(from)
    }
}

/// Φ⁻¹(p) for 0 < p < 1, to about 16 digits: M. J. Wichura, "Algorithm AS 241: the percentage points of the normal
/// distribution", Applied Statistics 37, 477-484 (1988), routine PPND16. Infinite at the ends.
pub(crate) fn quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * polynomial(r, CENTRAL_TOP) / polynomial(r, CENTRAL_BOTTOM);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = libm::sqrt(-libm::log(tail));
    let size = if r <= 5.0 {
        polynomial(r - 1.6, MIDDLE_TOP) / polynomial(r - 1.6, MIDDLE_BOTTOM)
    } else {
        polynomial(r - 5.0, FAR_TOP) / polynomial(r - 5.0, FAR_BOTTOM)
    };
    if q < 0.0 { -size } else { size }
}

/// The quantile at `unit` of the distribution cut to [from, to], 0 <= unit <= 1. Each half is computed from its own
/// tail, where no digits cancel.
pub(crate) fn cut_quantile(from: f64, to: f64, unit: f64) -> f64 {
    let share = interval(from, to);
    let below = distribution(from) + share * unit;
    if below <= 0.5 {
        quantile(below)
    } else {
        -quantile(distribution(-to) + share * (1.0 - unit))
    }
}

/// A polynomial at x, from its coefficients, the constant first.
fn polynomial(x: f64, coefficients: [f64; 8]) -> f64 {
    coefficients
        .iter()
        .rev()
        .fold(0.0, |value, coefficient| value * x + coefficient)
}

const CENTRAL_TOP: [f64; 8] = [
    3.387_132_872_796_366_5,
    133.141_667_891_784_38,
    1_971.590_950_306_551_3,
    13_731.693_765_509_46,
    45_921.953_931_549_87,
    67_265.770_927_008_7,
    33_430.575_583_588_13,
    2_509.080_928_730_122_7,
];
const CENTRAL_BOTTOM: [f64; 8] = [
    1.0,
    42.313_330_701_600_91,
    687.187_007_492_057_9,
    5_394.196_021_424_751,
    21_213.794_301_586_597,
    39_307.895_800_092_71,
    28_729.085_735_721_943,
    5_226.495_278_852_854,
];
const MIDDLE_TOP: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    0.241_780_725_177_450_6,
    0.022_723_844_989_269_184,
    0.000_774_545_014_278_341_4,
];
const MIDDLE_BOTTOM: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    0.689_767_334_985_1,
    0.148_103_976_427_480_08,
    0.015_198_666_563_616_457,
    0.000_547_593_808_499_534_5,
    1.050_750_071_644_416_9e-9,
];
const FAR_TOP: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    0.296_560_571_828_504_87,
    0.026_532_189_526_576_124,
    0.001_242_660_947_388_078_4,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const FAR_BOTTOM: [f64; 8] = [
    1.0,
    0.599_832_206_555_888,
    0.136_929_880_922_735_8,
    0.014_875_361_290_850_615,
    0.000_786_869_131_145_613_3,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_7e-15,
];

#[cfg(test)]
mod tests {
    use super::{cut_quantile, distribution, interval, ln_density, quantile};
    use crate::search::oracle::{assert_close, reference, rows};

    type OfOne = fn(f64) -> f64;

    #[test]
    fn values_are_those_of_fifty_digits() {
        let reference = &reference()["normal"];
        let of_one: [(&str, OfOne); 3] = [
            ("distribution", distribution),
            ("ln_density", ln_density),
            ("quantile", quantile),
        ];
        for (name, function) in of_one {
            for row in rows(&reference[name]) {
                let (argument, expected) = (row[0], row[1]);
                let found = function(argument);
                assert_close(found, expected, 4e-15, (name, argument));
                // Small numbers agree relatively; denormal ones have lost digits.
                if expected != 0.0 && expected.abs() > 1e-300 {
                    assert_close(found / expected, 1.0, 3e-13, (name, argument));
                }
            }
        }
        for row in rows(&reference["interval"]) {
            assert_close(interval(row[0], row[1]) / row[2], 1.0, 1e-13, row);
        }
        assert_eq!((quantile(0.0), quantile(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn quantiles_of_a_cut_distribution_are_those_of_fifty_digits() {
        for row in rows(&reference()["normal"]["cut_quantile"]) {
            let [from, to, unit, expected] = row[..] else {
                panic!("{row:?} has four numbers");
            };
            assert_close(cut_quantile(from, to, unit), expected, 1e-13, row);
        }
    }
}
