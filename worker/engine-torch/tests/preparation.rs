//! Columns are prepared as scikit-learn's pipelines prepare them, using only the fold's training rows.

mod device;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use trawl_dataset::{
    Allowance, ArrayRules, Columns, Content, FittedInputs, FittedTable, Format, Inputs, Layout, Missing, Part, Prepare,
    Role, Rule, SampleShape, Samples, Scale, TargetKind, read,
};
use trawl_domain::fold::{RowKeys, Split, Validation};
use trawl_domain::job::JobMember;
use trawl_domain::layer::Layer;
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::seed::{FitOwner, Seed};
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

/// Inputs of the first layer of a network with this preparation: its one layer outputs its input.
fn prepared(samples: &Samples, fitted: &FittedInputs) -> Vec<f32> {
    let width = samples.shape.len() as usize;
    let linear = Layer::Linear { units: width as u32 };
    let layers = match samples.shape {
        SampleShape::Vector(_) | SampleShape::Table { .. } => vec![linear],
        SampleShape::Sequence { .. } | SampleShape::Image { .. } => vec![Layer::Flatten, linear],
    };
    let place = layers.len() - 1;
    let architecture = Architecture {
        input: samples.shape,
        layers,
        loss: Loss::Mse,
        batch_size: 1,
        epochs: 0,
    };
    let identity = (0..width * width).map(|place| f32::from(u8::from(place / width == place % width)));
    let parameters = vec![
        Parameter {
            name: format!("{place}.weight"),
            shape: vec![width, width],
            values: identity.collect(),
        },
        Parameter {
            name: format!("{place}.bias"),
            shape: vec![width],
            values: vec![0.0; width],
        },
    ];
    let fitted = FittedTable {
        words: Vec::new(),
        inputs: Some(fitted.clone()),
        targets: None,
    };
    let engine = Torch::new(device());
    let network = engine
        .network(architecture, parameters, Some(&fitted))
        .expect("a network");
    let table = engine.load(samples).expect("samples on the device");
    let rows: Vec<u32> = (0..samples.rows).collect();
    network.outputs(0, &table, &rows).expect("outputs")
}

#[test]
fn columns_are_prepared_as_scikit_learn_does() {
    // Written by `preparation_oracle.py`: a table, the rows that a pipeline is fitted on, and all rows after its transformation.
    let oracle = oracle();
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
        let fitted = inputs.fit(&samples.features, samples.shape, &train).expect("fitted");
        let rows = prepared(&samples, &fitted);
        let expected: Vec<Vec<f64>> = serde_json::from_value(case["rows"].clone()).expect("rows");
        assert_eq!(rows.len(), expected.len() * names.len());
        for (row, (found, expected)) in rows.chunks(names.len()).zip(&expected).enumerate() {
            assert_alike(found, expected, &format!("{scale} row {row}"));
        }
    }
}

fn oracle() -> Value {
    serde_json::from_str(include_str!("data/preparation.json")).expect("the oracle's numbers")
}

fn doubles(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).expect("numbers")
}

fn whole(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("whole numbers")
}

fn assert_alike(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs();
        assert!(
            off <= 2e-6 * expected.abs().max(1.0),
            "{what} {place}: {found} for {expected}"
        );
    }
}

#[test]
fn more_numbers_than_quantiles_are_mapped_as_scikit_learn_does() {
    let many = &oracle()["many"];
    let csv: String = doubles(&many["values"])
        .iter()
        .map(|value| format!("{value},0\n"))
        .collect();
    let rule = Rule {
        numbers: Scale::Quantile,
        ..Rule::default()
    };
    let samples = samples(&format!("x,y\n{csv}"), rule, false);
    let inputs = samples.inputs.as_ref().expect("inputs");
    let fitted = inputs
        .fit(&samples.features, samples.shape, &whole(&many["train"]))
        .expect("fitted");
    assert_alike(&prepared(&samples, &fitted), &doubles(&many["rows"]), "row");
}

#[test]
fn channels_of_images_are_prepared_as_scikit_learn_does() {
    let images = &oracle()["images"];
    let (shape, train) = (whole(&images["shape"]), whole(&images["train"]));
    let pixels: Vec<u8> = whole(&images["pixels"]).into_iter().map(|pixel| pixel as u8).collect();
    let file = |sizes: &[u32], bytes: &[u8]| {
        let mut file = vec![0, 0, 8, sizes.len() as u8];
        sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
        file.extend(bytes);
        file
    };
    let (features, labels) = (file(&shape, &pixels), file(&shape[..1], &[0, 1, 0, 1, 0, 1]));
    for scale in [Scale::Standardize, Scale::MinMax] {
        let rules = ArrayRules {
            layout: Some(Layout::ChannelsFirst),
            scale,
        };
        let part = Part {
            features: &features as &dyn Content,
            targets: Some(&labels as &dyn Content),
        };
        let mut allowance = Allowance::whole();
        let samples = read(
            &Format::Idx(rules),
            TargetKind::Class,
            Role::Train,
            part,
            &mut allowance,
        )
        .expect("images");
        let inputs = samples.inputs.as_ref().expect("inputs");
        let fitted = inputs.fit(&samples.features, samples.shape, &train).expect("fitted");
        assert_eq!(fitted.0.len(), 3);
        assert_alike(
            &prepared(&samples, &fitted),
            &doubles(&images[scale.as_str()]),
            scale.as_str(),
        );
    }
}

/// Losses of fold 0's epochs on a table whose validation rows have other features.
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
    epochs_beside(samples, loss, optimizer, &[])
}

/// The same with other folds in the job.
fn epochs_beside(samples: &Samples, loss: Loss, optimizer: Optimizer, others: &[u32]) -> Vec<(f64, f64)> {
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
        members: std::iter::once(&0)
            .chain(others)
            .map(|fold| JobMember {
                owner: FitOwner::Trial(0),
                fold: *fold,
                hyperparameters: Hyperparameters::new(optimizer, 0.01),
            })
            .collect(),
        end_epoch: 4,
        metrics: vec![Metric::ValLoss],
        f1_class: None,
        row_losses: None,
        class_weights: None,
        data: engine.load(samples).expect("samples on the device"),
        test: None,
    };
    let mut losses = Vec::new();
    let mut emit = |event: Event<'_>| {
        if let Event::Epoch { losses: told, .. } = event {
            let validation = |told: &MemberLosses| told.metrics.get(Metric::ValLoss).unwrap_or(f64::NAN);
            losses.extend(
                told.iter()
                    .filter(|told| told.member == 0)
                    .map(|told| (told.train_loss, validation(told))),
            );
        }
    };
    engine.fit(&job, &[], &mut emit, &Control::new()).expect("trains");
    losses
}

/// Targets in another unit are learned equally fast, with losses in that unit.
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
    // Without standardisation, such small steps cannot reach targets of this size.
    let plain = Samples {
        standardizes_target: false,
        ..large.clone()
    };
    let of_plain = epochs(&plain, Loss::Mse, Optimizer::Adam);
    let of_large = epochs(&large, Loss::Mse, Optimizer::Adam);
    assert!(of_plain[3].1 > 1_000.0 * of_large[3].1, "{of_plain:?} {of_large:?}");
}

/// The folds of a job see their rows by their own statistics, and a fold's losses do not depend on the others.
#[test]
fn a_fold_is_prepared_by_itself_in_any_job() {
    let mut csv = "a,b,y\n".to_owned();
    for row in 0..30_u16 {
        csv += &format!("{},{},{}\n", row * 7 % 13, f32::from(row * row % 17) / 3.0, row % 3);
    }
    for scale in [Scale::Standardize, Scale::MinMax, Scale::Quantile, Scale::Log1p] {
        let rule = Rule {
            numbers: scale,
            ..Rule::default()
        };
        let samples = samples(&csv, rule, true);
        let beside = |others: &[u32]| epochs_beside(&samples, Loss::Mse, Optimizer::Adam, others);
        let alone = beside(&[]);
        assert_eq!(alone.len(), 4);
        assert_eq!(beside(&[1]), alone, "{scale}");
        assert_eq!(beside(&[2, 1]), alone, "{scale}");
    }
}

#[test]
fn rows_that_validate_have_no_part_in_what_is_fitted() {
    for scale in [
        Scale::Standardize,
        Scale::MinMax,
        Scale::Quantile,
        Scale::Log1p,
        Scale::None,
    ] {
        for missing in [Missing::Mean, Missing::Median] {
            let of = |in_validation| losses(scale, missing, in_validation);
            assert_eq!(of(1.0), of(1e6), "{scale} {missing:?}");
            assert_eq!(of(1.0).len(), 4);
        }
    }
}
