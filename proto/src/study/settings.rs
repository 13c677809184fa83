//! Checks settings: plain values, and references to parameters with everything that those can be.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::Value;

use trawl_domain::layer::Range;
use trawl_domain::limits::CHOICES_MAX;
use trawl_domain::rule::{Rule, Takes};
use trawl_domain::space::{ParamValue, Params, Space};
use trawl_domain::study::Setting;
use trawl_domain::violation::Violations;

use super::space::{EACH, Searched};
use crate::v1::{self, distribution::Kind};
use crate::{layers, params};

/// The parameters that settings may refer to, and which of them are referred to.
pub(super) struct Settings<'a> {
    searched: &'a Searched,
    space: &'a Space,
    /// What each well-formed parameter can be: the extremes of its distribution, with the field that each stands in.
    values: BTreeMap<String, Vec<(String, ParamValue)>>,
    /// The parameters that some trials lack.
    lacking: BTreeSet<&'a str>,
    /// What a refit sets.
    refit: Option<&'a Params>,
    used: BTreeSet<String>,
}

/// Where in a model a setting stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Lists of layers around it, but for the model.
    pub(super) depth: usize,
    pub(super) repetition: Repetition,
    /// What parameters can be there: those that pick the alternatives around it, and that say how often it is repeated.
    pub(super) known: BTreeMap<String, Vec<ParamValue>>,
}

/// Of which repetition a setting is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Repetition {
    /// Of none.
    #[default]
    None,
    /// Of this one, from 1.
    Of(u32),
    /// Of one of a repeat of which it is not known how often it is.
    Unknown,
    /// Of a repeat within a repeat.
    Nested,
}

impl<'a> Settings<'a> {
    pub(super) fn new(searched: &'a Searched, space: &'a Space, refit: Option<&'a Params>) -> Self {
        let mut values: BTreeMap<String, Vec<(String, ParamValue)>> = space
            .iter()
            .map(|(name, distribution)| {
                let values = distribution.extremes();
                let written = searched.distributions.get(name);
                let fields = fields(searched.written_name(name), written, values.len());
                (name.clone(), fields.into_iter().zip(values).collect())
            })
            .collect();
        for (name, value) in refit.into_iter().flatten() {
            values
                .entry(name.clone())
                .or_default()
                .push((format!("refit.set.{name}"), value.clone()));
        }
        // Conditions of others are a use.
        let parents = space.conditions().values().flat_map(BTreeMap::keys);
        Self {
            searched,
            space,
            values,
            lacking: space.lacking(),
            refit,
            used: parents.cloned().collect(),
        }
    }

    /// The setting that a rule is for, among those written in `field`. Notes what is wrong with it, or with a value of the
    /// parameter that it refers to.
    pub(super) fn read(
        &mut self,
        field: &str,
        rule: &Rule,
        settings: &layers::Settings,
        v: &mut Violations,
    ) -> Option<Setting> {
        self.read_in(&Around::default(), field, rule, settings, v)
    }

    /// As [`Self::read`], of a setting of a model.
    pub(super) fn read_in(
        &mut self,
        around: &Around,
        field: &str,
        rule: &Rule,
        settings: &layers::Settings,
        v: &mut Violations,
    ) -> Option<Setting> {
        let field = format!("{field}.{}", rule.name);
        let default = rule.left_out().map(|value| params::value(&value));
        let Some(written) = settings.get(rule.name).or(default.as_ref()) else {
            v.add(field, "is missing");
            return None;
        };
        let value = scalar(&field, written, v)?;
        let name = match &value {
            ParamValue::Text(text) => text.strip_prefix('$'),
            _ => None,
        };
        let Some(name) = name else {
            return match rule.takes.check(&value) {
                Ok(()) => Some(Setting::Fixed(value)),
                Err(description) => {
                    v.add(field, description);
                    None
                }
            };
        };
        let name = self.parameter(around, &field, name, v)?;
        let name = name.as_str();
        if rule.default.is_none() && !self.is_there(name, around) {
            v.add(
                field,
                format!(
                    "needs a value in every trial, and has none where '{name}' is not active: leave out space.{}.when",
                    self.searched.written_name(name)
                ),
            );
            return None;
        }
        if rule.default.is_none() {
            self.note_refits_without(name, v);
        }
        let mut sound = true;
        for (origin, value) in self.values.get(name).into_iter().flatten() {
            if let Err(description) = rule.takes.check(value) {
                v.add(origin, format!("{description} ({field} refers to it)"));
                sound = false;
            }
        }
        sound.then(|| Setting::Param(name.to_owned()))
    }

    /// The parameter that a setting means by a name; `None`, which is told, if there is none.
    fn parameter(&mut self, around: &Around, field: &str, name: &str, v: &mut Violations) -> Option<String> {
        let (base, each) = match name.strip_suffix(EACH) {
            None => (name, None),
            Some(base) => (base, Some(around.repetition)),
        };
        let name = match each {
            None => name.to_owned(),
            Some(Repetition::Of(repetition)) => format!("{base}_{repetition}"),
            Some(Repetition::Unknown) => {
                // What is wrong with the repeat was told.
                self.used.insert(base.to_owned());
                return None;
            }
            Some(Repetition::None) => {
                v.add(
                    field,
                    format!(
                        "is in no repeat, so that there is no repetition to have a parameter of its own: write ${base}"
                    ),
                );
                return None;
            }
            Some(Repetition::Nested) => {
                v.add(
                    field,
                    format!(
                        "is in a repeat within a repeat, where no repetition has a parameter of its own: write ${base}"
                    ),
                );
                return None;
            }
        };
        if self.searched.distributions.contains_key(&name) {
            self.used.insert(name.clone());
            return Some(name);
        }
        let told = match (self.searched.repeated(base), each) {
            (Some(most), Some(_)) => {
                format!(
                    "has {base}_1 to {base}_{most}, and may be repeated more often by refit.set: stay within the space there"
                )
            }
            (Some(most), None) => format!(
                "there is no parameter '{base}': it stands for {base}_1 to {base}_{most}, as a setting in a repeat says ${base}{EACH}"
            ),
            (None, _) => format!("there is no parameter '{base}' in the space"),
        };
        v.add(field, told);
        None
    }

    /// True if a setting has no value of its own in some trial in which another has this one: its parameter is not active there.
    pub(super) fn may_lack_beside(&self, setting: &Setting, other: &Setting, value: &ParamValue) -> bool {
        let Setting::Param(name) = setting else { return false };
        let mut around = Around::default();
        if let Setting::Param(other) = other {
            around.known.insert(other.clone(), vec![value.clone()]);
        }
        !self.is_there(name, &around)
    }

    /// True if a parameter has a value wherever a setting is looked at.
    fn is_there(&self, name: &str, around: &Around) -> bool {
        if !self.lacking.contains(name) {
            return true;
        }
        let mut condition = self.space.conditions().get(name).into_iter().flatten();
        condition.all(|(parent, values)| match around.known.get(parent) {
            Some(known) => known.iter().all(|value| values.contains(value)),
            None => {
                let count = self.space.get(parent).and_then(|parent| parent.cardinality());
                count == Some(values.len() as u64) && self.is_there(parent, around)
            }
        })
    }

    /// A refit may pick an alternative, or repeat more often, than its trial; what the trial lacks for that has to be set, too.
    fn note_refits_without(&self, name: &str, v: &mut Violations) {
        let Some(set) = self.refit.filter(|set| !set.contains_key(name)) else {
            return;
        };
        let condition = self.space.conditions().get(name).into_iter().flatten();
        let mut activating =
            condition.filter(|(parent, values)| set.get(*parent).is_some_and(|set| values.contains(set)));
        if let Some((parent, _)) = activating.next().filter(|_| self.lacking.contains(name)) {
            v.add(
                format!("refit.set.{parent}"),
                format!("needs a value of '{name}', which the best trial may lack: set that, too"),
            );
        }
    }

    /// Takes all parameters for used.
    pub(super) fn use_all(&mut self) {
        self.used = self.searched.distributions.keys().cloned().collect();
    }

    /// Parameters that no setting refers to would be searched in vain.
    pub(super) fn note_unused(&self, v: &mut Violations) {
        let all = self.searched.distributions.keys();
        let unused = all.filter(|name| !self.used.contains(*name));
        let unused: BTreeSet<_> = unused.map(|name| self.searched.written_name(name)).collect();
        for name in unused {
            v.add(
                format!("space.{name}"),
                format!("is not used: no setting says \"${name}\", and no `when` names it"),
            );
        }
    }

    /// What a setting can be in a trial that has its parameter, each with the field that it stands in.
    pub(super) fn origins<'s>(
        &'s self,
        field: &'s str,
        setting: &'s Setting,
    ) -> Box<dyn Iterator<Item = (&'s str, &'s ParamValue)> + 's> {
        match setting {
            Setting::Fixed(value) => Box::new(std::iter::once((field, value))),
            Setting::Param(name) => Box::new(
                self.values
                    .get(name)
                    .into_iter()
                    .flatten()
                    .map(|(field, value)| (field.as_str(), value)),
            ),
        }
    }

    /// What a setting can be in a trial that has its parameter.
    pub(super) fn values<'s>(&'s self, setting: &'s Setting) -> impl Iterator<Item = &'s ParamValue> {
        self.origins("", setting).map(|(_, value)| value)
    }

    /// The largest whole number that a setting can be.
    pub(super) fn most(&self, setting: &Setting) -> Option<u64> {
        self.whole_numbers(setting).max()
    }

    /// The sizes that a setting can be; 0 where its rule asks for no whole number. `None` if a parameter of it is broken, which
    /// was told.
    pub(super) fn size(&self, rule: &Rule, setting: &Setting) -> Option<Range> {
        match rule.takes {
            Takes::Whole(..) => {
                // In a trial that lacks its parameter, a setting has its default.
                let default = rule.default.filter(|_| self.may_lack(setting));
                let default = default.and_then(|default| ParamValue::number(default).as_whole());
                let all = || self.whole_numbers(setting).chain(default.map(u64::from));
                Some(Range {
                    source: self.source(setting).filter(|_| rule.default.is_none()),
                    ..Range::between(all().min()?, all().max()?)
                })
            }
            Takes::Number(..) | Takes::Word(_) | Takes::Flag | Takes::Any => Some(Range::exactly(0)),
        }
    }

    /// A number of the parameter that gives a setting.
    fn source(&self, setting: &Setting) -> Option<u32> {
        let Setting::Param(name) = setting else {
            return None;
        };
        let place = self.values.keys().position(|known| known == name)?;
        u32::try_from(place).ok()
    }

    /// The names that a parameter can pick, each with the field that it stands in; `None` if it is neither a choice nor ordered.
    pub(super) fn names<'s>(&'s self, setting: &'s Setting) -> Option<Vec<(&'s str, String)>> {
        if let Setting::Param(name) = setting {
            let kind = self.searched.distributions.get(name)?.kind.as_ref()?;
            matches!(kind, Kind::Choice(_) | Kind::Ordered(_)).then_some(())?;
        }
        let values = self.origins("", setting);
        Some(values.map(|(field, value)| (field, value.to_string())).collect())
    }

    /// All values of a parameter that there are in the space; none of a continuous one.
    pub(super) fn all_values(&self, name: &str) -> Vec<ParamValue> {
        let distribution = self.space.get(name);
        let count = distribution.and_then(|distribution| distribution.cardinality());
        let count = count.filter(|count| *count <= CHOICES_MAX as u64).unwrap_or(0);
        let nth = |index| distribution.and_then(|distribution| distribution.nth(index));
        (0..count).filter_map(nth).collect()
    }

    fn may_lack(&self, setting: &Setting) -> bool {
        matches!(setting, Setting::Param(name) if self.lacking.contains(name.as_str()))
    }

    fn whole_numbers<'s>(&'s self, setting: &'s Setting) -> impl Iterator<Item = u64> + 's {
        let values = self.values(setting);
        values.filter_map(|value| value.as_whole().map(u64::from))
    }
}

/// The fields that the extremes of a distribution stand in.
fn fields(name: &str, distribution: Option<&v1::Distribution>, len: usize) -> Vec<String> {
    let kind = match distribution.and_then(|distribution| distribution.kind.as_ref()) {
        Some(kind @ (Kind::Choice(_) | Kind::Ordered(_))) => {
            let kind = if matches!(kind, Kind::Choice(_)) {
                "choice"
            } else {
                "ordered"
            };
            return (0..len).map(|index| format!("space.{name}.{kind}[{index}]")).collect();
        }
        Some(Kind::Uniform(_)) => "uniform",
        Some(Kind::LogUniform(_)) => "log_uniform",
        Some(Kind::IntUniform(_)) => "int_uniform",
        Some(Kind::IntLogUniform(_)) => "int_log_uniform",
        Some(Kind::Normal(_)) => "normal",
        Some(Kind::LogNormal(_)) => "log_normal",
        None => return Vec::new(),
    };
    ["low", "high", "step"]
        .map(|end| format!("space.{name}.{kind}.{end}"))
        .into()
}

/// A boolean, a finite number or a word.
pub(super) fn scalar(field: &str, value: &Value, v: &mut Violations) -> Option<ParamValue> {
    match params::scalar(value) {
        Ok(ParamValue::Float(number)) if !number.is_finite() => {
            v.add(field, format!("must be finite, and {number} is not"));
            None
        }
        Ok(value) => Some(value),
        Err(kind) => {
            v.add(field, format!("must be a number, a word or a boolean, and is {kind}"));
            None
        }
    }
}
