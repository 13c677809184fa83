//! Each rule of one field of a study, by the path that its violation names.

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};

use crate::{from_json, study};

const EXAMPLE: &str = include_str!("../../../examples/regression.json");
/// Of the example's table.
const SHAPE: DatasetShape = DatasetShape {
    train_rows: 100,
    sample: SampleShape::Vector(1),
    target: TargetShape::Numbers(1),
};

/// The fields that a changed example is refused for.
fn wrong_fields(pointer: &str, value: &Value) -> Vec<String> {
    let example: Value = serde_json::from_str(EXAMPLE).expect("an example");
    let mut changed = example["study"].clone();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match changed.pointer_mut(parent).expect(pointer) {
        Value::Array(items) => items[key.parse::<usize>().expect(pointer)] = value.clone(),
        parent => parent[key] = value.clone(),
    }
    let study = from_json(&changed).expect("a study");
    let Err(violations) = study::check(&study, Some(Ok(SHAPE.into()))) else {
        return Vec::new();
    };
    violations.iter().map(|violation| violation.field.clone()).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn each_mistake_is_named_by_its_path() {
    assert_eq!(wrong_fields("/seed", &json!(8)), [""; 0]);
    // A pointer into the study, what is put there, and the field that is named.
    let cases = [
        ("/name", json!(""), "name"),
        ("/name", json!("a".repeat(64)), "name"),
        ("/name", json!("7f0c5f0e-0f3c-4a53-9d8b-7a3e1f0c9b11"), "name"),
        ("/seed", json!(u64::MAX), "seed"),
        ("/dataset/csv/features", json!([]), "dataset.csv.features"),
        (
            "/dataset/csv/features",
            json!(["input", "input"]),
            "dataset.csv.features[1]",
        ),
        ("/dataset/csv/target", json!("input"), "dataset.csv.target"),
        ("/model", json!([]), "model"),
        ("/model/0", json!({}), "model[0]"),
        ("/model/0/linear/units", json!(0), "model[0].linear.units"),
        ("/model/0/linear/units", json!(1.5), "model[0].linear.units"),
        ("/model/0/linear/units", json!("ten"), "model[0].linear.units"),
        ("/model/0/linear/units", json!(null), "model[0].linear.units"),
        ("/model/0/linear/units", json!([10]), "model[0].linear.units"),
        ("/model/1/activation/kind", json!("swish"), "model[1].activation.kind"),
        ("/model/1", json!({"dropout": {"p": 1.0}}), "model[1].dropout.p"),
        ("/training/loss", json!("mae"), "training.loss"),
        ("/training/learning_rate", json!(0), "training.learning_rate"),
        ("/training/epochs", json!(0), "training.epochs"),
        ("/training/epochs", json!(1e9), "training.epochs"),
        ("/training/momentum", json!(1), "training.momentum"),
        ("/training/engine", json!("gpu"), "training.engine"),
        ("/validation", json!({"k_fold": 1}), "validation.k_fold"),
        ("/validation", json!({"k_fold": 65}), "validation.k_fold"),
        ("/validation", json!({"holdout": 1.0}), "validation.holdout"),
        ("/validation", json!({}), "validation"),
        ("/objective/metric", json!("accuracy"), "objective.metric"),
        ("/objective/goal", json!("maximize"), "objective.goal"),
        ("/objective/at", json!("first"), "objective.at"),
        ("/space/l2", json!({}), "space.l2"),
        (
            "/space/l2",
            json!({"log_uniform": {"low": 0, "high": 1}}),
            "space.l2.log_uniform.low",
        ),
        (
            "/space/l2",
            json!({"log_uniform": {"high": 1}}),
            "space.l2.log_uniform.low",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": 2, "high": 1}}),
            "space.l2.uniform.high",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": "NaN", "high": 1}}),
            "space.l2.uniform.low",
        ),
        (
            "/space/l2",
            json!({"uniform": {"low": -1, "high": 1}}),
            "space.l2.uniform.low",
        ),
        (
            "/space/batch_size",
            json!({"int_uniform": {"low": 1, "high": 8, "step": 0}}),
            "space.batch_size.int_uniform.step",
        ),
        (
            "/space/batch_size",
            json!({"int_uniform": {"low": 1, "high": 100}}),
            "space.batch_size.int_uniform.high",
        ),
        (
            "/space/batch_size",
            json!({"int_log_uniform": {"low": 0, "high": 8}}),
            "space.batch_size.int_log_uniform.low",
        ),
        (
            "/space/batch_size",
            json!({"uniform": {"low": 1, "high": 8}}),
            "space.batch_size.uniform.high",
        ),
        ("/space/batch_size", json!({"choice": []}), "space.batch_size.choice"),
        (
            "/space/batch_size",
            json!({"choice": [4, 8, 4.0]}),
            "space.batch_size.choice[2]",
        ),
        (
            "/space/batch_size",
            json!({"choice": (1..=257).collect::<Vec<_>>()}),
            "space.batch_size.choice",
        ),
        (
            "/space/activation",
            json!({"choice": ["relu", "swish"]}),
            "space.activation.choice[1]",
        ),
        ("/space/unused", json!({"choice": [1]}), "space.unused"),
        ("/space/Name", json!({"choice": [1]}), "space.Name"),
        ("/max_trials", json!(1_000_001), "max_trials"),
        ("/refit/epochs", json!(0), "refit.epochs"),
        ("/refit/set/nothing", json!(1), "refit.set.nothing"),
        ("/refit/set/learning_rate", json!("fast"), "refit.set.learning_rate"),
        ("/refit/set/batch_size", json!(1000), "refit.set.batch_size"),
    ];
    for (pointer, value, field) in cases {
        let fields = wrong_fields(pointer, &value);
        assert!(fields.contains(&field.to_owned()), "{pointer} = {value}: {fields:?}");
    }
}
