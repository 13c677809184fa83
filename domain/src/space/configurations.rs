//! The configurations of a finite space, each once.

use std::collections::BTreeSet;

use super::{Distribution, Params, Space};

/// Most combinations of the parameters named in conditions and constraints: each generation goes through them again.
pub const COMBINATIONS_MAX: usize = 20_000;

/// Marks a missing value.
const ABSENT: u32 = u32::MAX;

/// All allowed configurations of a finite space, by number: those that differ only in the last parameter are adjacent,
/// unless a condition or a constraint names that parameter.
#[derive(Clone, Debug)]
pub struct Configurations<'a> {
    /// The parameters named in conditions and constraints, and their allowed combinations as numbers of values.
    bound: Vec<(&'a str, &'a Distribution)>,
    combinations: Vec<Vec<u32>>,
    /// All other parameters, each with any value.
    free: Vec<(&'a str, &'a Distribution)>,
    free_len: u64,
}

impl<'a> Configurations<'a> {
    /// The configurations of a space; `None` if one of its ranges is continuous, if their number exceeds 64 bits, or if
    /// more than [`COMBINATIONS_MAX`] combinations would have to be visited.
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

    /// The configuration with this number, from 0; `None` if there is none.
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

/// Visits the combinations of bound parameters; parameters in a condition come before the parameter that has it.
struct Walk<'a, 'w> {
    space: &'a Space,
    bound: &'w [(&'a str, &'a Distribution)],
    params: Params,
    place: Vec<u32>,
    visited: usize,
    found: Vec<Vec<u32>>,
}

impl Walk<'_, '_> {
    /// Visits all combinations from here on; `None` if there are too many.
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
