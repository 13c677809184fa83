//! Studies that tests submit: the example's, cut to size.

use std::path::Path;

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

/// A study to be submitted: its message, or its JSON form.
pub trait IntoStudy {
    /// Its message.
    ///
    /// # Errors
    /// It is no study.
    fn into_study(self) -> anyhow::Result<v1::Study>;
}

impl IntoStudy for v1::Study {
    fn into_study(self) -> anyhow::Result<v1::Study> {
        Ok(self)
    }
}

impl IntoStudy for &Value {
    fn into_study(self) -> anyhow::Result<v1::Study> {
        from_json(self)
    }
}

impl IntoStudy for Value {
    fn into_study(self) -> anyhow::Result<v1::Study> {
        from_json(&self)
    }
}

/// The text of an example's study file with the whole paths of its data, and with these changes.
///
/// # Errors
/// There is no such example, or nothing to be changed.
pub fn example(file: &str, changes: &[(&str, &str)]) -> anyhow::Result<String> {
    let examples = repository().join("examples");
    let mut study = std::fs::read_to_string(examples.join(file))?;
    study = study.replace("data/", &format!("{}/data/", examples.display()));
    for (from, to) in changes {
        anyhow::ensure!(study.contains(from), "{file} has no {from}");
        study = study.replace(from, to);
    }
    Ok(study)
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

/// Weights of a fold of [`wide`]: 1,965,601 numbers.
pub const WIDE_WEIGHTS_BYTES: u64 = 4 * 1_965_601;

/// A study whose weights go to the object store in more than one part: 2 trials of 3 folds, and a refit.
///
/// # Errors
/// The example is broken.
pub fn wide(name: &str) -> anyhow::Result<v1::Study> {
    let mut study = small(name, 2, 1)?;
    study["model"] = json!([
        { "linear": { "units": 1400 } },
        { "activation": { "kind": "$activation" } },
        { "linear": { "units": 1400 } },
        { "activation": { "kind": "$activation" } },
        { "linear": { "units": 1 } },
    ]);
    // No trial diverges: all leave their weights.
    study["space"]["optimizer"] = json!({ "choice": ["adam"] });
    study["space"]["learning_rate"] = json!({ "choice": [1e-4] });
    study["refit"]["set"]["learning_rate"] = json!(1e-4);
    from_json(&study)
}

/// A study without a refit whose trials are one job, `3 * trials` members of one architecture.
///
/// # Errors
/// The example is broken.
pub fn one_job(name: &str, trials: u32, epochs: u32) -> anyhow::Result<v1::Study> {
    let mut study = small(name, trials, epochs)?;
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["batch_size"] = json!({ "choice": [8] });
    // 99 rows in 3 folds: all folds train on as many rows, and fit in one job.
    study["dataset"]["csv"]["train"] = json!("e2e/tests/data/99_rows.csv");
    study.as_object_mut().map(|study| study.remove("refit"));
    from_json(&study)
}

/// A study of one job of 6 members without a refit, every one of whose epochs costs work: 2,000 of them take seconds.
///
/// # Errors
/// The example is broken.
pub fn long_job(name: &str, epochs: u32) -> anyhow::Result<v1::Study> {
    let mut study = small(name, 2, epochs)?;
    study["space"]["activation"] = json!({ "choice": ["tanh"] });
    study["space"]["batch_size"] = json!({ "choice": [8] });
    study["space"]["learning_rate"] = json!({ "choice": [0.001] });
    study["dataset"]["csv"]["train"] = json!("e2e/tests/data/99_rows.csv");
    study.as_object_mut().map(|study| study.remove("refit"));
    from_json(&study)
}

/// A study of networks of two sizes. The larger has 64 million numbers, four times over with Adam: a gigabyte.
///
/// # Errors
/// The example is broken.
pub fn too_large(name: &str, trials: u32) -> anyhow::Result<v1::Study> {
    let mut study = small(name, trials, 1)?;
    study["model"] = json!([
        { "linear": { "units": "$units" } },
        { "linear": { "units": 1000 } },
        { "linear": { "units": 1 } },
    ]);
    let space = study["space"].as_object_mut().context("the example has no space")?;
    space.remove("activation");
    space.insert("units".into(), json!({ "choice": [8, 64_000] }));
    space.insert("optimizer".into(), json!({ "choice": ["adam"] }));
    space.insert("learning_rate".into(), json!({ "choice": [1e-4] }));
    study["validation"] = json!({ "holdout": 0.2 });
    study["refit"] = json!({ "epochs": 1, "set": { "units": 8 } });
    from_json(&study)
}

/// FashionMNIST with a network that takes seconds, and a refit.
pub fn small_fashion(name: &str) -> Value {
    json!({
        "name": name,
        "seed": 5,
        "dataset": { "fashion_mnist": {} },
        "model": [
            { "conv2d": { "filters": 4, "kernel": 5, "stride": 3 } },
            { "activation": { "kind": "relu" } },
            { "flatten": {} },
            { "linear": { "units": 10 } },
        ],
        "training": {
            "loss": "cross_entropy", "optimizer": "adam", "learning_rate": "$learning_rate", "batch_size": 256, "epochs": 1,
        },
        "validation": { "holdout": 0.2 },
        "objective": { "metric": "val_accuracy", "goal": "maximize", "at": "last" },
        "space": { "learning_rate": { "choice": [0.001, 0.01] } },
        "sampler": { "random": {} },
        "max_trials": 2,
        "refit": { "epochs": 1 },
    })
}

/// Rows whose class is hidden in their number: of 60, 36 are of class a, 18 of b, and `rarest` of c. The others are of a.
fn rows_of_classes(rarest: usize) -> String {
    let class = |row: usize| match row * 7 % 60 {
        place if place < rarest => "c",
        place if place < 24 => "b",
        _ => "a",
    };
    let number = |row: usize| (row * 7 % 60) as f64 / 30.0 - 1.0 + (row % 3) as f64 / 10.0;
    let lines = (0..60).map(|row| format!("{},{}\n", number(row), class(row)));
    format!("x,y\n{}", lines.collect::<String>())
}

/// A study of three classes, of 4 random trials of 3 folds, and a refit. Its rows, of which `rarest` are of the rarest class, are written
/// into the folder in which its file has to lie.
///
/// # Errors
/// The rows cannot be written.
pub fn with_classes(folder: &Path, name: &str, rarest: usize) -> anyhow::Result<Value> {
    std::fs::write(folder.join("train.csv"), rows_of_classes(rarest))?;
    std::fs::write(folder.join("test.csv"), rows_of_classes(rarest + 1))?;
    Ok(json!({
        "name": name,
        "seed": 3,
        "dataset": { "csv": { "train": "train.csv", "test": "test.csv", "features": ["x"], "target": "y" } },
        "model": [
            { "linear": { "units": 6 } },
            { "activation": { "kind": "tanh" } },
            { "linear": { "units": 3 } },
        ],
        "training": { "optimizer": "adam", "learning_rate": 0.03, "batch_size": 8, "epochs": 4 },
        "validation": { "k_fold": 3 },
        "objectives": [{ "metric": "val_auc" }, { "metric": "val_f1", "at": "best" }, { "metric": "val_log_loss" }],
        "space": { "setting": { "uniform": { "low": 0, "high": 0.5 } } },
        "sampler": { "random": {} },
        "racing": "none",
        "max_trials": 4,
        "refit": { "epochs": 4 },
    }))
}
