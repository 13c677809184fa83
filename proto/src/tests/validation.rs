//! The validation of a trial: its written forms, their violations, and its form for a worker.

use serde_json::{Value, json};
use trawl_dataset::{ArrayRules, DatasetShape, Format, SampleShape, Says, TRAINS, TargetShape};
use trawl_domain::fold::{By, FoldSize, RowKeys, Scheme, Split, Validation};
use trawl_domain::job::Job;
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;

use super::dataset::job;
use super::images_and_classes::{FASHION, assert_wrong, changed};
use crate::study::{Folds, TrainingRows};
use crate::{from_json, study, to_json, v1};

/// The validation of classes.
fn read(validation: &Value) -> Validation {
    let study = changed(&[("/validation", validation.clone())]);
    study::check(&study, Some(Ok(FASHION.into())))
        .expect("it is sound")
        .validation
}

fn refused(validation: &Value, field: &str, description: &str) {
    let field = format!("validation.{field}");
    assert_wrong(&changed(&[("/validation", validation.clone())]), &field, description);
}

#[test]
fn a_number_and_a_mapping_say_the_same() {
    let stratified = |validation| Validation {
        stratify: true,
        ..validation
    };
    let five = stratified(Validation::k_fold(5));
    assert_eq!(read(&json!({ "k_fold": 5 })), five);
    assert_eq!(read(&json!({ "k_fold": "5" })), five);
    assert_eq!(read(&json!({ "k_fold": { "folds": 5 } })), five);
    let fifth = stratified(Validation::holdout(0.2));
    assert_eq!(read(&json!({ "holdout": 0.2 })), fifth);
    assert_eq!(read(&json!({ "holdout": { "share": 0.2 } })), fifth);
    let plain = json!({ "holdout": { "share": 0.2, "stratify": false } });
    assert_eq!(read(&plain), Validation::holdout(0.2));
    let repeated = read(&json!({ "k_fold": { "folds": 5, "repeats": 3 } }));
    assert_eq!(repeated.scheme, Scheme::KFold { folds: 5, repeats: 3 });
    assert_eq!(repeated.folds(), 15);
}

#[test]
fn runs_of_the_file_are_stratified_only_where_that_is_said() {
    let in_order = Validation {
        shuffle: false,
        ..Validation::k_fold(5)
    };
    assert_eq!(read(&json!({ "k_fold": { "folds": 5, "shuffle": false } })), in_order);
    let both = read(&json!({ "k_fold": { "folds": 5, "shuffle": false, "stratify": true } }));
    assert!(both.stratify && !both.shuffle);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let folds = "must be from 2 to 64, and 1 is not";
    refused(&json!({ "k_fold": 1 }), "k_fold", folds);
    refused(&json!({ "k_fold": { "folds": 1 } }), "k_fold.folds", folds);
    refused(
        &json!({ "k_fold": 2.5 }),
        "k_fold",
        "must be from 2 to 64, and 2.5 is not",
    );
    refused(&json!({ "k_fold": {} }), "k_fold.folds", "is missing");
    let form = "must be a number of folds, or a mapping with folds";
    refused(&json!({ "k_fold": [5] }), "k_fold", form);
    refused(&json!({ "k_fold": null }), "k_fold", form);
    refused(
        &json!({ "k_fold": { "folds": 5, "stratified": true } }),
        "k_fold.stratified",
        "is not known; allowed are folds, repeats, shuffle, stratify, group, order; did you mean 'stratify'?",
    );
    refused(
        &json!({ "k_fold": { "folds": 10, "repeats": 7 } }),
        "k_fold.repeats",
        "makes 7 times 10 folds, and there may be 64 in all",
    );
    refused(
        &json!({ "k_fold": { "folds": 2, "repeats": 4_294_967_295_u32 } }),
        "k_fold.repeats",
        "makes 4294967295 times 2 folds, and there may be 64 in all",
    );
    refused(
        &json!({ "k_fold": { "folds": 10, "repeats": 0 } }),
        "k_fold.repeats",
        "must be at least 1",
    );
    refused(
        &json!({ "k_fold": { "folds": 5, "repeats": 2, "shuffle": false } }),
        "k_fold.repeats",
        "would repeat the same folds, as rows are not shuffled: leave it out, or set shuffle: true",
    );
    let share = "must be above 0 and below 1, and 1 is not";
    refused(&json!({ "holdout": 1 }), "holdout", share);
    refused(&json!({ "holdout": { "share": 1 } }), "holdout.share", share);
    refused(&json!({ "holdout": {} }), "holdout.share", "is missing");
}

#[test]
fn numbers_are_not_stratified() {
    let numbers = DatasetShape {
        train_rows: 100,
        sample: SampleShape::Vector(2),
        target: TargetShape::Numbers(1),
    };
    let study = |validation: Value| {
        let study = json!({
            "name": "s", "seed": 7,
            "dataset": { "csv": { "train": "t.csv", "features": ["a", "b"], "target": "y" } },
            "model": [{ "linear": { "units": 1 } }],
            "training": { "loss": "mse", "optimizer": "adam", "learning_rate": 0.1, "batch_size": 4, "epochs": 2 },
            "validation": validation,
            "max_trials": 2,
        });
        study::check(&from_json(&study).expect("a study"), Some(Ok(numbers.into())))
    };
    let plain = study(json!({ "k_fold": { "folds": 5, "stratify": false } })).expect("it is sound");
    assert_eq!(plain.validation, Validation::k_fold(5));
    assert_eq!(
        study(json!({ "k_fold": 5 })).expect("it is sound").validation,
        Validation::k_fold(5)
    );
    let violations = study(json!({ "k_fold": { "folds": 5, "stratify": true } })).expect_err("numbers have no classes");
    assert_eq!(
        violations.to_string(),
        "validation.k_fold.stratify: is for classes, and numbers are predicted: leave it out"
    );
}

#[test]
fn a_study_is_kept_as_it_was_written() {
    for validation in [
        json!({ "k_fold": 5 }),
        json!({ "holdout": 0.2 }),
        json!({ "k_fold": { "folds": 5, "repeats": 3 } }),
    ] {
        let study = to_json(&changed(&[("/validation", validation.clone())])).expect("a study");
        assert_eq!(study["validation"], validation);
    }
}

#[test]
fn a_worker_splits_as_the_coordinator_says() {
    let schemes = [
        Scheme::KFold { folds: 5, repeats: 3 },
        Scheme::Holdout(0.2),
        Scheme::Given { folds: 7 },
    ];
    for scheme in schemes {
        for (shuffle, stratify, by, seeds) in [(true, false, By::Groups, 1), (false, true, By::Order, 4)] {
            let mut job = job(Format::Npy(ArrayRules::default()), [true, true]);
            job.split = Split::Validation(Validation {
                scheme,
                shuffle,
                stratify,
                by,
                seeds,
            });
            assert_eq!(Job::try_from(v1::Job::from(&job)).as_ref(), Ok(&job));
        }
    }
    for (folds, repeats) in [(1, 1), (5, 0), (5, 13), (65, 1)] {
        let mut broken = v1::Job::from(&job(Format::Npy(ArrayRules::default()), [true, true]));
        let kind = v1::job_split::Kind::KFold(v1::JobKFold { folds, repeats });
        broken.split.get_or_insert_default().kind = Some(kind);
        let violations = Job::try_from(broken).expect_err("no such folds");
        assert_eq!(violations.to_string(), "split: is of no known kind, or out of range");
    }
}

/// A study of a table with 6 rows and this split column; or its violations.
fn of_table(loss: &str, validation: &Value, column: Option<&[u32]>) -> Result<Study, Violations> {
    let classes = [0, 0, 0, 1, 1, 1];
    let study = json!({
        "name": "s", "seed": 7,
        "dataset": { "csv": { "train": "t.csv", "features": "all", "target": "y" } },
        "model": [{ "linear": { "units": if loss == "mse" { 1 } else { 2 } } }],
        "training": { "loss": loss, "optimizer": "adam", "learning_rate": 0.1, "batch_size": 1, "epochs": 2 },
        "validation": validation,
        "max_trials": 2,
    });
    let rows = TrainingRows {
        shape: DatasetShape {
            train_rows: 6,
            sample: SampleShape::Vector(2),
            target: if loss == "mse" {
                TargetShape::Numbers(1)
            } else {
                TargetShape::Classes(2)
            },
        },
        folds: Folds::OfRows(RowKeys {
            rows: 6,
            classes: Some(&classes).filter(|_| loss != "mse").map(|classes| &classes[..]),
            column,
        }),
    };
    study::check(&from_json(&study).expect("a study"), Some(Ok(rows)))
}

fn split_column(study: &Study) -> Option<(String, Says, &'static str)> {
    match &study.format {
        Format::Csv(columns) => columns.split.clone().map(|split| (split.name, split.says, split.field)),
        _ => None,
    }
}

#[test]
fn a_column_splits_the_rows() {
    let groups = [0, 0, 1, 1, 2, 2];
    let grouped = json!({ "k_fold": { "folds": 3, "group": "patient" } });
    let study = of_table("mse", &grouped, Some(&groups)).expect("it is sound");
    assert_eq!(
        split_column(&study),
        Some(("patient".to_owned(), Says::Groups, "validation.k_fold.group"))
    );
    let (by, stratify) = (By::Groups, false);
    assert_eq!(
        study.validation,
        Validation {
            by,
            stratify,
            ..Validation::k_fold(3)
        }
    );
    assert!(
        study
            .fold_sizes
            .iter()
            .all(|size| (size.train, size.validate) == (4, 2))
    );
    let classes = of_table("cross_entropy", &grouped, Some(&groups)).expect("it is sound");
    assert!(classes.validation.stratify, "classes are spread as far as groups allow");

    let ordered = json!({ "k_fold": { "folds": 2, "order": "day" } });
    let study = of_table("cross_entropy", &ordered, Some(&[5, 4, 3, 2, 1, 0])).expect("it is sound");
    assert!(!study.validation.shuffle && !study.validation.stratify);
    let trains: Vec<u32> = study.fold_sizes.iter().map(|size| size.train).collect();
    assert_eq!(trains, [2, 4]);

    let given = [0, 1, 0, TRAINS, 1, TRAINS];
    let study = of_table("mse", &json!({ "split_column": "part", "seeds": 2 }), Some(&given)).expect("it is sound");
    assert_eq!(study.validation.scheme, Scheme::Given { folds: 2 });
    assert_eq!((study.validation.folds(), study.fold_sizes.len()), (4, 4));
    // As it is stored.
    let stored = TrainingRows {
        shape: study.shape,
        folds: Folds::Sizes(&study.fold_sizes),
    };
    let json = json!({
        "name": "s", "seed": 7,
        "dataset": { "csv": { "train": "t.csv", "features": "all", "target": "y" } },
        "model": [{ "linear": { "units": 1 } }],
        "training": { "loss": "mse", "optimizer": "adam", "learning_rate": 0.1, "batch_size": 1, "epochs": 2 },
        "validation": { "split_column": "part", "seeds": 2 },
        "max_trials": 2,
    });
    let again = study::check(&from_json(&json).expect("a study"), Some(Ok(stored))).expect("it is sound");
    assert_eq!(again, study);
}

#[test]
fn a_column_that_splits_nothing_well_is_refused() {
    let groups = [0, 0, 1, 1, 2, 2];
    for (loss, validation, column, said) in [
        (
            "mse",
            json!({ "k_fold": { "folds": 4, "group": "patient" } }),
            &groups,
            "validation.k_fold.group: has 3 different values, and 4 are needed: one a fold, or one on each side of a holdout",
        ),
        (
            "mse",
            json!({ "k_fold": { "folds": 3, "order": "day" } }),
            &[0, 0, 0, 0, 0, 1],
            "validation.k_fold.order: leaves fold 0 without rows that train, or without rows that validate: take fewer folds or another share, a \
             column that tells more rows apart, or stratify: false",
        ),
        (
            "mse",
            json!({ "split_column": "part" }),
            &[TRAINS; 6],
            "validation.split_column: says train of every row: no row validates",
        ),
        (
            "mse",
            json!({ "k_fold": { "folds": 3, "group": "patient", "order": "day" } }),
            &groups,
            "validation.k_fold.group: goes without order: name one of them",
        ),
        (
            "cross_entropy",
            json!({ "holdout": { "share": 0.3, "group": "patient", "stratify": true } }),
            &groups,
            "validation.holdout.stratify: goes without group at a holdout: leave it out, or use k_fold",
        ),
        (
            "cross_entropy",
            json!({ "k_fold": { "folds": 2, "order": "day", "stratify": true } }),
            &groups,
            "validation.k_fold.stratify: would break the order of the rows: leave it out, or leave out order",
        ),
        (
            "mse",
            json!({ "k_fold": { "folds": 2, "order": "day", "repeats": 2 } }),
            &groups,
            "validation.k_fold.repeats: would repeat the same folds, as rows have an order: leave it out",
        ),
        (
            "mse",
            json!({ "k_fold": 3, "seeds": 22 }),
            &groups,
            "validation.seeds: makes 22 times 3 folds, and there may be 64 in all",
        ),
        (
            "mse",
            json!({ "k_fold": { "folds": 3, "group": "y" } }),
            &groups,
            "validation.k_fold.group: 'y' is the target",
        ),
    ] {
        let violations = of_table(loss, &validation, Some(column)).expect_err(said);
        assert_eq!(violations.to_string(), said);
    }
    let none = of_table("mse", &json!({ "k_fold": 1, "seeds": 0 }), Some(&groups)).expect_err("two things");
    let fields: Vec<&str> = none.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["validation.seeds", "validation.k_fold"], "both at once");
    let images = changed(&[("/validation", json!({ "k_fold": { "folds": 3, "group": "patient" } }))]);
    assert_wrong(
        &images,
        "validation.k_fold.group",
        "is for tables: only dataset.csv has columns that rows can be split by",
    );
}

/// A table whose validation rows have a file of their own, checked with one fold of 6 and 2 rows.
fn of_files(validation: &Value) -> Result<Study, Violations> {
    let study = json!({
        "name": "s", "seed": 7,
        "dataset": { "csv": { "train": "t.csv", "validation": "v.csv", "features": "all", "target": "y" } },
        "model": [{ "linear": { "units": 1 } }],
        "training": { "loss": "mse", "optimizer": "adam", "learning_rate": 0.1, "batch_size": 1, "epochs": 2 },
        "validation": validation,
        "max_trials": 2,
    });
    let size = FoldSize { train: 6, validate: 2 };
    let rows = TrainingRows {
        shape: DatasetShape {
            train_rows: 8,
            sample: SampleShape::Vector(2),
            target: TargetShape::Numbers(1),
        },
        folds: Folds::Sizes(&[size]),
    };
    study::check(&from_json(&study).expect("a study"), Some(Ok(rows)))
}

#[test]
fn rows_that_validate_may_have_files_of_their_own() {
    let size = FoldSize { train: 6, validate: 2 };
    let study = of_files(&Value::Null).expect("it says nothing of validation");
    assert_eq!(study.validation.scheme, Scheme::Given { folds: 1 });
    assert_eq!(study.fold_sizes, [size]);
    let study = of_files(&json!({ "seeds": 3 })).expect("seeds are no split");
    assert_eq!((study.validation.folds(), study.fold_sizes), (3, vec![size; 3]));
    for (validation, field) in [
        (json!({ "k_fold": 5 }), "k_fold"),
        (json!({ "holdout": 0.2 }), "holdout"),
        (json!({ "split_column": "part" }), "split_column"),
    ] {
        let violations = of_files(&validation).expect_err("two splits");
        assert_eq!(
            violations.to_string(),
            format!(
                "validation.{field}: goes without dataset.csv.validation, which names the rows that validate: leave out one of them"
            )
        );
    }
    let violations = of_files(&json!({ "seeds": 0 })).expect_err("no seed");
    assert_eq!(violations.to_string(), "validation.seeds: must be at least 1");
}
