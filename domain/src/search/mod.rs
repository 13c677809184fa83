//! How configurations are chosen.
//!
//! A configuration is a function of the study's seed, its space, its sampler and the known results of earlier trials,
//! and of nothing else: no clock, no order in which workers finish, no number of later trials. Samplers learn from
//! generation to generation ([`Generations`]), so trial numbers decide what a proposal may know.
//!
//! Each sampler has a file: `random.rs`, `grid.rs`, `sobol.rs`, `gp/`, `tpe/`. They share the others: `encode/` (a
//! configuration as a point), `design.rs` (the first trials of a search that learns), `seen.rs` (earlier proposals),
//! `standing.rs` (the ranking of trials), `linalg.rs` (triangular matrices).
//!
//! Two searches diverge if one last bit differs. So logarithms, exponentials and the like are libm's here and never the
//! standard library's, sums have a fixed order that is written out, and trial numbers order equal trials.

mod design;
mod encode;
pub mod fingerprint;
mod gp;
mod grid;
mod linalg;
#[cfg(test)]
pub(crate) mod oracle;
mod random;
mod seen;
mod sobol;
mod standing;
#[cfg(test)]
mod tests;
mod tpe;

pub use gp::partial_dependence;
pub use grid::CONFIGURATIONS_MAX as GRID_CONFIGURATIONS_MAX;
pub use random::{DRAWS_MAX as RANDOM_DRAWS_MAX, completed};
pub use standing::{Past, Standing, by_all_objectives};

use crate::seed::{Purpose, Seed, Stream};
use crate::space::{Params, Space, cardinality};
use crate::violation::Violation;
use design::Design;
use encode::{Encoding, Point};
use gp::Gp;
use seen::Seen;
use standing::Observed;
use tpe::Tpe;

/// Results up to which [`Sampler::Auto`] uses a Gaussian process. With n results, fitting one costs n³ operations: at
/// 400 about a second for a generation, and eight times that at 800.
pub const GP_RESULTS_MAX: usize = 400;

/// How configurations are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// Each trial independently from the distributions of the space.
    Random,
    /// Every configuration of a finite space once, in an order shuffled by the seed: a search that is stopped early has
    /// a fair sample of the grid.
    Grid,
    /// A scrambled Sobol sequence: it fills the space more evenly than random search.
    Sobol,
    /// A Gaussian process over the space, which shows promising and unknown points.
    Gp(Generations),
    /// A tree-structured Parzen estimator, which proposes where good trials are dense and others are not.
    Tpe(Generations),
    /// [`Sampler::Gp`] up to [`GP_RESULTS_MAX`] results, otherwise [`Sampler::Tpe`]; always [`Sampler::Tpe`] if some
    /// configurations lack some parameters, because such configurations say little about each other.
    Auto(Generations),
}

/// Trials that belong together: they are [raced](crate::racing) against each other, and a sampler that learns proposes
/// them together. Trials g·size … g·size + size - 1 are generation g. Its proposals know the results of generations up
/// to g - 1 - lag, and the configurations of later ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// Trials of a generation, at least 2; the study's last one may have fewer.
    pub size: u32,
    /// Number of preceding generations whose results a generation does not wait for: with 0, it begins when the one before has ended.
    pub lag: u32,
}

impl Default for Generations {
    fn default() -> Self {
        Self { size: 16, lag: 1 }
    }
}

impl Generations {
    /// The generation of a trial.
    pub fn of(self, trial: u32) -> u32 {
        trial / self.size
    }

    /// The first trial after a generation.
    pub fn end_of(self, generation: u32) -> u32 {
        self.size.saturating_mul(generation.saturating_add(1))
    }

    /// Trials that are proposed before any result is known, as a Latin hypercube.
    pub fn startup_trials(self) -> u32 {
        self.size.saturating_mul(self.lag.saturating_add(1))
    }

    /// Number of first trials whose results a generation may know, and has to wait for.
    pub fn known_trials(self, generation: u32) -> u32 {
        self.size.saturating_mul(generation.saturating_sub(self.lag))
    }
}

impl Sampler {
    /// Its generations; `None` for a sampler that does not learn.
    pub fn generations(self) -> Option<Generations> {
        match self {
            Self::Random | Self::Grid | Self::Sobol => None,
            Self::Gp(generations) | Self::Tpe(generations) | Self::Auto(generations) => Some(generations),
        }
    }

    /// Checks that it can search this space under this seed.
    ///
    /// # Errors
    /// A violation of `sampler.grid`: the space has a continuous range, or more than [`GRID_CONFIGURATIONS_MAX`]
    /// configurations; or of `constraints`, which allow nothing, or too little to be found.
    pub fn check(self, seed: Seed, space: &Space) -> Result<(), Violation> {
        match self {
            Self::Grid => grid::check(space),
            _ if random::first_allowed(seed, space).is_some() => Ok(()),
            _ => Err(Violation {
                field: "constraints".to_owned(),
                description: format!(
                    "rule out each of the first {RANDOM_DRAWS_MAX} configurations that are drawn: loosen them, or narrow the ranges to \
                     what they allow"
                ),
            }),
        }
    }

    /// Trials after which nothing is left to propose; `None` if there always is something.
    pub fn trials_max(self, space: &Space) -> Option<u64> {
        match self {
            Self::Random | Self::Sobol => None,
            Self::Grid | Self::Gp(_) | Self::Tpe(_) | Self::Auto(_) => cardinality(space),
        }
    }
}

/// The configurations of trials `first_trial` … `first_trial + trials - 1`, all of generation `generation`. Samplers that do not learn have
/// no generations: they accept trials of any numbers, with any `generation`.
///
/// `history` has every earlier trial, in any order; trials whose results the generation may not know are [`Standing::Pending`]. It also has
/// results of other studies that count as this one's, [`Standing::Prior`]. Only samplers that learn read it. Its configurations may come
/// from a user instead of this function. A trial's configuration does not depend on how many trials are requested with or after it.
///
/// Only [`Sampler::Grid`] returns fewer than `trials`, when the grid ends. In a finite space, samplers that learn repeat no configuration
/// as long as there is another one. Nothing is proposed that the space's constraints forbid, if [`Sampler::check`] has found something that
/// they allow.
pub fn propose(
    sampler: &Sampler,
    seed: Seed,
    space: &Space,
    generation: u32,
    first_trial: u32,
    trials: u32,
    history: &[Past],
) -> Vec<Params> {
    let asked = first_trial..first_trial.saturating_add(trials);
    match *sampler {
        Sampler::Random => asked.map(|trial| random::configuration(seed, space, trial)).collect(),
        Sampler::Grid => grid::configurations(seed, space, asked),
        Sampler::Sobol => sobol::configurations(seed, space, asked),
        Sampler::Gp(generations) | Sampler::Tpe(generations) | Sampler::Auto(generations) => {
            let encoding = Encoding::new(space);
            // With results of other studies, no design is needed.
            let has_prior = history.iter().any(Past::is_prior);
            let startup = if has_prior { 0 } else { generations.startup_trials() };
            let design = (asked.start < startup).then(|| Design::new(seed, &encoding, startup));
            let observed = Observed::new(&encoding, history);
            let mut model = (asked.end > startup)
                .then(|| Model::new(sampler, seed, generation, &encoding, &observed))
                .flatten();
            let mut seen = Seen::new(space, history);
            let one = |trial| {
                let mut stream = seed.stream(Purpose::Proposal { trial });
                let proposed = match (&design, &mut model) {
                    (Some(design), _) if trial < startup => {
                        let params = encoding.params(&design.point(trial));
                        seen.admits(&params).then_some(params)
                    }
                    (_, Some(model)) => model.propose(&seen, &mut stream),
                    // Nothing is known yet.
                    _ => None,
                };
                let other = || random::configuration(seed, space, trial);
                let params = proposed.or_else(|| seen.fresh(&mut stream)).unwrap_or_else(other);
                if let Some(model) = &mut model {
                    model.note_pending(encoding.point(&params));
                }
                seen.note(&params);
                params
            };
            asked.map(one).collect()
        }
    }
}

/// The model of a generation.
enum Model<'a> {
    Gp(Box<Gp<'a>>),
    Tpe(Tpe<'a>),
}

impl<'a> Model<'a> {
    /// `None` if no result is known.
    fn new(
        sampler: &Sampler,
        seed: Seed,
        generation: u32,
        encoding: &'a Encoding<'a>,
        observed: &Observed,
    ) -> Option<Self> {
        let is_tpe = match sampler {
            Sampler::Tpe(_) => true,
            Sampler::Auto(_) => observed.len() > GP_RESULTS_MAX || encoding.space.is_conditional(),
            _ => false,
        };
        if observed.len() == 0 {
            return None;
        }
        Some(if is_tpe {
            Self::Tpe(Tpe::new(encoding, observed))
        } else {
            let mut stream = seed.stream(Purpose::Candidates { generation });
            Self::Gp(Box::new(Gp::new(encoding, observed, &mut stream)))
        })
    }

    /// The most promising configuration found; `None` if all found ones have been proposed before.
    fn propose(&mut self, seen: &Seen<'_>, stream: &mut Stream) -> Option<Params> {
        match self {
            Self::Gp(gp) => gp.propose(seen),
            Self::Tpe(tpe) => tpe.propose(seen, stream),
        }
    }

    /// Records a point that was proposed after the model was made.
    fn note_pending(&mut self, point: Point) {
        match self {
            Self::Gp(gp) => gp.note_pending(&point),
            Self::Tpe(tpe) => tpe.note_pending(&point),
        }
    }
}
