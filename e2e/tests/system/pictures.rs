//! Pictures in folders: they train, and predictions take other pictures of any size.

use std::process::Command;

use anyhow::ensure;
use tempfile::TempDir;
use trawl_e2e::{Ask, System, csv_column, studies, text, written};

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_pictures_train_and_pictures_are_predicted() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let shapes = folder.path().join("shapes");
    let made = Command::new("python3")
        .arg(System::examples().join("data/make_shapes.py"))
        .arg(&shapes)
        .status()?;
    ensure!(made.success(), "no pictures");
    let there = System::examples().join("data/shapes");
    let changes = [(text(&there)?, text(&shapes)?), ("max_trials: 6", "max_trials: 2")];
    let file = written(folder.path(), "study.yaml", studies::example("shapes.yaml", &changes)?)?;
    let dry = system.trawl_stdout(&["submit", &file, "--dry-run"])?;
    ensure!(
        dry.contains("classes: 3") && dry.contains("inputs: 1 x 24 x 24"),
        "{dry}"
    );
    system.trawl_stdout(&["submit", &file, "--watch"])?;
    // The same folders again are the same study.
    system.trawl_stdout(&["submit", &file])?;
    let accuracy: Option<f64> = system
        .value("SELECT test_accuracy FROM trawl.refits WHERE study = 'shapes'")
        .await?;
    assert!(
        accuracy.is_some_and(|accuracy| accuracy > 0.6),
        "accuracy is {accuracy:?}"
    );

    let refit = system.fetch_refit("shapes", folder.path())?;
    assert_eq!(refit.json("network.json")?["input"]["resize"], "crop");
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
    assert_eq!(
        csv_column(&system.trawl_stdout(&args)?, "prediction")?,
        csv_column(&refit.text("predictions.csv")?, "prediction")?
    );
    Ok(())
}
