//! Pictures in folders: they train, and predictions take other pictures of any size.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use trawl_e2e::System;

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_pictures_train_and_pictures_are_predicted() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    let shapes = folder.path().join("shapes");
    let made = Command::new("python3")
        .arg(System::examples().join("data/make_shapes.py"))
        .arg(&shapes)
        .status()?;
    ensure!(made.success(), "no pictures");
    let study = fs::read_to_string(System::examples().join("shapes.yaml"))?
        .replace("data/shapes", shapes.to_str().context("a plain path")?)
        .replace("max_trials: 6", "max_trials: 2");
    let file = folder.path().join("study.yaml");
    fs::write(&file, study)?;
    let file = file.to_str().context("a plain path")?;
    let dry = system.trawl_stdout(&["submit", file, "--dry-run"])?;
    ensure!(
        dry.contains("classes: 3") && dry.contains("inputs: 1 x 24 x 24"),
        "{dry}"
    );
    system.trawl_stdout(&["submit", file, "--watch"])?;
    // The same folders again are the same study.
    system.trawl_stdout(&["submit", file])?;
    let accuracy: Option<f64> = sqlx::query_scalar("SELECT test_accuracy FROM trawl.refits WHERE study = 'shapes'")
        .fetch_one(&system.sql)
        .await?;
    assert!(
        accuracy.is_some_and(|accuracy| accuracy > 0.6),
        "accuracy is {accuracy:?}"
    );

    let out = folder.path().join("out");
    let out = out.to_str().context("a plain path")?;
    system.trawl_stdout(&["artifacts", "shapes", "--refit", "0", "-o", out])?;
    let network: Value = serde_json::from_slice(&fs::read(format!("{out}/network.json"))?)?;
    assert_eq!(network["input"]["resize"], "crop");
    // The test pictures themselves: the refit's predictions, in the order of their names.
    let mut pictures = Vec::new();
    for class in ["circle", "square", "triangle"] {
        for number in 0..20 {
            pictures.push(format!("{}/test/{class}/{number:03}.png", shapes.display()));
        }
    }
    let mut args = vec!["predict", "shapes"];
    args.extend(pictures.iter().map(String::as_str));
    args.push("--csv");
    let column = |csv: &str, name: &str| -> anyhow::Result<Vec<String>> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place = reader.headers()?.iter().position(|column| column == name);
        let place = place.with_context(|| format!("no column {name}"))?;
        reader.records().map(|record| Ok(record?[place].to_owned())).collect()
    };
    assert_eq!(
        column(&system.trawl_stdout(&args)?, "prediction")?,
        column(&fs::read_to_string(format!("{out}/predictions.csv"))?, "prediction")?
    );
    Ok(())
}
