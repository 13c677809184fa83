//! Splits by a column or by files, and seeds: folds of groups, of an order and of a column or a file that gives them, as users read them.

use std::fmt::Write as _;

use tempfile::TempDir;
use trawl_e2e::{Ask, System, written};

/// A table of 24 rows: 8 patients, a day for each row, and a given part.
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

fn submit(system: &System, folder: &TempDir, name: &str, validation: &str) -> anyhow::Result<()> {
    written(folder.path(), "table.csv", table())?;
    system.complete_file(folder.path(), study(name, validation))?;
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
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    for (name, validation, expected) in [
        ("groups", "{k_fold: {folds: 3, group: patient}}", 3),
        ("order", "{k_fold: {folds: 3, order: day}}", 3),
        ("late", "{holdout: {share: 0.25, order: day}}", 1),
        ("given", "{split_column: part}", 2),
    ] {
        submit(&system, &folder, name, validation)?;
        assert_eq!(folds(&system, name).await?, (expected, true), "{name}");
    }
    let stored: Vec<(String, Option<Vec<i32>>)> = system
        .owner()
        .await?
        .tuples("SELECT name, fold_rows FROM trawl_store.studies ORDER BY name")
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
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    submit(&system, &folder, "once", "{k_fold: 3}")?;
    submit(&system, &folder, "seeds", "{k_fold: 3, seeds: 4}")?;
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
    // The first seed's folds are the folds of a study without seeds.
    let differing: i64 = system
        .value(
            "SELECT count(*) FROM trawl.epoch_reports a JOIN trawl.epoch_reports b USING (trial, fold, epoch)
             WHERE a.study = 'once' AND b.study = 'seeds' AND a.val_loss IS DISTINCT FROM b.val_loss",
        )
        .await?;
    assert_eq!(differing, 0);
    Ok(())
}

/// The same rows in one file with a column that splits them, and in two.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_its_own_validates_as_the_same_rows_of_one_file() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let row = |row: u32| {
        let x = f64::from(row) / 8.0 - 1.5;
        format!("{x},{},{}\n", ["red", "green", "blue"][(row % 3) as usize], x * x)
    };
    let (train, validation): (Vec<u32>, Vec<u32>) = (0..24).partition(|row| row % 4 != 1);
    let rows = |rows: &[u32]| rows.iter().map(|n| row(*n)).collect::<String>();
    let whole: String = train.iter().map(|n| format!("train,{}", row(*n))).collect();
    let whole = whole
        + &validation
            .iter()
            .map(|n| format!("validation,{}", row(*n)))
            .collect::<String>();
    let turned: Vec<&str> = whole.split_inclusive('\n').rev().collect();
    for (name, content) in [
        ("whole.csv", format!("part,x,colour,y\n{whole}")),
        ("train.csv", format!("x,colour,y\n{}", rows(&train))),
        ("turned.csv", format!("part,x,colour,y\n{}", turned.concat())),
        ("validation.csv", format!("x,colour,y\n{}", rows(&validation))),
        ("narrow.csv", format!("x,y\n{}", "1,2\n".repeat(3))),
    ] {
        written(folder.path(), name, content)?;
    }
    let study = |name: &str, files: &str, validation: &str| {
        format!(
            "{{name: {name}, seed: 7, dataset: {{csv: {{{files}, features: [x, colour], target: y}}}},
              model: [{{linear: {{units: 4}}}}, {{activation: {{kind: tanh}}}}, {{linear: {{units: 1}}}}],
              training: {{loss: mse, optimizer: adam, learning_rate: $rate, batch_size: 4, epochs: 9}}, {validation}
              space: {{rate: {{log_uniform: {{low: 0.01, high: 0.1}}}}}}, max_trials: 32, refit: {{epochs: best}}}}"
        )
    };
    let submit = |name: &str, files: &str, validation: &str, further: &[&str]| {
        let file = written(folder.path(), "study.yaml", study(name, files, validation))?;
        system.trawl(&[&["submit", &file], further].concat())
    };
    let one = submit(
        "one",
        "train: whole.csv",
        "validation: {split_column: part},",
        &["--watch"],
    )?;
    assert_eq!(one.code, Some(0), "{one:?}");
    let files = "train: train.csv, validation: validation.csv";
    let two = submit("two", files, "", &["--watch"])?;
    assert_eq!(two.code, Some(0), "{two:?}");
    // Trials are raced on the same rows, and refits trained on all of them.
    for query in [
        "SELECT count(*) FROM trawl.epoch_reports a FULL JOIN trawl.epoch_reports b USING (trial, fold, epoch)
         WHERE a.study = 'one' AND b.study = 'two' AND a.val_loss IS DISTINCT FROM b.val_loss",
        "SELECT count(*) FROM trawl.trials a JOIN trawl.trials b USING (trial)
         WHERE a.study = 'one' AND b.study = 'two' AND (a.state, a.value) IS DISTINCT FROM (b.state, b.value)",
        "SELECT count(*) FROM trawl.refits a JOIN trawl.refits b USING (refit)
         WHERE a.study = 'one' AND b.study = 'two' AND (a.epochs, a.value) IS DISTINCT FROM (b.epochs, b.value)",
        "SELECT count(*) FROM trawl.refit_epoch_reports a JOIN trawl.refit_epoch_reports b USING (refit, epoch)
         WHERE a.study = 'one' AND b.study = 'two' AND a.fold IS NULL AND b.fold IS NULL AND a.train_loss IS DISTINCT FROM b.train_loss",
    ] {
        let differing: i64 = system.value(query).await?;
        assert_eq!(differing, 0, "{query}");
    }
    assert!(system.study("two").await?.trials_pruned > 0);
    let corrected: i64 = system
        .value("SELECT count(corrected_value) FROM trawl.winners WHERE study = 'two'")
        .await?;
    assert_eq!(corrected, 1, "rows of the file have losses");

    for (name, files, said) in [
        (
            "narrow",
            "train: train.csv, validation: narrow.csv",
            "dataset.csv.validation: narrow.csv: has no column 'colour'",
        ),
        (
            "twice",
            "train: whole.csv, validation: turned.csv",
            "dataset.csv.validation: has the very rows of the training part",
        ),
    ] {
        let refused = submit(name, files, "", &["--dry-run"])?;
        assert!(refused.code == Some(2) && refused.stderr.contains(said), "{refused:?}");
    }
    Ok(())
}
