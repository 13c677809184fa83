//! The searched parameters: those of a study file, except a parameter that settings in a repeat name as `$units[]`. It stands for
//! `units_1`, `units_2`, …, one for each repetition; each is active in trials with at least as many repetitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_types::{ListValue, Value};

use trawl_domain::block::TIMES;
use trawl_domain::space::ParamValue;
use trawl_domain::violation::Violations;

use super::distribution;
use crate::v1::{self, layer::Kind};
use crate::{layers, params};

/// Suffix of a parameter that each repetition has of its own.
pub(in crate::study) const EACH: &str = "[]";

/// The searched parameters, and their written names.
#[derive(Clone, Debug, Default)]
pub(in crate::study) struct Searched {
    /// By name.
    pub(in crate::study) distributions: HashMap<String, v1::Distribution>,
    /// For each parameter that stands for several, their number.
    repeated: BTreeMap<String, u32>,
    /// The written parameter of each of these.
    origins: BTreeMap<String, String>,
}

impl Searched {
    /// The parameters of a space, as this model uses them. Notes names that cannot be made.
    pub(in crate::study) fn new(
        model: &[v1::Layer],
        space: &HashMap<String, v1::Distribution>,
        v: &mut Violations,
    ) -> Self {
        let mut searched = Self {
            distributions: space.clone(),
            ..Self::default()
        };
        let mut uses = Vec::new();
        find_repeats(model, space, &mut uses);
        let mut seen = BTreeSet::new();
        for Use { name, times } in uses {
            let Some(written) = space.get(&name) else {
                // The reader of the setting reports its absence.
                continue;
            };
            if seen.insert(name.clone()) {
                searched.repeat(&name, written, &times, v);
            } else {
                v.add(
                    format!("space.{name}"),
                    format!("is ${name}{EACH} in two repeats: give each a parameter of its own"),
                );
            }
        }
        searched
    }

    /// Replaces a parameter by one for each repetition.
    fn repeat(&mut self, name: &str, written: &v1::Distribution, times: &Times, v: &mut Violations) {
        let most = times.values.iter().copied().max().unwrap_or(0);
        if most == 0 {
            v.add(
                format!("space.{name}"),
                "is for a repeat that is never there, as its times is 0: let it be above 0, or leave both out",
            );
            self.distributions.remove(name);
            self.repeated.insert(name.to_owned(), 0);
            return;
        }
        let parent = times.param.as_ref();
        if let Some(parent) = parent.filter(|parent| written.when.contains_key(*parent)) {
            v.add(
                format!("space.{name}.when.{parent}"),
                "is left out: the repeat says when each of them is there",
            );
        }
        self.distributions.remove(name);
        for repetition in 1..=most {
            let own = format!("{name}_{repetition}");
            let mut distribution = written.clone();
            let reach: Vec<u32> = times.values.iter().copied().filter(|n| *n >= repetition).collect();
            if let Some(parent) = parent {
                // The faults of a written condition have been reported.
                distribution.when.remove(parent);
                // If every number of repetitions reaches it, it is active whenever that number is.
                if times.is_conditional || reach.len() < times.values.len() {
                    let values = reach.into_iter().map(|n| params::value(&ParamValue::Int(n.into())));
                    let values: Vec<Value> = values.collect();
                    distribution.when.insert(parent.clone(), ListValue { values });
                }
            }
            self.origins.insert(own.clone(), name.to_owned());
            if self.distributions.insert(own.clone(), distribution).is_some() {
                v.add(
                    format!("space.{own}"),
                    format!("is also what repetition {repetition} has of ${name}{EACH}: give one of them another name"),
                );
            }
        }
        self.repeated.insert(name.to_owned(), most);
    }

    /// The name of a parameter in the study's space.
    pub(in crate::study) fn written_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.origins.get(name).map_or(name, String::as_str)
    }

    /// Number of parameters that a parameter of the space stands for; `None` if it stands only for itself.
    pub(in crate::study) fn repeated(&self, name: &str) -> Option<u32> {
        self.repeated.get(name).copied()
    }
}

/// Possible numbers of repetitions.
#[derive(Clone)]
struct Times {
    /// The parameter that gives the number, if one does.
    param: Option<String>,
    values: Vec<u32>,
    /// True if that parameter is not always active.
    is_conditional: bool,
}

/// A name of each repetition's own, in one repeat.
struct Use {
    name: String,
    times: Times,
}

fn find_repeats(layers: &[v1::Layer], space: &HashMap<String, v1::Distribution>, uses: &mut Vec<Use>) {
    for layer in layers {
        match &layer.kind {
            Some(Kind::Repeat(repeat)) => {
                let Some(times) = times_of(repeat.times.as_ref(), space) else {
                    // The reader of the setting reports its faults.
                    continue;
                };
                let mut names = BTreeSet::new();
                find_names(&repeat.layers, &mut names);
                uses.extend(names.into_iter().map(|name| Use {
                    name,
                    times: times.clone(),
                }));
            }
            _ => inner(layer).for_each(|layers| find_repeats(layers, space, uses)),
        }
    }
}

/// The names that settings in a repeat use for each repetition; excludes repeats within it.
fn find_names(layers: &[v1::Layer], names: &mut BTreeSet<String>) {
    for layer in layers {
        match &layer.kind {
            Some(Kind::Repeat(_)) => {}
            Some(Kind::Residual(_) | Kind::Choice(_)) => {
                if let Some(Kind::Choice(choice)) = &layer.kind {
                    names.extend(choice.pick.as_ref().and_then(name_of_each));
                }
                inner(layer).for_each(|layers| find_names(layers, names));
            }
            _ => {
                let (_, settings) = layers::written(layer).unwrap_or_default();
                names.extend(settings.values().filter_map(name_of_each));
            }
        }
    }
}

/// A layer's inner lists of layers.
fn inner(layer: &v1::Layer) -> Box<dyn Iterator<Item = &[v1::Layer]> + '_> {
    match &layer.kind {
        Some(Kind::Residual(residual)) => Box::new(std::iter::once(&residual.layers[..])),
        Some(Kind::Repeat(repeat)) => Box::new(std::iter::once(&repeat.layers[..])),
        Some(Kind::Choice(choice)) => {
            // A fixed order, so that the violations are always the same.
            let alternatives: BTreeMap<_, _> = choice.of.iter().collect();
            Box::new(alternatives.into_values().map(|alternative| &alternative.layers[..]))
        }
        _ => Box::new(std::iter::empty()),
    }
}

fn name_of_each(setting: &Value) -> Option<String> {
    match params::scalar(setting).ok()? {
        ParamValue::Text(text) => Some(text.strip_prefix('$')?.strip_suffix(EACH)?.to_owned()),
        _ => None,
    }
}

/// `None` if a number of repetitions is invalid.
fn times_of(setting: Option<&Value>, space: &HashMap<String, v1::Distribution>) -> Option<Times> {
    let mut is_conditional = false;
    let (param, values) = match params::scalar(setting?).ok()? {
        ParamValue::Text(text) => {
            let name = text.strip_prefix('$')?;
            let kind = space.get(name)?.kind.as_ref()?;
            let parameter = distribution(name, kind, &mut Violations::new())?;
            let count = parameter.cardinality().filter(|count| *count <= 1 << 8)?;
            let values: Vec<_> = (0..count).filter_map(|index| parameter.nth(index)).collect();
            is_conditional = !space.get(name)?.when.is_empty();
            (Some(name.to_owned()), values)
        }
        value => (None, vec![value]),
    };
    let is_fit = |value: &ParamValue| TIMES.takes.check(value).is_ok();
    let values = values.iter().map(|value| value.as_whole().filter(|_| is_fit(value)));
    Some(Times {
        param,
        values: values.collect::<Option<_>>()?,
        is_conditional,
    })
}
