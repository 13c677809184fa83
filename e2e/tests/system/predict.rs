//! `trawl predict` gives the refit's own predictions for the test rows, to the last digit.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use trawl_e2e::{System, binary, studies};

/// Runs a study to its end with one worker.
async fn run(system: &System, study: &Value) -> anyhow::Result<()> {
    let name = study["name"].as_str().context("a name")?;
    system.submit(studies::from_json(study)?).await?;
    let ended = system.watch_to_end(name).await?;
    ensure!(ended.state == "completed", "{}: {}", ended.state, ended.error);
    Ok(())
}

/// The lines of a CSV text, the header among them.
fn records(csv: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        records.push(record?.iter().map(str::to_owned).collect());
    }
    Ok(records)
}

/// Fetches the files of a refit, and gives these columns of its predictions for the test rows.
fn of_refit(system: &System, study: &str, folder: &Path, columns: &[&str]) -> anyhow::Result<Vec<Vec<String>>> {
    let folder = folder.to_str().context("a folder with a plain name")?;
    system.trawl_stdout(&["artifacts", study, "--refit", "0", "-o", folder])?;
    let records = records(&std::fs::read_to_string(format!("{folder}/predictions.csv"))?)?;
    let places: Vec<usize> = (0..records[0].len())
        .filter(|place| columns.contains(&records[0][*place].as_str()))
        .collect();
    let tests = records.iter().filter(|record| record[0] == "test");
    Ok(tests
        .map(|record| places.iter().map(|place| record[*place].clone()).collect())
        .collect())
}

/// Exit status, and the first line of the output.
fn failure(output: &Output) -> (Option<i32>, String) {
    let said = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), said.lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_predicted_as_the_refit_predicted_it() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    run(&system, &studies::small("used", 2, 3)?).await?;
    let folder = TempDir::new()?;
    let expected = of_refit(&system, "used", folder.path(), &["row", "input", "prediction"])?;
    assert_eq!(expected.len(), 100);

    let test = System::examples().join("data/test.csv");
    let test = test.to_str().context("a plain name")?;
    let csv = system.trawl_stdout(&["predict", "used", test, "--csv"])?;
    let found = records(&csv)?;
    assert_eq!(found[0], ["row", "input", "prediction"]);
    assert_eq!(found[1..], expected);

    // Whole in a file, and by the worker's program alone.
    let file = folder.path().join("out.csv");
    let path = file.to_str().context("a plain name")?;
    let said = system.trawl_stdout(&["predict", "used", test, "--refit", "0", "-o", path])?;
    assert_eq!(said, format!("predictions {path}\n"));
    assert_eq!(std::fs::read_to_string(&file)?, csv);
    let alone = Command::new(binary("trawl-worker")?)
        .args(["predict", test, "--network"])
        .arg(folder.path().join("network.json"))
        .arg("--weights")
        .arg(folder.path().join("weights.safetensors"))
        .output()?;
    assert_eq!(String::from_utf8(alone.stdout)?, csv);

    let json: Value = serde_json::from_str(&system.trawl_stdout(&["predict", "used", test, "--json"])?)?;
    let last = &json[99];
    assert_eq!(last["row"], 99);
    assert_eq!(
        last["features"]["input"].to_string().parse::<f32>()?,
        expected[99][1].parse::<f32>()?
    );
    assert_eq!(
        last["prediction"].to_string().parse::<f32>()?,
        expected[99][2].parse::<f32>()?
    );
    let table = system.trawl_stdout(&["predict", "used", test])?;
    assert_eq!(table.lines().count(), 101);

    let wrong = folder.path().join("wrong.csv");
    std::fs::write(&wrong, "input\n1\n2\nthree\n")?;
    let wrong = wrong.to_str().context("a plain name")?;
    std::fs::write(&file, "as it was")?;
    let refused = failure(&system.trawl(&["predict", "used", wrong, "-o", path])?);
    let reason = format!("error: {wrong}: line 4, column 'input': 'three' is not a finite number");
    assert_eq!(refused, (Some(2), reason));
    assert_eq!(std::fs::read_to_string(&file)?, "as it was");
    let refused = failure(&system.trawl(&["predict", "used", test, "--refit", "7"])?);
    assert_eq!(refused, (Some(1), "error: study used has no refit 7".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_without_a_refit_says_how_to_get_one() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    system
        .submit(studies::from_json(&studies::small("unused", 2, 1)?)?)
        .await?;
    let refused = failure(&system.trawl(&["predict", "unused", "new.csv"])?);
    let reason = "error: study unused has no completed refit; `trawl refit unused` starts one";
    assert_eq!(refused, (Some(1), reason.to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_predicted_as_the_refit_predicted_them() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    run(&system, &studies::small_fashion("worn")).await?;
    let folder = TempDir::new()?;
    let expected = of_refit(&system, "worn", folder.path(), &["row", "prediction", "probability"])?;
    assert_eq!(expected.len(), 10_000);

    let images = std::env::var("TRAWL_FASHION_MNIST_DIR").context("run make setup first")?;
    let images = format!("{images}/t10k-images-idx3-ubyte");
    let found = records(&system.trawl_stdout(&["predict", "worn", &images, "--csv"])?)?;
    assert_eq!(found[0], ["file", "row", "prediction", "probability"]);
    assert_eq!(found.len(), 10_001);
    for (found, expected) in found[1..].iter().zip(&expected) {
        assert_eq!((found[0].as_str(), &found[1..]), (images.as_str(), &expected[..]));
    }

    // One of them as a picture.
    let pixels = std::fs::read(&images)?;
    let row = 7;
    let pixels = pixels[16 + row * 784..][..784].to_vec();
    let picture = folder.path().join("7.png");
    image::GrayImage::from_raw(28, 28, pixels)
        .context("a picture")?
        .save(&picture)?;
    let picture = picture.to_str().context("a plain name")?;
    let found = records(&system.trawl_stdout(&["predict", "worn", picture, "--csv", "--probabilities"])?)?;
    assert_eq!((found.len(), found[0].len()), (2, 14));
    assert_eq!(found[0][13], "p.ankle boot");
    assert_eq!(found[1][2], expected[row][1]);
    let (probability, of_idx): (f32, f32) = (found[1][3].parse()?, expected[row][2].parse()?);
    assert!((probability - of_idx).abs() < 1e-5, "{probability} is not {of_idx}");

    let refused = failure(&system.trawl(&["predict", "worn", picture, &images])?);
    let reason = format!("error: {images}: is an IDX file, and {picture} is a picture: give files of one kind");
    assert_eq!(refused, (Some(2), reason));
    Ok(())
}
