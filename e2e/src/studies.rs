//! Studies that tests submit: the example's, cut to size.

use anyhow::Context;
use serde_json::{Value, json};
use trawl_proto::v1;

use crate::process::repository;

/// The regression study of the examples, as JSON, under another name.
///
/// # Errors
/// The example is broken.
pub fn regression_json(name: &str) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(repository().join("examples/regression.json"))?;
    let mut request: Value = serde_json::from_str(&text)?;
    let study = request.get_mut("study").context("the example is no request")?;
    study["name"] = json!(name);
    Ok(study.take())
}

/// A study from its JSON form.
///
/// # Errors
/// It is no study.
pub fn from_json(study: &Value) -> anyhow::Result<v1::Study> {
    Ok(trawl_proto::from_json(study)?)
}

/// The study with the example's files from the root of the file system, for a study file that lies elsewhere.
pub fn with_whole_paths(mut study: Value) -> Value {
    for which in ["train", "test"] {
        let file = repository().join(format!("examples/data/{which}.csv"));
        study["dataset"]["csv"][which] = json!(file);
    }
    study
}

/// A study of the example's kind that trains in a second: `trials` trials of 3 folds, and a refit.
///
/// # Errors
/// The example is broken.
pub fn small(name: &str, trials: u32, epochs: u32) -> anyhow::Result<Value> {
    let mut study = regression_json(name)?;
    study["max_trials"] = json!(trials);
    study["training"]["epochs"] = json!(epochs);
    study["validation"] = json!({ "k_fold": 3 });
    study["refit"]["epochs"] = json!(epochs);
    Ok(study)
}
