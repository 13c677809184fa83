//! The configurations of a finite space, each once.

use std::collections::BTreeSet;

use super::{Distribution, Params, Space};

/// Combinations of those parameters that conditions and constraints speak of, up to which they are gone through: for each generation
/// again.
pub const COMBINATIONS_MAX: usize = 20_000;

/// Stands for a value that is not there.
const ABSENT: u32 = u32::MAX;

/// All that a finite space allows, by number: those that differ in the last parameter alone follow each other, where no
/// condition and no constraint speaks of it.
#[derive(Clone, Debug)]
pub struct Configurations<'a> {
    /// The parameters that conditions and constraints speak of, and the combinations of them that are allowed: the number
    /// of each one's value.
    bound: Vec<(&'a str, &'a Distribution)>,
    combinations: Vec<Vec<u32>>,
    /// All others, each of which has any value.
    free: Vec<(&'a str, &'a Distribution)>,
    free_len: u64,
}

impl<'a> Configurations<'a> {
    /// Those of a space; `None` if one of its ranges is continuous, if they are more than 64 bits count, or if more than
    /// [`COMBINATIONS_MAX`] would have to be gone through.
    pub fn new(space: &'a Space) -> Option<Self> {
        let mut spoken_of = BTreeSet::new();
        for (name, condition) in space.conditions() {
            spoken_of.insert(name.as_str());
            spoken_of.extend(condition.keys().map(String::as_str));
        }
        for constraint in space.constraints() {
            spoken_of.extend(constraint.names());
        }
        let named = space.order().into_iter().map(|name| Some((name, space.get(name)?)));
        let (bound, free): (Vec<_>, Vec<_>) = named.flatten().partition(|(name, _)| spoken_of.contains(name));
        let free_len = free.iter().try_fold(1_u64, |product, (_, distribution)| {
            product.checked_mul(distribution.cardinality()?)
        })?;
        let mut walk = Walk {
            space,
            bound: &bound,
            params: Params::new(),
            place: Vec::new(),
            visited: 0,
            found: Vec::new(),
        };
        walk.go()?;
        let combinations = walk.found;
        free_len.checked_mul(combinations.len() as u64)?;
        Some(Self {
            bound,
            combinations,
            free,
            free_len,
        })
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.free_len * self.combinations.len() as u64
    }

    /// The one with this number, from 0; `None` if there is none.
    pub fn nth(&self, index: u64) -> Option<Params> {
        if index >= self.count() {
            return None;
        }
        let mut params = Params::new();
        let combination = &self.combinations[(index / self.free_len) as usize];
        for ((name, distribution), number) in self.bound.iter().zip(combination) {
            if *number != ABSENT {
                params.insert((*name).to_owned(), distribution.nth(u64::from(*number))?);
            }
        }
        let mut left = index % self.free_len;
        for (name, distribution) in self.free.iter().rev() {
            let count = distribution.cardinality()?;
            params.insert((*name).to_owned(), distribution.nth(left % count)?);
            left /= count;
        }
        Some(params)
    }
}

/// Goes through the combinations of bound parameters, those of conditions before those that have them.
struct Walk<'a, 'w> {
    space: &'a Space,
    bound: &'w [(&'a str, &'a Distribution)],
    params: Params,
    place: Vec<u32>,
    visited: usize,
    found: Vec<Vec<u32>>,
}

impl Walk<'_, '_> {
    /// All that go on from here; `None` if these are too many.
    fn go(&mut self) -> Option<()> {
        let Some((name, distribution)) = self.bound.get(self.place.len()).copied() else {
            self.visited += 1;
            if self.space.allows(&self.params) {
                self.found.push(self.place.clone());
            }
            return (self.visited <= COMBINATIONS_MAX).then_some(());
        };
        if !self.space.is_active(name, &self.params) {
            self.place.push(ABSENT);
            self.go()?;
            self.place.pop();
            return Some(());
        }
        for number in 0..distribution.cardinality()? {
            self.params.insert(name.to_owned(), distribution.nth(number)?);
            self.place.push(u32::try_from(number).ok()?);
            self.go()?;
            self.place.pop();
        }
        self.params.remove(name);
        Some(())
    }
}

/// How many configurations a space has, as [`Configurations`] are counted.
pub fn cardinality(space: &Space) -> Option<u64> {
    Configurations::new(space).map(|configurations| configurations.count())
}
