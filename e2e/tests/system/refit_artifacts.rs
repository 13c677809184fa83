//! What refits and the best trials leave: exactly the documented files, and that they agree with the metrics.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::{Ask, System, binary, csv_lines, ran, studies, text, written};
use trawl_proto::v1;

/// Runs a study to its end, and returns its only refit.
async fn refit_of(system: &System, study: &Value) -> anyhow::Result<v1::RefitSummary> {
    let ended = system.complete(study).await?;
    ended.refits.into_iter().next().context("a refit")
}

/// Kinds and names, in the order of the names.
fn listed(refit: &v1::RefitSummary) -> Vec<(&str, &str)> {
    let artifacts = refit.artifacts.iter();
    artifacts
        .map(|artifact| (artifact.kind.as_str(), artifact.name.as_str()))
        .collect()
}

async fn fetch_json(system: &System, study: &str, name: &str) -> anyhow::Result<Value> {
    let file = system.refit_file(study, 0, name).await?;
    serde_json::from_slice(&file).context(name.to_owned())
}

/// The lines of a refit's predictions, the header first.
async fn predictions(system: &System, study: &str) -> anyhow::Result<Vec<Vec<String>>> {
    csv_lines(&system.refit_file(study, 0, "predictions.csv").await?)
}

fn len(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regression_s_refit_leaves_the_documented_files() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let refit = refit_of(&system, &studies::small("left", 4, 1)?).await?;
    let expected = [
        ("activation_profiles", "activation_profiles.json"),
        ("activations", "activations.json"),
        ("model", "model.py"),
        ("network", "network.json"),
        ("predictions", "predictions.csv"),
        ("weight_histograms", "weight_histograms.json"),
        ("weights", "weights.safetensors"),
    ];
    assert_eq!(listed(&refit), expected);

    // The MSE of the predictions for the test rows is the test loss.
    let lines = predictions(&system, "left").await?;
    assert_eq!(lines[0], ["split", "row", "input", "target", "prediction"]);
    let (train, test) = lines[1..].split_at(100);
    assert!(train.iter().all(|line| line[0] == "train"));
    let errors: Vec<f64> = test
        .iter()
        .map(|line| {
            assert_eq!(line[0], "test");
            Ok(line[3].parse::<f64>()? - line[4].parse::<f64>()?)
        })
        .collect::<anyhow::Result<_>>()?;
    assert_eq!(errors.len(), 100);
    let mse = errors.iter().map(|error| error.powi(2)).sum::<f64>() / 100.0;
    let test_loss = refit.test_loss.context("a test loss")?;
    assert!((mse - test_loss).abs() < 1e-5 * test_loss, "{mse} is not {test_loss}");

    // The names of columns and the inputs of the study have come to the worker.
    let network = fetch_json(&system, "left", "network.json").await?;
    assert_eq!(network["input"], json!({ "shape": [1], "features": ["input"] }));
    let activations = fetch_json(&system, "left", "activations.json").await?;
    assert_eq!(activations["inputs"], json!([[4.05]]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_on_images_leaves_the_documented_files() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let refit = refit_of(&system, &studies::small_fashion("clothes")).await?;
    let expected = [
        ("confusion_matrix", "confusion_matrix.json"),
        ("feature_maps", "feature_maps.safetensors"),
        ("misclassified", "misclassified.safetensors"),
        ("model", "model.py"),
        ("network", "network.json"),
        ("predictions", "predictions.csv"),
        ("weight_histograms", "weight_histograms.json"),
        ("weights", "weights.safetensors"),
    ];
    assert_eq!(listed(&refit), expected);

    let confusion = fetch_json(&system, "clothes", "confusion_matrix.json").await?;
    let counts: Vec<Vec<u32>> = serde_json::from_value(confusion["counts"].clone())?;
    assert_eq!(
        (counts.len(), confusion["classes"][9].as_str()),
        (10, Some("ankle boot"))
    );
    assert!(counts.iter().all(|row| row.iter().sum::<u32>() == 1000), "{counts:?}");
    let right: u32 = (0..10).map(|class| counts[class][class]).sum();
    assert_eq!(Some(f64::from(right) / 10_000.0), refit.test_accuracy);

    let lines = predictions(&system, "clothes").await?;
    assert_eq!(lines[0], ["split", "row", "target", "prediction", "probability"]);
    let right_lines = lines[1..].iter().filter(|line| line[2] == line[3]).count();
    assert_eq!((lines.len(), right_lines), (10_001, right as usize));
    Ok(())
}

/// Rows, targets and predictions of all folds of a trial, and the mean over its folds of the loss that they give.
async fn held_out(
    system: &System,
    study: &str,
    trial: u32,
    folds: u32,
    loss: impl Fn(&[String], &[String]) -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<u32>, f64)> {
    let (mut rows, mut of_folds) = (Vec::new(), Vec::new());
    for fold in 0..folds {
        let file = system.trial_file(study, trial, &format!("fold-{fold}.csv")).await?;
        let lines = csv_lines(&file)?;
        let mut losses = Vec::new();
        for line in &lines[1..] {
            rows.push(line[0].parse()?);
            losses.push(loss(&lines[0], line)?);
        }
        of_folds.push(losses.iter().sum::<f64>() / losses.len() as f64);
    }
    rows.sort_unstable();
    Ok((rows, of_folds.iter().sum::<f64>() / f64::from(folds)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_trials_leave_predictions_of_the_rows_that_their_folds_held_out() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    // Raced, so that a trial's folds end in different jobs.
    let mut study = studies::small("numbers", 32, 9)?;
    study.as_object_mut().map(|study| study.remove("refit"));
    study["racing"] = json!({ "ladder": [[1, 0.5]] });
    system.complete(&study).await?;
    let best: Vec<(i32, f64)> = system
        .tuples("SELECT trial, value FROM trawl.best_trials WHERE study = 'numbers' AND rank <= 4 ORDER BY rank")
        .await?;
    for (trial, value) in &best[..3] {
        let (rows, mean) = held_out(&system, "numbers", *trial as u32, 3, |header, record| {
            assert_eq!(header, ["row", "target", "prediction"]);
            Ok((record[1].parse::<f64>()? - record[2].parse::<f64>()?).powi(2))
        })
        .await?;
        assert_eq!(rows, (0..100).collect::<Vec<_>>(), "each row is held out once");
        assert!((mean - value).abs() < 1e-5 * value, "{mean} is not {value}");
    }
    let files: (i64, i64) = system
        .tuple("SELECT count(DISTINCT trial), count(*) FROM trawl.artifacts WHERE kind = 'predictions'")
        .await?;
    assert_eq!(files, (3, 9), "the fourth best trial has none");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_of_classes_that_were_held_out_have_all_probabilities() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = studies::small_fashion("held-out");
    study.as_object_mut().map(|study| study.remove("refit"));
    study["objective"] = json!({ "metric": "val_log_loss" });
    system.complete(&study).await?;
    let (trial, value): (i32, f64) = system
        .tuple("SELECT trial, value FROM trawl.best_trials WHERE study = 'held-out' AND rank = 1")
        .await?;
    let (rows, mean) = held_out(&system, "held-out", trial as u32, 1, |header, record| {
        let of_class = |class: &str| -> anyhow::Result<&String> {
            let place = header.iter().position(|name| *name == format!("p.{class}"));
            Ok(&record[place.context("its class")?])
        };
        assert_eq!(&record[3], of_class(&record[2])?);
        Ok(-of_class(&record[1])?.parse::<f64>()?.ln())
    })
    .await?;
    assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "no row comes twice");
    assert!((mean - value).abs() < 1e-4 * value, "{mean} is not {value}");
    Ok(())
}

/// Rows of three classes that overlap, so that no network is always right.
fn noisy_classes(rows: u32) -> String {
    let row = |row: u32| {
        let (class, noise) = (row % 3, f64::from(row * 7919 % 101) / 50.0 - 1.0);
        let name = ["low", "middle", "high"][class as usize];
        format!("{},{},{name}\n", f64::from(class) + 1.6 * noise, noise * noise)
    };
    format!("x,z,label\n{}", (0..rows).map(row).collect::<String>())
}

/// A study of these rows, which are written into the folder in which its file has to lie.
fn of_noisy_classes(folder: &Path, name: &str, model: Value, folds: u32, refit: Value) -> anyhow::Result<Value> {
    written(folder, "train.csv", noisy_classes(120))?;
    written(folder, "test.csv", noisy_classes(61))?;
    Ok(json!({
        "name": name, "seed": 4,
        "dataset": { "csv": { "train": "train.csv", "test": "test.csv", "features": "all", "target": "label" } },
        "model": model,
        "training": { "loss": "cross_entropy", "optimizer": "adam", "learning_rate": "$rate", "batch_size": 8, "epochs": 40 },
        "validation": { "k_fold": folds }, "racing": "none",
        "space": { "rate": { "log_uniform": { "low": 0.01, "high": 0.1 } } },
        "max_trials": 5, "refit": refit,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_temperature_moves_probabilities_and_no_class() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let model =
        json!([{ "linear": { "units": 32 } }, { "activation": { "kind": "tanh" } }, { "linear": { "units": 3 } }]);
    let mut kept = Vec::new();
    for calibrate in ["none", "temperature"] {
        let refit = json!({ "epochs": 40, "calibrate": calibrate });
        let study = of_noisy_classes(folder.path(), calibrate, model.clone(), 4, refit)?;
        system.complete_file(folder.path(), study)?;
        kept.push(predictions(&system, calibrate).await?.split_off(1));
    }
    let losses: Vec<f64> = system
        .values("SELECT test_loss FROM trawl.refits ORDER BY study")
        .await?;
    assert!(losses.len() == 2 && losses[0] == losses[1], "{losses:?}");
    let moved = kept[0].iter().zip(&kept[1]).filter(|(plain, calibrated)| {
        assert_eq!(plain[5], calibrated[5], "the class");
        plain[6] != calibrated[6]
    });
    assert!(moved.count() > 150, "of 181 rows");

    let network = fetch_json(&system, "temperature", "network.json").await?;
    let calibration = fetch_json(&system, "temperature", "calibration.json").await?;
    assert_eq!(network["temperature"], calibration["temperature"]);
    let temperature = network["temperature"].as_f64().context("a temperature")?;
    assert!((temperature - 1.0).abs() > 0.01, "{temperature}");
    let log_loss = |of: &str, when: &str| calibration[of][when]["log_loss"].as_f64().context("a log loss");
    assert!(
        log_loss("held_out", "after")? < log_loss("held_out", "before")?,
        "{calibration}"
    );
    assert_eq!(
        (
            &calibration["held_out"]["after"]["rows"],
            &calibration["test"]["after"]["rows"]
        ),
        (&json!(120), &json!(61))
    );
    assert!(
        (log_loss("test", "before")? - losses[0]).abs() < 1e-5 * losses[0],
        "as it was trained"
    );
    let plain = fetch_json(&system, "none", "network.json").await?;
    assert_eq!(plain.get("temperature"), None);

    // `trawl predict` has the probabilities of the refit.
    let test = folder.path().join("test.csv");
    let predict = ["predict", "temperature", text(&test)?, "--csv", "--probabilities"];
    let predicted = csv_lines(system.trawl_stdout(&predict)?.as_bytes())?;
    for (predicted, kept) in predicted[1..].iter().zip(&kept[1][120..]) {
        assert_eq!(predicted[3..5], kept[5..7]);
        let sum: f64 = predicted[5..].iter().map(|p| p.parse().unwrap_or(9.0)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    // The worst of five trials has left no predictions.
    let worst: i32 = system
        .value("SELECT trial FROM trawl.best_trials WHERE study = 'temperature' AND rank = 5")
        .await?;
    system.trawl_stdout(&["refit", "temperature", "--trial", &worst.to_string(), "--watch"])?;
    let none = system.refit_file("temperature", 1, "calibration.json").await?;
    let none: Value = serde_json::from_slice(&none)?;
    assert_eq!(
        none,
        json!({ "temperature": null, "reason": "its trial left no fold-0.csv" })
    );
    Ok(())
}

/// The mean of the probabilities for 61 rows of three classes that the networks of a trial's three folds give, each by itself, with its logarithm
/// divided by the temperature.
async fn mean_of_folds(
    system: &System,
    folder: &Path,
    network: &Value,
    trial: u32,
    test: &str,
) -> anyhow::Result<Vec<[f64; 3]>> {
    let mut mean = vec![[0.0; 3]; 61];
    for fold in 0..3 {
        let mut alone = network.clone();
        let fitted = alone["folds"][fold].clone();
        alone.as_object_mut().map(|alone| alone.remove("folds"));
        alone.as_object_mut().map(|alone| alone.remove("temperature"));
        alone["input"]["fitted"] = fitted["fitted"].clone();
        let file = written(folder, "network.json", alone)?;
        let weights = folder.join("fold.safetensors");
        let content = system
            .trial_file("bagged", trial, &format!("fold-{fold}.safetensors"))
            .await?;
        std::fs::write(&weights, content)?;
        let mut predict = Command::new(binary("trawl-worker")?);
        predict.args(["predict", test, "--probabilities", "--network", &file, "--weights"]);
        let predicted = ran(predict.arg(&weights))?;
        ensure!(predicted.code == Some(0), "{predicted:?}");
        for (line, mean) in csv_lines(predicted.stdout.as_bytes())?[1..].iter().zip(&mut mean) {
            for (place, mean) in mean.iter_mut().enumerate() {
                *mean += line[5 + place].parse::<f64>()? / 3.0;
            }
        }
    }
    let temperature = network["temperature"].as_f64().context("a temperature")?;
    for row in &mut mean {
        let powers = row.map(|probability| probability.powf(1.0 / temperature));
        *row = powers.map(|power| power / powers.iter().sum::<f64>());
    }
    Ok(mean)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_networks_of_folds_answer_by_their_mean() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let model = json!([
        { "linear": { "units": 16 } }, { "batch_norm": {} }, { "activation": { "kind": "tanh" } }, { "linear": { "units": 3 } },
    ]);
    let refit = json!({ "ensemble": "folds", "calibrate": "temperature" });
    let study = of_noisy_classes(folder.path(), "bagged", model, 3, refit)?;
    system.complete_file(folder.path(), study)?;
    // The refit has the value of its trial, and trained nothing.
    let same: (bool, i64) = system
        .tuple(
            "SELECT r.value = t.value AND r.value_std = t.value_std AND r.epochs = t.epochs,
                    (SELECT count(*) FROM trawl.refit_epoch_reports e WHERE e.study = r.study)
             FROM trawl.refits r JOIN trawl.best_trials b USING (study, trial) JOIN trawl.trials t USING (study, trial)
             WHERE r.study = 'bagged' AND b.rank = 1",
        )
        .await?;
    assert_eq!(same, (true, 0));

    // The mean of the folds' probabilities, each network by itself, is the prediction of all of them.
    let network = fetch_json(&system, "bagged", "network.json").await?;
    assert_eq!(len(&network["folds"]), 3);
    let temperature = network["temperature"].as_f64().context("a temperature")?;
    let weights = system.refit_file("bagged", 0, "weights.safetensors").await?;
    let weights = SafeTensors::deserialize(&weights)?;
    assert_eq!(weights.len(), 3 * 9, "with what batch norms keep");
    let test = folder.path().join("test.csv");
    let test = text(&test)?;
    let trial: i32 = system
        .value("SELECT trial FROM trawl.best_trials WHERE study = 'bagged' AND rank = 1")
        .await?;
    let mean = mean_of_folds(&system, folder.path(), &network, trial as u32, test).await?;
    let predicted = system.trawl_stdout(&["predict", "bagged", test, "--csv", "--probabilities"])?;
    let predicted = csv_lines(predicted.as_bytes())?;
    let (header, rows) = predicted.split_first().context("no header")?;
    assert_eq!(rows.len(), 61);
    for (row, mean) in rows.iter().zip(&mean) {
        for (place, mean) in mean.iter().enumerate() {
            let found: f64 = row[5 + place].parse()?;
            assert!(
                (found - mean).abs() < 1e-5,
                "{found} is not {mean} at a temperature of {temperature}"
            );
        }
        let highest = (0..3).max_by(|a, b| mean[*a].total_cmp(&mean[*b])).unwrap_or(0);
        assert_eq!(format!("p.{}", &row[3]), header[5 + highest]);
    }
    let kept = predictions(&system, "bagged").await?.split_off(1);
    let right = kept[120..].iter().zip(rows).filter(|(kept, row)| {
        assert_eq!(kept[5..7], row[3..5]);
        kept[4] == kept[5]
    });
    let right = right.count() as f64 / 61.0;
    let accuracy: f64 = system
        .value("SELECT test_accuracy FROM trawl.refits WHERE study = 'bagged'")
        .await?;
    assert!((accuracy - right).abs() < 1e-6, "{accuracy} is not {right}");

    // A trial whose networks are gone cannot be refitted so.
    let worst: i32 = system
        .value("SELECT trial FROM trawl.best_trials WHERE study = 'bagged' AND rank = 5")
        .await?;
    let refused = system.trawl(&["refit", "bagged", "--trial", &worst.to_string()])?;
    let told = "has left no networks of its folds";
    assert!(refused.code != Some(0) && refused.stderr.contains(told), "{refused:?}");
    Ok(())
}
