//! Datasets as people have them: all arrays in one archive, pictures with their channels last, tables without a header line, test rows
//! that nobody has labelled.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::{Ask, RefitFiles, System, csv_column, text, written};

/// A study of two trials of a network that tells two classes apart.
fn study(name: &str, dataset: &Value, model: &Value) -> Value {
    json!({
        "name": name,
        "seed": 3,
        "dataset": dataset,
        "model": model,
        "training": {
            "loss": "cross_entropy", "optimizer": "adam", "learning_rate": 0.01, "batch_size": 4, "epochs": 2,
        },
        "validation": { "k_fold": 2 },
        "sampler": { "random": {} },
        "max_trials": 2,
        "refit": { "epochs": 2 },
    })
}

fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(content);
    file
}

fn archive(arrays: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in arrays {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(format!("{name}.npy"), options)?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// Rows that alternate between two classes.
fn labels(rows: u8) -> Vec<u8> {
    npy(
        "|u1",
        &format!("({rows},)"),
        &(0..rows).map(|row| row % 2).collect::<Vec<_>>(),
    )
}

/// Runs a study to its end by a study file; the notes that were printed, and the files of its refit.
async fn run(system: &System, folder: &Path, study: &Value) -> anyhow::Result<(String, RefitFiles)> {
    let file = written(folder, "study.json", study)?;
    let submitted = system.trawl(&["submit", &file])?;
    anyhow::ensure!(submitted.code == Some(0), "{submitted:?}");
    let name = study["name"].as_str().context("no name")?;
    system.completed(name).await?;
    Ok((submitted.stderr, system.fetch_refit(name, folder)?))
}

/// Target and prediction of each test row.
fn test_predictions(refit: &RefitFiles) -> anyhow::Result<Vec<(String, String)>> {
    let table = refit.text("predictions.csv")?;
    let column = |name: &str| csv_column(&table, name);
    let rows = column("target")?.into_iter().zip(column("prediction")?);
    let rows = column("split")?.into_iter().zip(rows);
    Ok(rows.filter(|(split, _)| split == "test").map(|(_, row)| row).collect())
}

fn linear() -> Value {
    json!([{ "linear": { "units": 2 } }])
}

#[tokio::test(flavor = "multi_thread")]
async fn test_rows_are_those_of_the_test_arrays_of_one_archive() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let folder = TempDir::new()?;
    let table = |rows: u8| npy("|u1", &format!("({rows}, 2)"), &(0..2 * rows).collect::<Vec<_>>());
    let arrays = [
        ("x_train", table(24)),
        ("y_train", labels(24)),
        ("x_test", table(6)),
        ("y_test", labels(6)),
    ];
    fs::write(folder.path().join("all.npz"), archive(&arrays)?)?;
    let dataset = json!({ "npz": {
        "train": "all.npz", "features": "x_train", "target": "y_train", "test_features": "x_test", "test_target": "y_test",
    } });
    let (said, refit) = run(&system, folder.path(), &study("one-archive", &dataset, &linear())).await?;
    assert!(!said.contains("note:"), "{said}");
    let (targets, _): (Vec<String>, Vec<String>) = test_predictions(&refit)?.into_iter().unzip();
    assert_eq!(targets, ["0", "1", "0", "1", "0", "1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_predicts_test_rows_that_nobody_has_labelled() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let folder = TempDir::new()?;
    let rows: String = (0..20)
        .map(|row| format!("{row},{}\n", if row < 10 { "low" } else { "high" }))
        .collect();
    fs::write(folder.path().join("train.csv"), format!("x,label\n{rows}"))?;
    fs::write(folder.path().join("test.csv"), "id,x\n7,3\n8,17\n9,4\n")?;
    let dataset = json!({ "csv": { "train": "train.csv", "test": "test.csv", "features": ["x"], "target": "label" } });
    let (said, refit) = run(&system, folder.path(), &study("unlabelled", &dataset, &linear())).await?;
    assert!(said.contains("note: the test rows have no targets"), "{said}");
    let predictions = test_predictions(&refit)?;
    assert_eq!(predictions.len(), 3);
    for (target, prediction) in predictions {
        assert_eq!(target, "");
        assert!(["low", "high"].contains(&prediction.as_str()), "{prediction}");
    }
    let refit: (String, Option<f64>, Option<f64>) = system
        .tuple("SELECT state, test_loss, test_accuracy FROM trawl.refits WHERE study = 'unlabelled'")
        .await?;
    assert_eq!(refit, ("completed".to_owned(), None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_with_their_channels_last_train_and_predict_as_they_are() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let folder = TempDir::new()?;
    let pictures = |rows: usize| {
        npy(
            "|u1",
            &format!("({rows}, 5, 4, 3)"),
            &(0..rows * 60).map(|n| n as u8).collect::<Vec<_>>(),
        )
    };
    fs::write(folder.path().join("x.npy"), pictures(12))?;
    fs::write(folder.path().join("y.npy"), labels(12))?;
    fs::write(folder.path().join("new.npy"), pictures(2))?;
    let dataset = json!({ "npy": { "train_features": "x.npy", "train_targets": "y.npy", "layout": "channels_last" } });
    let model = json!([{ "conv2d": { "filters": 2, "kernel": 3 } }, { "flatten": {} }, { "linear": { "units": 2 } }]);
    let (_, refit) = run(&system, folder.path(), &study("pictures", &dataset, &model)).await?;
    assert_eq!(
        refit.json("network.json")?["input"],
        json!({ "shape": [3, 5, 4], "layout": "channels_last" })
    );
    let new = folder.path().join("new.npy");
    let predicted = system.trawl_stdout(&["predict", "pictures", text(&new)?, "--csv"])?;
    assert_eq!(predicted.lines().count(), 3, "{predicted}");

    // Without `layout`, it could be either.
    let dataset = json!({ "npy": { "train_features": "x.npy", "train_targets": "y.npy" } });
    let file = written(folder.path(), "unsaid.json", study("unsaid", &dataset, &model))?;
    let said = system.refused(&["submit", &file])?;
    assert!(
        said.contains("layout: channels_last") && said.contains("layout: channels_first"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_predicted_with_the_header_that_it_was_trained_with() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let folder = TempDir::new()?;
    let rows: String = (0..20).map(|row| format!("{row},{}\n", row % 2)).collect();
    for (header, line, columns) in [(true, "0,1\n", json!(["0"])), (false, "", json!([0]))] {
        fs::write(folder.path().join("train.csv"), format!("{line}{rows}"))?;
        let target = if header { json!("1") } else { json!(1) };
        let dataset =
            json!({ "csv": { "train": "train.csv", "header": header, "features": columns, "target": target } });
        let name = format!("header-{header}");
        run(&system, folder.path(), &study(&name, &dataset, &linear())).await?;
        let new = written(folder.path(), "new.csv", format!("{line}3,0\n4,0\n"))?;
        let predicted = system.trawl_stdout(&["predict", &name, &new, "--csv"])?;
        assert_eq!(predicted.lines().count(), 3, "{predicted}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn test_rows_that_are_the_training_rows_are_refused_unless_they_are_meant() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let folder = TempDir::new()?;
    fs::write(folder.path().join("train.csv"), "x,label\n1,a\n2,b\n3,a\n4,b\n")?;
    // The same rows in another order, and written otherwise.
    fs::write(folder.path().join("test.csv"), "label,x\nb,4.0\na,3\nb,2\na,1e0\n")?;
    let dataset = json!({ "csv": { "train": "train.csv", "test": "test.csv", "features": ["x"], "target": "label" } });
    let mut study = study("twice", &dataset, &linear());
    study["training"]["batch_size"] = json!(1);
    let file = written(folder.path(), "study.json", &study)?;
    let said = system.refused(&["submit", "--dry-run", &file])?;
    assert!(said.contains("dataset.csv.test: has the very rows"), "{said}");
    study["dataset"]["test_is_train"] = json!(true);
    let file = written(folder.path(), "study.json", &study)?;
    system.trawl_stdout(&["submit", "--dry-run", &file])?;
    Ok(())
}
