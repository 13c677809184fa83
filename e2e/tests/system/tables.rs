//! Unprepared tables: words, gaps and yes or no train, and rows of such files are predicted with what the training rows showed.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::System;

const REFIT: &str = "refit: { epochs: 40 }";

/// The study of `examples/houses.yaml`, smaller.
fn houses(name: &str) -> anyhow::Result<String> {
    let file = fs::read_to_string(System::examples().join("houses.yaml"))?;
    let data = System::examples().join("data/houses.csv");
    let data = data.to_str().context("a plain path")?;
    let smaller = file
        .replace("name: houses", &format!("name: {name}"))
        .replace("data/houses.csv", data)
        .replace("epochs: 60", "epochs: 40")
        .replace("refit: { epochs: 120 }", REFIT)
        .replace("max_trials: 32", "max_trials: 4");
    Ok(smaller)
}

fn submit(system: &System, folder: &TempDir, study: &str) -> anyhow::Result<String> {
    let file = folder.path().join("study.yaml");
    fs::write(&file, study)?;
    let file = file.to_str().context("a plain path")?;
    system.trawl_stdout(&["submit", file, "--watch"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_words_and_gaps_trains_and_is_predicted_as_it_is() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    submit(&system, &folder, &houses("houses")?)?;
    let best: Option<f64> = sqlx::query_scalar("SELECT max(value) FROM trawl.trials WHERE study = 'houses'")
        .fetch_one(&system.sql)
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.5), "R² is {best:?}");

    let out = folder.path().join("out");
    let out = out.to_str().context("a plain path")?;
    system.trawl_stdout(&["artifacts", "houses", "--refit", "0", "-o", out])?;
    let network: Value = serde_json::from_slice(&fs::read(format!("{out}/network.json"))?)?;
    let columns = network["input"]["columns"].as_array().context("columns")?;
    let kinds: BTreeMap<&str, &str> = columns
        .iter()
        .filter_map(|column| Some((column["name"].as_str()?, column["kind"].as_str()?)))
        .collect();
    let expected = [
        ("area", "number"),
        ("built", "number"),
        ("garden", "boolean"),
        ("income", "number"),
        ("town", "words"),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
    assert_eq!(
        columns[0]["words"],
        json!(["", "Ahlen", "Beckum", "Coesfeld", "Dülmen"]),
        "the rare one is among the others"
    );
    assert_eq!(
        network["input"]["fitted"].as_array().map(Vec::len),
        network["input"]["features"].as_array().map(Vec::len)
    );

    // The training file itself, without its targets: the refit's predictions for its rows.
    let data = fs::read_to_string(System::examples().join("data/houses.csv"))?;
    let without: Vec<&str> = data
        .lines()
        .filter_map(|line| line.rsplit_once(';').map(|(features, _)| features))
        .collect();
    let new = folder.path().join("new.csv");
    fs::write(&new, without.join("\n"))?;
    let new = new.to_str().context("a plain path")?;
    let predicted = system.trawl_stdout(&["predict", "houses", new, "--csv"])?;
    let column = |csv: &str| -> anyhow::Result<Vec<String>> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place = reader
            .headers()?
            .iter()
            .position(|name| name == "prediction")
            .context("predictions")?;
        let cells = reader.records().map(|record| Ok(record?[place].to_owned()));
        cells.collect()
    };
    assert_eq!(
        column(&predicted)?,
        column(&fs::read_to_string(format!("{out}/predictions.csv"))?)?
    );
    Ok(())
}

/// Each town has three trained numbers, and an unknown town has zeros.
#[tokio::test(flavor = "multi_thread")]
async fn words_are_embedded_and_predicted_as_they_are() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let folder = TempDir::new()?;
    let study = houses("towns")?
        .replace("model:\n", "model:\n  - embedding: { dim: $dim }\n")
        .replace("space:\n", "space:\n  dim: { choice: [3] }\n")
        .replace("epochs: 40", "epochs: 5")
        .replace("max_trials: 4", "max_trials: 2");
    let file = folder.path().join("study.yaml");
    fs::write(&file, &study)?;
    let dry = system.trawl_stdout(&["submit", file.to_str().context("a plain path")?, "--dry-run"])?;
    // Five inputs for words, one for other ones; numbers with indicators; yes or no.
    assert!(dry.contains("embedding dim=3"), "{dry}");
    submit(&system, &folder, &study)?;
    let out = folder.path().join("out");
    let out = out.to_str().context("a plain path")?;
    system.trawl_stdout(&["artifacts", "towns", "--refit", "0", "-o", out])?;
    let network: Value = serde_json::from_slice(&fs::read(format!("{out}/network.json"))?)?;
    assert_eq!(network["layers"][0], json!({ "embedding": { "dim": 3 } }));
    let model = fs::read_to_string(format!("{out}/model.py"))?;
    assert!(model.contains("        Embedding([(0, 6)], 3),\n"), "{model}");

    let data = fs::read_to_string(System::examples().join("data/houses.csv"))?;
    let without: Vec<&str> = data
        .lines()
        .filter_map(|line| line.rsplit_once(';').map(|(features, _)| features))
        .collect();
    let new = folder.path().join("new.csv");
    fs::write(&new, without.join("\n"))?;
    let new = new.to_str().context("a plain path")?;
    let column = |csv: &str| -> anyhow::Result<Vec<String>> {
        let mut reader = csv::Reader::from_reader(csv.as_bytes());
        let place = reader.headers()?.iter().position(|name| name == "prediction");
        let place = place.context("predictions")?;
        reader.records().map(|record| Ok(record?[place].to_owned())).collect()
    };
    let predicted = column(&system.trawl_stdout(&["predict", "towns", new, "--csv"])?)?;
    assert_eq!(
        predicted,
        column(&fs::read_to_string(format!("{out}/predictions.csv"))?)?
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_is_refused_with_its_place() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let folder = TempDir::new()?;
    let file = folder.path().join("study.yaml");
    let sound = houses("refused")?;
    for (from, to, said) in [
        (
            "missing: median, indicator: true, ",
            "",
            "line 4, column 'area': is empty: say what stands for it",
        ),
        (
            "missing: [\"\", unknown]",
            "missing: [\"\"]",
            "column 'built': 'unknown' is not a finite number, and ",
        ),
        ("[id]", "[it]", "has no column 'it'"),
        (
            "median",
            "mode",
            "'mode' is not known: it must be mean, median, drop or a number",
        ),
        ("{ income:", "{ incomes:", "has no column 'incomes'"),
    ] {
        assert!(sound.contains(from), "{from}");
        fs::write(&file, sound.replace(from, to))?;
        let refused = system.trawl(&["submit", file.to_str().context("a plain path")?])?;
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    }
    let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.studies")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(studies, 0);
    Ok(())
}

/// Without any link between features and target, cross-validation finds none: the preparation of training rows uses nothing of the validation rows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_learned_from_targets_that_were_dealt_out_at_random() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    let data = fs::read_to_string(System::examples().join("data/houses.csv"))?;
    let mut lines = data.lines();
    let header = lines.next().context("a header")?;
    let rows: Vec<(&str, &str)> = lines.filter_map(|line| line.rsplit_once(';')).collect();
    // 251 has no divisor in common with the number of rows.
    let dealt = rows
        .iter()
        .enumerate()
        .map(|(row, (features, _))| format!("{features};{}\n", rows[(row * 251 + 100) % rows.len()].1));
    let path = folder.path().join("dealt.csv");
    fs::write(&path, format!("{header}\n{}", dealt.collect::<String>()))?;
    let study = houses("dealt")?;
    let data = System::examples().join("data/houses.csv");
    let study = study.replace(
        data.to_str().context("a plain path")?,
        path.to_str().context("a plain path")?,
    );
    submit(
        &system,
        &folder,
        &study.replace(REFIT, "").replace("epochs: 40", "epochs: 10"),
    )?;
    let values: Vec<f64> =
        sqlx::query_scalar("SELECT value FROM trawl.trials WHERE study = 'dealt' AND state = 'completed'")
            .fetch_all(&system.sql)
            .await?;
    assert_eq!(values.len(), 4);
    // The standard deviation of R² by chance is about one divided by the root of the rows.
    assert!(values.iter().all(|r2| *r2 < 0.1), "{values:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_drafted_from_a_table_and_runs() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    let data = folder.path().join("houses.csv");
    fs::copy(System::examples().join("data/houses.csv"), &data)?;
    let data = data.to_str().context("a plain path")?;
    let file = folder.path().join("drafted.yaml");
    let file = file.to_str().context("a plain path")?;
    system.trawl_stdout(&["init", data, "--target", "price", "-o", file])?;
    let dry = system.trawl_stdout(&["submit", file, "--dry-run"])?;
    assert!(dry.contains("5 folds: 480 train, 120 validate"), "{dry}");
    assert!(dry.contains("network of trial 0: "), "{dry}");
    fs::write(
        file,
        fs::read_to_string(file)?.replace("max_trials: 64", "max_trials: 6"),
    )?;
    system.trawl_stdout(&["submit", file, "--watch"])?;
    let best: Option<f64> = sqlx::query_scalar("SELECT max(value) FROM trawl.trials WHERE study = 'houses'")
        .fetch_one(&system.sql)
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.5), "R² is {best:?}");
    // As many steps as its folds had when they were at their best, each of four fifths of the rows.
    let (epochs, expected): (i32, f64) = sqlx::query_as(
        "SELECT (SELECT epochs FROM trawl.refits WHERE study = 'houses'),
                (SELECT avg(best.epochs)::double precision * 480 / 600
                 FROM (SELECT DISTINCT ON (e.fold) e.fold, e.epoch + 1 AS epochs
                       FROM trawl.epoch_reports e JOIN trawl.best_trials b USING (study, trial)
                       WHERE e.study = 'houses' AND b.rank = 1
                       ORDER BY e.fold, (e.metrics ->> 'val_r2')::double precision DESC, e.epoch) best)",
    )
    .fetch_one(&system.sql)
    .await?;
    assert_eq!(f64::from(epochs), expected.round());
    let again = system.trawl(&["init", data, "-o", file])?;
    assert!(!again.status.success(), "a file that is there stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_numbers_are_predicted_together() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    let data = System::examples().join("data/buildings.csv");
    let study = fs::read_to_string(System::examples().join("buildings.yaml"))?
        .replace("data/buildings.csv", data.to_str().context("a plain path")?)
        .replace("max_trials: 32", "max_trials: 8");
    submit(&system, &folder, &study)?;
    let best: Option<f64> = sqlx::query_scalar("SELECT max(value) FROM trawl.trials WHERE study = 'buildings'")
        .fetch_one(&system.sql)
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.8), "R² is {best:?}");
    let out = folder.path().join("out");
    let out = out.to_str().context("a plain path")?;
    system.trawl_stdout(&["artifacts", "buildings", "--refit", "0", "-o", out])?;
    let network: Value = serde_json::from_slice(&fs::read(format!("{out}/network.json"))?)?;
    assert_eq!(network["target"], json!({ "names": ["heating", "cooling"] }));
    let made = fs::read_to_string(format!("{out}/predictions.csv"))?;
    let header = made.lines().next().context("a header")?;
    assert!(
        header.ends_with(",target.heating,target.cooling,prediction.heating,prediction.cooling"),
        "{header}"
    );
    // The raw file again: the answers of the refit, both of them.
    let predicted = system.trawl_stdout(&["predict", "buildings", data.to_str().context("a plain path")?, "--csv"])?;
    let last_two = |line: &str| line.rsplitn(3, ',').take(2).map(str::to_owned).collect::<Vec<_>>();
    let lines = |csv: &str| csv.lines().skip(1).map(last_two).collect::<Vec<_>>();
    assert_eq!(lines(&predicted), lines(&made));
    let report = folder.path().join("report.html");
    system.trawl_stdout(&["report", "buildings", "-o", report.to_str().context("a plain path")?])?;
    Ok(())
}

/// Rows of messages: two numbers, and whether each of two things is true.
fn messages(rows: u32, first: u32) -> String {
    let row = |row: u32| {
        let (length, links) = (row * 37 % 101, row * 53 % 19);
        let [urgent, billing] = [length > 60, length + 4 * links > 80].map(|is| if is { "yes" } else { "no" });
        format!("{length},{links},{urgent},{billing}\n")
    };
    format!(
        "length,links,urgent,billing\n{}",
        (first..first + rows).map(row).collect::<String>()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_may_have_several_answers_of_yes_and_no() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = TempDir::new()?;
    fs::write(folder.path().join("train.csv"), messages(200, 0))?;
    let test = folder.path().join("test.csv");
    fs::write(&test, messages(50, 1000))?;
    let study = "name: messages
dataset: { csv: { train: train.csv, test: test.csv, features: all, target: [urgent, billing] } }
model: [{ linear: { units: 16 } }, { activation: { kind: relu } }, { linear: { units: 2 } }]
training: { loss: bce, optimizer: adam, learning_rate: $rate, batch_size: 16, epochs: 20 }
validation: { k_fold: 3 }
objective: { metric: val_auc }
space: { rate: { log_uniform: { low: 0.003, high: 0.03 } } }
max_trials: 4
";
    submit(&system, &folder, &format!("{study}refit: {{ epochs: 40 }}\n"))?;
    let (auc, accuracy): (f64, f64) = sqlx::query_as(
        "SELECT b.value, r.test_accuracy FROM trawl.best_trials b JOIN trawl.refits r USING (study) WHERE b.rank = 1",
    )
    .fetch_one(&system.sql)
    .await?;
    assert!(auc > 0.95 && accuracy > 0.9, "{auc} {accuracy}");
    let together = study.replace("name: messages", "name: together");
    submit(&system, &folder, &format!("{together}refit: {{ ensemble: folds }}\n"))?;

    // The predictions of the test rows give the measured accuracy, for one network and for the networks of the folds.
    let test = test.to_str().context("a plain path")?;
    for study in ["messages", "together"] {
        let accuracy: f64 = sqlx::query_scalar("SELECT test_accuracy FROM trawl.refits WHERE study = $1")
            .bind(study)
            .fetch_one(&system.sql)
            .await?;
        let out = folder.path().join(study);
        let out = out.to_str().context("a plain path")?;
        system.trawl_stdout(&["artifacts", study, "--refit", "0", "-o", out])?;
        let kept = fs::read_to_string(format!("{out}/predictions.csv"))?;
        let predicted = system.trawl_stdout(&["predict", study, test, "--csv"])?;
        let ends = "prediction.urgent,prediction.billing,probability.urgent,probability.billing";
        assert_eq!(predicted.lines().next(), Some(&*format!("row,length,links,{ends}")));
        let kept: Vec<Vec<&str>> = kept.lines().skip(201).map(|line| line.split(',').collect()).collect();
        let predicted: Vec<Vec<&str>> = predicted
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect())
            .collect();
        assert_eq!((kept.len(), predicted.len()), (50, 50));
        let mut right = 0;
        for (kept, predicted) in kept.iter().zip(&predicted) {
            assert_eq!(kept[6..], predicted[3..]);
            for (prediction, probability) in [(6, 8), (7, 9)] {
                let yes: f64 = kept[probability].parse()?;
                assert_eq!(kept[prediction] == "1", yes > 0.5);
            }
            right += usize::from(kept[4] == kept[6]) + usize::from(kept[5] == kept[7]);
        }
        assert!((accuracy - right as f64 / 100.0).abs() < 1e-6, "{accuracy} {right}");
    }
    Ok(())
}
