//! Conditions of active parameters, and allowed configurations.

use std::collections::{BTreeMap, BTreeSet};

use super::{ParamValue, Params, Space};

/// Condition of an active parameter: each of these parameters is active, and has one of the values.
pub type Condition = BTreeMap<String, Vec<ParamValue>>;

impl Space {
    /// True if some configurations lack some parameter.
    pub fn is_conditional(&self) -> bool {
        !self.conditions.is_empty()
    }

    /// Removes the inactive parameters from a configuration.
    pub fn settle(&self, params: &mut Params) {
        // An inactive parameter may deactivate others that depend on it; conditions chain at most this often.
        let mut before = usize::MAX;
        while params.len() < before {
            before = params.len();
            for name in self.conditions.keys() {
                if !self.is_active(name, params) {
                    params.remove(name);
                }
            }
        }
    }

    /// True if a parameter's condition holds: the parameters that it names are there, and have the named values.
    pub(super) fn is_active(&self, name: &str, params: &Params) -> bool {
        let mut condition = self.conditions.get(name).into_iter().flatten();
        condition.all(|(parent, values)| params.get(parent).is_some_and(|value| values.contains(value)))
    }

    /// True if a configuration has exactly the parameters that are active in it.
    pub fn is_whole(&self, params: &Params) -> bool {
        let is_right = |name: &String| params.contains_key(name) == self.is_active(name, params);
        self.distributions.keys().all(is_right)
    }

    /// True for a configuration of the space, ignoring constraints.
    pub fn has(&self, params: &Params) -> bool {
        let is_value = |(name, value): (&String, &ParamValue)| {
            self.get(name).is_some_and(|distribution| distribution.contains(value))
        };
        self.is_whole(params) && params.iter().all(is_value)
    }

    /// True if every constraint holds in a settled configuration.
    pub fn allows(&self, params: &Params) -> bool {
        self.constraints.iter().all(|constraint| constraint.holds(params))
    }

    /// The parameters that some configurations lack. Forbidden configurations count as well.
    pub fn lacking(&self) -> BTreeSet<&str> {
        let mut lacking = BTreeSet::new();
        for name in self.order() {
            let mut parents = self.conditions.get(name).into_iter().flatten();
            let is_bound = |(parent, values): (&String, &Vec<ParamValue>)| {
                let count = self.distributions.get(parent).and_then(|parent| parent.cardinality());
                lacking.contains(parent.as_str()) || count.is_none_or(|count| (values.len() as u64) < count)
            };
            if parents.any(is_bound) {
                lacking.insert(name);
            }
        }
        lacking
    }

    /// The parameters by name, each after the parameters of its condition. Omits parameters with circular conditions.
    pub(super) fn order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::with_capacity(self.len());
        let mut placed = BTreeSet::new();
        loop {
            let before = order.len();
            for name in self.distributions.keys() {
                let mut parents = self.conditions.get(name).into_iter().flat_map(BTreeMap::keys);
                if !placed.contains(name.as_str()) && parents.all(|parent| placed.contains(parent.as_str())) {
                    placed.insert(name.as_str());
                    order.push(name);
                }
            }
            if order.len() == before {
                return order;
            }
        }
    }

    /// The parameters with circular conditions.
    pub fn circular(&self) -> Vec<&str> {
        let order = self.order();
        let names = self.distributions.keys().map(String::as_str);
        names.filter(|name| !order.contains(name)).collect()
    }
}
