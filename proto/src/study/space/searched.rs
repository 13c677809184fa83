//! The parameters that are searched. They are those of a study file, but for one that settings in a repeat name as `$units[]`: it stands for
//! `units_1`, `units_2`, …, one for each repetition, each there where there are as many repetitions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_types::{ListValue, Value};

use trawl_domain::block::TIMES;
use trawl_domain::space::ParamValue;
use trawl_domain::violation::Violations;

use super::distribution;
use crate::v1::{self, layer::Kind};
use crate::{layers, params};

/// What follows the name of a parameter of which each repetition has its own.
pub(in crate::study) const EACH: &str = "[]";

/// The parameters that are searched, and what they are called where they are written.
#[derive(Clone, Debug, Default)]
pub(in crate::study) struct Searched {
    /// By name.
    pub(in crate::study) distributions: HashMap<String, v1::Distribution>,
    /// Of each parameter that stands for several, how many these are.
    repeated: BTreeMap<String, u32>,
    /// The parameter that each of these was made of.
    origins: BTreeMap<String, String>,
}

impl Searched {
    /// Of a space beside this model. Notes names that cannot be made.
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
                // That it is not there is told by who reads the setting.
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

    /// Puts one parameter for each repetition in the place of the parameter.
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
                // What is wrong with one that is written has been said.
                distribution.when.remove(parent);
                // Where every number of times reaches it, it is there whenever that number is.
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

    /// The name under which a parameter stands in the space of the study.
    pub(in crate::study) fn written_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.origins.get(name).map_or(name, String::as_str)
    }

    /// How many parameters one of the space stands for; `None` if for itself.
    pub(in crate::study) fn repeated(&self, name: &str) -> Option<u32> {
        self.repeated.get(name).copied()
    }
}

/// How often a repeat may repeat.
#[derive(Clone)]
struct Times {
    /// The parameter that says how often, if one does.
    param: Option<String>,
    values: Vec<u32>,
    /// Whether that parameter is not always there.
    is_conditional: bool,
}

/// A name that is each repetition's own in one repeat.
struct Use {
    name: String,
    times: Times,
}

fn find_repeats(layers: &[v1::Layer], space: &HashMap<String, v1::Distribution>, uses: &mut Vec<Use>) {
    for layer in layers {
        match &layer.kind {
            Some(Kind::Repeat(repeat)) => {
                let Some(times) = times_of(repeat.times.as_ref(), space) else {
                    // What is wrong with it is told by who reads the setting.
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

/// The names that settings in a repeat have for each repetition; a repeat within it has none.
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

/// The lists of layers in a layer.
fn inner(layer: &v1::Layer) -> Box<dyn Iterator<Item = &[v1::Layer]> + '_> {
    match &layer.kind {
        Some(Kind::Residual(residual)) => Box::new(std::iter::once(&residual.layers[..])),
        Some(Kind::Repeat(repeat)) => Box::new(std::iter::once(&repeat.layers[..])),
        Some(Kind::Choice(choice)) => {
            // In one order, so that a refusal is the same each time.
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

/// `None` where some of it is not as often as a repeat may be.
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
