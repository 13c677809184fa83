//! Networks of a searched depth: trained, refitted and predicted with, on a real coordinator and real workers.

use std::fs;

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;
use trawl_e2e::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_searched_depth_has_its_parameters_as_far_as_it_goes_and_its_refit_loads_in_pytorch() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    let study = fs::read_to_string(System::examples().join("depth.yaml"))?;
    let data = System::examples().join("data/houses.csv");
    let data = data.to_str().context("a plain path")?;
    let smaller = study
        .replace("data/houses.csv", data)
        .replace("epochs: 40", "epochs: 12")
        .replace("refit: { epochs: 80 }", "refit: { epochs: 40 }")
        .replace("max_trials: 24", "max_trials: 8");
    let file = folder.path().join("study.yaml");
    fs::write(&file, smaller)?;
    system.trawl_stdout(&["submit", file.to_str().context("a plain path")?, "--watch"])?;

    let trials: Vec<(i64, Value)> =
        sqlx::query_as("SELECT (params->>'depth')::bigint, params FROM trawl.trials WHERE study = 'depth'")
            .fetch_all(&system.sql)
            .await?;
    assert_eq!(trials.len(), 8);
    for (depth, params) in &trials {
        let units = (1..=6).map(|n| params.get(format!("units_{n}")).is_some());
        let expected: Vec<bool> = (1..=6).map(|n| n <= *depth).collect();
        assert_eq!(units.collect::<Vec<_>>(), expected, "{params}");
        assert!(params.get("units").is_none(), "{params}");
    }
    let out = folder.path().join("out");
    let out = out.to_str().context("a plain path")?;
    system.trawl_stdout(&["artifacts", "depth", "--refit", "0", "-o", out])?;
    let network: Value = serde_json::from_slice(&fs::read(format!("{out}/network.json"))?)?;
    let layers = network["layers"].as_array().context("layers")?;
    let residuals = layers.iter().filter(|layer| layer.get("residual").is_some()).count();
    let model = fs::read_to_string(format!("{out}/model.py"))?;
    assert_eq!(model.matches("        Residual(\n").count(), residuals);
    assert_eq!(layers.len(), residuals + 2);

    // The training file itself, without its targets: the refit's predictions for its rows.
    let data = fs::read_to_string(data)?;
    let without: Vec<&str> = data
        .lines()
        .filter_map(|line| line.rsplit_once(';').map(|(features, _)| features))
        .collect();
    let new = folder.path().join("new.csv");
    fs::write(&new, without.join("\n"))?;
    let predicted = system.trawl_stdout(&["predict", "depth", new.to_str().context("a plain path")?, "--csv"])?;
    let column = |csv: &str| -> anyhow::Result<Vec<String>> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place = reader.headers()?.iter().position(|name| name == "prediction");
        let place = place.context("predictions")?;
        let cells = reader.records().map(|record| Ok(record?[place].to_owned()));
        cells.collect()
    };
    let of_refit = column(&fs::read_to_string(format!("{out}/predictions.csv"))?)?;
    assert_eq!(column(&predicted)?, of_refit);
    Ok(())
}
