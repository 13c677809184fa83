//! What refits and the best trials leave: exactly the documented files, and that they agree with the metrics.

use std::process::Command;

use anyhow::{Context, ensure};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use trawl_e2e::{System, binary, studies};
use trawl_proto::v1;

/// Runs a study to its end with one worker, and returns its only refit.
async fn refit_of(system: &System, study: &Value) -> anyhow::Result<v1::RefitSummary> {
    let name = study["name"].as_str().context("a name")?;
    system.submit(studies::from_json(study)?).await?;
    let ended = system.watch_to_end(name).await?;
    ensure!(ended.state == "completed", "{}: {}", ended.state, ended.error);
    ended.refits.into_iter().next().context("a refit")
}

/// Kinds and names, in the order of the names.
fn listed(refit: &v1::RefitSummary) -> Vec<(&str, &str)> {
    let artifacts = refit.artifacts.iter();
    artifacts
        .map(|artifact| (artifact.kind.as_str(), artifact.name.as_str()))
        .collect()
}

async fn fetch(system: &System, study: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let request = v1::GetArtifactRequest {
        study: study.to_owned(),
        refit: Some(0),
        trial: None,
        name: name.to_owned(),
    };
    system.artifact(request).await
}

async fn fetch_json(system: &System, study: &str, name: &str) -> anyhow::Result<Value> {
    serde_json::from_slice(&fetch(system, study, name).await?).context(name.to_owned())
}

fn len(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_regression_s_refit_leaves_the_documented_files() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
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
    let predictions = fetch(&system, "left", "predictions.csv").await?;
    let mut reader = csv::Reader::from_reader(predictions.as_slice());
    let header: Vec<&str> = reader.headers()?.iter().collect();
    assert_eq!(header, ["split", "row", "input", "target", "prediction"]);
    let rows: Vec<(String, u32, f64, f64, f64)> = reader.deserialize().collect::<Result<_, _>>()?;
    let of = |split: &str| rows.iter().filter(|row| row.0 == split).collect::<Vec<_>>();
    let (train, test) = (of("train"), of("test"));
    assert_eq!((train.len(), test.len(), rows.len()), (100, 100, 200));
    let mse = test
        .iter()
        .map(|(_, _, _, target, prediction)| (target - prediction).powi(2))
        .sum::<f64>()
        / test.len() as f64;
    let test_loss = refit.test_loss.context("a test loss")?;
    assert!((mse - test_loss).abs() < 1e-5 * test_loss, "{mse} is not {test_loss}");

    let network = fetch_json(&system, "left", "network.json").await?;
    let layers = len(&network["layers"]);
    assert_eq!((layers, network["loss"].as_str()), (7, Some("mse")));
    assert_eq!(network["input"], json!({ "shape": [1], "features": ["input"] }));
    let profiles = fetch_json(&system, "left", "activation_profiles.json").await?;
    assert_eq!((len(&profiles["x"]), len(&profiles["layers"])), (401, 3));
    let activations = fetch_json(&system, "left", "activations.json").await?;
    assert_eq!(activations["inputs"], json!([[4.05]]));
    assert_eq!(len(&activations["layers"][1]["values"][0]), 15);
    let histograms = fetch_json(&system, "left", "weight_histograms.json").await?;
    assert_eq!(len(&histograms["layers"]), 4);
    let weights = fetch(&system, "left", "weights.safetensors").await?;
    assert_eq!(SafeTensors::deserialize(&weights)?.len(), 8);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refit_on_images_leaves_the_documented_files() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
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

    let predictions = fetch(&system, "clothes", "predictions.csv").await?;
    let mut reader = csv::Reader::from_reader(predictions.as_slice());
    let header: Vec<&str> = reader.headers()?.iter().collect();
    assert_eq!(header, ["split", "row", "target", "prediction", "probability"]);
    let rows: Vec<(String, u32, String, String, f64)> = reader.deserialize().collect::<Result<_, _>>()?;
    let right_rows = rows.iter().filter(|row| row.2 == row.3).count();
    assert_eq!((rows.len(), right_rows), (10_000, right as usize));

    let shapes = async |name: &str| -> anyhow::Result<Vec<(String, Vec<usize>)>> {
        let file = fetch(&system, "clothes", name).await?;
        let mut shapes: Vec<(String, Vec<usize>)> = SafeTensors::deserialize(&file)?
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()))
            .collect();
        shapes.sort();
        Ok(shapes)
    };
    let expected = |shapes: &[(&str, &[usize])]| -> Vec<(String, Vec<usize>)> {
        let owned = shapes.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
        owned.collect()
    };
    let maps = expected(&[
        ("filters", &[4, 1, 5, 5]),
        ("images", &[10, 1, 28, 28]),
        ("labels", &[10]),
        ("maps", &[10, 4, 8, 8]),
        ("predictions", &[10]),
        ("rows", &[10]),
    ]);
    assert_eq!(shapes("feature_maps.safetensors").await?, maps);
    let wrong = expected(&[
        ("images", &[25, 1, 28, 28]),
        ("labels", &[25]),
        ("predictions", &[25]),
        ("probabilities", &[25]),
        ("rows", &[25]),
    ]);
    assert_eq!(shapes("misclassified.safetensors").await?, wrong);
    let histograms = fetch_json(&system, "clothes", "weight_histograms.json").await?;
    let kinds: Vec<&Value> = (0..2).map(|layer| &histograms["layers"][layer]["kind"]).collect();
    assert_eq!(kinds, ["conv2d", "linear"]);
    let network = fetch_json(&system, "clothes", "network.json").await?;
    assert_eq!(network["input"], json!({ "shape": [1, 28, 28] }));
    Ok(())
}

/// Rows, targets and predictions of all folds of a trial, and the mean over its folds of the loss that they give.
async fn held_out(
    system: &System,
    study: &str,
    trial: u32,
    folds: u32,
    loss: impl Fn(&csv::StringRecord, &csv::StringRecord) -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<u32>, f64)> {
    let (mut rows, mut of_folds) = (Vec::new(), Vec::new());
    for fold in 0..folds {
        let request = v1::GetArtifactRequest {
            study: study.to_owned(),
            refit: None,
            trial: Some(trial),
            name: format!("fold-{fold}.csv"),
        };
        let file = system.artifact(request).await?;
        let mut reader = csv::Reader::from_reader(file.as_slice());
        let header = reader.headers()?.clone();
        let mut losses = Vec::new();
        for record in reader.records() {
            let record = record?;
            rows.push(record[0].parse()?);
            losses.push(loss(&header, &record)?);
        }
        of_folds.push(losses.iter().sum::<f64>() / losses.len() as f64);
    }
    rows.sort_unstable();
    Ok((rows, of_folds.iter().sum::<f64>() / f64::from(folds)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_best_trials_leave_predictions_of_the_rows_that_their_folds_held_out() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    // Raced, so that a trial's folds end in different jobs.
    let mut study = studies::small("numbers", 32, 9)?;
    study.as_object_mut().map(|study| study.remove("refit"));
    study["racing"] = json!({ "ladder": [[1, 0.5]] });
    system.submit(studies::from_json(&study)?).await?;
    assert_eq!(system.watch_to_end("numbers").await?.state, "completed");
    let best: Vec<(i32, f64)> = sqlx::query_as(
        "SELECT trial, value FROM trawl.best_trials WHERE study = 'numbers' AND rank <= 4 ORDER BY rank",
    )
    .fetch_all(&system.sql)
    .await?;
    for (trial, value) in &best[..3] {
        let (rows, mean) = held_out(&system, "numbers", *trial as u32, 3, |header, record| {
            assert_eq!(header.iter().collect::<Vec<_>>(), ["row", "target", "prediction"]);
            Ok((record[1].parse::<f64>()? - record[2].parse::<f64>()?).powi(2))
        })
        .await?;
        assert_eq!(rows, (0..100).collect::<Vec<_>>(), "each row is held out once");
        assert!((mean - value).abs() < 1e-5 * value, "{mean} is not {value}");
    }
    let files =
        "SELECT count(DISTINCT trial), count(*) FROM trawl.artifacts WHERE study = 'numbers' AND kind = 'predictions'";
    let files: (i64, i64) = sqlx::query_as(files).fetch_one(&system.sql).await?;
    assert_eq!(files, (3, 9), "the fourth best trial has none");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_of_classes_that_were_held_out_have_all_probabilities() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let mut study = studies::small_fashion("held-out");
    study.as_object_mut().map(|study| study.remove("refit"));
    study["objective"] = json!({ "metric": "val_log_loss" });
    system.submit(studies::from_json(&study)?).await?;
    assert_eq!(system.watch_to_end("held-out").await?.state, "completed");
    let (trial, value): (i32, f64) =
        sqlx::query_as("SELECT trial, value FROM trawl.best_trials WHERE study = 'held-out' AND rank = 1")
            .fetch_one(&system.sql)
            .await?;
    let (rows, mean) = held_out(&system, "held-out", trial as u32, 1, |header, record| {
        let right = header.iter().position(|name| *name == format!("p.{}", &record[1]));
        let right: f64 = record[right.context("its class")?].parse()?;
        let predicted = header.iter().position(|name| *name == format!("p.{}", &record[2]));
        assert_eq!(record[3], record[predicted.context("its class")?]);
        Ok(-right.ln())
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

#[tokio::test(flavor = "multi_thread")]
async fn a_temperature_moves_probabilities_and_no_class() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("train.csv"), noisy_classes(120))?;
    std::fs::write(folder.path().join("test.csv"), noisy_classes(61))?;
    let study = |name: &str, calibrate: &str| {
        json!({
            "name": name, "seed": 4,
            "dataset": { "csv": { "train": "train.csv", "test": "test.csv", "features": "all", "target": "label" } },
            "model": [{ "linear": { "units": 32 } }, { "activation": { "kind": "tanh" } }, { "linear": { "units": 3 } }],
            "training": { "loss": "cross_entropy", "optimizer": "adam", "learning_rate": "$rate", "batch_size": 8, "epochs": 40 },
            "validation": { "k_fold": 4 }, "racing": "none",
            "space": { "rate": { "log_uniform": { "low": 0.01, "high": 0.1 } } },
            "max_trials": 5, "refit": { "epochs": 40, "calibrate": calibrate },
        })
    };
    let mut kept = Vec::new();
    for calibrate in ["none", "temperature"] {
        let file = folder.path().join(format!("{calibrate}.json"));
        std::fs::write(&file, study(calibrate, calibrate).to_string())?;
        system.trawl_stdout(&["submit", file.to_str().context("a plain path")?, "--watch"])?;
        let predictions = fetch(&system, calibrate, "predictions.csv").await?;
        let mut reader = csv::Reader::from_reader(predictions.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
        kept.push(rows);
    }
    let losses: Vec<f64> = sqlx::query_scalar("SELECT test_loss FROM trawl.refits ORDER BY study")
        .fetch_all(&system.sql)
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
    let predict = [
        "predict",
        "temperature",
        test.to_str().context("a plain path")?,
        "--csv",
        "--probabilities",
    ];
    let predicted = system.trawl_stdout(&predict)?;
    let mut reader = csv::Reader::from_reader(predicted.as_bytes());
    for (predicted, kept) in reader.records().zip(&kept[1][120..]) {
        let predicted = predicted?;
        assert_eq!((&predicted[3], &predicted[4]), (&kept[5], &kept[6]));
        let sum: f64 = predicted.iter().skip(5).map(|p| p.parse::<f64>().unwrap_or(9.0)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    // The worst of five trials has left no predictions.
    let worst: i32 = sqlx::query_scalar("SELECT trial FROM trawl.best_trials WHERE study = 'temperature' AND rank = 5")
        .fetch_one(&system.sql)
        .await?;
    system.trawl_stdout(&["refit", "temperature", "--trial", &worst.to_string(), "--watch"])?;
    let request = v1::GetArtifactRequest {
        study: "temperature".to_owned(),
        refit: Some(1),
        trial: None,
        name: "calibration.json".to_owned(),
    };
    let none: Value = serde_json::from_slice(&system.artifact(request).await?)?;
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
    folder: &tempfile::TempDir,
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
        let file = folder.path().join("network.json");
        std::fs::write(&file, alone.to_string())?;
        let request = v1::GetArtifactRequest {
            study: "bagged".to_owned(),
            refit: None,
            trial: Some(trial),
            name: format!("fold-{fold}.safetensors"),
        };
        let of_fold = folder.path().join("fold.safetensors");
        std::fs::write(&of_fold, system.artifact(request).await?)?;
        let predicted = Command::new(binary("trawl-worker")?)
            .args(["predict", test, "--probabilities", "--network"])
            .arg(&file)
            .arg("--weights")
            .arg(&of_fold)
            .output()?;
        ensure!(
            predicted.status.success(),
            "{}",
            String::from_utf8_lossy(&predicted.stderr)
        );
        let mut reader = csv::Reader::from_reader(predicted.stdout.as_slice());
        for (record, mean) in reader.records().zip(&mut mean) {
            let record = record?;
            for (place, mean) in mean.iter_mut().enumerate() {
                *mean += record[5 + place].parse::<f64>()? / 3.0;
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
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = tempfile::TempDir::new()?;
    std::fs::write(folder.path().join("train.csv"), noisy_classes(120))?;
    std::fs::write(folder.path().join("test.csv"), noisy_classes(61))?;
    let study = json!({
        "name": "bagged", "seed": 4,
        "dataset": { "csv": { "train": "train.csv", "test": "test.csv", "features": "all", "target": "label" } },
        "model": [{ "linear": { "units": 16 } }, { "batch_norm": {} }, { "activation": { "kind": "tanh" } }, { "linear": { "units": 3 } }],
        "training": { "loss": "cross_entropy", "optimizer": "adam", "learning_rate": "$rate", "batch_size": 8, "epochs": 10 },
        "validation": { "k_fold": 3 }, "racing": "none",
        "space": { "rate": { "log_uniform": { "low": 0.001, "high": 0.1 } } },
        "max_trials": 5, "refit": { "ensemble": "folds", "calibrate": "temperature" },
    });
    let file = folder.path().join("bagged.json");
    std::fs::write(&file, study.to_string())?;
    system.trawl_stdout(&["submit", file.to_str().context("a plain path")?, "--watch"])?;
    // The refit has the value of its trial, and trained nothing.
    let same: (bool, i64) = sqlx::query_as(
        "SELECT r.value = t.value AND r.value_std = t.value_std AND r.epochs = t.epochs,
                (SELECT count(*) FROM trawl.refit_epoch_reports e WHERE e.study = r.study)
         FROM trawl.refits r JOIN trawl.best_trials b USING (study, trial) JOIN trawl.trials t USING (study, trial)
         WHERE r.study = 'bagged' AND b.rank = 1",
    )
    .fetch_one(&system.sql)
    .await?;
    assert_eq!(same, (true, 0));

    // The mean of the folds' probabilities, each network by itself, is the prediction of all of them.
    let network = fetch_json(&system, "bagged", "network.json").await?;
    assert_eq!(len(&network["folds"]), 3);
    let temperature = network["temperature"].as_f64().context("a temperature")?;
    let weights = fetch(&system, "bagged", "weights.safetensors").await?;
    let weights = SafeTensors::deserialize(&weights)?;
    assert_eq!(weights.len(), 3 * 9, "with what batch norms keep");
    let test = folder.path().join("test.csv");
    let test = test.to_str().context("a plain path")?;
    let trial: i32 = sqlx::query_scalar("SELECT trial FROM trawl.best_trials WHERE study = 'bagged' AND rank = 1")
        .fetch_one(&system.sql)
        .await?;
    let mean = mean_of_folds(&system, &folder, &network, trial as u32, test).await?;
    let predicted = system.trawl_stdout(&["predict", "bagged", test, "--csv", "--probabilities"])?;
    let mut reader = csv::Reader::from_reader(predicted.as_bytes());
    let header = reader.headers()?.clone();
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
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
    let predictions = fetch(&system, "bagged", "predictions.csv").await?;
    let mut reader = csv::Reader::from_reader(predictions.as_slice());
    let kept: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>()?;
    let right = kept[120..].iter().zip(&rows).filter(|(kept, row)| {
        assert_eq!((&kept[5], &kept[6]), (&row[3], &row[4]));
        kept[4] == kept[5]
    });
    let right = right.count() as f64 / 61.0;
    let accuracy: f64 = sqlx::query_scalar("SELECT test_accuracy FROM trawl.refits WHERE study = 'bagged'")
        .fetch_one(&system.sql)
        .await?;
    assert!((accuracy - right).abs() < 1e-6, "{accuracy} is not {right}");

    // A trial whose networks are gone cannot be refitted so.
    let worst: i32 = sqlx::query_scalar("SELECT trial FROM trawl.best_trials WHERE study = 'bagged' AND rank = 5")
        .fetch_one(&system.sql)
        .await?;
    let refused = system.trawl(&["refit", "bagged", "--trial", &worst.to_string()])?;
    let said = String::from_utf8(refused.stderr)?;
    assert!(
        !refused.status.success() && said.contains("has left no networks of its folds"),
        "{said}"
    );
    Ok(())
}
