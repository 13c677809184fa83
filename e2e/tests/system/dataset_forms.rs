//! Datasets as people have them: all arrays in one archive, pictures with their channels last, tables without a header line, test rows
//! that nobody has labelled.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::{System, owner_pool};

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

/// Runs a study to its end by `trawl submit` on a file; returns the notes that it printed, and the folder of the refit's files.
async fn run(system: &System, folder: &Path, study: &Value) -> anyhow::Result<String> {
    let file = folder.join("study.json");
    fs::write(&file, study.to_string())?;
    let path = |path: &Path| path.to_str().context("a path that is no text").map(str::to_owned);
    let submitted = system.trawl(&["submit", &path(&file)?])?;
    let said = String::from_utf8(submitted.stderr)?;
    anyhow::ensure!(submitted.status.success(), "{said}");
    let name = study["name"].as_str().context("no name")?;
    let ended = system.watch_to_end(name).await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    for file in ["network.json", "predictions.csv", "weights.safetensors"] {
        let out = path(&folder.join("out"))?;
        // Of images without test rows there are no predictions.
        let fetched = system.trawl(&["artifacts", name, "--refit", "0", "--name", file, "-o", &out])?;
        anyhow::ensure!(fetched.status.success() || file == "predictions.csv", "{file}");
    }
    Ok(said)
}

/// Target and prediction of each test row.
fn test_predictions(folder: &Path) -> anyhow::Result<Vec<[String; 2]>> {
    let mut reader = csv::Reader::from_path(folder.join("out/predictions.csv"))?;
    let header = reader.headers()?.clone();
    let place = |name: &str| header.iter().position(|column| column == name).context("a column");
    let (target, prediction) = (place("target")?, place("prediction")?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        if &record[0] == "test" {
            rows.push([record[target].to_owned(), record[prediction].to_owned()]);
        }
    }
    Ok(rows)
}

fn linear() -> Value {
    json!([{ "linear": { "units": 2 } }])
}

#[tokio::test(flavor = "multi_thread")]
async fn test_rows_are_those_of_the_test_arrays_of_one_archive() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
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
    let said = run(&system, folder.path(), &study("one-archive", &dataset, &linear())).await?;
    assert!(!said.contains("note:"), "{said}");
    let targets: Vec<String> = test_predictions(folder.path())?
        .into_iter()
        .map(|[target, _]| target)
        .collect();
    assert_eq!(targets, ["0", "1", "0", "1", "0", "1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_predicts_test_rows_that_nobody_has_labelled() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let folder = TempDir::new()?;
    let rows: String = (0..20)
        .map(|row| format!("{row},{}\n", if row < 10 { "low" } else { "high" }))
        .collect();
    fs::write(folder.path().join("train.csv"), format!("x,label\n{rows}"))?;
    fs::write(folder.path().join("test.csv"), "id,x\n7,3\n8,17\n9,4\n")?;
    let dataset = json!({ "csv": { "train": "train.csv", "test": "test.csv", "features": ["x"], "target": "label" } });
    let said = run(&system, folder.path(), &study("unlabelled", &dataset, &linear())).await?;
    assert!(said.contains("note: the test rows have no targets"), "{said}");
    let predictions = test_predictions(folder.path())?;
    assert_eq!(predictions.len(), 3);
    for [target, prediction] in predictions {
        assert_eq!(target, "");
        assert!(["low", "high"].contains(&prediction.as_str()), "{prediction}");
    }
    let sql = owner_pool(&system.database_url).await?;
    let query = "SELECT state, test_loss, test_accuracy FROM trawl.refits WHERE study = 'unlabelled'";
    let refit: (String, Option<f64>, Option<f64>) = sqlx::query_as(query).fetch_one(&sql).await?;
    assert_eq!(refit, ("completed".to_owned(), None, None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_with_their_channels_last_train_and_predict_as_they_are() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
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
    run(&system, folder.path(), &study("pictures", &dataset, &model)).await?;
    let network: Value = serde_json::from_slice(&fs::read(folder.path().join("out/network.json"))?)?;
    assert_eq!(
        network["input"],
        json!({ "shape": [3, 5, 4], "layout": "channels_last" })
    );
    let new = folder.path().join("new.npy");
    let predicted = system.trawl_stdout(&["predict", "pictures", new.to_str().context("a path")?, "--csv"])?;
    assert_eq!(predicted.lines().count(), 3, "{predicted}");

    // Without `layout`, it could be either.
    let dataset = json!({ "npy": { "train_features": "x.npy", "train_targets": "y.npy" } });
    let file = folder.path().join("unsaid.json");
    fs::write(&file, study("unsaid", &dataset, &model).to_string())?;
    let refused = system.trawl(&["submit", file.to_str().context("a path")?])?;
    let said = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("layout: channels_last") && said.contains("layout: channels_first"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_predicted_with_the_header_that_it_was_trained_with() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let folder = TempDir::new()?;
    let rows: String = (0..20).map(|row| format!("{row},{}\n", row % 2)).collect();
    for (header, line, columns) in [(true, "0,1\n", json!(["0"])), (false, "", json!([0]))] {
        fs::write(folder.path().join("train.csv"), format!("{line}{rows}"))?;
        let target = if header { json!("1") } else { json!(1) };
        let dataset =
            json!({ "csv": { "train": "train.csv", "header": header, "features": columns, "target": target } });
        let name = format!("header-{header}");
        run(&system, folder.path(), &study(&name, &dataset, &linear())).await?;
        let new = folder.path().join("new.csv");
        fs::write(&new, format!("{line}3,0\n4,0\n"))?;
        let predicted = system.trawl_stdout(&["predict", &name, new.to_str().context("a path")?, "--csv"])?;
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
    let file = folder.path().join("study.json");
    let path = file.to_str().context("a path")?;
    fs::write(&file, study.to_string())?;
    let refused = system.trawl(&["submit", "--dry-run", path])?;
    let said = String::from_utf8(refused.stderr)?;
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("dataset.csv.test: has the very rows"), "{said}");
    study["dataset"]["test_is_train"] = json!(true);
    fs::write(&file, study.to_string())?;
    system.trawl_stdout(&["submit", "--dry-run", path])?;
    Ok(())
}
