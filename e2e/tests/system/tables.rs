//! Unprepared tables: words, gaps and yes or no train, and rows of such files are predicted with what the training rows showed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;
use trawl_e2e::{Ask, RefitFiles, System, csv_column, studies, text, without_last_column, written};

const REFIT: &str = "refit: { epochs: 40 }";

/// The study of `examples/houses.yaml`, smaller.
fn houses(name: &str) -> anyhow::Result<String> {
    let name = format!("name: {name}");
    let changes = [
        ("name: houses", &*name),
        ("epochs: 60", "epochs: 40"),
        ("refit: { epochs: 120 }", REFIT),
        ("max_trials: 32", "max_trials: 4"),
    ];
    studies::example("houses.yaml", &changes)
}

/// Predicts the training file without its targets, and finds the refit's own predictions for its rows.
fn predict_rows_of_houses(system: &System, study: &str, folder: &Path) -> anyhow::Result<RefitFiles> {
    let refit = system.fetch_refit(study, folder)?;
    let data = fs::read_to_string(System::examples().join("data/houses.csv"))?;
    let new = written(folder, "new.csv", without_last_column(&data, ';'))?;
    let predicted = system.trawl_stdout(&["predict", study, &new, "--csv"])?;
    assert_eq!(
        csv_column(&predicted, "prediction")?,
        csv_column(&refit.text("predictions.csv")?, "prediction")?
    );
    Ok(refit)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_words_and_gaps_trains_and_is_predicted_as_it_is() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    system.complete_file(folder.path(), houses("houses")?)?;
    let best: Option<f64> = system
        .value("SELECT max(value) FROM trawl.trials WHERE study = 'houses'")
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.5), "R² is {best:?}");

    let network = predict_rows_of_houses(&system, "houses", folder.path())?.json("network.json")?;
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

    // What the training rows do not have is predicted as they prepare it, and said.
    let odd = "town;area;built;garden;income\nXanten;100;1950;yes;30000\nAhlen;;1950;no;30000\n;90;unknown;;30000\n";
    let odd = written(folder.path(), "odd.csv", odd)?;
    let ran = system.trawl(&["predict", "houses", &odd, "--csv"])?;
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(0), 4), "{}", ran.stderr);
    let gap = |column: &str, stand_in: &str| {
        format!("1 of 3 rows has no value: {stand_in} stands for it, and '{column} is missing' is 1\n")
    };
    let numbers = ["area", "built", "garden"].map(|column| {
        let gap = gap(column, "the median of the training rows");
        format!("note: column '{column}': {gap}")
    });
    let expected = format!(
        "note: column 'town': 1 of 3 rows has a word that no or few training rows have, such as 'Xanten': the input of rare words stands for \
         it; {}{}",
        gap("town", "a word of its own"),
        numbers.concat()
    );
    assert_eq!(ran.stderr, expected);
    Ok(())
}

/// Each town has three trained numbers, and an unknown town has zeros.
#[tokio::test(flavor = "multi_thread")]
async fn words_are_embedded_and_predicted_as_they_are() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let folder = TempDir::new()?;
    let study = houses("towns")?
        .replace("model:\n", "model:\n  - embedding: { dim: $dim }\n")
        .replace("space:\n", "space:\n  dim: { choice: [3] }\n")
        .replace("epochs: 40", "epochs: 5")
        .replace("max_trials: 4", "max_trials: 2");
    let file = written(folder.path(), "study.yaml", &study)?;
    let dry = system.trawl_stdout(&["submit", &file, "--dry-run"])?;
    // Five inputs for words, one for other ones; numbers with indicators; yes or no.
    assert!(dry.contains("embedding dim=3"), "{dry}");
    system.complete_file(folder.path(), &study)?;
    let refit = predict_rows_of_houses(&system, "towns", folder.path())?;
    assert_eq!(
        refit.json("network.json")?["layers"][0],
        json!({ "embedding": { "dim": 3 } })
    );
    let model = refit.text("model.py")?;
    assert!(model.contains("        Embedding([(0, 6)], 3),\n"), "{model}");
    Ok(())
}

/// A searched depth has its parameters as far as it goes, and its refit loads in PyTorch.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_a_searched_depth_trains_and_predicts() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let changes = [
        ("epochs: 40", "epochs: 12"),
        ("refit: { epochs: 80 }", REFIT),
        ("max_trials: 24", "max_trials: 8"),
    ];
    system.complete_file(folder.path(), studies::example("depth.yaml", &changes)?)?;
    let trials: Vec<(i64, Value)> = system
        .tuples("SELECT (params->>'depth')::bigint, params FROM trawl.trials WHERE study = 'depth'")
        .await?;
    assert_eq!(trials.len(), 8);
    for (depth, params) in &trials {
        let units = (1..=6).map(|n| params.get(format!("units_{n}")).is_some());
        let expected: Vec<bool> = (1..=6).map(|n| n <= *depth).collect();
        assert_eq!(units.collect::<Vec<_>>(), expected, "{params}");
        assert!(params.get("units").is_none(), "{params}");
    }
    let refit = predict_rows_of_houses(&system, "depth", folder.path())?;
    let network = refit.json("network.json")?;
    let layers = network["layers"].as_array().context("layers")?;
    let residuals = layers.iter().filter(|layer| layer.get("residual").is_some()).count();
    assert_eq!(
        refit.text("model.py")?.matches("        Residual(\n").count(),
        residuals
    );
    assert_eq!(layers.len(), residuals + 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_is_refused_with_its_place() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let folder = TempDir::new()?;
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
        let file = written(folder.path(), "study.yaml", sound.replace(from, to))?;
        let error = system.refused(&["submit", &file])?;
        assert!(error.contains(said), "{error}");
    }
    let studies: i64 = system.value("SELECT count(*) FROM trawl.studies").await?;
    assert_eq!(studies, 0);
    Ok(())
}

/// Without any link between features and target, cross-validation finds none: the preparation of training rows uses nothing of the validation rows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_learned_from_targets_that_were_dealt_out_at_random() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
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
    let dealt = format!("{header}\n{}", dealt.collect::<String>());
    let file = written(folder.path(), "dealt.csv", dealt)?;
    let study = houses("dealt")?.replace(text(&System::examples().join("data/houses.csv"))?, &file);
    let study = study.replace(REFIT, "").replace("epochs: 40", "epochs: 10");
    system.complete_file(folder.path(), &study)?;
    let values: Vec<f64> = system
        .values("SELECT value FROM trawl.trials WHERE study = 'dealt' AND state = 'completed'")
        .await?;
    assert_eq!(values.len(), 4);
    // The standard deviation of R² by chance is about one divided by the root of the rows.
    assert!(values.iter().all(|r2| *r2 < 0.1), "{values:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_drafted_from_a_table_and_runs() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let data = folder.path().join("houses.csv");
    fs::copy(System::examples().join("data/houses.csv"), &data)?;
    let data = text(&data)?;
    let file = folder.path().join("drafted.yaml");
    let file = text(&file)?;
    system.trawl_stdout(&["init", data, "--target", "price", "-o", file])?;
    let dry = system.trawl_stdout(&["submit", file, "--dry-run"])?;
    assert!(dry.contains("5 folds: 480 train, 120 validate"), "{dry}");
    assert!(dry.contains("network of trial 0: "), "{dry}");
    fs::write(
        file,
        fs::read_to_string(file)?.replace("max_trials: 64", "max_trials: 6"),
    )?;
    system.trawl_stdout(&["submit", file, "--watch"])?;
    let best: Option<f64> = system
        .value("SELECT max(value) FROM trawl.trials WHERE study = 'houses'")
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.5), "R² is {best:?}");
    // As many steps as its folds had when they were at their best, each of four fifths of the rows.
    let (epochs, expected): (i32, f64) = system
        .tuple(
            "SELECT (SELECT epochs FROM trawl.refits WHERE study = 'houses'),
                (SELECT avg(best.epochs)::double precision * 480 / 600
                 FROM (SELECT DISTINCT ON (e.fold) e.fold, e.epoch + 1 AS epochs
                       FROM trawl.epoch_reports e JOIN trawl.best_trials b USING (study, trial)
                       WHERE e.study = 'houses' AND b.rank = 1
                       ORDER BY e.fold, (e.metrics ->> 'val_r2')::double precision DESC, e.epoch) best)",
        )
        .await?;
    assert_eq!(f64::from(epochs), expected.round());
    let again = system.trawl(&["init", data, "-o", file])?;
    assert_ne!(again.code, Some(0), "a file that is there stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_numbers_are_predicted_together() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    let study = studies::example("buildings.yaml", &[("max_trials: 32", "max_trials: 8")])?;
    system.complete_file(folder.path(), &study)?;
    let best: Option<f64> = system
        .value("SELECT max(value) FROM trawl.trials WHERE study = 'buildings'")
        .await?;
    assert!(best.is_some_and(|r2| r2 > 0.8), "R² is {best:?}");
    let refit = system.fetch_refit("buildings", folder.path())?;
    assert_eq!(
        refit.json("network.json")?["target"],
        json!({ "names": ["heating", "cooling"] })
    );
    let made = refit.text("predictions.csv")?;
    let header = made.lines().next().context("a header")?;
    assert!(
        header.ends_with(",target.heating,target.cooling,prediction.heating,prediction.cooling"),
        "{header}"
    );
    // The raw file again: the answers of the refit, both of them.
    let data = System::examples().join("data/buildings.csv");
    let predicted = system.trawl_stdout(&["predict", "buildings", text(&data)?, "--csv"])?;
    let last_two = |line: &str| line.rsplitn(3, ',').take(2).map(str::to_owned).collect::<Vec<_>>();
    let lines = |csv: &str| csv.lines().skip(1).map(last_two).collect::<Vec<_>>();
    assert_eq!(lines(&predicted), lines(&made));
    let report = folder.path().join("report.html");
    system.trawl_stdout(&["report", "buildings", "-o", text(&report)?])?;
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
    let system = System::with_workers(&[], 2).await?;
    let folder = TempDir::new()?;
    written(folder.path(), "train.csv", messages(200, 0))?;
    let test = written(folder.path(), "test.csv", messages(50, 1000))?;
    let study = "name: messages
dataset: { csv: { train: train.csv, test: test.csv, features: all, target: [urgent, billing] } }
model: [{ linear: { units: 16 } }, { activation: { kind: relu } }, { linear: { units: 2 } }]
training: { loss: bce, optimizer: adam, learning_rate: $rate, batch_size: 16, epochs: 20 }
validation: { k_fold: 3 }
objective: { metric: val_auc }
space: { rate: { log_uniform: { low: 0.003, high: 0.03 } } }
max_trials: 4
";
    system.complete_file(folder.path(), format!("{study}{REFIT}\n"))?;
    let (auc, accuracy): (f64, f64) = system
        .tuple(
            "SELECT b.value, r.test_accuracy FROM trawl.best_trials b JOIN trawl.refits r USING (study)
             WHERE b.rank = 1",
        )
        .await?;
    assert!(auc > 0.95 && accuracy > 0.9, "{auc} {accuracy}");
    let together = study.replace("name: messages", "name: together");
    system.complete_file(folder.path(), format!("{together}refit: {{ ensemble: folds }}\n"))?;

    // The predictions of the test rows give the measured accuracy, for one network and for the networks of the folds.
    for study in ["messages", "together"] {
        let refit = system.study(study).await?.refits.into_iter().next();
        let accuracy = refit.and_then(|refit| refit.test_accuracy).context("an accuracy")?;
        let kept = system.fetch_refit(study, folder.path())?.text("predictions.csv")?;
        let predicted = system.trawl_stdout(&["predict", study, &test, "--csv"])?;
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
