//! Columns are prepared as scikit-learn's pipelines prepare them, and by the training rows of the fold alone.

mod device;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trawl_domain::dataset::{
    Allowance, Columns, Content, FittedInputs, FittedTable, Format, Inputs, Missing, Part, Prepare, Role, Rule,
    SampleShape, Samples, Scale, TargetKind, read,
};
use trawl_domain::fold::{RowKeys, Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::Layer;
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{Owner, Seed};
use trawl_engine::weights::Parameter;
use trawl_engine::{Control, Engine as _, Event, FitJob, MemberLosses, Networks as _};
use trawl_engine_torch::Torch;

use device::device;

fn samples(csv: &str, rule: Rule, standardizes_target: bool) -> Samples {
    let columns = Columns {
        target: "y".to_owned(),
        prepare: Prepare {
            usual: rule,
            columns: BTreeMap::new(),
            standardizes_target,
        },
        ..Columns::default()
    };
    let part = Part {
        features: &csv as &dyn Content,
        targets: None,
    };
    read(
        &Format::Csv(columns),
        TargetKind::Number,
        Role::Train,
        part,
        &mut Allowance::whole(),
    )
    .expect("a table")
}

fn values(samples: &Samples) -> &[f32] {
    match &samples.features {
        trawl_domain::dataset::Features::Floats(values) => values,
        other => panic!("{other:?}"),
    }
}

/// What goes into the first layer of a network that was fitted so: its one layer puts out what it gets.
fn prepared(samples: &Samples, fitted: &FittedInputs) -> Vec<f32> {
    let width = samples.shape.len() as usize;
    let architecture = Architecture {
        input: samples.shape,
        layers: vec![Layer::Linear { units: width as u32 }],
        loss: Loss::Mse,
        batch_size: 1,
        epochs: 0,
    };
    let identity = (0..width * width).map(|place| f32::from(u8::from(place / width == place % width)));
    let parameters = vec![
        Parameter {
            name: "0.weight".to_owned(),
            shape: vec![width, width],
            values: identity.collect(),
        },
        Parameter {
            name: "0.bias".to_owned(),
            shape: vec![width],
            values: vec![0.0; width],
        },
    ];
    let fitted = FittedTable {
        inputs: Some(fitted.clone()),
        targets: None,
    };
    let engine = Torch::new(device());
    let network = engine
        .network(architecture, parameters, Some(&fitted))
        .expect("a network");
    let table = engine.load(samples).expect("samples on the device");
    network.outputs(0, &table, 0..samples.rows).expect("outputs")
}

#[test]
fn columns_are_prepared_as_scikit_learn_does() {
    // What `preparation_oracle.py` wrote: a table, the rows that a pipeline is fitted on, and all rows as it transforms them.
    let oracle = include_str!("data/preparation.json");
    let oracle: Value = serde_json::from_str(oracle).expect("the oracle's numbers");
    let csv = oracle["csv"].as_str().expect("a table");
    let train: Vec<u32> = serde_json::from_value(oracle["train"].clone()).expect("rows");
    for case in oracle["cases"].as_array().expect("cases") {
        let scale = case["scale"].as_str().expect("a word");
        let rule = Rule {
            numbers: scale.parse().expect("a scale"),
            missing: match case["missing"].as_str().expect("a word") {
                "mean" => Missing::Mean,
                "median" => Missing::Median,
                number => Missing::Value(number.parse().expect("a number")),
            },
            indicator: true,
            ..Rule::default()
        };
        let samples = samples(csv, rule, false);
        let inputs: &Inputs = samples.inputs.as_ref().expect("inputs");
        let names: Vec<String> = serde_json::from_value(case["names"].clone()).expect("names");
        assert_eq!(inputs.names(), names);
        let fitted = inputs.fit(values(&samples), &train).expect("fitted");
        let rows = prepared(&samples, &fitted);
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["rows"].clone()).expect("rows");
        for (row, (found, expected)) in rows.chunks(names.len()).zip(&expected).enumerate() {
            for ((found, expected), name) in found.iter().zip(expected).zip(&names) {
                let off = (f64::from(*found) - expected).abs();
                assert!(
                    off <= 2e-6 * expected.abs().max(1.0),
                    "{scale} row {row}, {name}: {found} for {expected}"
                );
            }
        }
    }
}

/// Losses of the epochs of fold 0 on a table in which its validation rows have other features.
fn losses(scale: Scale, missing: Missing, in_validation: f32) -> Vec<f64> {
    let split = Split::Validation(Validation::k_fold(3));
    let seed = Seed(5);
    let mut csv = "a,b,y\n".to_owned();
    let keys = RowKeys {
        rows: 30,
        classes: None,
        column: None,
    };
    let folds = split.rows(seed, keys, &BTreeSet::from([0])).expect("rows");
    let validate = &folds[&0].validate;
    for row in 0..30_u16 {
        let a = if validate.contains(&u32::from(row)) {
            in_validation
        } else {
            f32::from(row * 7 % 13)
        };
        let b = if row % 4 == 0 {
            String::new()
        } else {
            (row % 5).to_string()
        };
        csv += &format!("{a},{b},{}\n", row % 3);
    }
    let rule = Rule {
        numbers: scale,
        missing,
        indicator: true,
        ..Rule::default()
    };
    let samples = samples(&csv, rule, true);
    assert_eq!(samples.shape, SampleShape::Vector(4));
    epochs(&samples, Loss::Mse, Optimizer::Adam)
        .into_iter()
        .map(|(train, _)| train)
        .collect()
}

/// Training and validation loss of each epoch of fold 0 of a linear network.
fn epochs(samples: &Samples, loss: Loss, optimizer: Optimizer) -> Vec<(f64, f64)> {
    let engine = Torch::new(device());
    let job = FitJob {
        seed: Seed(5),
        architecture: Architecture {
            input: samples.shape,
            layers: vec![Layer::Linear { units: 1 }],
            loss,
            batch_size: 5,
            epochs: 4,
        },
        split: Split::Validation(Validation::k_fold(3)),
        members: vec![JobMember {
            owner: Owner::Trial(0),
            fold: 0,
            hyperparameters: Hyperparameters::new(optimizer, 0.01),
        }],
        end_epoch: 4,
        metrics: vec![Metric::ValLoss],
        row_losses: None,
        class_weights: None,
        data: engine.load(samples).expect("samples on the device"),
        test: None,
    };
    let mut losses = Vec::new();
    let mut emit = |event: Event<'_>| {
        if let Event::Epoch { losses: told, .. } = event {
            let validation = |told: &MemberLosses| told.metrics.get(Metric::ValLoss).unwrap_or(f64::NAN);
            losses.extend(told.iter().map(|told| (told.train_loss, validation(told))));
        }
    };
    engine.fit(&job, &[], &mut emit, &Control::new()).expect("trains");
    losses
}

/// A target in another unit is learned as fast, and its losses are in that unit.
#[test]
fn the_unit_of_a_target_does_not_matter() {
    let table = |factor: f64, shift: f64| {
        let mut csv = "a,b,y\n".to_owned();
        for row in 0..30_u16 {
            let (a, b) = (f64::from(row * 7 % 13), f64::from(row * 5 % 11));
            csv += &format!("{a},{b},{}\n", factor * (a - 2.0 * b) + shift);
        }
        samples(&csv, Rule::default(), true)
    };
    let (small, large) = (table(1.0, 0.0), table(4_096.0, 1_000_000.0));
    for (loss, power) in [(Loss::Mse, 2), (Loss::Huber, 2), (Loss::L1, 1)] {
        for optimizer in [Optimizer::Adam, Optimizer::Sgd] {
            let (of_small, of_large) = (epochs(&small, loss, optimizer), epochs(&large, loss, optimizer));
            assert_eq!(of_small.len(), 4);
            for ((train, val), (large_train, large_val)) in of_small.iter().zip(&of_large) {
                let unit = 4_096_f64.powi(power);
                for (small, large) in [(train, large_train), (val, large_val)] {
                    let off = (large / unit / small - 1.0).abs();
                    assert!(off < 2e-3, "{loss} {optimizer}: {small} and {large}");
                }
            }
        }
    }
    // As it is, a target of such a size is out of reach of steps like these.
    let plain = Samples {
        standardizes_target: false,
        ..large.clone()
    };
    let of_plain = epochs(&plain, Loss::Mse, Optimizer::Adam);
    let of_large = epochs(&large, Loss::Mse, Optimizer::Adam);
    assert!(of_plain[3].1 > 1_000.0 * of_large[3].1, "{of_plain:?} {of_large:?}");
}

#[test]
fn rows_that_validate_have_no_part_in_what_is_fitted() {
    for scale in [Scale::Standardize, Scale::MinMax, Scale::Quantile, Scale::Log1p, Scale::None] {
        for missing in [Missing::Mean, Missing::Median] {
            let of = |in_validation| losses(scale, missing, in_validation);
            assert_eq!(of(1.0), of(1e6), "{scale} {missing:?}");
            assert_eq!(of(1.0).len(), 4);
        }
    }
}
