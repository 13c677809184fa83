//! Submit: names the fields in which a submitted study differs from the stored one of its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trawl_dataset::{FileHash, Source};
use trawl_domain::violation::Violations;

/// Length up to which a value is quoted.
const VALUE_CHARS_MAX: usize = 60;

/// A study's parts that are compared.
#[derive(Clone, Debug)]
pub(super) struct Made<'a> {
    /// Its JSON form.
    pub(super) spec: &'a Value,
    /// Its files, by the fields that name them: their content is compared, not their names.
    pub(super) files: BTreeMap<String, Vec<FileHash>>,
}

impl<'a> Made<'a> {
    /// `hashes` has the hash of each file of the source, in the order of its files.
    pub(super) fn new(spec: &'a Value, source: Option<&Source>, hashes: impl Iterator<Item = FileHash>) -> Self {
        let mut files: BTreeMap<String, Vec<FileHash>> = BTreeMap::new();
        if let Some(source) = source {
            for (file, hash) in source.files().zip(hashes) {
                files.entry(file.field.clone()).or_default().push(hash);
            }
        }
        Self { spec, files }
    }
}

/// The fields in which the sent study differs from the stored one; none if they are the same.
pub(super) fn differences(here: &Made<'_>, sent: &Made<'_>) -> Violations {
    let mut found = Differences {
        files: here.files.keys().chain(sent.files.keys()).collect(),
        violations: Violations::new(),
    };
    found.walk(String::new(), Some(here.spec), Some(sent.spec));
    let mut violations = found.violations;
    for field in here.files.keys().chain(sent.files.keys()).collect::<BTreeSet<_>>() {
        match (here.files.get(field), sent.files.get(field)) {
            (Some(here), Some(sent)) if here == sent => {}
            (Some(_), Some(_)) => violations.add(field, "another file"),
            (Some(_), None) => violations.add(field, "a file here, nothing in this file"),
            (None, _) => violations.add(field, "nothing here, a file in this file"),
        }
    }
    violations
}

struct Differences<'a> {
    /// Fields that name files; these are compared separately.
    files: BTreeSet<&'a String>,
    violations: Violations,
}

impl Differences<'_> {
    fn walk(&mut self, field: String, here: Option<&Value>, sent: Option<&Value>) {
        if here == sent || self.files.contains(&field) {
            return;
        }
        match (here, sent) {
            (Some(Value::Object(here)), Some(Value::Object(sent))) => {
                for name in here.keys().chain(sent.keys()).collect::<BTreeSet<_>>() {
                    let between = if field.is_empty() { "" } else { "." };
                    self.walk(format!("{field}{between}{name}"), here.get(name), sent.get(name));
                }
            }
            (Some(Value::Array(here)), Some(Value::Array(sent))) if here.len() == sent.len() => {
                for (index, (here, sent)) in here.iter().zip(sent).enumerate() {
                    self.walk(format!("{field}[{index}]"), Some(here), Some(sent));
                }
            }
            _ => self
                .violations
                .add(field, format!("{} here, {} in this file", told(here), told(sent))),
        }
    }
}

/// A value in a few words.
fn told(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::Array(items)) => format!("a list of {}", items.len()),
        Some(Value::Object(_)) => "given".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "nothing".to_owned(),
        Some(Value::String(text)) => trawl_domain::text::shown(text, VALUE_CHARS_MAX),
        Some(scalar) => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made<'a>(spec: &'a Value, train: &str) -> Made<'a> {
        Made {
            spec,
            files: [("dataset.csv.train".to_owned(), vec![FileHash::of(train.as_bytes())])].into(),
        }
    }

    fn told_of(here: &Value, sent: &Value, files: [&str; 2]) -> Vec<String> {
        let found = differences(&made(here, files[0]), &made(sent, files[1]));
        found
            .iter()
            .map(|found| format!("{}: {}", found.field, found.description))
            .collect()
    }

    #[test]
    fn every_field_that_differs_is_named_with_both_values() {
        let here = json!({
            "name": "s", "max_trials": 300, "model": [{ "linear": { "units": 3 } }, { "flatten": {} }],
            "space": { "lr": { "choice": [1, 2] }, "l2": { "choice": [1] } },
            "dataset": { "csv": { "train": "sha256:1", "features": ["a"], "target": "y" } },
            "training": { "loss": "mse", "learning_rate": "$lr" },
        });
        let sent = json!({
            "name": "s", "max_trials": 200, "model": [{ "linear": { "units": 4 } }, { "dropout": { "p": 0 } }],
            "space": { "lr": { "uniform": { "low": 1 } }, "l2": { "choice": [1, 2] } },
            "dataset": { "csv": { "train": "data/x.csv", "features": ["a", "b"], "target": "y" } },
            "training": { "loss": "mse", "learning_rate": 0.1 }, "refit": { "epochs": 3, "set": {} },
        });
        let said = told_of(&here, &sent, ["x", "y"]);
        assert_eq!(
            said,
            [
                "dataset.csv.features: a list of 1 here, a list of 2 in this file",
                "max_trials: 300 here, 200 in this file",
                "model[0].linear.units: 3 here, 4 in this file",
                "model[1].dropout: nothing here, given in this file",
                "model[1].flatten: given here, nothing in this file",
                "refit: nothing here, given in this file",
                "space.l2.choice: a list of 1 here, a list of 2 in this file",
                "space.lr.choice: a list of 2 here, nothing in this file",
                "space.lr.uniform: nothing here, given in this file",
                "training.learning_rate: $lr here, 0.1 in this file",
                "dataset.csv.train: another file",
            ]
        );
    }

    #[test]
    fn a_file_is_the_same_by_what_is_in_it_however_it_is_named() {
        let spec = |train: &str| json!({ "name": "s", "dataset": { "csv": { "train": train } } });
        let none: [String; 0] = [];
        assert_eq!(told_of(&spec("sha256:1"), &spec("data/x.csv"), ["x", "x"]), none);
        assert_eq!(
            told_of(&spec("data/x.csv"), &spec("data/x.csv"), ["x", "y"]),
            ["dataset.csv.train: another file"]
        );
    }
}
