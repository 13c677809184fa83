//! The check of a study with residuals, repeats and choices, and its configurations.

mod first_layers;

use serde_json::{Value, json};
use trawl_dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::layer::{Activation, Layer};
use trawl_domain::space::{ParamValue, Params};
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;

use crate::{from_json, study, v1};

const TABLE: DatasetShape = DatasetShape {
    train_rows: 1_000,
    sample: SampleShape::Vector(8),
    target: TargetShape::Numbers(1),
};
const IMAGES: DatasetShape = DatasetShape {
    sample: SampleShape::Image {
        channels: 3,
        height: 8,
        width: 8,
    },
    ..TABLE
};

fn message(model: &Value, space: &Value) -> v1::Study {
    let json = json!({
        "name": "networks",
        "dataset": { "csv": { "train": "train.csv", "features": "all", "target": "y" } },
        "model": model,
        "training": { "loss": "mse", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 32, "epochs": 9 },
        "validation": { "holdout": 0.2 },
        "space": space,
        "max_trials": 40,
    });
    from_json(&json).expect("a study")
}

fn checked(model: &Value, space: &Value) -> Result<Study, Violations> {
    study::check(&message(model, space), Some(Ok(TABLE.into())))
}

#[track_caller]
fn sound(model: &Value, space: &Value) -> Study {
    checked(model, space).expect("it is sound")
}

fn told(violations: &Violations) -> Vec<(&str, &str)> {
    violations
        .iter()
        .map(|violation| (violation.field.as_str(), violation.description.as_str()))
        .collect()
}

#[track_caller]
fn assert_wrong(model: &Value, space: &Value, field: &str, description: &str) {
    let violations = checked(model, space).expect_err("it is broken");
    assert_eq!(told(&violations), [(field, description)]);
}

fn params(given: &[(&str, ParamValue)]) -> Params {
    let given = given.iter();
    given.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn layers(study: &Study, given: &[(&str, ParamValue)]) -> Vec<Layer> {
    study
        .config(&params(given))
        .expect("a configuration")
        .architecture
        .layers
}

fn linear(units: impl Into<Value>) -> Value {
    json!({ "linear": { "units": units.into() } })
}

fn residual(layers: &[Value]) -> Value {
    json!({ "residual": { "layers": layers } })
}

fn repeat(times: impl Into<Value>, layers: &[Value]) -> Value {
    json!({ "repeat": { "times": times.into(), "layers": layers } })
}

fn text(word: &str) -> ParamValue {
    ParamValue::Text(word.to_owned())
}

const fn whole(number: i64) -> ParamValue {
    ParamValue::Int(number)
}

#[test]
fn residuals_of_a_searched_width_fit_where_one_parameter_gives_both_ends() {
    let space = json!({ "width": { "choice": [4, 16] }, "other": { "int_uniform": { "low": 1, "high": 64 } } });
    let norm = json!({ "layer_norm": {} });
    let relu = json!({ "activation": { "kind": "relu" } });
    let model = |ends: &str| {
        let inner = [
            norm.clone(),
            linear("$other"),
            relu.clone(),
            residual(std::slice::from_ref(&relu)),
            linear(ends),
        ];
        json!([linear("$width"), residual(&inner), linear(1)])
    };
    let study = sound(&model("$width"), &space);
    let found = layers(&study, &[("width", whole(4)), ("other", whole(7))]);
    let relu = Layer::Activation(Activation::Relu);
    let expected = [
        Layer::Linear { units: 4 },
        Layer::Residual { layers: 6 },
        Layer::LayerNorm,
        Layer::Linear { units: 7 },
        relu,
        Layer::Residual { layers: 1 },
        relu,
        Layer::Linear { units: 4 },
        Layer::Linear { units: 1 },
    ];
    assert_eq!(found, expected);
    assert_wrong(
        &model("$other"),
        &space,
        "model[1].residual",
        "adds a vector of 1 to 64, which its layers put out, to a vector of 4 to 16, which goes in: end them so that both are the same",
    );
    assert_wrong(
        &json!([residual(&[]), linear(1)]),
        &json!({}),
        "model[0].residual.layers",
        "is empty: it has at least one layer",
    );
}

#[test]
fn the_layers_of_a_repeat_are_there_as_often_as_a_parameter_says() {
    let model = json!([
        linear(5),
        repeat("$depth", &[linear(5), json!({ "dropout": { "p": 0.5 } })]),
        linear(1)
    ]);
    let study = sound(&model, &json!({ "depth": { "int_uniform": { "low": 0, "high": 3 } } }));
    for depth in 0..=3 {
        let config = study
            .config(&params(&[("depth", whole(depth))]))
            .expect("a configuration");
        assert_eq!(config.architecture.layers.len() as i64, 2 + 2 * depth);
        assert_eq!(config.hyperparameters.dropout, vec![0.5; depth as usize]);
    }
    assert_eq!(study.space.keys().collect::<Vec<_>>(), ["depth"]);
}

#[test]
fn each_repetition_may_have_a_parameter_of_its_own() {
    let model = json!([
        repeat("$depth", &[linear("$units[]"), json!({ "batch_norm": {} })]),
        linear(1)
    ]);
    let space = json!({ "depth": { "choice": [1, 2, 4] }, "units": { "choice": [3, 9] } });
    let study = sound(&model, &space);
    let names = ["depth", "units_1", "units_2", "units_3", "units_4"];
    assert_eq!(study.space.keys().collect::<Vec<_>>(), names);
    let searched = study::searched(&message(&model, &space));
    assert_eq!(searched.len(), names.len());
    assert!(names.iter().all(|name| searched.contains_key(*name)));
    // The first one is always active.
    let conditions: Vec<_> = study.space.conditions().iter().collect();
    let at_least = |values: &[i64]| {
        let values = values.iter().map(|value| whole(*value)).collect();
        [("depth".to_owned(), values)].into()
    };
    assert_eq!(
        conditions,
        [
            (&"units_2".to_owned(), &at_least(&[2, 4])),
            (&"units_3".to_owned(), &at_least(&[4])),
            (&"units_4".to_owned(), &at_least(&[4])),
        ]
    );
    let two = [("depth", whole(2)), ("units_1", whole(3)), ("units_2", whole(9))];
    assert!(study.space.has(&params(&two)));
    let expected = [
        Layer::Linear { units: 3 },
        Layer::BatchNorm,
        Layer::Linear { units: 9 },
        Layer::BatchNorm,
        Layer::Linear { units: 1 },
    ];
    assert_eq!(layers(&study, &two), expected);
    // A fixed number of times needs no condition.
    let fixed = json!([repeat(2, &[linear("$units[]")]), linear(1)]);
    let study = sound(&fixed, &json!({ "units": { "choice": [3, 9] } }));
    assert_eq!(study.space.keys().collect::<Vec<_>>(), ["units_1", "units_2"]);
    assert!(!study.space.is_conditional());
}

#[test]
fn what_is_wrong_with_parameters_of_repetitions_is_told_where_they_are_written() {
    let space = json!({ "depth": { "int_uniform": { "low": 1, "high": 3 } }, "units": { "int_uniform": { "low": 0, "high": 9 } } });
    let own = [linear("$units[]")];
    assert_wrong(
        &json!([repeat("$depth", &own), linear(1)]),
        &space,
        "space.units.int_uniform.low",
        "must be from 1 to 65536, and 0 is not (model[0].repeat.layers[0].linear.units refers to it)",
    );
    let mut space = space;
    space["units"] = json!({ "choice": [4, 8] });
    assert_wrong(
        &json!([repeat("$depth", &own), linear("$units"), linear(1)]),
        &space,
        "model[1].linear.units",
        "there is no parameter 'units': it stands for units_1 to units_3, as a setting in a repeat says $units[]",
    );
    assert_wrong(
        &json!([repeat("$depth", &own), repeat("$depth", &own), linear(1)]),
        &space,
        "space.units",
        "is $units[] in two repeats: give each a parameter of its own",
    );
    let fixed = json!({ "units": { "choice": [4, 8] } });
    assert_wrong(
        &json!([linear("$units[]"), linear("$units"), linear(1)]),
        &fixed,
        "model[0].linear.units",
        "is in no repeat, so that there is no repetition to have a parameter of its own: write $units",
    );
    assert_wrong(
        &json!([repeat(2, &[repeat(2, &own)]), linear("$units"), linear(1)]),
        &fixed,
        "model[0].repeat.layers[0].repeat.layers[0].linear.units",
        "is in a repeat within a repeat, where no repetition has a parameter of its own: write $units",
    );
    assert_wrong(
        &json!([repeat(2, &[linear("$width[]")]), linear("$units"), linear(1)]),
        &fixed,
        "model[0].repeat.layers[0].linear.units",
        "there is no parameter 'width' in the space",
    );
    space["units_2"] = json!({ "choice": [4, 8] });
    assert_wrong(
        &json!([repeat("$depth", &own), linear(1)]),
        &space,
        "space.units_2",
        "is also what repetition 2 has of $units[]: give one of them another name",
    );
    let when = json!({ "depth": { "choice": [1, 3] }, "units": { "choice": [4], "when": { "depth": [3] } } });
    assert_wrong(
        &json!([repeat("$depth", &own), linear(1)]),
        &when,
        "space.units.when.depth",
        "is left out: the repeat says when each of them is there",
    );
}

#[test]
fn a_number_of_times_is_a_whole_number_from_0_to_64() {
    let own = [linear("$units[]")];
    for (times, described) in [
        (
            json!({ "uniform": { "low": 0.5, "high": 2 } }),
            ("uniform.low", "must be a whole number, and 0.5 is not"),
        ),
        (
            json!({ "int_uniform": { "low": 1, "high": 65 } }),
            ("int_uniform.high", "must be from 0 to 64, and 65 is not"),
        ),
        (
            json!({ "choice": ["two"] }),
            ("choice[0]", "must be a number, and 'two' is not"),
        ),
    ] {
        let space = json!({ "depth": times, "units": { "choice": [4, 8] } });
        let violations = checked(&json!([repeat("$depth", &own), linear(1)]), &space).expect_err("no number of times");
        let (end, reason) = described;
        let (field, description) = (
            format!("space.depth.{end}"),
            format!("{reason} (model[0].repeat.times refers to it)"),
        );
        assert_eq!(told(&violations)[0], (field.as_str(), description.as_str()));
        assert!(
            told(&violations)
                .iter()
                .all(|(field, _)| field.starts_with("space.depth.")),
            "{violations}"
        );
    }
    let lacking =
        json!({ "depth": { "choice": [1, 2], "when": { "deep": [true] } }, "deep": { "choice": [true, false] } });
    assert_wrong(
        &json!([repeat("$depth", &[linear(4)]), linear(1)]),
        &lacking,
        "model[0].repeat.times",
        "needs a value in every trial, and has none where 'depth' is not active: leave out space.depth.when",
    );
}

#[test]
fn a_choice_picks_its_layers_by_the_value_of_a_parameter() {
    let of = json!({
        "plain": { "layers": [] },
        "wide": { "layers": [linear("$wide_units"), { "activation": { "kind": "selu" } }] },
        "true": { "layers": [{ "layer_norm": {} }] },
    });
    let model = json!([{ "choice": { "pick": "$block", "of": of } }, linear(1)]);
    let space = json!({
        "block": { "choice": ["plain", "wide", true] },
        "wide_units": { "choice": [16, 32], "when": { "block": ["wide"] } },
    });
    let study = sound(&model, &space);
    let one = Layer::Linear { units: 1 };
    assert_eq!(layers(&study, &[("block", text("plain"))]), [one]);
    assert_eq!(
        layers(&study, &[("block", ParamValue::Bool(true))]),
        [Layer::LayerNorm, one]
    );
    let wide = layers(&study, &[("block", text("wide")), ("wide_units", whole(32))]);
    assert_eq!(
        wide,
        [Layer::Linear { units: 32 }, Layer::Activation(Activation::Selu), one]
    );

    let with = |pointer: &str, value: Value| {
        let mut both = json!({ "model": model, "space": space });
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        both.pointer_mut(parent).expect(pointer)[name] = value;
        (both["model"].clone(), both["space"].clone())
    };
    let (model, space) = with("/space/block/choice", json!(["plain", "wide", true, "narrow"]));
    assert_wrong(
        &model,
        &space,
        "space.block.choice[3]",
        "'narrow' is none of the alternatives: plain, true, wide (model[0].choice.pick refers to it)",
    );
    let (model, space) = with("/space/block/choice", json!(["plain", "wide"]));
    assert_wrong(
        &model,
        &space,
        "model[0].choice.of.true",
        "is never picked: 'block' has no value 'true'",
    );
    let (model, space) = with("/space/wide_units/when", json!({ "block": ["plain"] }));
    assert_wrong(
        &model,
        &space,
        "model[0].choice.of.wide.layers[0].linear.units",
        "needs a value in every trial, and has none where 'wide_units' is not active: leave out space.wide_units.when",
    );
    let (model, space) = with("/space/block", json!({ "uniform": { "low": 0, "high": 1 } }));
    let violations = checked(&model, &space).expect_err("a number picks nothing");
    assert!(
        told(&violations).contains(&(
            "model[0].choice.pick",
            "names a parameter that is neither a choice nor ordered: its values name the alternatives"
        )),
        "{violations}"
    );
}

#[test]
fn alternatives_end_alike_and_the_last_of_all_of_them_puts_out_what_the_dataset_asks_for() {
    let choice = |of: Value| json!({ "choice": { "pick": "$block", "of": of } });
    let space = json!({ "block": { "choice": ["a", "b"] } });
    let model = json!([choice(
        json!({ "a": { "layers": [linear(1)] }, "b": { "layers": [linear(4), linear(2)] } })
    )]);
    assert_wrong(
        &model,
        &space,
        "model[0].choice.of.b.layers[1].linear.units",
        "gives 2 outputs where the dataset has 1 target: the last linear layer must have 1",
    );
    let model = json!([
        linear(4),
        choice(json!({ "a": { "layers": [linear(1)] }, "b": { "layers": [] } }))
    ]);
    assert_wrong(
        &model,
        &space,
        "model[0].linear.units",
        "gives 4 outputs where the dataset has 1 target: the last linear layer must have 1",
    );
    let model = json!([
        choice(json!({ "a": { "layers": [{ "flatten": {} }] }, "b": { "layers": [] } })),
        linear(1)
    ]);
    let violations = study::check(&message(&model, &space), Some(Ok(IMAGES.into()))).expect_err("a vector or an image");
    assert_eq!(
        told(&violations),
        [(
            "model[0].choice",
            "puts out different sorts in different trials, such as a vector and an image: end what puts out a sequence or an image with a flatten or a global_avg_pool"
        )]
    );
    // After layers of several lengths, the input is a range of lengths.
    let model = json!([
        choice(json!({ "a": { "layers": [linear(4)] }, "b": { "layers": [linear(6)] } })),
        residual(&[linear(6)]),
        linear(1),
    ]);
    assert_wrong(
        &model,
        &space,
        "model[1].residual",
        "adds a vector of 6, which its layers put out, to a vector of 4 to 6, which goes in: end them so that both are the same",
    );
    let depth = json!({ "depth": { "int_uniform": { "low": 0, "high": 2 } } });
    assert_wrong(
        &json!([repeat("$depth", &[linear(1)])]),
        &depth,
        "model",
        "has nothing to train in some trials: it needs a layer outside of repeats and choices that trains, such as a linear one",
    );
}

#[test]
fn a_model_has_bounds_at_its_deepest() {
    let depth = json!({ "depth": { "int_uniform": { "low": 1, "high": 64 } } });
    assert_wrong(
        &json!([repeat("$depth", &[linear(4), json!({ "layer_norm": {} })]), linear(1)]),
        &depth,
        "model",
        "must have 1 to 128 layers, and can have 129",
    );
    let repeats = |times: u32| (0..3).fold(linear(4), |inner, _| repeat(times, &[inner]));
    assert_wrong(
        &json!([repeats(64), linear(1)]),
        &json!({}),
        "model",
        "has more than 1024 layers, all alternatives and all repetitions among them",
    );
    let nested = |depth: u32| (0..depth).fold(linear(8), |inner, _| residual(&[inner]));
    sound(&json!([nested(8), linear(1)]), &json!({}));
    let violations = checked(&json!([nested(9), linear(1)]), &json!({})).expect_err("too deep");
    let (field, description) = told(&violations)[0];
    assert!(field.ends_with(".residual.layers"), "{field}");
    assert_eq!(
        description,
        "is too deep: lists of layers are at most 8 within each other"
    );
}

#[test]
fn a_refit_that_changes_the_layers_has_the_parameters_that_these_need() {
    let model = json!([repeat("$depth", &[linear("$units[]")]), linear(1)]);
    let space = json!({ "depth": { "choice": [1, 2] }, "units": { "choice": [3, 9] } });
    let with = |set: Value| {
        let mut study = message(&model, &space);
        study.refit = Some(from_json(&json!({ "epochs": 5, "set": set })).expect("a refit"));
        study::check(&study, Some(Ok(TABLE.into())))
    };
    let study = with(json!({ "depth": 2, "units_2": 9 })).expect("it is sound");
    let of_trial = params(&[("depth", whole(1)), ("units_1", whole(3))]);
    let of_refit = study.refit_params(&of_trial).expect("there is a refit");
    let config = study.refit_config(&of_refit, 5).expect("a configuration");
    assert_eq!(config.architecture.layers.len(), 3);
    with(json!({ "depth": 1 })).expect("what is there already is enough");
    assert_eq!(
        told(&with(json!({ "depth": 2 })).expect_err("units_2 may be missing")),
        [(
            "refit.set.depth",
            "needs a value of 'units_2', which the best trial may lack: set that, too"
        )]
    );
    assert_eq!(
        told(&with(json!({ "depth": 3 })).expect_err("there is no units_3")),
        [(
            "model[0].repeat.layers[0].linear.units",
            "has units_1 to units_2, and may be repeated more often by refit.set: stay within the space there"
        )]
    );
    assert_eq!(
        told(&with(json!({ "units": 3 })).expect_err("it is none")),
        [("refit.set.units", "there is no parameter 'units' in the space")]
    );
}

#[test]
fn batch_norms_need_batches_of_two_rows() {
    let mut study = message(
        &json!([repeat(1, &[residual(&[json!({ "batch_norm": {} })])]), linear(1)]),
        &json!({}),
    );
    let batch_size = |size: f64| prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(size)),
    };
    let training = |study: &mut v1::Study, size| {
        if let Some(training) = &mut study.training {
            training.batch_size = Some(batch_size(size));
        }
    };
    training(&mut study, 1.0);
    let violations = study::check(&study, Some(Ok(TABLE.into()))).expect_err("one row");
    assert_eq!(
        told(&violations),
        [(
            "training.batch_size",
            "is a batch of one row, which has no variance for batch_norm: take 2 rows or more"
        )]
    );
    training(&mut study, 2.0);
    study::check(&study, Some(Ok(TABLE.into()))).expect("two rows");
}
