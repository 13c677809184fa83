//! What refits leave: exactly the documented files, and that they agree with the metrics.

use anyhow::{Context, ensure};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use trawl_e2e::{System, studies};
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
