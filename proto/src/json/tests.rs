//! Messages about JSON that is no study.

use serde_json::json;

use super::*;
use crate::v1;

fn wrong(json: &Value) -> Vec<String> {
    let errors = from_json::<v1::Study>(json).expect_err("it is no study");
    let told = |error: &JsonError| match &error.help {
        None => error.to_string(),
        Some(help) => format!("{error} ({help})"),
    };
    errors.iter().map(told).collect()
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let study = json!({
        "name": 3,
        "max_trials": 1.5,
        "seed": -1,
        "dataset": { "csv": { "features": "x" }, "npy": {} },
        "model": [{ "linear": { "unit": 3 } }, { "flatten": null }, 7],
        "space": { "lr": { "log_unifrom": {} }, "n": { "int_uniform": { "low": "many" } }, "c": { "choice": 1 } },
        "refit": { "inputs": [[1], null], "set": [] },
        "whatever": {},
    });
    assert_eq!(
        wrong(&study),
        [
            "dataset: name exactly one of csv, idx, fashion_mnist, npy, npz, pictures; here are two: csv and npy",
            "max_trials: must be a whole number from 0 to 4294967295, not the number 1.5",
            "model[0].linear.unit: is not known; allowed are units (did you mean 'units'?)",
            "model[1].flatten: holds nothing (write flatten: {})",
            "model[2]: must be a mapping of fields, not the number 7 (its fields are linear, activation, dropout, conv2d, max_pool2d, flatten, avg_pool2d, global_avg_pool, batch_norm, layer_norm, dropout2d, residual, repeat, choice, sequence, conv1d, max_pool1d, avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool2d, embedding)",
            "name: must be a text, not the number 3 (quotes make a text of it: '3')",
            "refit.inputs[1]: must be a list, not nothing",
            "refit.set: must be a mapping of names, not a list",
            "seed: must be a whole number from 0 to 18446744073709551615, not the number -1",
            "space.c.choice: must be a list, not the number 1",
            "space.lr.log_unifrom: is not known; allowed are choice, uniform, log_uniform, int_uniform, int_log_uniform, ordered, normal, log_normal, when (did you mean 'log_uniform'?)",
            "space.n.int_uniform.low: must be a whole number from -9223372036854775808 to 9223372036854775807, not the text 'many'",
            "whatever: is not known; allowed are name, seed, dataset, model, training, validation, objective, space, sampler, max_trials, refit, racing, constraints, trials, stop, priority, row_losses, objectives, from",
        ]
    );
    assert_eq!(
        wrong(&json!([]))[0],
        "must be a mapping of fields, not a list (its fields are name, seed, dataset, model, training, validation, objective, space, \
         sampler, max_trials, refit, racing, constraints, trials, stop, priority, row_losses, objectives, from)"
    );
    assert_eq!(
        wrong(&json!({ "max_trials": 1, "maxTrials": 2 })),
        ["max_trials: is given twice, as maxTrials and as max_trials"]
    );
}

#[test]
fn words_of_other_tools_have_one_here() {
    let told = wrong(&json!({ "max_time": "1h" }));
    assert!(
        told[0].ends_with("(a bound on time is stop: { hours: 1 })"),
        "{}",
        told[0]
    );
    let told = wrong(
        &json!({ "early_stopping": {}, "training": { "grad_clip": 1, "early_stopping": { "monitor": "val_loss" } } }),
    );
    for (told, here) in told.iter().zip([
        "training.early_stopping: { patience: 10 }",
        "the study's objective",
        "training.clip_norm: 1",
    ]) {
        assert!(told.contains(here), "{told}");
    }
    assert_eq!(told.len(), 3);
}

#[test]
fn numbers_may_be_texts_and_names_in_camel_case_and_nothing_is_what_was_left_out() {
    let json =
        json!({ "maxTrials": "300", "seed": 7.0, "dataset": null, "model": null, "refit": { "set": { "a": null } } });
    let study: v1::Study = from_json(&json).expect("a study");
    assert_eq!((study.max_trials, study.seed), (300, 7));
    assert!(study.dataset.is_none() && study.refit.is_some_and(|refit| refit.set.contains_key("a")));
    let largest =
        json!({ "seed": u64::MAX, "space": { "a": { "int_uniform": { "low": i64::MIN, "high": i64::MAX } } } });
    let study: v1::Study = from_json(&largest).expect("a study");
    assert_eq!(study.seed, u64::MAX);
    assert_eq!(from_json::<v1::Study>(&to_json(&study).expect("JSON")), Ok(study));
}

#[test]
fn what_is_said_has_a_bound_whatever_was_sent() {
    let many: serde_json::Map<String, Value> = (0..10_000)
        .map(|n| (format!("{n}{}", "x".repeat(1_000)), json!({})))
        .collect();
    let errors = from_json::<v1::Study>(&Value::Object(many)).expect_err("no fields");
    assert_eq!(errors.iter().count(), trawl_domain::limits::VIOLATIONS_MAX);
    assert!(errors.iter().all(|error| error.to_string().chars().count() < 300));
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    assert_eq!(
        wrong(&json!({ "refit": { "set": { "a": nested } } })),
        ["refit.set.a: is nested too deeply"]
    );
}
