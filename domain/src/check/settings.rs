//! Checks settings: plain values, and references to parameters with everything that those can be.

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::Range;
use crate::rule::{Rule, Takes};
use crate::space::{ParamValue, Params, Space};
use crate::study::Setting;
use crate::study_draft::{DistributionDraft, RawValue, SettingDrafts};
use crate::violation::Violations;

/// The parameters that settings may refer to, and which of them are referred to.
pub(super) struct Settings<'a> {
    drafts: &'a BTreeMap<String, Option<DistributionDraft>>,
    /// What each well-formed parameter can be: the extremes of its distribution, with the field that each stands in.
    values: BTreeMap<String, Vec<(String, ParamValue)>>,
    used: BTreeSet<String>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(
        drafts: &'a BTreeMap<String, Option<DistributionDraft>>,
        space: &Space,
        refit: Option<&Params>,
    ) -> Self {
        let mut values: BTreeMap<String, Vec<(String, ParamValue)>> = space
            .iter()
            .map(|(name, distribution)| {
                let values = distribution.extremes();
                let fields = fields(name, drafts.get(name).and_then(Option::as_ref), values.len());
                (name.clone(), fields.into_iter().zip(values).collect())
            })
            .collect();
        for (name, value) in refit.into_iter().flatten() {
            values
                .entry(name.clone())
                .or_default()
                .push((format!("refit.set.{name}"), value.clone()));
        }
        Self {
            drafts,
            values,
            used: BTreeSet::new(),
        }
    }

    /// The setting that a rule is for, among those written in `field`. Notes what is wrong with it, or with a value of the
    /// parameter that it refers to.
    pub(super) fn read(
        &mut self,
        field: &str,
        rule: &Rule,
        drafts: &SettingDrafts,
        v: &mut Violations,
    ) -> Option<Setting> {
        let field = format!("{field}.{}", rule.name);
        let default = rule.default.map(|value| RawValue::Scalar(ParamValue::number(value)));
        let Some(raw) = drafts.get(rule.name).or(default.as_ref()) else {
            v.add(field, "is missing");
            return None;
        };
        let value = scalar(&field, raw, v)?;
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
        if !self.drafts.contains_key(name) {
            v.add(field, format!("there is no parameter '{name}' in the space"));
            return None;
        }
        self.used.insert(name.to_owned());
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
        for name in self.drafts.keys().filter(|name| !self.used.contains(*name)) {
            v.add(
                format!("space.{name}"),
                format!("is not used: no setting says \"${name}\""),
            );
        }
    }

    /// What a setting can be, each with the field that it stands in.
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

    /// What a setting can be.
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
            Takes::Whole(..) => Some(Range {
                least: self.whole_numbers(setting).min()?,
                most: self.whole_numbers(setting).max()?,
            }),
            Takes::Number(..) | Takes::Word(_) => Some(Range::exactly(0)),
        }
    }

    fn whole_numbers<'s>(&'s self, setting: &'s Setting) -> impl Iterator<Item = u64> + 's {
        let values = self.values(setting);
        values.filter_map(|value| value.as_whole().map(u64::from))
    }
}

/// The fields that the extremes of a distribution stand in.
fn fields(name: &str, draft: Option<&DistributionDraft>, len: usize) -> Vec<String> {
    let kind = match draft {
        Some(DistributionDraft::Choice(_)) => {
            return (0..len).map(|index| format!("space.{name}.choice[{index}]")).collect();
        }
        Some(DistributionDraft::Uniform(_)) => "uniform",
        Some(DistributionDraft::LogUniform(_)) => "log_uniform",
        Some(DistributionDraft::IntUniform(..)) => "int_uniform",
        Some(DistributionDraft::IntLogUniform(_)) => "int_log_uniform",
        None => return Vec::new(),
    };
    ["low", "high"].map(|end| format!("space.{name}.{kind}.{end}")).into()
}

/// A boolean, a finite number or a word.
pub(super) fn scalar(field: &str, raw: &RawValue, v: &mut Violations) -> Option<ParamValue> {
    match raw {
        RawValue::Scalar(ParamValue::Float(number)) if !number.is_finite() => {
            v.add(field, format!("must be finite, and {number} is not"));
            None
        }
        RawValue::Scalar(value) => Some(value.clone()),
        RawValue::Other(kind) => {
            v.add(field, format!("must be a number, a word or a boolean, and is {kind}"));
            None
        }
    }
}
