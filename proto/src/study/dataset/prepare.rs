//! Checks the preparation of a CSV file's columns.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use trawl_dataset::{Missing, Prepare, Rule, Scale};
use trawl_domain::limits::FEATURES_MAX;
use trawl_domain::violation::Violations;

const FIELD: &str = "dataset.csv.prepare";
/// Settings for all columns.
const OF_ALL: [&str; 6] = ["numbers", "missing", "indicator", "rare", "columns", "target"];
/// Settings for one column.
const OF_ONE: [&str; 5] = ["as", "numbers", "missing", "indicator", "rare"];

pub(super) fn check(prepare: Option<&Value>, v: &mut Violations) -> Prepare {
    match prepare.and_then(|prepare| prepare.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => Prepare {
            standardizes_target: true,
            ..Prepare::default()
        },
        Some(Kind::StringValue(word)) => {
            let numbers = scale(FIELD, word, v);
            Prepare {
                usual: Rule {
                    numbers,
                    ..Rule::default()
                },
                columns: BTreeMap::new(),
                standardizes_target: numbers != Scale::None,
            }
        }
        Some(Kind::StructValue(settings)) => {
            let usual = rule(FIELD, settings, &OF_ALL, Rule::default(), v);
            let columns = settings.fields.get("columns");
            let columns = columns.map(|columns| of_columns(columns, usual, v)).unwrap_or_default();
            Prepare {
                usual,
                columns,
                standardizes_target: target(settings.fields.get("target"), v),
            }
        }
        Some(_) => {
            v.add(
                FIELD,
                format!(
                    "must be one of {}, or a mapping with {}",
                    Scale::WORDS.join(", "),
                    OF_ALL.join(", ")
                ),
            );
            Prepare::default()
        }
    }
}

/// True if the target is standardised, which is the default.
fn target(target: Option<&Value>, v: &mut Violations) -> bool {
    match target.map(|target| target.kind.as_ref()) {
        None => true,
        Some(Some(Kind::StringValue(word))) if word == "standardize" => true,
        Some(Some(Kind::StringValue(word))) if word == "none" => false,
        Some(_) => {
            v.add(format!("{FIELD}.target"), "must be standardize or none");
            false
        }
    }
}

fn of_columns(columns: &Value, usual: Rule, v: &mut Violations) -> BTreeMap<String, Rule> {
    let Some(Kind::StructValue(columns)) = &columns.kind else {
        v.add(
            format!("{FIELD}.columns"),
            "must be a mapping from names of columns to what is made of each",
        );
        return BTreeMap::new();
    };
    if columns.fields.len() > FEATURES_MAX {
        v.add(
            format!("{FIELD}.columns"),
            format!("must be at most {FEATURES_MAX} columns"),
        );
    }
    let mut rules = BTreeMap::new();
    for (name, settings) in columns.fields.iter().take(FEATURES_MAX) {
        let field = format!("{FIELD}.columns.{name}");
        let rule = match &settings.kind {
            Some(Kind::StructValue(settings)) => rule(&field, settings, &OF_ONE, usual, v),
            Some(Kind::StringValue(word)) => {
                let numbers = scale(&field, word, v);
                let rule = Rule { numbers, ..usual };
                check_fill(&field, rule, v);
                rule
            }
            _ => {
                let words = Scale::WORDS.join(", ");
                v.add(
                    field,
                    format!("must be one of {words}, or a mapping with {}", OF_ONE.join(", ")),
                );
                continue;
            }
        };
        rules.insert(name.clone(), rule);
    }
    rules
}

/// A rule, completed from another one.
fn rule(field: &str, settings: &Struct, allowed: &[&str], usual: Rule, v: &mut Violations) -> Rule {
    let mut rule = usual;
    for (name, value) in &settings.fields {
        let field = format!("{field}.{name}");
        match (name.as_str(), &value.kind) {
            (name, _) if !allowed.contains(&name) => {
                v.add(field, format!("is not known; allowed are {}", allowed.join(", ")));
            }
            ("as", Some(Kind::StringValue(word))) => match word.parse() {
                Ok(kind) => rule.kind = Some(kind),
                Err(error) => v.add(field, format!("'{word}' is not known: it {error}")),
            },
            ("numbers", Some(Kind::StringValue(word))) => rule.numbers = scale(&field, word, v),
            ("missing", Some(Kind::StringValue(word))) => match word.as_str() {
                "mean" => rule.missing = Missing::Mean,
                "median" => rule.missing = Missing::Median,
                "drop" => rule.missing = Missing::Dropped,
                _ => v.add(
                    field,
                    format!("'{word}' is not known: it must be mean, median, drop or a number"),
                ),
            },
            ("missing", Some(Kind::NumberValue(number))) if (*number as f32).is_finite() => {
                rule.missing = Missing::Value(*number as f32);
            }
            ("indicator", Some(Kind::BoolValue(indicator))) => rule.indicator = *indicator,
            ("rare", Some(Kind::NumberValue(rows))) if rows.fract() == 0.0 && (0.0..=1e9).contains(rows) => {
                rule.rare = *rows as u32;
            }
            ("columns" | "target", _) => {}
            ("as" | "numbers", _) => v.add(field, "must be a word"),
            ("missing", _) => v.add(field, "must be mean, median, drop or a number"),
            ("indicator", _) => v.add(field, "must be true or false"),
            _ => v.add(field, "must be a number of rows"),
        }
    }
    check_fill(field, rule, v);
    if rule.indicator && matches!(rule.missing, Missing::Refused | Missing::Dropped) {
        v.add(
            format!("{field}.indicator"),
            "has nothing to tell: say what stands for cells without a value, as missing: mean",
        );
    }
    rule
}

/// The replacement for a missing value is scaled like other numbers.
fn check_fill(field: &str, rule: Rule, v: &mut Violations) {
    if rule.numbers == Scale::Log1p && matches!(rule.missing, Missing::Value(value) if value <= -1.0) {
        v.add(
            format!("{field}.missing"),
            "is not above -1, and log1p takes no other numbers: name another, or mean or median",
        );
    }
}

fn scale(field: &str, word: &str, v: &mut Violations) -> Scale {
    word.parse().unwrap_or_else(|error| {
        v.add(field, format!("'{word}' is not known: it {error}"));
        Scale::default()
    })
}
