//! Checks settings: plain values, and references to parameters with all possible values of these.

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

/// The parameters that settings may refer to, with their uses.
pub(super) struct Settings<'a> {
    searched: &'a Searched,
    space: &'a Space,
    /// Possible values of each valid parameter: the extremes of its distribution, each with its field.
    values: BTreeMap<String, Vec<(String, ParamValue)>>,
    /// The parameters that some trials lack.
    lacking: BTreeSet<&'a str>,
    /// Values that a refit sets.
    refit: Option<&'a Params>,
    used: BTreeSet<String>,
}

/// Place of a setting in a model.
#[derive(Clone, Debug, Default)]
pub(super) struct Around {
    /// Number of lists of layers around it, not counting the model.
    pub(super) depth: usize,
    pub(super) repetition: Repetition,
    /// Possible values of parameters at this place: of those that pick the alternatives around it, and of those that give its numbers of repetitions.
    pub(super) known: BTreeMap<String, Vec<ParamValue>>,
}

/// The repetition that a setting belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Repetition {
    /// None.
    #[default]
    None,
    /// This one, counted from 1.
    Of(u32),
    /// One of a repeat whose number of repetitions is unknown.
    Unknown,
    /// One of a repeat within a repeat.
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
        // A parameter in another's condition is used.
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

    /// The setting for a rule, among those written in `field`. Notes faults of the setting, or of a value of its
    /// parameter.
    pub(super) fn read(
        &mut self,
        field: &str,
        rule: &Rule,
        settings: &layers::Settings,
        v: &mut Violations,
    ) -> Option<Setting> {
        self.read_in(&Around::default(), field, rule, settings, v)
    }

    /// Like [`Self::read`], for a setting of a model.
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
                let description = self.as_written(name, rule, value).unwrap_or(description);
                v.add(origin, format!("{description} ({field} refers to it)"));
                sound = false;
            }
        }
        sound.then(|| Setting::Param(name.to_owned()))
    }

    /// What is wrong with the end of a range that this value stands for, as the end was written; `None` if it stands for none.
    fn as_written(&self, name: &str, rule: &Rule, value: &ParamValue) -> Option<String> {
        let end = self.space.get(name)?.written_end(value)?;
        let end = ParamValue::number(end);
        Some(match rule.takes.check(&end) {
            Err(description) => description,
            // The end is a whole number, and the range has others beside it.
            Ok(()) => format!("must be a whole number, and numbers next to {end} are not"),
        })
    }

    /// The parameter that a setting refers to; reports a missing one and returns `None`.
    fn parameter(&mut self, around: &Around, field: &str, name: &str, v: &mut Violations) -> Option<String> {
        let (base, each) = match name.strip_suffix(EACH) {
            None => (name, None),
            Some(base) => (base, Some(around.repetition)),
        };
        let name = match each {
            None => name.to_owned(),
            Some(Repetition::Of(repetition)) => format!("{base}_{repetition}"),
            Some(Repetition::Unknown) => {
                // The fault of the repeat has been reported.
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

    /// True if some trial in which `other` has this value lacks a value of `setting`: the setting's parameter is inactive there.
    pub(super) fn may_lack_beside(&self, setting: &Setting, other: &Setting, value: &ParamValue) -> bool {
        let Setting::Param(name) = setting else { return false };
        let mut around = Around::default();
        if let Setting::Param(other) = other {
            around.known.insert(other.clone(), vec![value.clone()]);
        }
        !self.is_there(name, &around)
    }

    /// True if a parameter has a value wherever the setting is used.
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

    /// A refit may pick another alternative than its trial, or repeat more often: then the trial's missing values have to be set, too.
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

    /// Counts all parameters as used.
    pub(super) fn use_all(&mut self) {
        self.used = self.searched.distributions.keys().cloned().collect();
    }

    /// Searching a parameter that no setting refers to would be useless.
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

    /// Possible values of a setting in trials with its parameter, each with its field.
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

    /// Possible values of a setting in trials with its parameter.
    pub(super) fn values<'s>(&'s self, setting: &'s Setting) -> impl Iterator<Item = &'s ParamValue> {
        self.origins("", setting).map(|(_, value)| value)
    }

    /// The largest possible whole number of a setting.
    pub(super) fn most(&self, setting: &Setting) -> Option<u64> {
        self.whole_numbers(setting).max()
    }

    /// The possible sizes of a setting; 0 where its rule takes no whole number. `None` if its parameter is invalid,
    /// which has been reported.
    pub(super) fn size(&self, rule: &Rule, setting: &Setting) -> Option<Range> {
        match rule.takes {
            Takes::Whole(..) => {
                // In a trial without its parameter, a setting has its default.
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

    /// Number of the parameter that gives a setting.
    fn source(&self, setting: &Setting) -> Option<u32> {
        let Setting::Param(name) = setting else {
            return None;
        };
        let place = self.values.keys().position(|known| known == name)?;
        u32::try_from(place).ok()
    }

    /// The names that a parameter can pick, each with its field; `None` if it is neither a choice nor ordered.
    pub(super) fn names<'s>(&'s self, setting: &'s Setting) -> Option<Vec<(&'s str, String)>> {
        if let Setting::Param(name) = setting {
            let kind = self.searched.distributions.get(name)?.kind.as_ref()?;
            matches!(kind, Kind::Choice(_) | Kind::Ordered(_)).then_some(())?;
        }
        let values = self.origins("", setting);
        Some(values.map(|(field, value)| (field, value.to_string())).collect())
    }

    /// All values of a parameter in the space; empty for a continuous one.
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

/// The fields of a distribution's extremes.
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
