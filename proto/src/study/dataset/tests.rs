use prost_types::{ListValue, Value};

use super::*;
use crate::params::value;
use crate::v1::{CsvDataset, IdxDataset, NpzDataset};
use trawl_dataset::ReadError;
use trawl_dataset::{Encoding, Header, Quoting, Selection};
use trawl_domain::space::ParamValue;

fn text(text: &str) -> Value {
    value(&ParamValue::Text(text.to_owned()))
}

fn int(number: i64) -> Value {
    value(&ParamValue::Int(number))
}

fn list<const N: usize>(values: [Value; N]) -> Option<Value> {
    let kind = prost_types::value::Kind::ListValue(ListValue { values: values.into() });
    Some(Value { kind: Some(kind) })
}

/// The source, or each violation's field and description.
fn checked(kind: Kind, test_is_train: bool) -> Result<Source, Vec<(String, String)>> {
    let mut v = Violations::new();
    let dataset = v1::Dataset {
        kind: Some(kind),
        test_is_train,
    };
    let source = check(Some(&dataset), None, &mut v);
    source.ok_or_else(|| v.iter().map(|v| (v.field.clone(), v.description.clone())).collect())
}

/// The fields with violations.
fn fields(dataset: Kind) -> Vec<String> {
    let wrong = checked(dataset, false).expect_err("it is broken");
    wrong.into_iter().map(|(field, _)| field).collect()
}

fn csv() -> CsvDataset {
    CsvDataset {
        train: "a.csv".into(),
        test: String::new(),
        features: list([text("x1"), text("x2")]),
        target: Some(text("y")),
        ..CsvDataset::default()
    }
}

fn npz() -> NpzDataset {
    NpzDataset {
        train: "a.npz".into(),
        features: "x".into(),
        target: "y".into(),
        ..Default::default()
    }
}

fn npz_names(draft: NpzDataset) -> (Option<FilePlace>, ArrayNames) {
    let source = checked(Kind::Npz(draft), false).expect("a source");
    let Format::Npz(arrays, _) = source.format else {
        panic!("another format")
    };
    (source.test.map(|test| test.features.place), arrays.test)
}

#[test]
fn columns_have_names_or_without_a_header_numbers() {
    let source = checked(Kind::Csv(csv()), false).expect("a source");
    assert_eq!(source.test, None, "a refit may do without");
    let numbered = CsvDataset {
        features: list([int(0), text("column_1")]),
        target: Some(int(2)),
        header: Some(false),
        ..csv()
    };
    let source = checked(Kind::Csv(numbered.clone()), false).expect("a source");
    let Format::Csv(columns) = source.format else {
        panic!("another format")
    };
    let names = ["column_0", "column_1"].map(str::to_owned);
    assert_eq!(columns.features, Selection::Named(names.into()));
    assert_eq!(
        (columns.target.as_str(), columns.dialect.header),
        ("column_2", Header::Absent)
    );

    let with_header = CsvDataset {
        header: Some(true),
        ..numbered.clone()
    };
    let wrong = checked(Kind::Csv(with_header), false).expect_err("numbers");
    assert_eq!(wrong[0].0, "dataset.csv.features[0]");
    assert_eq!(
        wrong[0].1,
        "is a number, and columns are taken by number only with header: false; a column that is called 0 is written '0', in quotes"
    );
    let named = CsvDataset {
        features: list([text("x"), text("column_01"), int(-1), int(99_999), int(2)]),
        ..numbered
    };
    assert_eq!(
        fields(Kind::Csv(named)),
        [
            "dataset.csv.features[0]",
            "dataset.csv.features[1]",
            "dataset.csv.features[2]",
            "dataset.csv.features[3]",
            "dataset.csv.target"
        ]
    );
}

#[test]
fn columns_are_a_list_of_different_ones() {
    let with = |features: Option<Value>, target: Option<Value>| {
        fields(Kind::Csv(CsvDataset {
            features,
            target,
            ..csv()
        }))
    };
    let every = Some(text("every"));
    assert_eq!(with(every, Some(text("y"))), ["dataset.csv.features"]);
    assert_eq!(with(None, None), ["dataset.csv.features", "dataset.csv.target"]);
    let twice = list([text("a"), text("a"), Value::default()]);
    assert_eq!(
        with(twice, Some(text("a"))),
        [
            "dataset.csv.features[1]",
            "dataset.csv.features[2]",
            "dataset.csv.target"
        ]
    );
}

#[test]
fn a_test_part_is_another_part_unless_it_is_meant() {
    let same = Kind::Csv(CsvDataset {
        test: "a.csv".into(),
        ..csv()
    });
    assert_eq!(
        checked(same.clone(), false).expect_err("the same"),
        [(
            "dataset.csv.test".to_owned(),
            "is the same as dataset.csv.train: a refit would be measured on the rows that it learned from; if that is meant, set \
             dataset.test_is_train: true"
                .to_owned()
        )]
    );
    assert!(checked(same, true).expect("meant").test_is_train);
    let none = checked(Kind::Csv(csv()), true).expect_err("no test part");
    assert_eq!(none[0].0, "dataset.test_is_train");

    let same = NpzDataset {
        test: "a.npz".into(),
        ..npz()
    };
    assert_eq!(fields(Kind::Npz(same)), ["dataset.npz.test"]);
    let same = NpzDataset {
        test_features: "x".into(),
        test_target: "y".into(),
        ..npz()
    };
    assert_eq!(fields(Kind::Npz(same)), ["dataset.npz.test_features"]);
}

#[test]
fn a_validation_part_is_another_part_too() {
    let said = |kind: Kind| checked(kind, false).expect_err("the same")[0].clone();
    let table = CsvDataset {
        validation: "v.csv".into(),
        test: "b.csv".into(),
        ..csv()
    };
    let source = checked(Kind::Csv(table.clone()), false).expect("three files");
    let fields: Vec<&str> = source.files().map(|file| file.field.as_str()).collect();
    assert_eq!(
        fields,
        ["dataset.csv.train", "dataset.csv.validation", "dataset.csv.test"]
    );
    let same = Kind::Csv(CsvDataset {
        validation: "a.csv".into(),
        ..table.clone()
    });
    assert_eq!(
        said(same),
        (
            "dataset.csv.validation".to_owned(),
            "is the same as dataset.csv.train: trials would be measured on the rows that they learned from; name other rows".to_owned()
        )
    );
    let tested = Kind::Csv(CsvDataset {
        test: "v.csv".into(),
        ..table
    });
    assert_eq!(
        said(tested.clone()),
        (
            "dataset.csv.test".to_owned(),
            "is the same as dataset.csv.validation: a refit would be measured on the rows that it learned from; if that is meant, set \
             dataset.test_is_train: true"
                .to_owned()
        )
    );
    assert!(checked(tested, true).is_ok());

    let one_archive = NpzDataset {
        validation_features: "x_val".into(),
        validation_target: "y_val".into(),
        ..npz()
    };
    let source = checked(Kind::Npz(one_archive.clone()), false).expect("one archive");
    assert_eq!(source.validation, Some(source.train));
    let without_targets = NpzDataset {
        validation_target: String::new(),
        ..one_archive.clone()
    };
    assert_eq!(said(Kind::Npz(without_targets)).0, "dataset.npz.validation_target");
    let without_features = NpzDataset {
        validation_features: String::new(),
        ..one_archive.clone()
    };
    assert_eq!(said(Kind::Npz(without_features)).0, "dataset.npz.validation_features");
    let same = NpzDataset {
        validation_features: "x".into(),
        validation_target: "y".into(),
        ..one_archive
    };
    assert_eq!(said(Kind::Npz(same)).0, "dataset.npz.validation_features");
    let pair = IdxDataset {
        train_images: "x".into(),
        train_labels: "y".into(),
        validation_images: "v".into(),
        ..Default::default()
    };
    assert_eq!(said(Kind::Idx(pair)).0, "dataset.idx.validation_labels");
}

#[test]
fn archives_have_both_parts_or_one_each() {
    let place = |name: &str| Some(FilePlace::Named(name.into()));
    let names = |features: &str, target: Option<&str>| ArrayNames {
        features: features.into(),
        target: target.map(str::to_owned),
    };
    let keras = NpzDataset {
        test_features: "x_test".into(),
        test_target: "y_test".into(),
        ..npz()
    };
    assert_eq!(npz_names(keras), (place("a.npz"), names("x_test", Some("y_test"))));
    let unlabelled = NpzDataset {
        test_features: "x_test".into(),
        ..npz()
    };
    assert_eq!(npz_names(unlabelled), (place("a.npz"), names("x_test", None)));
    let other = NpzDataset {
        test: "b.npz".into(),
        ..npz()
    };
    assert_eq!(npz_names(other), (place("b.npz"), names("x", Some("y"))));
    assert_eq!(npz_names(npz()).0, None);
    let alone = NpzDataset {
        test_target: "y_test".into(),
        ..npz()
    };
    assert_eq!(fields(Kind::Npz(alone)), ["dataset.npz.test_features"]);
}

#[test]
fn test_images_may_be_unlabelled_and_labels_are_not_alone() {
    let idx = IdxDataset {
        train_images: "x".into(),
        train_labels: "y".into(),
        test_images: "x2".into(),
        ..Default::default()
    };
    let source = checked(Kind::Idx(idx.clone()), false).expect("a source");
    assert_eq!(source.test.map(|test| test.targets), Some(None));
    let labels = IdxDataset {
        test_images: String::new(),
        test_labels: "y2".into(),
        layout: "nhwc".into(),
        ..idx.clone()
    };
    let wrong = checked(Kind::Idx(labels), false).expect_err("labels alone");
    assert_eq!(
        wrong,
        [
            (
                "dataset.idx.layout".to_owned(),
                "'nhwc' is not known: it must be one of channels_first, channels_last".to_owned()
            ),
            (
                "dataset.idx.test_images".to_owned(),
                "is missing, and test_labels is there".to_owned()
            )
        ]
    );
    let untaught = IdxDataset {
        train_labels: String::new(),
        ..idx
    };
    assert_eq!(fields(Kind::Idx(untaught)), ["dataset.idx.train_labels"]);
}

#[test]
fn the_field_that_is_to_be_mended_is_named() {
    let missing = |column: &str| ReadError {
        in_targets: false,
        column: Some(column.into()),
        reason: String::new(),
        unquoted: String::new(),
    };
    let table = Kind::Csv(CsvDataset {
        test: "b.csv".into(),
        ..csv()
    });
    let table = checked(table, false).expect("a source");
    assert_eq!(
        table.field_of(PartName::Train, &missing("x2")),
        "dataset.csv.features[1]"
    );
    assert_eq!(table.field_of(PartName::Train, &missing("y")), "dataset.csv.target");
    assert_eq!(table.field_of(PartName::Test, &missing("x2")), "dataset.csv.test");
    let beside = Kind::Csv(CsvDataset {
        validation: "v.csv".into(),
        ..csv()
    });
    let beside = checked(beside, false).expect("a source");
    assert_eq!(
        beside.field_of(PartName::Validation, &missing("y")),
        "dataset.csv.validation"
    );
    let keras = Kind::Npz(NpzDataset {
        test_features: "x_test".into(),
        test_target: "y_test".into(),
        validation_features: "x_val".into(),
        validation_target: "y_val".into(),
        ..npz()
    });
    let keras = checked(keras, false).expect("a source");
    let validation = |array: &str| keras.field_of(PartName::Validation, &missing(array));
    assert_eq!(validation("x_val"), "dataset.npz.validation_features");
    assert_eq!(validation("y_val"), "dataset.npz.validation_target");
    assert_eq!(keras.field_of(PartName::Train, &missing("x")), "dataset.npz.features");
    assert_eq!(keras.field_of(PartName::Train, &missing("y")), "dataset.npz.target");
    assert_eq!(
        keras.field_of(PartName::Test, &missing("x_test")),
        "dataset.npz.test_features"
    );
    assert_eq!(
        keras.field_of(PartName::Test, &missing("y_test")),
        "dataset.npz.test_target"
    );
    let two = Kind::Npz(NpzDataset {
        test: "b.npz".into(),
        ..npz()
    });
    let two = checked(two, false).expect("a source");
    assert_eq!(two.field_of(PartName::Test, &missing("x")), "dataset.npz.test");
    let pairs = Kind::Idx(IdxDataset {
        train_images: "x".into(),
        train_labels: "y".into(),
        test_images: "x2".into(),
        test_labels: "y2".into(),
        ..Default::default()
    });
    let pairs = checked(pairs, false).expect("a source");
    let broken = |in_targets| ReadError {
        in_targets,
        column: None,
        ..missing("")
    };
    assert_eq!(pairs.field_of(PartName::Test, &broken(true)), "dataset.idx.test_labels");
    assert_eq!(
        pairs.field_of(PartName::Train, &broken(false)),
        "dataset.idx.train_images"
    );
}

#[test]
fn arrays_are_prepared_by_what_they_can_be() {
    let with = |prepare: &str| {
        let idx = IdxDataset {
            train_images: "a".into(),
            train_labels: "b".into(),
            prepare: prepare.into(),
            ..IdxDataset::default()
        };
        checked(Kind::Idx(idx), false)
    };
    for (word, scale) in [
        ("", Scale::None),
        ("none", Scale::None),
        ("standardize", Scale::Standardize),
        ("min_max", Scale::MinMax),
    ] {
        let source = with(word).expect(word);
        let rules = ArrayRules { layout: None, scale };
        assert_eq!(source.format, Format::Idx(rules));
    }
    for word in ["log1p", "quantile", "mean"] {
        let said = format!("'{word}' is not known: it must be one of standardize, min_max, none");
        assert_eq!(with(word), Err(vec![("dataset.idx.prepare".to_owned(), said)]));
    }
}

#[test]
fn how_a_file_is_written_is_checked() {
    let written = |quote: &str, encoding: &str| {
        let csv = CsvDataset {
            delimiter: "|".into(),
            quote: quote.into(),
            encoding: encoding.into(),
            ..csv()
        };
        checked(Kind::Csv(csv), false)
    };
    for (quote, quoting) in [
        ("", None),
        ("none", Some(Quoting::Absent)),
        ("\"", Some(Quoting::Character(b'"'))),
        ("'", Some(Quoting::Character(b'\''))),
    ] {
        let source = written(quote, "latin-1").expect(quote);
        let Format::Csv(columns) = source.format else {
            panic!("a table")
        };
        assert_eq!(
            (columns.dialect.quoting, columns.dialect.encoding),
            (quoting, Encoding::Latin1)
        );
    }
    for (quote, encoding, field, said) in [
        ("''", "", "quote", "'''' is not known: it must be one character"),
        ("x", "", "quote", "'x' is not known"),
        ("|", "", "quote", "is the delimiter too"),
        (
            "",
            "utf8",
            "encoding",
            "'utf8' is not known: it must be one of utf-8, latin-1, windows-1252",
        ),
    ] {
        let violations = written(quote, encoding).expect_err(field);
        assert_eq!(violations[0].0, format!("dataset.csv.{field}"));
        assert!(violations[0].1.starts_with(said), "{}", violations[0].1);
    }
}

#[test]
fn what_is_made_of_columns_is_checked_by_its_field() {
    let prepared = |json: serde_json::Value| {
        let csv: CsvDataset = crate::from_json(&serde_json::json!({
            "train": "a.csv", "features": "all", "target": "y", "prepare": json
        }))
        .expect("a dataset");
        checked(Kind::Csv(csv), false)
    };
    for sound in [
        serde_json::json!("none"),
        serde_json::json!({ "missing": -0.5, "columns": { "a": "log1p" } }),
    ] {
        prepared(sound).expect("a source");
    }
    for (wrong, field, said) in [
        (
            serde_json::json!("scale"),
            "prepare",
            "'scale' is not known: it must be one of standardize",
        ),
        (serde_json::json!(["none"]), "prepare", "must be one of standardize"),
        (
            serde_json::json!({ "scale": "none" }),
            "prepare.scale",
            "is not known; allowed are numbers, missing",
        ),
        (
            serde_json::json!({ "missing": "mode" }),
            "prepare.missing",
            "'mode' is not known: it must be mean, median, drop or a number",
        ),
        (
            serde_json::json!({ "indicator": true }),
            "prepare.indicator",
            "has nothing to tell",
        ),
        (
            serde_json::json!({ "missing": -1, "columns": { "a": "log1p" } }),
            "prepare.columns.a.missing",
            "is not above -1",
        ),
        (
            serde_json::json!({ "rare": 1.5 }),
            "prepare.rare",
            "must be a number of rows",
        ),
        (
            serde_json::json!({ "columns": { "a": 1 } }),
            "prepare.columns.a",
            "must be one of standardize",
        ),
        (
            serde_json::json!({ "columns": { "a": { "as": "date" } } }),
            "prepare.columns.a.as",
            "'date' is not known",
        ),
    ] {
        let violations = prepared(wrong).expect_err(field);
        assert_eq!(violations[0].0, format!("dataset.csv.{field}"));
        assert!(violations[0].1.starts_with(said), "{}", violations[0].1);
    }
}
