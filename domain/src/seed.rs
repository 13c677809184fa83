//! Random numbers that depend on nothing but the study's seed and what they are for.
//!
//! Every use has a stream of its own, keyed by SHA-256 over the seed and the use, and run by ChaCha8. So trial 17's learning
//! rate is the same whoever draws it, in whatever order, and nothing that is drawn elsewhere moves it. The conversions to
//! floats and ranges are written out here: the numbers of a stored study must survive an upgrade of any crate.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::normal;

/// A study's seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// Whose fold is trained: it decides the fold's initial weights, batch orders and dropout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FitOwner {
    /// A trial, by number.
    Trial(u32),
    /// A refit, by number.
    Refit(u32),
}

/// What random numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// One parameter of one trial.
    Param {
        /// Number of the trial.
        trial: u32,
        /// Name of the parameter.
        name: &'a str,
    },
    /// The same, drawn again because constraints rule out what was drawn before.
    Redraw {
        /// Number of the trial.
        trial: u32,
        /// Name of the parameter.
        name: &'a str,
        /// Which draw it is, from 1.
        draw: u32,
    },
    /// Which row is in which fold; the same for all trials, so that their values compare.
    Folds,
    /// The same, where rows are cut into folds again.
    RepeatedFolds {
        /// Which time it is, from 1.
        repeat: u32,
    },
    /// Initial weights.
    Weights {
        /// Whose fold.
        owner: FitOwner,
        /// Fold, from 0.
        fold: u32,
    },
    /// Order of the training rows in one epoch.
    BatchOrder {
        /// Whose fold.
        owner: FitOwner,
        /// Fold, from 0.
        fold: u32,
        /// Epoch, from 0.
        epoch: u32,
    },
    /// Dropout masks of one epoch.
    Dropout {
        /// Whose fold.
        owner: FitOwner,
        /// Fold, from 0.
        fold: u32,
        /// Epoch, from 0.
        epoch: u32,
    },
    /// How the rows of one step are augmented.
    Augment {
        /// Whose fold.
        owner: FitOwner,
        /// Fold, from 0.
        fold: u32,
        /// Epoch, from 0.
        epoch: u32,
        /// Step of the epoch, from 0.
        step: u64,
    },
    /// The order of a grid's configurations.
    Grid,
    /// How the digits of one parameter in a low-discrepancy sequence are scrambled.
    Scramble {
        /// Name of the parameter.
        name: &'a str,
    },
    /// The values of one parameter in the trials with which a search that learns begins.
    Design {
        /// Name of the parameter.
        name: &'a str,
    },
    /// Candidates that a generation's proposals choose among.
    Candidates {
        /// Generation, from 0.
        generation: u32,
    },
    /// All else that the proposal of one trial draws.
    Proposal {
        /// Number of the trial.
        trial: u32,
    },
    /// Validation rows that are drawn again and again, to tell how good the best trial is.
    WinnerRows,
    /// The same of test rows and a refit.
    TestRows {
        /// Number of the refit.
        refit: u32,
    },
}

impl Seed {
    /// The stream of numbers for one purpose, from its beginning.
    pub fn stream(self, purpose: Purpose<'_>) -> Stream {
        let mut hash = Sha256::new();
        hash.update(b"trawl/1");
        hash.update(self.0.to_le_bytes());
        let mut part = |bytes: &[u8]| {
            // The length keeps ("ab", "c") apart from ("a", "bc").
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        let owned = |part: &mut dyn FnMut(&[u8]), tag: &[u8], owner: FitOwner, numbers: &[u32]| {
            part(tag);
            match owner {
                FitOwner::Trial(trial) => {
                    part(b"trial");
                    part(&trial.to_le_bytes());
                }
                FitOwner::Refit(refit) => {
                    part(b"refit");
                    part(&refit.to_le_bytes());
                }
            }
            for number in numbers {
                part(&number.to_le_bytes());
            }
        };
        match purpose {
            Purpose::Param { trial, name } => {
                part(b"param");
                part(&trial.to_le_bytes());
                part(name.as_bytes());
            }
            Purpose::Redraw { trial, name, draw } => {
                part(b"redraw");
                part(&trial.to_le_bytes());
                part(name.as_bytes());
                part(&draw.to_le_bytes());
            }
            Purpose::Folds => part(b"folds"),
            Purpose::RepeatedFolds { repeat } => {
                part(b"repeated_folds");
                part(&repeat.to_le_bytes());
            }
            Purpose::Weights { owner, fold } => owned(&mut part, b"weights", owner, &[fold]),
            Purpose::BatchOrder { owner, fold, epoch } => owned(&mut part, b"batch_order", owner, &[fold, epoch]),
            Purpose::Dropout { owner, fold, epoch } => owned(&mut part, b"dropout", owner, &[fold, epoch]),
            Purpose::Augment {
                owner,
                fold,
                epoch,
                step,
            } => {
                owned(&mut part, b"augment", owner, &[fold, epoch]);
                part(&step.to_le_bytes());
            }
            Purpose::Grid => part(b"grid"),
            Purpose::Scramble { name } => {
                part(b"scramble");
                part(name.as_bytes());
            }
            Purpose::Design { name } => {
                part(b"design");
                part(name.as_bytes());
            }
            Purpose::Candidates { generation } => {
                part(b"candidates");
                part(&generation.to_le_bytes());
            }
            Purpose::Proposal { trial } => {
                part(b"proposal");
                part(&trial.to_le_bytes());
            }
            Purpose::WinnerRows => part(b"winner_rows"),
            Purpose::TestRows { refit } => {
                part(b"test_rows");
                part(&refit.to_le_bytes());
            }
        }
        Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
    }
}

/// Random numbers for one purpose.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// How much of it is drawn, in words of 32 bits.
    pub fn position(&self) -> u64 {
        // A stream of 2^64 words is drawn in no lifetime.
        self.0.get_word_pos() as u64
    }

    /// Goes on from a position.
    pub fn skip_to(&mut self, position: u64) {
        self.0.set_word_pos(u128::from(position));
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in [0, 1), a multiple of 2^-24: as fine as an `f32` can be, at half the price of [`Stream::unit`].
    pub fn unit_f32(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / (1_u32 << 24) as f32)
    }

    /// From the standard normal distribution, by its quantile.
    pub fn normal(&mut self) -> f64 {
        // In the middle of its step, so that it is neither 0 nor 1.
        normal::quantile(self.unit() + 0.5 / (1_u64 << 53) as f64)
    }

    /// Uniform in 0..bound, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below 0");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// The numbers 0..len in random order (Fisher and Yates).
    pub fn permutation(&mut self, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for last in (1..len).rev() {
            order.swap(last, self.below(last as u64 + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::{FitOwner, Purpose, Seed};

    #[test]
    fn streams_are_pinned() {
        // A stored study depends on these numbers: a change here is a change of every study's trials.
        let mut param = Seed(7).stream(Purpose::Param { trial: 3, name: "l2" });
        let mut order = Seed(7).stream(Purpose::BatchOrder {
            owner: FitOwner::Trial(3),
            fold: 1,
            epoch: 9,
        });
        assert_eq!(param.unit(), PINNED_UNIT);
        assert_eq!(order.permutation(8), PINNED_PERMUTATION);
    }

    const PINNED_UNIT: f64 = 0.15163598485683372;
    const PINNED_PERMUTATION: [u32; 8] = [5, 7, 3, 1, 0, 6, 4, 2];

    #[test]
    fn a_stream_goes_on_from_its_position() {
        let mut stream = Seed(7).stream(Purpose::Folds);
        let mut other = stream.clone();
        (0..37).for_each(|_| {
            stream.unit_f32();
        });
        other.skip_to(stream.position());
        let next = |stream: &mut super::Stream| (0..40).map(|_| stream.unit_f32().to_bits()).collect::<Vec<_>>();
        assert_eq!(next(&mut stream), next(&mut other));
    }

    #[test]
    fn purposes_do_not_share_numbers() {
        let seed = Seed(0);
        let owner = FitOwner::Trial(0);
        let purposes = [
            Purpose::Param { trial: 0, name: "a" },
            Purpose::Param { trial: 1, name: "a" },
            Purpose::Param { trial: 0, name: "b" },
            Purpose::Folds,
            Purpose::RepeatedFolds { repeat: 1 },
            Purpose::RepeatedFolds { repeat: 2 },
            Purpose::Weights { owner, fold: 0 },
            Purpose::Weights {
                owner: FitOwner::Refit(0),
                fold: 0,
            },
            Purpose::Weights { owner, fold: 1 },
            Purpose::BatchOrder {
                owner,
                fold: 0,
                epoch: 0,
            },
            Purpose::BatchOrder {
                owner,
                fold: 0,
                epoch: 1,
            },
            Purpose::Dropout {
                owner,
                fold: 0,
                epoch: 0,
            },
            Purpose::Augment {
                owner,
                fold: 0,
                epoch: 0,
                step: 0,
            },
            Purpose::Augment {
                owner,
                fold: 0,
                epoch: 0,
                step: 1,
            },
            Purpose::Grid,
            Purpose::Scramble { name: "a" },
            Purpose::Design { name: "a" },
            Purpose::Candidates { generation: 0 },
            Purpose::Proposal { trial: 0 },
            Purpose::WinnerRows,
            Purpose::TestRows { refit: 0 },
        ];
        let first: std::collections::BTreeSet<u64> =
            purposes.iter().map(|p| seed.stream(*p).unit().to_bits()).collect();
        assert_eq!(first.len(), purposes.len());
        assert_ne!(
            Seed(1).stream(Purpose::Folds).unit(),
            seed.stream(Purpose::Folds).unit()
        );
    }
}
