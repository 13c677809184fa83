//! Datasets on their way: out of JSON into a draft, and with a job to a worker and back.

use trawl_dataset::{
    ArrayNames, ArrayRules, Arrays, Columns, Dialect, FileHash, FilePlace, Format, Header, Layout, Part, Prepare,
    SampleShape, Scale, Selection,
};
use trawl_domain::engine::EngineName;
use trawl_domain::fold::Split;
use trawl_domain::job::Job;
use trawl_domain::layer::Layer;
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::metric::Metric;
use trawl_domain::network::Architecture;
use trawl_domain::optimizer::{EarlyStopping, Hyperparameters, Optimizer};
use trawl_domain::schedule::Schedule;
use trawl_domain::seed::{FitOwner, Seed};

use crate::{from_json, study, v1};

/// The format of a dataset that is written in JSON, and the places of its test part.
fn source(json: serde_json::Value) -> (Format, Option<Part<FilePlace>>) {
    let dataset: v1::Dataset = from_json(&json).expect("a dataset");
    let source = study::source(&v1::Study {
        dataset: Some(dataset),
        ..Default::default()
    });
    let source = source.expect("a source");
    (source.format, source.test.map(|test| test.map(|file| file.place)))
}

#[test]
fn columns_are_named_or_numbered() {
    let (format, test) = source(serde_json::json!({
        "csv": { "train": "a.csv", "features": ["a", "b"], "target": "y" }
    }));
    let columns = |features: [&str; 2], target: &str, header| {
        Format::Csv(Columns {
            features: Selection::Named(features.map(str::to_owned).into()),
            target: target.into(),
            dialect: Dialect {
                header,
                ..Dialect::default()
            },
            prepare: Prepare {
                standardizes_target: true,
                ..Prepare::default()
            },
            ..Columns::default()
        })
    };
    assert_eq!((format, test), (columns(["a", "b"], "y", Header::Checked), None));
    let (format, _) = source(serde_json::json!({
        "csv": { "train": "a.csv", "features": [0, 1], "target": 2, "header": false }
    }));
    assert_eq!(format, columns(["column_0", "column_1"], "column_2", Header::Absent));
}

#[test]
fn one_archive_may_have_both_parts() {
    let (format, test) = source(serde_json::json!({
        "npz": {
            "train": "a.npz", "features": "x_train", "target": "y_train", "test_features": "x_test", "test_target": "y_test",
            "validation_features": "x_val", "validation_target": "y_val", "layout": "channels_last"
        }
    }));
    let names = |features: &str, target: &str| ArrayNames {
        features: features.into(),
        target: Some(target.into()),
    };
    let arrays = Arrays {
        train: names("x_train", "y_train"),
        validation: names("x_val", "y_val"),
        test: names("x_test", "y_test"),
    };
    assert_eq!(format, Format::Npz(arrays, Some(Layout::ChannelsLast).into()));
    assert_eq!(test.map(|test| test.features), Some(FilePlace::Named("a.npz".into())));
}

pub(super) fn job(format: Format, targets: [bool; 2]) -> Job {
    let part = |number: u8, has_targets: bool| Part {
        features: FileHash([number; 32]),
        targets: has_targets.then_some(FileHash([number + 1; 32])),
    };
    let [train, test] = targets;
    Job {
        study: "s".into(),
        seed: Seed(7),
        format,
        train: part(1, train),
        validation: Some(part(5, train)),
        test: Some(part(3, test)),
        engine: EngineName::Torch,
        architecture: Architecture {
            input: SampleShape::Vector(2),
            layers: vec![Layer::Linear { units: 1 }],
            loss: Loss::Mse,
            batch_size: 4,
            epochs: 3,
        },
        epochs: 1..2,
        split: Split::All,
        members: vec![trawl_domain::job::JobMember {
            owner: FitOwner::Refit(0),
            fold: 0,
            hyperparameters: Hyperparameters::new(Optimizer::Adam, 0.1),
        }],
        inputs: Vec::new(),
        metrics: vec![trawl_domain::metric::Metric::ValLoss],
        ranking: None,
        class_weights: None,
        calibrate_folds: Some(5),
        ensemble_folds: None,
        f1_class: None,
        row_losses: Some(trawl_domain::metric::Metric::ValLoss),
    }
}

#[test]
fn a_worker_reads_files_as_the_coordinator_did() {
    let columns = |header| {
        Format::Csv(Columns {
            features: Selection::Named(vec!["a".into()]),
            target: "y".into(),
            dialect: Dialect {
                header,
                ..Dialect::default()
            },
            ..Columns::default()
        })
    };
    let (prepared, _) = source(serde_json::json!({
        "csv": {
            "train": "a.csv", "features": { "all_but": ["id"] }, "target": "y", "delimiter": ";", "decimal": ",", "missing": ["", "-"],
            "quote": "'", "encoding": "windows-1252",
            "prepare": {
                "numbers": "min_max", "missing": "median", "indicator": true, "rare": 5,
                "columns": { "zip": { "as": "words", "missing": "drop", "indicator": false }, "income": "log1p", "age": { "missing": 0 } }
            }
        }
    }));
    let archive = |target: Option<&str>| {
        let names = |target: Option<&str>| ArrayNames {
            features: "x".into(),
            target: target.map(str::to_owned),
        };
        let arrays = Arrays {
            train: names(Some("y")),
            validation: names(Some("y")),
            test: names(target),
        };
        let rules = ArrayRules {
            layout: Some(Layout::ChannelsFirst),
            scale: Scale::Standardize,
        };
        Format::Npz(arrays, rules)
    };
    let one_file = [false, false];
    let cases = [
        (columns(Header::Checked), one_file),
        (columns(Header::Present), one_file),
        (columns(Header::Absent), one_file),
        (prepared, one_file),
        (archive(Some("z")), one_file),
        (archive(None), one_file),
        (Format::Idx(Some(Layout::ChannelsLast).into()), [true, true]),
        (Format::Idx(ArrayRules::default()), [true, false]),
        (Format::Npy(Some(Layout::ChannelsFirst).into()), [true, false]),
        (Format::FashionMnist(Scale::None), [true, true]),
        (Format::Pictures(vec!["a".into(), "b".into()], Scale::MinMax), one_file),
    ];
    for (format, targets) in cases {
        let job = job(format, targets);
        assert_eq!(Job::try_from(v1::Job::from(&job)).as_ref(), Ok(&job));
    }
}

#[test]
fn class_weights_go_to_the_worker_as_they_are() {
    let named = [("0".to_owned(), 2.5), ("b c".to_owned(), 1e-6)];
    for weights in [ClassWeights::Balanced, ClassWeights::Named(named.into())] {
        let mut of_classes = job(Format::Npy(ArrayRules::default()), [true, false]);
        of_classes.architecture.loss = Loss::Focal;
        of_classes.class_weights = Some(weights);
        let refused = |job: &Job| {
            let violations = Job::try_from(v1::Job::from(job)).expect_err("it is broken");
            violations.to_string()
        };
        let error = refused(&of_classes);
        assert!(
            error.starts_with("row_losses: "),
            "a weighted mean is no mean over rows: {error}"
        );
        of_classes.row_losses = None;
        assert_eq!(Job::try_from(v1::Job::from(&of_classes)).as_ref(), Ok(&of_classes));
        of_classes.architecture.loss = Loss::Mse;
        let error = refused(&of_classes);
        assert!(error.starts_with("class_weights: "), "{error}");
    }
}

#[test]
fn what_is_learned_from_has_targets() {
    let refused = |job: v1::Job| {
        let violations = Job::try_from(job).expect_err("it is broken");
        violations
            .iter()
            .map(|violation| violation.field.clone())
            .collect::<Vec<_>>()
    };
    let npy = job(Format::Npy(ArrayRules::default()), [false, true]);
    assert_eq!(refused(v1::Job::from(&npy)), ["dataset.train.targets_sha256"]);
    let mut layout = v1::Job::from(&job(Format::Npy(ArrayRules::default()), [true, true]));
    layout.dataset.as_mut().expect("there").layout = "nhwc".into();
    assert_eq!(refused(layout), ["dataset.layout"]);
}

#[test]
fn a_job_says_which_engine_trains_it() {
    let sent = v1::Job::from(&job(Format::Npy(ArrayRules::default()), [true, true]));
    assert_eq!(sent.engine, "torch");
    for engine in ["", "auto", "lanes"] {
        let mut other = sent.clone();
        other.engine = engine.into();
        let violations = Job::try_from(other).expect_err("no such engine");
        assert_eq!(violations.to_string(), "engine: must be one of torch", "{engine}");
    }
}

#[test]
fn a_members_settings_go_to_the_worker_as_they_are() {
    let mut sent = job(Format::Npy(ArrayRules::default()), [true, true]);
    sent.members[0].hyperparameters = Hyperparameters {
        schedule: Schedule::OneCycle,
        nesterov: true,
        eps: 1e-5,
        decay_epochs: 7,
        early_stopping: Some(EarlyStopping {
            patience: 3,
            min_delta: 0.5,
            metric: Metric::ValR2,
        }),
        ..Hyperparameters::new(Optimizer::Nadam, 0.1)
    };
    let wire = v1::Job::from(&sent);
    assert_eq!(wire.members[0].stops_by, "val_r2");
    assert_eq!(Job::try_from(wire.clone()).as_ref(), Ok(&sent));
    for (change, wrong) in [
        (
            (|member| assert!(member.hyperparameters.remove("beta1").is_some())) as fn(&mut v1::JobMember),
            "members[0].hyperparameters.beta1: is missing",
        ),
        (
            |member| member.schedule.clear(),
            "members[0].schedule: must be one of constant, cosine, step, exponential, one_cycle, plateau",
        ),
    ] {
        let mut other = wire.clone();
        change(&mut other.members[0]);
        assert_eq!(Job::try_from(other).expect_err("it is broken").to_string(), wrong);
    }
}
