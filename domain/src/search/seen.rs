//! Configurations that were proposed before.

use std::collections::BTreeSet;

use super::random;
use super::standing::Past;
use crate::seed::Stream;
use crate::space::{Configurations, ParamValue, Params, Space};

/// Independent draws of a new configuration; after these, new ones are looked for one by one.
const DRAWS_MAX: u32 = 16;

/// In a key, marks a value outside the space, or a missing one.
const ELSEWHERE: u64 = u64::MAX;
const ABSENT: u64 = u64::MAX - 1;

/// The configurations that were proposed before.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    space: &'a Space,
    configurations: Option<Configurations<'a>>,
    known: BTreeSet<Vec<u64>>,
    /// The number of these that the space has: a user's own configuration may be outside.
    known_within: u64,
}

impl<'a> Seen<'a> {
    /// The configurations of a history.
    pub(super) fn new(space: &'a Space, history: &[Past]) -> Self {
        let mut seen = Self {
            space,
            configurations: Configurations::new(space),
            known: BTreeSet::new(),
            known_within: 0,
        };
        // This study may train what another study trained.
        let own = history.iter().filter(|past| !past.is_prior());
        own.for_each(|past| seen.note(&past.params));
        seen
    }

    /// Adds a configuration.
    pub(super) fn note(&mut self, params: &Params) {
        let key = self.key(params);
        let is_within = !key.contains(&ELSEWHERE) && self.space.is_whole(params) && self.space.allows(params);
        if self.known.insert(key) && is_within {
            self.known_within += 1;
        }
    }

    /// True if this was proposed before, and there is something else to propose.
    pub(super) fn has(&self, params: &Params) -> bool {
        !self.is_exhausted() && self.known.contains(&self.key(params))
    }

    /// True if it can be proposed: the constraints allow it, and it was not proposed before.
    pub(super) fn admits(&self, params: &Params) -> bool {
        self.space.allows(params) && !self.has(params)
    }

    /// A random configuration that was not proposed before, if there is one; `None` if constraints forbid all drawn
    /// ones.
    pub(super) fn fresh(&self, stream: &mut Stream) -> Option<Params> {
        let mut draw = || {
            let mut draws = (0..random::DRAWS_MAX).map(|_| random::draw(self.space, stream));
            draws.find(|params| self.space.allows(params))
        };
        let mut drawn = draw();
        for _ in 1..DRAWS_MAX {
            match drawn {
                Some(params) if self.has(&params) => drawn = draw(),
                Some(params) => return Some(params),
                None => break,
            }
        }
        let configurations = self.configurations.as_ref();
        let Some(all) = configurations.filter(|all| all.count() > 0) else {
            return drawn;
        };
        // This skips at most as many as were proposed.
        let first = stream.below(all.count());
        let all = (first..all.count()).chain(0..first).filter_map(|index| all.nth(index));
        let mut others = all.filter(|params| !self.has(params));
        others.next().or(drawn)
    }

    fn is_exhausted(&self) -> bool {
        let configurations = self.configurations.as_ref();
        configurations.is_some_and(|configurations| self.known_within >= configurations.count())
    }

    /// Identifies a configuration: numbers of values, and bits of floats.
    fn key(&self, params: &Params) -> Vec<u64> {
        let parameters = self.space.iter();
        parameters
            .map(|(name, distribution)| match params.get(name) {
                Some(ParamValue::Float(value)) if distribution.cardinality().is_none() => value.to_bits(),
                Some(value) => distribution.index(value).unwrap_or(ELSEWHERE),
                None => ABSENT,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;
    use crate::seed::{Purpose, Seed};
    use crate::space::{Distribution, ParamValue, Params, Space};

    #[test]
    fn everything_else_comes_before_anything_twice() {
        let (low, high, step) = (1, 5, 1);
        let space = Space::from([
            ("a".to_owned(), Distribution::IntUniform { low, high, step }),
            ("b".to_owned(), Distribution::IntLogUniform { low, high: 40, step: 1 }),
        ]);
        let mut seen = Seen::new(&space, &[]);
        // A configuration of the user's own does not count.
        seen.note(&Params::from([("a".to_owned(), ParamValue::Int(77))]));
        for trial in 0..200 {
            let params = seen
                .fresh(&mut Seed(1).stream(Purpose::Proposal { trial }))
                .expect("no constraint");
            assert!(!seen.has(&params), "{params:?}");
            seen.note(&params);
        }
        assert_eq!(seen.known.len(), 201);
        let again = seen
            .fresh(&mut Seed(1).stream(Purpose::Proposal { trial: 200 }))
            .expect("no constraint");
        assert!(!seen.has(&again), "there is nothing else");
    }
}
