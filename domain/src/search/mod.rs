//! How configurations are chosen.
//!
//! A configuration is a function of the study's seed, its space, its sampler and what is known of earlier trials, and
//! of nothing else: no clock, no order in which workers finish, no number of trials to come. Samplers that learn do so
//! from generation to generation ([`Generations`]), so that what a proposal may know is a matter of trial numbers.
//!
//! One file a sampler: `random.rs`, `grid.rs`, `sobol.rs`, `gp/`, `tpe/`. The others are theirs: `encode/` (a
//! configuration as a point), `design.rs` (with what a search that learns begins), `seen.rs` (what was proposed
//! before), `standing.rs` (which trials are better), `linalg.rs` (triangular matrices).
//!
//! Two last bits that differ are two searches. So logarithms, exponentials and the like are libm's here and never the
//! standard library's, sums have one order that is written out, and equals are told apart by their trial numbers.

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

/// Results up to which [`Sampler::Auto`] asks a Gaussian process. With the number of results n, fitting one costs n³
/// operations: at 400 about a second for a generation, and eight times that at 800.
pub const GP_RESULTS_MAX: usize = 400;

/// How configurations are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// Each trial independently from the distributions of the space.
    Random,
    /// Every configuration of a finite space once, in an order that the seed shuffles: a search that is stopped early
    /// has seen a fair sample of the grid.
    Grid,
    /// A scrambled Sobol sequence: it fills the space more evenly than random search.
    Sobol,
    /// A Gaussian process over the space says what is promising and what is unknown.
    Gp(Generations),
    /// A tree-structured Parzen estimator: where good trials are dense, and others are not.
    Tpe(Generations),
    /// [`Sampler::Gp`] up to [`GP_RESULTS_MAX`] results, and [`Sampler::Tpe`] beyond; and in a space in which some
    /// configurations lack some parameters, which say little of each other.
    Auto(Generations),
}

/// Trials that belong together: they are [raced](crate::racing) against each other, and of a sampler that learns they are proposed together.
/// Trials g·size … g·size + size - 1 are generation g. Its proposals know the results of generations up to g - 1 - lag, and that those
/// after have been proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generations {
    /// Trials of a generation, at least 2; the study's last one may have fewer.
    pub size: u32,
    /// Generations whose results are not waited for: with 0, a generation begins when the one before has ended.
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

    /// Trials that are proposed before any result is known: those of a Latin hypercube.
    pub fn startup_trials(self) -> u32 {
        self.size.saturating_mul(self.lag.saturating_add(1))
    }

    /// Generation `generation` may know the results of so many trials, the first ones, and has to wait for them.
    pub fn known_trials(self, generation: u32) -> u32 {
        self.size.saturating_mul(generation.saturating_sub(self.lag))
    }
}

impl Sampler {
    /// What it may know; `None` for a sampler that does not learn.
    pub fn generations(self) -> Option<Generations> {
        match self {
            Self::Random | Self::Grid | Self::Sobol => None,
            Self::Gp(generations) | Self::Tpe(generations) | Self::Auto(generations) => Some(generations),
        }
    }

    /// Whether it can search this space under this seed.
    ///
    /// # Errors
    /// A violation of `sampler.grid`: the space has a continuous range, or more than [`GRID_CONFIGURATIONS_MAX`] configurations; or of
    /// `constraints`, which leave nothing, or too little to be found.
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

    /// Trials after which there is nothing left to propose; `None` if there always is.
    pub fn trials_max(self, space: &Space) -> Option<u64> {
        match self {
            Self::Random | Self::Sobol => None,
            Self::Grid | Self::Gp(_) | Self::Tpe(_) | Self::Auto(_) => cardinality(space),
        }
    }
}

/// The configurations of trials `first_trial` … `first_trial + trials - 1`, all of generation `generation`. Samplers that
/// do not learn have no generations: trials of any numbers can be asked for then, with any `generation`.
///
/// `history` has every trial before these, in any order; those whose results the generation may not know are
/// [`Standing::Pending`]; and results of other studies that count as this one's, [`Standing::Prior`]. Only samplers that learn read it. Configurations in it need not have been proposed here: a user's
/// own may stand in a trial's place. A trial's configuration does not depend on how many are asked for with or after it.
///
/// Fewer than `trials` come back from [`Sampler::Grid`] alone, when the grid ends. In a finite space, samplers that learn
/// propose nothing twice as long as there is something else. Nothing is proposed that the space's constraints rule out, if
/// [`Sampler::check`] has found something that they allow.
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
            // Results of other studies make a design needless.
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

/// What a generation was learned from, and how.
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

    /// The most promising configuration that was found; `None` if all that were found have been proposed before.
    fn propose(&mut self, seen: &Seen<'_>, stream: &mut Stream) -> Option<Params> {
        match self {
            Self::Gp(gp) => gp.propose(seen),
            Self::Tpe(tpe) => tpe.propose(seen, stream),
        }
    }

    /// Takes a point that was proposed after the model was made.
    fn note_pending(&mut self, point: Point) {
        match self {
            Self::Gp(gp) => gp.note_pending(&point),
            Self::Tpe(tpe) => tpe.note_pending(&point),
        }
    }
}
