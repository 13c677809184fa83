//! The check of a study with binary targets.

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::metric::Metric;

use crate::{from_json, study, v1};

const TABLE: DatasetShape = DatasetShape {
    train_rows: 1_000,
    sample: SampleShape::Vector(8),
    target: TargetShape::Numbers(2),
};

fn with(field: &str, value: Value) -> v1::Study {
    let mut json = json!({
        "name": "messages",
        "dataset": { "csv": { "train": "train.csv", "features": "all", "target": ["urgent", "billing"] } },
        "model": [{ "linear": { "units": 2 } }],
        "training": { "loss": "bce", "optimizer": "adam", "learning_rate": "$rate", "batch_size": 32, "epochs": 9 },
        "validation": { "k_fold": 5 },
        "objective": { "metric": "val_auc" },
        "space": { "rate": { "log_uniform": { "low": 0.001, "high": 0.1 } } },
        "max_trials": 40,
        "refit": { "epochs": 9 },
    });
    if let Some((section, name)) = field.split_once('.') {
        json[section][name] = value;
    }
    from_json(&json).expect("a study")
}

#[test]
fn targets_of_yes_and_no_are_measured_by_what_is_of_them() {
    let metrics = |metric: &str| {
        let study = study::check(&with("objective.metric", json!(metric)), Some(Ok(TABLE.into())));
        study.expect("it is sound").metrics()
    };
    let usual = [Metric::ValLoss, Metric::ValAccuracy];
    assert_eq!(metrics("val_auc"), [&usual[..], &[Metric::ValAuc]].concat());
    assert_eq!(metrics("val_f1"), [&usual[..], &[Metric::ValF1]].concat());
}

#[test]
fn what_is_of_classes_or_numbers_alone_is_refused() {
    for (field, value, description) in [
        (
            "objective.metric",
            json!("val_rmse"),
            "val_rmse needs numbers, which training.loss bce does not predict",
        ),
        (
            "objective.metric",
            json!("val_brier"),
            "val_brier needs classes, which training.loss cross_entropy or focal predicts",
        ),
        ("objective.class", json!("urgent"), "must be left out: it is for val_f1"),
        (
            "training.class_weights",
            json!("balanced"),
            "are for cross_entropy or focal, which predict classes, and the loss is bce: leave it out",
        ),
        (
            "validation.k_fold",
            json!({ "folds": 5, "stratify": true }),
            "is for classes, and yes or no is predicted: leave it out",
        ),
        (
            "refit.calibrate",
            json!("temperature"),
            "is for classes, and yes or no is predicted: leave it out",
        ),
    ] {
        let violations = study::check(&with(field, value), Some(Ok(TABLE.into()))).expect_err(field);
        let told: Vec<&str> = violations
            .iter()
            .map(|violation| violation.description.as_str())
            .collect();
        assert_eq!(told, [description], "{field}");
    }
    let mut f1 = with("objective.class", json!("urgent"));
    if let Some(objective) = &mut f1.objective {
        "val_f1".clone_into(&mut objective.metric);
    }
    let violations = study::check(&f1, Some(Ok(TABLE.into()))).expect_err("of no class");
    assert_eq!(
        violations
            .iter()
            .map(|violation| violation.description.as_str())
            .collect::<Vec<_>>(),
        ["is for classes, and yes or no is predicted: leave it out, and F1 is the mean over the targets"]
    );
}
