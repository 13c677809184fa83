//! The check of a study whose parameters depend on each other, each broken rule by its path.

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::optimizer::Optimizer;
use trawl_domain::space::{ParamValue, Params};
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;

use crate::{from_json, study};

const IMAGES: DatasetShape = DatasetShape {
    train_rows: 1_000,
    sample: SampleShape::Image {
        channels: 1,
        height: 28,
        width: 28,
    },
    target: TargetShape::Classes(10),
};

/// A space with everything possible, and settings that refer to all of it.
fn example() -> Value {
    json!({
        "name": "spaces",
        "seed": 7,
        "dataset": { "fashion_mnist": {} },
        "model": [
            { "conv2d": { "filters": "$filters", "kernel": 5, "stride": "$stride", "padding": "$padding" } },
            { "flatten": {} },
            { "dropout": { "p": "$dropout" } },
            { "linear": { "units": 10 } },
        ],
        "training": {
            "loss": "cross_entropy", "optimizer": "$optimizer", "learning_rate": "$rate", "batch_size": "$batch_size",
            "epochs": 9, "momentum": "$momentum", "l2": "$l2",
        },
        "validation": { "holdout": 0.2 },
        "space": {
            "batch_size": { "ordered": [16, 32, 64, 128] },
            "dropout": { "uniform": { "low": 0, "high": 0.5, "step": 0.1 } },
            "filters": { "int_log_uniform": { "low": 8, "high": 64, "step": 8 } },
            "l2": { "normal": { "mean": 0, "std": 0.01, "low": 0, "high": 0.1 } , "when": { "regularised": [true] } },
            "momentum": { "uniform": { "low": 0, "high": 0.99 }, "when": { "optimizer": ["sgd"] } },
            "optimizer": { "choice": ["adam", "sgd"] },
            "padding": { "choice": [1, 2], "when": { "stride": [2], "filters": [8, 16] } },
            "rate": { "log_normal": { "mean": -6, "std": 2, "low": 1e-5, "high": 1 } },
            "regularised": { "choice": [true, false] },
            "stride": { "int_uniform": { "low": 1, "high": 2 }, "when": { "regularised": [false] } },
        },
        "constraints": ["batch_size <= 64 or filters < 32", "momentum > 0.5 or optimizer == 'adam'"],
        "max_trials": 40,
    })
}

fn checked(changes: &[(&str, Value)]) -> Result<Study, Violations> {
    let mut json = example();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        json.pointer_mut(parent).expect(pointer)[name] = value.clone();
    }
    study::check(&from_json(&json).expect("a study"), Some(Ok(IMAGES.into())))
}

#[track_caller]
fn assert_wrong(changes: &[(&str, Value)], field: &str, description: &str) {
    let violations = checked(changes).expect_err("it is broken");
    let wrong: Vec<_> = violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect();
    assert_eq!(wrong, [(field, description)]);
}

#[test]
fn settings_of_parameters_that_are_not_active_have_their_defaults() {
    let study = checked(&[]).expect("it is sound");
    let base = [
        ("batch_size", ParamValue::Int(32)),
        ("dropout", ParamValue::Float(0.2)),
        ("filters", ParamValue::Int(16)),
        ("optimizer", ParamValue::Text("sgd".to_owned())),
        ("rate", ParamValue::Float(0.01)),
        ("regularised", ParamValue::Bool(true)),
    ];
    let base: Params = base.map(|(name, value)| (name.to_owned(), value)).into();
    let config = study.config(&base).expect("a configuration");
    let settings: Params = config.architecture.layers[0]
        .settings()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(
        (&settings["stride"], &settings["padding"]),
        (&ParamValue::Int(1), &ParamValue::Int(0))
    );
    let training = &config.hyperparameters;
    assert_eq!(
        (training.optimizer, training.momentum, training.l2),
        (Optimizer::Sgd, 0.0, 0.0)
    );
    let mut given = base.clone();
    given.insert("momentum".to_owned(), ParamValue::Float(0.9));
    let config = study.config(&given).expect("a configuration");
    assert_eq!(config.hyperparameters.momentum, 0.9);
    let mut lacking = base;
    lacking.remove("rate");
    let error = study.config(&lacking).expect_err("no default");
    assert_eq!(error.to_string(), "training.learning_rate: has no value");
}

#[test]
fn conditions_name_values_that_there_are() {
    let when = "/space/momentum/when";
    assert_wrong(
        &[(when, json!({ "optimiser": ["sgd"] }))],
        "space.momentum.when.optimiser",
        "there is no parameter 'optimiser' in the space; did you mean 'optimizer'?",
    );
    assert_wrong(
        &[(when, json!({ "optimizer": ["sdg"] }))],
        "space.momentum.when.optimizer[0]",
        "'sdg' is none of its values: adam, sgd",
    );
    assert_wrong(
        &[(when, json!({ "filters": [8, 12] }))],
        "space.momentum.when.filters[1]",
        "'12' is none of its values: 8, 16, 24, 32, 40, 48, 56, 64",
    );
    assert_wrong(
        &[(when, json!({ "optimizer": [] }))],
        "space.momentum.when.optimizer",
        "must name 1 to 256 values, and names 0",
    );
    assert_wrong(
        &[(when, json!({ "optimizer": ["sgd", "sgd"] }))],
        "space.momentum.when.optimizer[1]",
        "sgd is there twice",
    );
    assert_wrong(
        &[(when, json!({ "rate": [0.1] }))],
        "space.momentum.when.rate",
        "is continuous: a condition names values of a choice, of ordered or integers, or of uniform with a step",
    );
    assert!(
        checked(&[(when, json!({ "dropout": [0, 0.2] }))]).is_ok(),
        "steps are finite"
    );
    assert_wrong(
        &[("/space/stride/when", json!({ "padding": [1] }))],
        "space.padding.when",
        "goes round in a circle: none of padding, stride can be active first",
    );
}

#[test]
fn a_setting_without_a_default_needs_its_parameter_in_every_trial() {
    let optimizer = |values: Value| [("/space/rate/when", json!({ "optimizer": values }))];
    assert_wrong(
        &optimizer(json!(["sgd"])),
        "training.learning_rate",
        "needs a value in every trial, and has none where 'rate' is not active: leave out space.rate.when",
    );
    assert!(checked(&optimizer(json!(["sgd", "adam"]))).is_ok(), "it always holds");
    // Active only where its parent is, which is not always.
    assert_wrong(
        &[("/space/rate/when", json!({ "stride": [1, 2] }))],
        "training.learning_rate",
        "needs a value in every trial, and has none where 'rate' is not active: leave out space.rate.when",
    );
}

#[test]
fn shapes_hold_with_the_defaults_too() {
    // An image of 28 is small enough for the next layer only with a stride of 2 or more; the default is too small.
    let model = json!([
        { "conv2d": { "filters": 1, "kernel": 1, "stride": "$stride" } },
        { "conv2d": { "filters": "$filters", "kernel": 1, "padding": "$padding" } },
        { "flatten": {} },
        { "dropout": { "p": "$dropout" } },
        { "linear": { "units": 30_000 } },
        { "linear": { "units": 10 } },
    ]);
    let strides = |values: Value| {
        checked(&[
            ("/model", model.clone()),
            ("/space/filters", json!({ "choice": [8] })),
            ("/space/padding", json!({ "choice": [0] })),
            ("/space/stride", values),
            ("/constraints", json!([])),
        ])
    };
    assert!(strides(json!({ "choice": [2, 3] })).is_ok());
    let wrong = strides(json!({ "choice": [2, 3], "when": { "regularised": [false] } })).expect_err("a stride of 1");
    assert!(wrong.to_string().contains("trainable numbers"), "{wrong}");
}

#[test]
fn constraints_are_read_and_leave_something() {
    assert_wrong(
        &[("/constraints", json!(["momentum > 0.5", "batch_size <= 'x'"]))],
        "constraints[1]",
        "at character 15: must be a number, and is a word",
    );
    assert_wrong(
        &[("/constraints", json!(vec!["rate < 1"; 17]))],
        "constraints",
        "must be at most 16, and are 17",
    );
    assert_wrong(
        &[("/constraints", json!([format!("rate < 1{}", " ".repeat(249))]))],
        "constraints[0]",
        "is longer than 256 characters",
    );
    assert_wrong(
        &[("/constraints", json!(["rate < 0"]))],
        "constraints",
        "rule out each of the first 1000 configurations that are drawn: loosen them, or narrow the ranges to what they allow",
    );
}

#[test]
fn ranges_have_ends_that_settings_take() {
    assert_wrong(
        &[("/space/rate/log_normal", json!({ "mean": -6, "std": 2, "high": 1 }))],
        "space.rate.log_normal.low",
        "is missing: what is drawn is cut to low and high, so that settings know what it can be",
    );
    assert_wrong(
        &[(
            "/space/rate",
            json!({ "normal": { "mean": 0, "std": 1, "low": -1, "high": 1 } }),
        )],
        "space.rate.normal.low",
        "must be above 0 and at most 1000, and -1 is not (training.learning_rate refers to it)",
    );
    assert_wrong(
        &[("/space/rate/log_normal/std", json!(-2))],
        "space.rate.log_normal.std",
        "must be above 0, and -2 is not",
    );
    assert_wrong(
        &[("/space/rate/log_normal/mean", json!(-600))],
        "space.rate.log_normal",
        "has next to nothing between low and high: bring mean nearer to them, or make std larger",
    );
    assert_wrong(
        &[("/space/dropout/uniform/step", json!(0))],
        "space.dropout.uniform.step",
        "must be above 0 and finite, and 0 is not",
    );
    assert_wrong(
        &[("/space/dropout/uniform/step", json!(1e-18))],
        "space.dropout.uniform.step",
        "is too small for 0 to 0.5: doubles do not tell such neighbours apart",
    );
    assert_wrong(
        &[
            ("/space/dropout/uniform/high", json!(1)),
            ("/space/dropout/uniform/step", json!(0.25)),
        ],
        "space.dropout.uniform.high",
        "must be at least 0 and below 1, and 1 is not (model[2].dropout.p refers to it)",
    );
    assert_wrong(
        &[("/space/dropout/uniform", json!({ "low": 0, "high": 1.5 }))],
        "space.dropout.uniform.high",
        "must be at least 0 and below 1, and 1.5 is not (model[2].dropout.p refers to it)",
    );
    assert_wrong(
        &[
            (
                "/space/dropout/uniform",
                json!({ "low": 0.1, "high": 0.5, "step": 0.2 }),
            ),
            ("/trials", json!([{ "dropout": 0.2 }])),
        ],
        "trials[0].dropout",
        "must be one of 0.1, 0.3, … up to 0.5, and 0.2 is not",
    );
    assert_wrong(
        &[("/space/batch_size/ordered", json!([16, 900]))],
        "space.batch_size.ordered[1]",
        "is a batch of 900 rows, and the smallest training fold has 800",
    );
}

#[test]
fn steps_between_whole_numbers_are_none_for_settings_that_take_whole_ones() {
    let filters = |low: f64, high: f64, step: f64| {
        let uniform = json!({ "uniform": { "low": low, "high": high, "step": step } });
        [
            ("/space/filters", uniform),
            ("/space/padding/when", json!({ "stride": [2] })),
        ]
    };
    checked(&filters(8.0, 64.0, 8.0)).expect("all of them are whole");
    let violations = checked(&filters(8.0, 64.0, 0.5)).expect_err("8.5 filters");
    let first = violations.iter().next().expect("a violation");
    assert_eq!(first.field, "space.filters.uniform.step");
    assert!(first.description.contains("8.5"), "{}", first.description);
    let range = json!({ "uniform": { "low": 8, "high": 64 } });
    let violations = checked(&[
        ("/space/filters", range),
        ("/space/padding/when", json!({ "stride": [2] })),
    ]);
    let violations = violations.expect_err("8.5 filters");
    let told: Vec<&str> = violations
        .iter()
        .map(|violation| violation.description.as_str())
        .collect();
    assert_eq!(
        told[..2],
        ["8", "64"].map(|end| {
            format!("must be a whole number, and numbers next to {end} are not (model[0].conv2d.filters refers to it)")
        })
    );
}
