//! Augmentation: random changes of images in training. Settings are each network's own, and changes are drawn anew in each epoch.
//!
//! An image is cropped, then mirrored, then turned, then gets a hole. Pixels from beyond its edges, and the hole, are 0.

use crate::limits::KERNEL_MAX;
use crate::rule::{Rule, Takes};
use crate::seed::Stream;

/// Settings of augmentation. All 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Probability of being mirrored, left to right.
    pub flip: f64,
    /// Zeros added at each edge, before a piece of the image's own size is cut out at random.
    pub crop: u32,
    /// Largest rotation about its middle, in degrees, in either direction.
    pub rotate: f64,
    /// Side of a square hole around a random pixel; parts of the hole beyond the edges do not count.
    pub cutout: u32,
    /// Alpha of the distribution Beta(alpha, alpha), from which each batch draws the share that a row keeps of itself;
    /// the rest comes from another row of the batch.
    pub mixup: f64,
}

pub(crate) const FLIP: Rule = own(
    "flip",
    Takes::Number(|p| (0.0..=1.0).contains(&p), "at least 0 and at most 1"),
);
pub(crate) const CROP: Rule = own("crop", Takes::Whole(0, KERNEL_MAX));
pub(crate) const ROTATE: Rule = own(
    "rotate",
    Takes::Number(|degrees| (0.0..=180.0).contains(&degrees), "at least 0 and at most 180"),
);
pub(crate) const CUTOUT: Rule = own("cutout", Takes::Whole(0, KERNEL_MAX));
pub(crate) const MIXUP: Rule = own(
    "mixup",
    Takes::Number(|alpha| (0.0..=100.0).contains(&alpha), "at least 0 and at most 100"),
);

const fn own(name: &'static str, takes: Takes) -> Rule {
    Rule::new(name, takes).members_own().or(0.0)
}

/// The change of one image. Sizes are in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// Whether it is mirrored.
    pub is_flipped: bool,
    /// Offset of its first pixel in the image: rows down, columns right.
    pub shift: [i32; 2],
    /// Cosine and sine of its angle of rotation, counterclockwise.
    pub turn: [f32; 2],
    /// First row and column of the hole.
    pub hole: [i32; 2],
}

impl Augment {
    /// True if it changes anything.
    pub fn changes(self) -> bool {
        self != Self::default()
    }

    /// Draws the change of the next image of this size. The number of draws does not depend on the settings, so that
    /// one setting does not affect another's draws.
    pub fn draw(self, height: u32, width: u32, stream: &mut Stream) -> Change {
        let is_flipped = stream.unit() < self.flip;
        let mut place = |count: u32| (stream.unit() * f64::from(count)) as i32;
        let crop = self.crop as i32;
        let shift = [place(2 * self.crop + 1) - crop, place(2 * self.crop + 1) - crop];
        let half = (self.cutout / 2) as i32;
        let hole = [place(height) - half, place(width) - half];
        let angle = (2.0 * stream.unit() - 1.0) * self.rotate.to_radians();
        let turn = if self.rotate > 0.0 {
            [libm::cos(angle) as f32, libm::sin(angle) as f32]
        } else {
            [1.0, 0.0]
        };
        Change {
            is_flipped,
            shift,
            turn,
            hole,
        }
    }

    /// The share that each row of a batch keeps of itself, at least a half: it does not matter which of two rows is the
    /// other's. 1 without mixup.
    pub fn share(self, stream: &mut Stream) -> f32 {
        if self.mixup == 0.0 {
            return 1.0;
        }
        let ln_odds = ln_gamma_variate(self.mixup, stream) - ln_gamma_variate(self.mixup, stream);
        (1.0 / (1.0 + libm::exp(-ln_odds.abs()))) as f32
    }
}

/// The logarithm of a draw from the gamma distribution of this shape and scale 1: G. Marsaglia and W. W. Tsang, "A simple method for generating gamma
/// variables", ACM Transactions on Mathematical Software 26, 363-372 (2000), for shape + 1; multiplied by U^(1 / shape) to get this shape.
fn ln_gamma_variate(shape: f64, stream: &mut Stream) -> f64 {
    // From the middle of its step, so that it is not 0.
    let ln_unit = |stream: &mut Stream| libm::log(stream.unit() + 0.5 / (1_u64 << 53) as f64);
    let d = shape + 1.0 - 1.0 / 3.0;
    let c = 1.0 / libm::sqrt(9.0 * d);
    loop {
        let x = stream.normal();
        let root = 1.0 + c * x;
        let ln_u = ln_unit(stream);
        if root <= 0.0 {
            continue;
        }
        let (v, ln_v) = (root * root * root, 3.0 * libm::log(root));
        if ln_u < 0.5 * x * x + d - d * v + d * ln_v {
            return libm::log(d) + ln_v + ln_unit(stream) / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Augment;
    use crate::seed::{FitOwner, Purpose, Seed, Stream};

    fn stream(step: u64) -> Stream {
        Seed(3).stream(Purpose::Augment {
            owner: FitOwner::Trial(1),
            fold: 2,
            epoch: 3,
            step,
        })
    }

    #[test]
    fn changes_are_within_their_settings_and_reach_their_ends() {
        let augment = Augment {
            flip: 0.25,
            crop: 2,
            rotate: 30.0,
            cutout: 3,
            mixup: 0.0,
        };
        let mut stream = stream(0);
        let changes: Vec<_> = (0..4_000).map(|_| augment.draw(5, 4, &mut stream)).collect();
        let seen = |of: fn(&super::Change) -> i32| changes.iter().map(of).collect::<BTreeSet<i32>>();
        assert_eq!(seen(|change| change.shift[0]), (-2..=2).collect());
        assert_eq!(seen(|change| change.shift[1]), (-2..=2).collect());
        // Around pixels 0 to 4, and 0 to 3.
        assert_eq!(seen(|change| change.hole[0]), (-1..=3).collect());
        assert_eq!(seen(|change| change.hole[1]), (-1..=2).collect());
        let flipped = changes.iter().filter(|change| change.is_flipped).count();
        assert!((900..1_100).contains(&flipped), "{flipped} of 4,000");
        let angles: Vec<f32> = changes
            .iter()
            .map(|change| change.turn[1].atan2(change.turn[0]).to_degrees())
            .collect();
        let (least, most) = angles.iter().fold((0.0_f32, 0.0_f32), |(least, most), angle| {
            (least.min(*angle), most.max(*angle))
        });
        assert!(
            (-30.0..-29.5).contains(&least) && (29.5..30.001).contains(&most),
            "{least} {most}"
        );
    }

    #[test]
    fn one_setting_does_not_move_what_another_one_does() {
        let flips = |augment: Augment| {
            let mut stream = stream(0);
            (0..64)
                .map(|_| augment.draw(8, 8, &mut stream).is_flipped)
                .collect::<Vec<_>>()
        };
        let flip = Augment {
            flip: 0.5,
            ..Augment::default()
        };
        let all = Augment {
            crop: 3,
            rotate: 10.0,
            cutout: 2,
            mixup: 0.4,
            ..flip
        };
        assert_eq!(flips(flip), flips(all));
        assert!(!Augment::default().changes() && flip.changes());
    }

    /// Shares of Beta(alpha, alpha), folded at a half: the mean of (2 s - 1)^2 is 1 / (2 alpha + 1).
    #[test]
    fn shares_are_of_a_beta_distribution() {
        for alpha in [0.01, 0.2, 1.0, 4.0, 100.0] {
            let augment = Augment {
                mixup: alpha,
                ..Augment::default()
            };
            let n = 20_000;
            let spreads = (0..n).map(|step| {
                let share = f64::from(augment.share(&mut stream(step)));
                assert!((0.5..=1.0).contains(&share), "{alpha}: {share}");
                (2.0 * share - 1.0).powi(2)
            });
            let mean = spreads.sum::<f64>() / n as f64;
            let expected = 1.0 / (2.0 * alpha + 1.0);
            // For such a mean, five standard errors are below 0.5 / sqrt(n) * 5.
            assert!((mean - expected).abs() < 0.018, "{alpha}: {mean} is not {expected}");
        }
        assert_eq!(Augment::default().share(&mut stream(0)), 1.0);
    }
}
