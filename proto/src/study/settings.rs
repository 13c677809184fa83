//! Checks settings: plain values, and references to parameters with everything that those can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use prost_types::Value;

use trawl_domain::layer::Range;
use trawl_domain::rule::{Rule, Takes};
use trawl_domain::space::{ParamValue, Params, Space};
use trawl_domain::study::Setting;
use trawl_domain::violation::Violations;

use crate::v1::{self, distribution::Kind};
use crate::{layers, params};

/// The parameters that settings may refer to, and which of them are referred to.
pub(super) struct Settings<'a> {
    written: &'a HashMap<String, v1::Distribution>,
    /// What each well-formed parameter can be: the extremes of its distribution, with the field that each stands in.
    values: BTreeMap<String, Vec<(String, ParamValue)>>,
    /// The parameters that some trials lack.
    lacking: BTreeSet<&'a str>,
    used: BTreeSet<String>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(
        written: &'a HashMap<String, v1::Distribution>,
        space: &'a Space,
        refit: Option<&Params>,
    ) -> Self {
        let mut values: BTreeMap<String, Vec<(String, ParamValue)>> = space
            .iter()
            .map(|(name, distribution)| {
                let values = distribution.extremes();
                let fields = fields(name, written.get(name), values.len());
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
            written,
            values,
            lacking: space.lacking(),
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
        if !self.written.contains_key(name) {
            v.add(field, format!("there is no parameter '{name}' in the space"));
            return None;
        }
        self.used.insert(name.to_owned());
        if rule.default.is_none() && self.lacking.contains(name) {
            v.add(
                field,
                format!("needs a value in every trial, and has none where '{name}' is not active: leave out space.{name}.when"),
            );
            return None;
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

    /// Parameters that no setting refers to would be searched in vain.
    pub(super) fn note_unused(&self, v: &mut Violations) {
        let unused: BTreeSet<_> = self.written.keys().filter(|name| !self.used.contains(*name)).collect();
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
                    least: all().min()?,
                    most: all().max()?,
                })
            }
            Takes::Number(..) | Takes::Word(_) | Takes::Flag => Some(Range::exactly(0)),
        }
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
    ["low", "high"].map(|end| format!("space.{name}.{kind}.{end}")).into()
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
