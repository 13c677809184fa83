//! Splits by a column, and seeds: folds of groups, of an order and of a column that gives them, as users read them.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use tempfile::TempDir;
use trawl_e2e::{System, owner_pool};

/// A table of 24 rows: 8 patients, a day each, and a part that is given.
fn table() -> String {
    let mut table = String::from("patient,day,part,x,y\n");
    for row in 0..24_u32 {
        let (patient, x) = (row * 5 % 8, f64::from(row) / 8.0 - 1.5);
        let part = ["train", "0", "1"][(row % 3) as usize];
        let _ = writeln!(table, "p{patient},2026-03-{:02},{part},{x},{}", 1 + row * 7 % 24, x * x);
    }
    table
}

fn study(name: &str, validation: &str) -> String {
    format!(
        "{{name: {name}, seed: 7, dataset: {{csv: {{train: table.csv, features: [x], target: y}}}},
          model: [{{linear: {{units: 4}}}}, {{activation: {{kind: tanh}}}}, {{linear: {{units: 1}}}}],
          training: {{loss: mse, optimizer: adam, learning_rate: $rate, batch_size: 4, epochs: 3}},
          validation: {validation}, space: {{rate: {{log_uniform: {{low: 0.01, high: 0.1}}}}}}, max_trials: 3,
          refit: {{epochs: 2}}}}"
    )
}

async fn submit(system: &System, folder: &TempDir, name: &str, validation: &str) -> anyhow::Result<()> {
    fs::write(folder.path().join("table.csv"), table())?;
    let file = folder.path().join(format!("{name}.yaml"));
    fs::write(&file, study(name, validation))?;
    system.trawl_stdout(&["submit", file.to_str().context("a plain path")?, "--watch"])?;
    Ok(())
}

/// Folds of a trial, and whether all trials and the refit completed.
async fn folds(system: &System, study: &str) -> anyhow::Result<(i64, bool)> {
    let folds = sqlx::query_as(
        "SELECT (SELECT count(DISTINCT fold) FROM trawl.epoch_reports WHERE study = $1),
                (SELECT bool_and(state = 'completed') FROM trawl.trials WHERE study = $1)
                AND (SELECT bool_and(state = 'completed' AND value IS NOT NULL) FROM trawl.refits WHERE study = $1)",
    );
    Ok(folds.bind(study).fetch_one(&system.sql).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_split_the_rows_of_a_study() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    for (name, validation, expected) in [
        ("groups", "{k_fold: {folds: 3, group: patient}}", 3),
        ("order", "{k_fold: {folds: 3, order: day}}", 3),
        ("late", "{holdout: {share: 0.25, order: day}}", 1),
        ("given", "{split_column: part}", 2),
    ] {
        submit(&system, &folder, name, validation).await?;
        assert_eq!(folds(&system, name).await?, (expected, true), "{name}");
    }
    let stored: Vec<(String, Option<Vec<i32>>)> =
        sqlx::query_as("SELECT name, fold_rows FROM trawl_store.studies ORDER BY name")
            .fetch_all(&owner_pool(&system.database_url).await?)
            .await?;
    let rows = |name: &str| {
        stored
            .iter()
            .find(|(stored, _)| stored == name)
            .and_then(|(_, rows)| rows.clone())
    };
    assert_eq!(rows("given"), Some(vec![16, 8, 16, 8]));
    // Eight patients with three rows each.
    assert_eq!(rows("groups"), Some(vec![15, 9, 15, 9, 18, 6]));
    assert_eq!(rows("late"), Some(vec![18, 6]));
    assert_eq!(rows("order"), Some(vec![6, 6, 12, 6, 18, 6]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_are_told_apart_from_folds() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    submit(&system, &folder, "once", "{k_fold: 3}").await?;
    submit(&system, &folder, "seeds", "{k_fold: 3, seeds: 4}").await?;
    assert_eq!(folds(&system, "seeds").await?, (12, true));
    let spread = "SELECT count(*) FILTER (WHERE value_std > 0), count(*) FILTER (WHERE value_seed_std > 0)
                  FROM trawl.trials WHERE study = $1";
    let spread = |study: &'static str| {
        sqlx::query_as::<_, (i64, i64)>(spread)
            .bind(study)
            .fetch_one(&system.sql)
    };
    assert_eq!(spread("once").await?, (3, 0));
    assert_eq!(spread("seeds").await?, (3, 3));
    // The first seed's folds are those of a study without seeds.
    let differing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM trawl.epoch_reports a JOIN trawl.epoch_reports b USING (trial, fold, epoch)
         WHERE a.study = 'once' AND b.study = 'seeds' AND a.val_loss IS DISTINCT FROM b.val_loss",
    )
    .fetch_one(&system.sql)
    .await?;
    assert_eq!(differing, 0);
    Ok(())
}
