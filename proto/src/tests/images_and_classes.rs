//! The check of a study with convolutional networks and classes, each broken rule by its path.

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::job::plan_window;
use trawl_domain::metric::{Goal, Metric};

use crate::{from_json, study, v1};

pub(super) const FASHION: DatasetShape = DatasetShape {
    train_rows: 60_000,
    sample: SampleShape::Image {
        channels: 1,
        height: 28,
        width: 28,
    },
    target: TargetShape::Classes(10),
};

/// The paper's network, as `examples/fashion-mnist.yaml` has it.
fn example() -> Value {
    let relu = || json!({ "activation": { "kind": "relu" } });
    json!({
        "name": "fashion",
        "seed": 7,
        "dataset": { "fashion_mnist": {} },
        "model": [
            { "conv2d": { "filters": 32, "kernel": 5 } },
            relu(),
            { "max_pool2d": { "kernel": 2 } },
            { "conv2d": { "filters": 64, "kernel": 5 } },
            relu(),
            { "flatten": {} },
            { "linear": { "units": 128 } },
            relu(),
            { "linear": { "units": 10 } },
        ],
        "training": {
            "loss": "cross_entropy", "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 64, "epochs": 9,
        },
        "validation": { "holdout": 0.2 },
        "objective": { "metric": "val_accuracy" },
        "max_trials": 3,
        "sampler": { "random": {} },
    })
}

/// The example with some values changed, each by its JSON pointer; null removes an element from its list.
pub(super) fn changed(changes: &[(&str, Value)]) -> v1::Study {
    let mut json = example();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        match json.pointer_mut(parent).expect(pointer) {
            Value::Array(items) if value.is_null() => drop(items.remove(name.parse().expect(pointer))),
            Value::Array(items) => items[name.parse::<usize>().expect(pointer)] = value.clone(),
            parent => parent[name] = value.clone(),
        }
    }
    from_json(&json).expect("a study")
}

pub(super) fn assert_wrong(study: &v1::Study, field: &str, description: &str) {
    let violations = study::check(study, Some(Ok(FASHION.into()))).expect_err("it is broken");
    let wrong: Vec<_> = violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect();
    assert_eq!(wrong, [(field, description)]);
}

pub(super) fn is_sound(study: &v1::Study) -> bool {
    study::check(study, Some(Ok(FASHION.into()))).is_ok()
}

#[test]
fn the_papers_network_is_sound_and_trains_a_trial_a_job() {
    let study = study::check(&changed(&[]), Some(Ok(FASHION.into()))).expect("it is sound");
    assert_eq!(
        (study.objective.metric, study.objective.goal),
        (Metric::ValAccuracy, Goal::Maximize)
    );
    let window = plan_window(&study, 0, &[]).expect("sound").expect("trials are left");
    let members: Vec<usize> = window.jobs.iter().map(|job| job.folds.len()).collect();
    assert_eq!(members, [1, 1, 1], "its steps are too much arithmetic to share a job");
}

#[test]
fn layers_that_do_not_fit_are_named() {
    assert_wrong(
        &changed(&[("/model/5", Value::Null)]),
        "model[5].linear",
        "takes a vector, and gets an image of 64 x 8 x 8: put a flatten before it",
    );
    assert_wrong(
        &changed(&[("/model/7", json!({ "max_pool2d": { "kernel": 2 } }))]),
        "model[7].max_pool2d",
        "takes an image, and gets a vector of 128",
    );
    assert_wrong(
        &changed(&[("/model/3/conv2d/kernel", json!(13))]),
        "model[3].conv2d.kernel",
        "can be 13, and its input with its padding only 12 wide or high",
    );
    assert_wrong(
        &changed(&[("/model/8/linear/units", json!(9))]),
        "model[8].linear.units",
        "gives 9 outputs where the dataset has 10 classes: the last linear layer must have 10",
    );
    let mut images = changed(&[]);
    images.model.truncate(5);
    assert_wrong(
        &images,
        "model",
        "must end with a linear layer of 10 units, because the dataset has 10 classes",
    );
    let mut untrained = changed(&[]);
    untrained.model = vec![untrained.model[5].clone()];
    let violations = study::check(&untrained, Some(Ok(FASHION.into()))).expect_err("nothing to train");
    assert_eq!(
        violations.to_string(),
        "model: has nothing to train: it needs a linear layer"
    );
}

#[test]
fn layers_behind_a_broken_one_are_looked_at_from_the_next_linear_one() {
    let broken = changed(&[
        ("/model/3/conv2d/kernel", json!(0)),
        ("/model/6/linear/units", json!(-1)),
        ("/model/8/linear/units", json!(9)),
    ]);
    let violations = study::check(&broken, Some(Ok(FASHION.into()))).expect_err("it is broken");
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "model[3].conv2d.kernel",
            "model[6].linear.units",
            "model[8].linear.units"
        ]
    );
}

#[test]
fn every_value_of_a_searched_size_has_to_fit() {
    let searched = |kernels: [u32; 2]| {
        changed(&[
            ("/model/0/conv2d/kernel", json!("$kernel")),
            ("/space", json!({ "kernel": { "choice": kernels } })),
        ])
    };
    assert!(is_sound(&searched([3, 19])), "28 - 19 + 1 = 10, pooled 5, and 5 fits");
    assert_wrong(
        &searched([3, 21]),
        "model[3].conv2d.kernel",
        "can be 5, and its input with its padding only 4 wide or high",
    );
}

#[test]
fn metrics_goals_and_inputs_have_to_make_sense() {
    assert_wrong(
        &changed(&[("/objective/goal", json!("minimize"))]),
        "objective.goal",
        "must be maximize: a val_accuracy is the better the higher it is",
    );
    assert_wrong(
        &changed(&[("/objective", json!({ "metric": "val_mae" }))]),
        "objective.metric",
        "val_mae needs numbers, which training.loss cross_entropy does not predict",
    );
    assert_wrong(
        &changed(&[("/refit", json!({ "epochs": 1, "inputs": [[1]] }))]),
        "refit.inputs[0]",
        "has 1 values where a row has 784 features",
    );
    let ensemble = |refit: Value| changed(&[("/refit", refit)]);
    assert!(is_sound(&ensemble(
        json!({ "ensemble": "folds", "calibrate": "temperature" })
    )));
    assert_wrong(
        &ensemble(json!({ "epochs": 1, "ensemble": "all" })),
        "refit.ensemble",
        "must be folds, and 'all' is not",
    );
    assert_wrong(
        &ensemble(json!({ "epochs": 5, "ensemble": "folds" })),
        "refit.epochs",
        "goes without ensemble: folds, which keeps the networks as the search trained them: leave out one of them",
    );
    let calibrated = |word: &str| changed(&[("/refit", json!({ "epochs": 1, "calibrate": word }))]);
    for word in ["", "none", "temperature"] {
        assert!(is_sound(&calibrated(word)), "{word}");
    }
    assert_wrong(
        &calibrated("isotonic"),
        "refit.calibrate",
        "must be temperature or none, and 'isotonic' is not",
    );
}

#[test]
fn settings_of_losses_have_to_fit_the_loss() {
    let with = |loss: &str, setting: &str, value: Value| {
        changed(&[
            ("/training/loss", json!(loss)),
            (&format!("/training/{setting}"), value),
        ])
    };
    for (loss, setting, value) in [
        ("cross_entropy", "label_smoothing", json!(0.1)),
        ("focal", "focal_gamma", json!(0)),
        ("cross_entropy", "class_weights", json!("balanced")),
        ("focal", "class_weights", json!({ "3": 2.5, "0": 1e-6 })),
    ] {
        assert!(is_sound(&with(loss, setting, value)), "{loss} {setting}");
    }
    let weights = "training.class_weights";
    for (loss, setting, value, field, description) in [
        (
            "focal",
            "label_smoothing",
            json!(0.1),
            "training.label_smoothing",
            "is a setting of cross_entropy alone, and the loss is focal: leave it out",
        ),
        (
            "cross_entropy",
            "focal_gamma",
            json!(2),
            "training.focal_gamma",
            "is a setting of focal alone, and the loss is cross_entropy: leave it out",
        ),
        (
            "cross_entropy",
            "label_smoothing",
            json!(1),
            "training.label_smoothing",
            "must be at least 0 and below 1, and 1 is not",
        ),
        (
            "cross_entropy",
            "class_weights",
            json!("equal"),
            weights,
            "must be balanced, or a mapping with the weights of some classes",
        ),
        (
            "cross_entropy",
            "class_weights",
            json!({}),
            weights,
            "must be balanced, or a mapping with the weights of some classes",
        ),
        (
            "cross_entropy",
            "class_weights",
            json!({ "3": 0 }),
            "training.class_weights.3",
            "must be a number from 0.000001 to 1000000",
        ),
    ] {
        assert_wrong(&with(loss, setting, value), field, description);
    }
}

#[test]
fn class_weights_are_of_classes_that_there_are() {
    let study = changed(&[("/training/class_weights", json!({ "shirt": 2, "hat": 3 }))]);
    let classes = ["coat", "shirt"].map(str::to_owned);
    let violations = study::check_with_classes(&study, Some(Ok(FASHION.into())), Some(&classes)).expect_err("no hat");
    assert_eq!(
        violations.to_string(),
        "training.class_weights.hat: is of no class that the training rows have: name one of theirs, or leave it out"
    );
    let classes = ["hat", "shirt"].map(str::to_owned);
    assert!(study::check_with_classes(&study, Some(Ok(FASHION.into())), Some(&classes)).is_ok());
}

#[test]
fn f1_may_be_that_of_a_class_that_there_is() {
    let classes = ["coat", "shirt"].map(str::to_owned);
    let check = |objective: Value| {
        let study = changed(&[("/objective", objective)]);
        study::check_with_classes(&study, Some(Ok(FASHION.into())), Some(&classes)).map_err(|wrong| wrong.to_string())
    };
    let study = check(json!({ "metric": "val_f1", "class": "coat" })).expect("a study");
    assert_eq!(study.f1_class.as_deref(), Some("coat"));
    assert_eq!(check(json!({ "metric": "val_f1" })).expect("a study").f1_class, None);
    assert_eq!(
        check(json!({ "metric": "val_f1", "class": "hat" })).expect_err("no hat"),
        "objective.class: is of no class that the training rows have: name one of theirs, or leave it out"
    );
    assert_eq!(
        check(json!({ "metric": "val_auc", "class": "coat" })).expect_err("it is of no class"),
        "objective.class: must be left out: it is for val_f1"
    );
}

#[test]
fn a_loss_whose_settings_are_searched_ranks_no_trials() {
    let searched = |objective: Value| {
        changed(&[
            ("/training/label_smoothing", json!("$smoothing")),
            (
                "/space",
                json!({ "smoothing": { "uniform": { "low": 0, "high": 0.3 } } }),
            ),
            ("/objective", objective),
        ])
    };
    assert!(is_sound(&searched(json!({ "metric": "val_log_loss" }))));
    for objective in [json!({}), json!({ "metric": "val_loss" })] {
        assert_wrong(
            &searched(objective),
            "objective.metric",
            "val_loss has another scale in each trial, as training.label_smoothing is searched: name a metric that has one, such as \
             val_log_loss",
        );
    }
}

#[test]
fn an_accuracy_of_numbers_is_refused() {
    let shape = DatasetShape {
        target: TargetShape::Numbers(1),
        ..FASHION
    };
    let numbers = changed(&[("/training/loss", json!("mse"))]);
    let violations = study::check(&numbers, Some(Ok(shape.into()))).expect_err("it is broken");
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["model[8].linear.units", "objective.metric"]);
}

#[test]
fn an_engine_is_chosen_by_its_name_or_by_the_study_itself() {
    for engine in ["", "auto", "torch"] {
        assert!(is_sound(&changed(&[("/training/engine", json!(engine))])), "{engine}");
    }
    assert_wrong(
        &changed(&[("/training/engine", json!("gpu"))]),
        "training.engine",
        "'gpu' is not known: it must be one of auto, torch",
    );
}

#[test]
fn a_setting_that_no_optimizer_of_the_study_has_is_refused() {
    let with = |optimizer: &str, setting: &str| {
        let mut study = changed(&[
            ("/training/optimizer", json!(optimizer)),
            (&format!("/training/{setting}"), json!(0.5)),
            ("/space", json!({ "optimizer": { "choice": ["adam", "sgd"] } })),
        ]);
        if !optimizer.starts_with('$') {
            study.space.clear();
        }
        study
    };
    for (optimizer, setting) in [
        ("sgd", "momentum"),
        ("rmsprop", "momentum"),
        ("adamw", "weight_decay"),
        ("nadam", "beta1"),
        ("adagrad", "eps"),
        ("rmsprop", "alpha"),
        ("adadelta", "rho"),
        ("$optimizer", "momentum"),
    ] {
        assert!(is_sound(&with(optimizer, setting)), "{optimizer}");
    }
    for (optimizer, setting, owner) in [
        ("adam", "momentum", "sgd, rmsprop"),
        ("adam", "weight_decay", "adamw"),
        ("sgd", "beta2", "adam, adamw, nadam"),
        ("sgd", "eps", "adam, adamw, rmsprop, nadam, adagrad, adadelta"),
        ("$optimizer", "weight_decay", "adamw"),
    ] {
        assert_wrong(
            &with(optimizer, setting),
            &format!("training.{setting}"),
            &format!("is a setting of {owner} alone, which the optimizer never is: leave it out"),
        );
    }
}
