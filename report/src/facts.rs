//! What a report says in words: about the study, its refits, and its study file.

use serde_json::Value;
use trawl_proto::to_json;
use trawl_proto::v1::{RefitSummary, Winner};

use super::artifacts::Calibration;
use super::data::{StudyData, objective_name};
use super::metric::Metric;
use crate::words::{
    self, Parameter, alike, baselines_text, data_text, elapsed_text, parameter, percent, spread, time_text, trial_list,
    trials_text,
};

/// A term and what there is to say about it.
pub(crate) type Fact = (String, String);

/// The head of the page.
pub(crate) fn of_study(study: &StudyData) -> Vec<Fact> {
    let summary = &study.summary;
    let mut facts = Facts::default();
    facts.add("state", summary.state.clone());
    facts.add("error", summary.error.clone());
    facts.add("stopped early", summary.stop_reason.clone());
    facts.add("objective", objective(study));
    let further = study.spec.objectives.iter().skip(1);
    let further: Vec<&str> = further.map(|further| objective_name(&further.metric)).collect();
    facts.add("further objectives", further.join(", "));
    let data = study.data.as_ref().map(|data| data_text(data, true));
    facts.add("data", data.unwrap_or_default());
    facts.add("trials", trials_text(summary));
    facts.add("epoch reports", summary.epochs_reported.to_string());
    if let Some(best) = study.ranking.first() {
        let value = spread(best.value, best.value_std);
        facts.add("best trial", format!("{}: {} {value}", best.trial, study.value_name()));
        facts.add("its settings", params(best.params.as_ref()));
        facts.add("baselines", baselines_text(summary));
    }
    if let Some(winner) = &summary.winner {
        facts.winner(winner);
    }
    for refit in &study.refits {
        let of = format!("of refit {}", refit.summary.refit);
        for metric in Metric::ALL {
            let test = metric.test(&refit.summary).map(words::number).unwrap_or_default();
            facts.add(&format!("test {} {of}", metric.name()), test);
        }
    }
    facts.add("seed", study.spec.seed.to_string());
    facts.add("submitted", summary.created_at.as_ref().map(in_utc).unwrap_or_default());
    facts.add("ended", summary.finished_at.as_ref().map(in_utc).unwrap_or_default());
    facts.add("took", elapsed_text(summary).unwrap_or_default());
    facts.add("id", summary.study_id.clone());
    facts.add("trawl", env!("CARGO_PKG_VERSION").into());
    facts.0
}

/// What the search found, in a line or two.
pub(crate) fn headline(study: &StudyData) -> Vec<String> {
    let Some(best) = study.ranking.first() else {
        return Vec::new();
    };
    let found = format!(
        "{} {} of trial {}",
        study.value_name(),
        spread(best.value, best.value_std),
        best.trial
    );
    let refit = study.refits.iter().rev().find_map(|refit| {
        let refit = &refit.summary;
        let measured = Metric::ALL
            .into_iter()
            .rev()
            .find_map(|metric| Some((metric.name(), metric.test(refit)?)))?;
        Some(format!(
            "test {} {} of refit {}",
            measured.0,
            words::number(measured.1),
            refit.refit
        ))
    });
    let baselines = baselines_text(&study.summary);
    let baselines = (!baselines.is_empty()).then(|| format!("baselines: {baselines}"));
    [found]
        .into_iter()
        .chain(baselines)
        .chain(refit)
        .chain([params(best.params.as_ref())])
        .collect()
}

/// The head of a refit's section.
pub(crate) fn of_refit(refit: &RefitSummary, calibration: Option<&Calibration>) -> Vec<Fact> {
    let mut facts = Facts::default();
    facts.add("state", refit.state.clone());
    facts.add("error", refit.error.clone());
    facts.add("epochs", refit.epochs.to_string());
    facts.add("settings", params(refit.params.as_ref()));
    facts.add("value over folds", spread(refit.value, refit.value_std));
    for metric in Metric::ALL {
        facts.add(
            &format!("test {}", metric.name()),
            metric.test(refit).map(words::number).unwrap_or_default(),
        );
    }
    if let Some(calibration) = calibration {
        facts.calibration(calibration);
    }
    facts.add("ended", refit.finished_at.as_ref().map(in_utc).unwrap_or_default());
    facts.0
}

/// Why a refit's figures may be missing.
pub(crate) fn refit_note(refit: &RefitSummary) -> Option<String> {
    match refit.state.as_str() {
        "queued" | "running" => Some(format!(
            "This refit is {}: figures of its network appear once it has ended.",
            refit.state
        )),
        "failed" | "cancelled" => Some(format!(
            "This refit {}: it left no network to be drawn.",
            match refit.state.as_str() {
                "failed" => "failed",
                _ => "was cancelled",
            }
        )),
        _ => None,
    }
}

/// The study's parts as they were written, and the query that gives the ranking.
pub(crate) fn texts(study: &StudyData) -> Vec<(&'static str, String)> {
    let spec = to_json(&study.spec).unwrap_or_default();
    let part = |name: &str| {
        spec.get(name)
            .cloned()
            .and_then(said)
            .as_ref()
            .map(yaml)
            .unwrap_or_default()
    };
    // Its files have the names that somebody gave them, as in the study file.
    let mut dataset = part("dataset");
    let files = study.data.iter().flat_map(|data| &data.files);
    for file in files.filter(|file| !file.name.is_empty()) {
        let by_hash = Value::String(format!("sha256:{}", file.sha256));
        dataset = dataset.replace(&flow(&by_hash), &flow(&Value::String(file.name.clone())));
    }
    let query = format!(
        "SELECT rank, trial, value, value_std, params\nFROM trawl.best_trials\nWHERE study = '{}'\nORDER BY rank\nLIMIT {};",
        study.summary.name.replace('\'', "''"),
        study.ranking.len().max(10),
    );
    let texts = [
        ("Model", part("model")),
        ("Training", part("training")),
        ("Space", part("space")),
        ("Constraints", part("constraints")),
        ("Dataset", dataset),
        ("Ranking in SQL", query),
    ];
    texts.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// Facts about which there is something to say.
#[derive(Default)]
struct Facts(Vec<Fact>);

impl Facts {
    /// What the best trial is worth.
    fn winner(&mut self, winner: &Winner) {
        let interval = |value: Option<f64>, low: Option<f64>, high: Option<f64>| match (value, low, high) {
            (Some(value), Some(low), Some(high)) => {
                let [value, low, high] = alike([value, low, high]);
                format!("{value}, with 90 % from {low} to {high}")
            }
            _ => String::new(),
        };
        let corrected = interval(winner.corrected_value, winner.corrected_low, winner.corrected_high);
        self.add("its value, corrected for having been chosen", corrected);
        let test = interval(winner.test_loss, winner.test_low, winner.test_high);
        self.add("its loss on test rows", test);
        let p_better = winner.p_better.map(percent).unwrap_or_default();
        self.add("probability that it beats the second best", p_better);
        self.add(
            "not separable from",
            trial_list(&winner.not_separable_from).unwrap_or_default(),
        );
    }

    /// How far the probabilities of a refit can be relied on.
    fn calibration(&mut self, calibration: &Calibration) {
        let reason = calibration.reason.as_deref().unwrap_or("unknown");
        let none = || format!("none: {reason}");
        self.add("temperature", calibration.temperature.map_or_else(none, words::number));
        if let Some(test) = &calibration.test {
            for (name, before, after) in [
                ("test log loss", test.before.log_loss, test.after.log_loss),
                ("test Brier score", test.before.brier, test.after.brier),
                ("test calibration error", test.before.ece, test.after.ece),
            ] {
                let name = format!("{name} before and after calibration");
                self.add(&name, alike([before, after]).join(", "));
            }
        }
    }

    fn add(&mut self, term: &str, text: String) {
        if !text.is_empty() {
            self.0.push((term.to_owned(), text));
        }
    }
}

fn objective(study: &StudyData) -> String {
    let at = study.objective().map_or("", |objective| objective.at.as_str());
    let goal = if study.is_maximized() { "maximize" } else { "minimize" };
    match at {
        "best" => format!("{goal} {} at each fold's best epoch", study.value_name()),
        _ => format!("{goal} {} after the last epoch", study.value_name()),
    }
}

fn in_utc(time: &prost_types::Timestamp) -> String {
    format!("{} UTC", time_text(time))
}

fn params(params: Option<&prost_types::Struct>) -> String {
    let names = params.into_iter().flat_map(|params| params.fields.keys());
    let pairs: Vec<String> = names
        .filter_map(|name| match parameter(params, name)? {
            Parameter::Number(number) => Some(format!("{name} {}", words::number(number))),
            Parameter::Text(text) => Some(format!("{name} {text}")),
        })
        .collect();
    pairs.join(", ")
}

/// What was said of a study: without the fields that are empty because nobody set them.
fn said(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => (!items.is_empty()).then_some(Value::Array(items)),
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .filter_map(|(name, field)| Some((name, said(field)?)));
            let fields: serde_json::Map<String, Value> = fields.collect();
            (!fields.is_empty()).then_some(Value::Object(fields))
        }
        other => Some(other),
    }
}

/// A part of a study as its file would have it: an entry a line.
fn yaml(value: &Value) -> String {
    let lines: Vec<String> = match value {
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::Object(fields) => format!("- {}", entries(fields)),
                other => format!("- {}", flow(other)),
            })
            .collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, field)| format!("{key}: {}", flow(field)))
            .collect(),
        other => vec![flow(other)],
    };
    lines.join("\n")
}

/// Within one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => format!("{{ {} }}", entries(fields)),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON is YAML too.
        other => other.to_string(),
    }
}

fn entries(fields: &serde_json::Map<String, Value>) -> String {
    let entries: Vec<String> = fields
        .iter()
        .map(|(key, field)| format!("{key}: {}", flow(field)))
        .collect();
    entries.join(", ")
}

/// True for text that needs no quotes, even where it could be taken for a number or a truth value.
fn is_plain(text: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || "_$./-".contains(letter);
    text.starts_with(|first: char| first.is_alphabetic() || "$/._".contains(first))
        && text.chars().all(is_word)
        && text.parse::<f64>().is_err()
        && !["true", "false", "null", "yes", "no", "on", "off"].contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_a_study_are_written_as_in_its_file() {
        let model = json!([{ "linear": { "units": 10 } }, { "activation": { "kind": "$kind" } }]);
        assert_eq!(yaml(&model), "- linear: { units: 10 }\n- activation: { kind: $kind }");
        let space = json!({ "b": { "choice": ["true", true, "a, b", "1e3", ""] }, "a": {} });
        assert_eq!(
            yaml(&space),
            "a: {}\nb: { choice: [\"true\", true, \"a, b\", \"1e3\", \"\"] }"
        );
        let read: Value = serde_saphyr::from_str(&yaml(&space)).unwrap();
        assert_eq!(read, space);
    }
}
