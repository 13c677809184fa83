//! Reads the layers of a model: their kinds, their settings, and their inner layers.

use std::collections::BTreeMap;

use prost_types::Value;

use trawl_domain::block::{LayerSpec, TIMES};
use trawl_domain::layer::{LayerKind, Range};
use trawl_domain::limits::{CHOICES_MAX, LAYERS_DEPTH_MAX, MODEL_LAYERS_MAX};
use trawl_domain::rule::{Rule, Takes};
use trawl_domain::study::Setting;
use trawl_domain::violation::Violations;

use super::{Part, What};
use crate::study::settings::{Around, Repetition, Settings};
use crate::{layers, v1};
use v1::layer::Kind;

/// `pick` of a choice, whose alternatives determine the allowed values.
const PICK: Rule = Rule::new("pick", Takes::Any);

/// The entries of a model; reports too many and returns `None`.
pub(super) fn model(list: &[v1::Layer], settings: &mut Settings<'_>, v: &mut Violations) -> Option<Vec<Part>> {
    let mut reader = Reader {
        settings,
        v,
        left: MODEL_LAYERS_MAX,
    };
    let parts = reader.list("model", list, &Around::default());
    if parts.is_none() {
        // Unread layers may use them.
        settings.use_all();
    }
    parts
}

struct Reader<'r, 's> {
    settings: &'r mut Settings<'s>,
    v: &'r mut Violations,
    /// Number of layers still allowed.
    left: usize,
}

impl Reader<'_, '_> {
    fn list(&mut self, field: &str, list: &[v1::Layer], around: &Around) -> Option<Vec<Part>> {
        let parts = list.iter().enumerate().map(|(index, layer)| {
            let Some(left) = self.left.checked_sub(1) else {
                let told =
                    format!("has more than {MODEL_LAYERS_MAX} layers, all alternatives and all repetitions among them");
                self.v.add("model", told);
                return None;
            };
            self.left = left;
            self.part(format!("{field}[{index}]"), layer, around)
        });
        parts.collect()
    }

    fn part(&mut self, field: String, layer: &v1::Layer, around: &Around) -> Option<Part> {
        let what = match &layer.kind {
            Some(Kind::Residual(residual)) => {
                let list = format!("{field}.residual.layers");
                self.not_empty(&list, &residual.layers);
                What::Residual(self.inner(&list, &residual.layers, around.clone())?)
            }
            Some(Kind::Repeat(repeat)) => self.repeat(&field, repeat, around)?,
            Some(Kind::Choice(choice)) => self.choice(&field, choice, around)?,
            _ => self.layer(&field, layer, around),
        };
        Some(Part { field, what })
    }

    fn layer(&mut self, field: &str, layer: &v1::Layer, around: &Around) -> What {
        let (name, written) = layers::written(layer).unwrap_or_default();
        let Some(kind) = LayerKind::named(&name) else {
            let kinds = LayerKind::ALL.map(|kind| kind.name).join(", ");
            self.v.add(
                field,
                format!("is empty: name one of {kinds}, residual, repeat, choice"),
            );
            return What::Layer { kind: None, spec: None };
        };
        let field = format!("{field}.{}", kind.name);
        // Reads all settings, so that all faults are reported at once.
        let rules = kind.settings.iter();
        let values: Vec<_> = rules
            .map(|rule| self.settings.read_in(around, &field, rule, &written, self.v))
            .collect();
        let values: Option<Vec<_>> = values.into_iter().collect();
        What::Layer {
            kind: Some(kind),
            spec: values.map(|settings| LayerSpec { kind, settings }),
        }
    }

    /// A list within a layer.
    fn inner(&mut self, field: &str, list: &[v1::Layer], around: Around) -> Option<Vec<Part>> {
        let depth = around.depth + 1;
        if depth > LAYERS_DEPTH_MAX {
            self.v.add(
                field,
                format!("is too deep: lists of layers are at most {LAYERS_DEPTH_MAX} within each other"),
            );
            return None;
        }
        self.list(field, list, &Around { depth, ..around })
    }

    fn not_empty(&mut self, field: &str, list: &[v1::Layer]) {
        if list.is_empty() {
            self.v.add(field, "is empty: it has at least one layer");
        }
    }

    fn setting(&mut self, around: &Around, field: &str, rule: &Rule, written: Option<&Value>) -> Option<Setting> {
        let written = written.map(|value| (rule.name.to_owned(), value.clone()));
        let written = written.into_iter().collect();
        self.settings.read_in(around, field, rule, &written, self.v)
    }

    fn repeat(&mut self, field: &str, repeat: &v1::RepeatLayer, around: &Around) -> Option<What> {
        let field = format!("{field}.repeat");
        let list = format!("{field}.layers");
        self.not_empty(&list, &repeat.layers);
        let times = self.setting(around, &field, &TIMES, repeat.times.as_ref());
        let range = times.as_ref().and_then(|times| self.settings.size(&TIMES, times));
        let is_nested = around.repetition != Repetition::None;
        let Some(range) = range else {
            // Read once, for other faults.
            let repetition = if is_nested {
                Repetition::Nested
            } else {
                Repetition::Unknown
            };
            let lists = vec![self.inner(
                &list,
                &repeat.layers,
                Around {
                    repetition,
                    ..around.clone()
                },
            )?];
            return Some(What::Repeat {
                times,
                range: Range::exactly(1),
                lists,
            });
        };
        let mut lists = Vec::new();
        for repetition in 1..=range.most as u32 {
            let mut around = around.clone();
            around.repetition = if is_nested {
                Repetition::Nested
            } else {
                Repetition::Of(repetition)
            };
            if let Some(Setting::Param(name)) = &times {
                let mut known = self.settings.all_values(name);
                known.retain(|value| value.as_whole().is_some_and(|times| times >= repetition));
                around.known.insert(name.clone(), known);
            }
            lists.push(self.inner(&list, &repeat.layers, around)?);
        }
        Some(What::Repeat { times, range, lists })
    }

    fn choice(&mut self, field: &str, choice: &v1::ChoiceLayer, around: &Around) -> Option<What> {
        let field = format!("{field}.choice");
        let pick = self.setting(around, &field, &PICK, choice.pick.as_ref());
        if choice.of.is_empty() || choice.of.len() > CHOICES_MAX {
            let count = choice.of.len();
            self.v.add(
                format!("{field}.of"),
                format!("must have 1 to {CHOICES_MAX} alternatives, and has {count}"),
            );
            self.settings.use_all();
            return Some(What::Choice {
                pick: None,
                of: BTreeMap::new(),
            });
        }
        let alternatives: BTreeMap<_, _> = choice.of.iter().collect();
        let parameter = match &pick {
            Some(Setting::Param(parameter)) => Some(parameter.clone()),
            _ => None,
        };
        let pick = pick.filter(|pick| self.is_picked_from(&field, pick, &alternatives));
        let mut of = BTreeMap::new();
        for (name, alternative) in alternatives {
            let mut around = around.clone();
            if let Some(parameter) = &parameter {
                let mut known = self.settings.all_values(parameter);
                known.retain(|value| value.to_string() == *name);
                around.known.insert(parameter.clone(), known);
            }
            let list = format!("{field}.of.{name}.layers");
            of.insert(name.clone(), self.inner(&list, &alternative.layers, around)?);
        }
        Some(What::Choice { pick, of })
    }

    /// True if each value of `pick` is an alternative, and each alternative is one of its values.
    fn is_picked_from(&mut self, field: &str, pick: &Setting, of: &BTreeMap<&String, &v1::ChoiceLayers>) -> bool {
        let at = format!("{field}.pick");
        let Some(names) = self.settings.names(pick) else {
            self.v.add(
                at,
                "names a parameter that is neither a choice nor ordered: its values name the alternatives",
            );
            return false;
        };
        let known: Vec<&str> = of.keys().map(|name| name.as_str()).collect();
        let mut wrong: Vec<(String, String)> = Vec::new();
        for (origin, name) in names.iter().filter(|(_, name)| !known.contains(&name.as_str())) {
            let told = format!("'{name}' is none of the alternatives: {}", known.join(", "));
            wrong.push(match *origin {
                "" => (at.clone(), told),
                origin => (origin.to_owned(), format!("{told} ({at} refers to it)")),
            });
        }
        if let Setting::Param(parameter) = pick {
            let never = known
                .iter()
                .filter(|known| names.iter().all(|(_, name)| name != *known));
            wrong.extend(never.map(|name| {
                let told = format!("is never picked: '{parameter}' has no value '{name}'");
                (format!("{field}.of.{name}"), told)
            }));
        }
        let is_right = wrong.is_empty();
        wrong.into_iter().for_each(|(field, told)| self.v.add(field, told));
        is_right
    }
}
