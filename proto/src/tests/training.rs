//! The check of schedules, clipping, averages and early stopping, and their values in trials.

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape};
use trawl_domain::augment::Augment;
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::{EarlyStopping, Hyperparameters, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_domain::space::{ParamValue, Params};

use super::images_and_classes::{FASHION, assert_wrong, changed, is_sound};
use crate::{study, v1};

/// The example with these settings of its training, and this space.
fn with(settings: Value, space: Value) -> v1::Study {
    let Value::Object(settings) = settings else {
        panic!("settings are a mapping")
    };
    let settings = settings.into_iter();
    let mut changes: Vec<(String, Value)> = settings
        .map(|(name, value)| (format!("/training/{name}"), value))
        .collect();
    changes.push(("/space".to_owned(), space));
    let changes: Vec<(&str, Value)> = changes.iter().map(|(at, value)| (at.as_str(), value.clone())).collect();
    changed(&changes)
}

fn none() -> Value {
    json!({})
}

/// The training settings of a trial with these parameters.
fn hyperparameters(study: &v1::Study, params: &[(&str, ParamValue)]) -> Hyperparameters {
    let study = study::check(study, Some(Ok(FASHION.into()))).expect("it is sound");
    let params: Params = params
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    study.config(&params).expect("a configuration").hyperparameters
}

#[test]
fn settings_have_the_range_of_what_they_are() {
    for (settings, field, description) in [
        (
            json!({ "schedule": "CosineAnnealingLR" }),
            "schedule",
            "'CosineAnnealingLR' is not known: it must be one of constant, cosine, step, exponential, one_cycle, plateau",
        ),
        (
            json!({ "warmup": 1 }),
            "warmup",
            "must be at least 0 and below 1, and 1 is not",
        ),
        (
            json!({ "beta1": 1 }),
            "beta1",
            "must be at least 0 and below 1, and 1 is not",
        ),
        (
            json!({ "eps": 0 }),
            "eps",
            "must be above 0 and at most 1, and 0 is not",
        ),
        (
            json!({ "clip_norm": -1 }),
            "clip_norm",
            "must be at least 0 and at most 1000000000, and -1 is not",
        ),
        (
            json!({ "ema_decay": 1 }),
            "ema_decay",
            "must be at least 0 and below 1, and 1 is not",
        ),
        (
            json!({ "schedule": "step", "decay_epochs": 0.5 }),
            "decay_epochs",
            "must be a whole number, and 0.5 is not",
        ),
        (
            json!({ "optimizer": "sgd", "momentum": 0.9, "nesterov": "yes" }),
            "nesterov",
            "must be true or false, and yes is neither",
        ),
        (
            json!({ "early_stopping": { "patience": -1 } }),
            "early_stopping.patience",
            "must be from 0 to 100000, and -1 is not",
        ),
        (
            json!({ "early_stopping": { "min_delta": "$nothing" } }),
            "early_stopping.min_delta",
            "there is no parameter 'nothing' in the space",
        ),
    ] {
        assert_wrong(&with(settings, none()), &format!("training.{field}"), description);
    }
}

#[test]
fn a_setting_that_no_schedule_of_the_study_has_is_refused() {
    for (schedule, setting) in [
        ("cosine", "min_rate"),
        ("step", "decay"),
        ("exponential", "decay"),
        ("plateau", "plateau_epochs"),
        ("one_cycle", "warmup"),
        ("constant", "warmup"),
    ] {
        let value = if setting == "plateau_epochs" {
            json!(3)
        } else {
            json!(0.5)
        };
        assert!(
            is_sound(&with(json!({ "schedule": schedule, setting: value }), none())),
            "{schedule}"
        );
    }
    let searched = |setting: &str| {
        let space = json!({ "schedule": { "choice": ["constant", "step"] } });
        with(json!({ "schedule": "$schedule", setting: 1 }), space)
    };
    assert!(is_sound(&searched("decay_epochs")));
    let vain = |owners: &str| format!("is a setting of {owners} alone, which the schedule never is: leave it out");
    assert_wrong(&searched("plateau_epochs"), "training.plateau_epochs", &vain("plateau"));
    assert_wrong(
        &with(json!({ "min_rate": 0.1 }), none()),
        "training.min_rate",
        &vain("cosine, step, exponential, one_cycle, plateau"),
    );
}

#[test]
fn nesterovs_step_needs_momentum() {
    let sgd = |momentum: Value, space: Value| {
        let settings = json!({ "optimizer": "sgd", "nesterov": true, "momentum": momentum });
        with(settings, space)
    };
    let searched = |low: f64| json!({ "momentum": { "uniform": { "low": low, "high": 0.99 } } });
    assert!(is_sound(&sgd(json!(0.9), none())));
    assert!(is_sound(&sgd(json!("$momentum"), searched(0.1))));
    for study in [
        sgd(json!(0), none()),
        sgd(json!("$momentum"), searched(0.0)),
        with(json!({ "optimizer": "sgd", "nesterov": true }), none()),
    ] {
        assert_wrong(
            &study,
            "training.nesterov",
            "needs momentum, and training.momentum can be 0: let it be above 0 alone",
        );
    }
}

#[test]
fn what_is_left_out_depends_on_the_optimizer_and_the_schedule() {
    let space = json!({
        "optimizer": { "choice": ["adam", "adagrad", "adadelta"] },
        "schedule": { "choice": ["constant", "exponential", "one_cycle"] },
    });
    let study = with(json!({ "optimizer": "$optimizer", "schedule": "$schedule" }), space);
    let text = |text: &str| ParamValue::Text(text.to_owned());
    let of = |optimizer: &str, schedule: &str| {
        let own = hyperparameters(&study, &[("optimizer", text(optimizer)), ("schedule", text(schedule))]);
        (own.eps, own.warmup, own.decay)
    };
    assert_eq!(of("adam", "constant"), (1e-8, 0.0, 0.1));
    assert_eq!(of("adagrad", "exponential"), (1e-10, 0.0, 0.95));
    assert_eq!(of("adadelta", "one_cycle"), (1e-6, 0.3, 0.1));
    let plain = hyperparameters(&with(json!({}), none()), &[]);
    assert_eq!(plain, Hyperparameters::new(Optimizer::Adam, 1e-3));
    assert_eq!(plain.schedule, Schedule::Constant);
}

#[test]
fn a_fold_stops_by_the_objective() {
    let stopping =
        |early_stopping: Value| hyperparameters(&with(json!({ "early_stopping": early_stopping }), none()), &[]);
    let expected = |patience: u32, min_delta: f64| {
        Some(EarlyStopping {
            patience,
            min_delta,
            metric: Metric::ValAccuracy,
        })
    };
    assert_eq!(stopping(json!({})).early_stopping, expected(10, 0.0));
    let both = json!({ "patience": 3, "min_delta": 0.01 });
    assert_eq!(stopping(both).early_stopping, expected(3, 0.01));
    assert_eq!(stopping(json!({ "patience": 0 })).early_stopping, None);
    let space = json!({
        "optimizer": { "choice": ["adam", "adamw"] },
        "patience": { "choice": [2, 5], "when": { "optimizer": ["adamw"] } },
    });
    let searched = json!({ "optimizer": "$optimizer", "early_stopping": { "patience": "$patience" } });
    let study = with(searched, space);
    let adam = [("optimizer", ParamValue::Text("adam".to_owned()))];
    assert_eq!(hyperparameters(&study, &adam).early_stopping, None);
    let adamw = [
        ("optimizer", ParamValue::Text("adamw".to_owned())),
        ("patience", ParamValue::Int(5)),
    ];
    assert_eq!(hyperparameters(&study, &adamw).early_stopping, expected(5, 0.0));
}

#[test]
fn images_are_augmented_as_is_said_and_nothing_else_is() {
    let augment = |settings: Value| with(json!({ "augment": settings }), json!({ "crop": { "choice": [2, 28] } }));
    let some = with(json!({ "augment": { "flip": 0.5, "rotate": 10 } }), none());
    let expected = Augment {
        flip: 0.5,
        rotate: 10.0,
        ..Augment::default()
    };
    assert_eq!(hyperparameters(&some, &[]).augment, expected);
    let searched = with(
        json!({ "augment": { "crop": "$crop", "cutout": 7, "mixup": 0.2 } }),
        json!({ "crop": { "choice": [0, 2] } }),
    );
    let of_two = hyperparameters(&searched, &[("crop", ParamValue::Int(2))]).augment;
    assert_eq!((of_two.crop, of_two.cutout, of_two.mixup), (2, 7, 0.2));
    assert_wrong(
        &augment(json!({ "crop": "$crop" })),
        "space.crop.choice[1]",
        "may leave nothing of an image: must be below its smaller side, 28, and 28 is not",
    );
    for (settings, field, description) in [
        (
            json!({ "flip": 2 }),
            "flip",
            "must be at least 0 and at most 1, and 2 is not",
        ),
        (
            json!({ "rotate": -1 }),
            "rotate",
            "must be at least 0 and at most 180, and -1 is not",
        ),
        (
            json!({ "mixup": 1000 }),
            "mixup",
            "must be at least 0 and at most 100, and 1000 is not",
        ),
    ] {
        let study = with(json!({ "augment": settings }), none());
        assert_wrong(&study, &format!("training.augment.{field}"), description);
    }
    let table = DatasetShape {
        sample: SampleShape::Vector(784),
        ..FASHION
    };
    let mut of_table = some;
    of_table.model.drain(..6);
    let wrong = study::check(&of_table, Some(Ok(table.into()))).expect_err("a table");
    let told: Vec<_> = wrong
        .iter()
        .map(|violation| (&violation.field[..], &violation.description[..]))
        .collect();
    assert_eq!(
        told,
        [(
            "training.augment",
            "is for images, and a row has 784 numbers: leave it out"
        )]
    );
}
