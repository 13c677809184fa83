//! What users type: `trawl`, `grpcurl` and SQL show the same.

use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};
use trawl_e2e::{Ask, System, csv_column, ran, repository, studies, tool, written};

/// Calls a method as a user would, and reads the answers.
fn grpcurl(system: &System, data: &str, what: &[&str]) -> anyhow::Result<Result<Vec<Value>, String>> {
    let address = system.coordinator.url.trim_start_matches("http://");
    let mut command = Command::new(tool("grpcurl")?);
    command.arg("-plaintext");
    if !data.is_empty() {
        command.args(["-d", data]);
    }
    let ran = ran(command.arg(address).args(what))?;
    if ran.code != Some(0) {
        return Ok(Err(ran.stderr));
    }
    let answers = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Value>();
    let answers: Result<Vec<Value>, _> = answers.collect();
    Ok(Ok(answers.unwrap_or_else(|_| vec![json!(ran.stdout)])))
}

fn call(system: &System, method: &str, data: &Value) -> anyhow::Result<Result<Vec<Value>, String>> {
    grpcurl(system, &data.to_string(), &[&format!("trawl.v1.StudyService/{method}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_creates_watches_and_ranks() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let listed = grpcurl(&system, "", &["list"])?.expect("a list");
    let listed = listed[0].as_str().context("text")?;
    for service in [
        "trawl.v1.StudyService",
        "trawl.v1.WorkerService",
        "grpc.health.v1.Health",
    ] {
        assert!(listed.contains(service), "{listed}");
    }
    let described = grpcurl(&system, "", &["describe", "trawl.v1.Training"])?.expect("a description");
    let described = described[0].as_str().context("text")?;
    assert!(
        described.contains("// Training of one fold.") && described.contains("learning_rate"),
        "{described}"
    );
    let health = grpcurl(&system, "{}", &["grpc.health.v1.Health/Check"])?.expect("health");
    assert_eq!(health, [json!({ "status": "SERVING" })]);

    // The example as it is, but with fewer and shorter trials.
    let mut study = studies::regression_json("from-grpcurl")?;
    study["max_trials"] = json!(12);
    study["training"]["epochs"] = json!(4);
    study["refit"]["epochs"] = json!(4);
    let created = call(&system, "CreateStudy", &json!({ "study": study }))?.expect("created");
    assert_eq!(created[0]["study"]["state"], "running");
    let watched = call(&system, "WatchStudy", &json!({ "study": "from-grpcurl" }))?.expect("watched");
    let last = &watched.last().context("no change")?["study"];
    assert_eq!(last["state"], "completed", "{last}");
    let found = call(&system, "GetStudy", &json!({ "study": "from-grpcurl" }))?.expect("found");
    let file = &found[0]["data"]["files"][0];
    assert_eq!(file["field"], "dataset.csv.train");
    assert_eq!(file["name"], study["dataset"]["csv"]["train"], "a path is a name");
    let best = call(
        &system,
        "ListBestTrials",
        &json!({ "study": "from-grpcurl", "limit": 3 }),
    )?
    .expect("ranked");
    let best = best[0]["trials"].as_array().context("trials")?;

    let ranked: Vec<(i32, f64, Value)> = system
        .tuples("SELECT trial, value, params FROM trawl.best_trials WHERE study = 'from-grpcurl' AND rank <= 3")
        .await?;
    assert_eq!(best.len(), 3);
    for (shown, (trial, value, params)) in best.iter().zip(ranked) {
        // JSON leaves out what is 0.
        assert_eq!(shown["trial"].as_i64().unwrap_or(0), i64::from(trial));
        assert_eq!(shown["value"].as_f64(), Some(value));
        assert_eq!(shown["params"].as_object().map(serde_json::Map::len), Some(5));
        assert_eq!(shown["params"]["activation"], params["activation"]);
    }

    let mut wrong = studies::regression_json("wrong")?;
    wrong["max_trials"] = json!(0);
    let refused = call(&system, "CreateStudy", &json!({ "study": wrong }))?.expect_err("refused");
    assert!(
        refused.contains("InvalidArgument") && refused.contains("\"max_trials\""),
        "{refused}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trawl_shows_what_sql_holds() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let folder = tempfile::tempdir()?;
    let mut study = studies::small("shown", 8, 3)?;
    // Relative to the study file.
    for which in ["train", "test"] {
        let name = format!("{which}.csv");
        std::fs::copy(
            repository().join("examples/data").join(&name),
            folder.path().join(&name),
        )?;
        study["dataset"]["csv"][which] = json!(name);
    }
    let watched = system.complete_file(folder.path(), study)?;
    assert!(watched.starts_with("study shown "), "{watched}");
    assert!(watched.contains("completed"), "{watched}");

    let facts = system.trawl_stdout(&["show", "shown"])?;
    let data = facts.lines().find_map(|line| line.strip_prefix("data "));
    let data = data.context(facts.clone())?.trim();
    assert!(
        data.starts_with("train.csv, test test.csv, ") && data.ends_with(" rows, 1 input"),
        "{data}"
    );

    let listed: Value = serde_json::from_str(&system.trawl_stdout(&["ls", "--json"])?)?;
    assert_eq!(listed[0]["name"], "shown");
    let best: Value = serde_json::from_str(&system.trawl_stdout(&["best", "shown", "-n", "8", "--json"])?)?;
    let ranked: Vec<(i32, f64)> = system
        .tuples("SELECT trial, value FROM trawl.best_trials WHERE study = 'shown' ORDER BY rank")
        .await?;
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let best = best.as_array().context("an array")?.iter();
    let shown: Vec<(i32, f64)> = best
        .map(|trial| (number(&trial["trial"]) as i32, number(&trial["value"])))
        .collect();
    assert_eq!(shown, ranked);

    let curves = system.trawl_stdout(&["curves", "shown", "0", "--csv"])?;
    let reports: i64 = system
        .value("SELECT count(*) FROM trawl.epoch_reports WHERE study = 'shown' AND trial = 0")
        .await?;
    assert_eq!(curves.lines().count() as i64, reports + 1, "{curves}");
    let trials = system.trawl_stdout(&["trials", "shown", "--csv"])?;
    assert_eq!(trials.lines().count(), 9, "{trials}");
    let header = trials.lines().next().unwrap_or_default();
    assert!(header.contains("params.learning_rate"), "{trials}");
    for table in [
        &["ls"][..],
        &["show", "shown"],
        &["compare", "shown", "shown"],
        &["trials", "shown"],
        &["curves", "shown", "0"],
        &["best", "shown"],
        &["workers"],
    ] {
        assert!(!system.trawl_stdout(table)?.trim().is_empty(), "{table:?}");
    }

    // The reader has every documented view, with its columns.
    let columns = [
        (
            "studies",
            "study_id, name, state, seed, goal, trials_total, trials_completed, trials_pruned, trials_failed, best_trial, best_value, created_at, finished_at",
        ),
        (
            "trials",
            "study, study_id, trial, state, value, value_std, params, epochs, worker_seconds, attempts, error, started_at, finished_at",
        ),
        ("best_trials", "study, study_id, rank, trial, value, value_std, params"),
        (
            "fold_metrics",
            "study, study_id, trial, fold, state, epochs, train_loss, val_loss, val_accuracy, best_epoch, best_val_loss",
        ),
        (
            "epoch_reports",
            "study, study_id, trial, fold, epoch, train_loss, val_loss, val_accuracy, reported_at",
        ),
        (
            "refits",
            "study, study_id, refit, trial, state, epochs, test_loss, test_accuracy, params, finished_at",
        ),
        ("workers", "worker_id, host, device, state, jobs, last_seen_at"),
    ];
    for (view, columns) in columns {
        let query = format!("SELECT {columns} FROM trawl.{view}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).fetch_all(&system.sql).await?;
        assert!(!rows.is_empty(), "{view}");
    }
    let refused = sqlx::query("SELECT FROM trawl_store.trials")
        .execute(&system.sql)
        .await
        .expect_err("not a reader's");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trawl_says_what_is_wrong_and_exits_accordingly() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let folder = tempfile::tempdir()?;
    let mut study = studies::regression_json("wrong")?;
    study["max_trials"] = json!(0);
    study["training"]["optimizer"] = json!("lion");
    let wrong = written(folder.path(), "wrong.yaml", study)?;
    let typo = written(folder.path(), "typo.yaml", "name: typo\ntraining: { epoch: 3 }\n")?;
    for (args, code, parts) in [
        (&["submit", &wrong][..], 2, ["training.optimizer: ", "max_trials: "]),
        (&["submit", &typo], 2, ["training", "epoch"]),
        (&["show", "nothing"], 1, ["there is no study 'nothing'", ""]),
        (&["frobnicate"], 2, ["frobnicate", ""]),
        (&["--server", "http://127.0.0.1:9", "ls"], 1, ["http://127.0.0.1:9", ""]),
    ] {
        let ran = system.trawl(args)?;
        assert_eq!(ran.code, Some(code), "{ran:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {ran:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn studies_are_compared_side_by_side() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let one = studies::small("one", 3, 4)?;
    let mut other = studies::small("other", 2, 4)?;
    other["validation"] = json!({ "k_fold": 2 });
    for study in [one, other] {
        system.submit(&study).await?;
    }
    let ended = [system.watch_to_end("one").await?, system.watch_to_end("other").await?];
    let compared = system.trawl(&["compare", "one", "other"])?;
    let (table, notes) = (compared.stdout, compared.stderr);
    let best = table.lines().find_map(|line| line.strip_prefix("best trial"));
    let numbers = best.context(table.clone())?.split_whitespace();
    let numbers: Vec<Option<u32>> = numbers.map(|number| number.parse().ok()).collect();
    assert_eq!(numbers, ended.map(|study| study.best_trial), "{table}");
    assert!(
        table.contains("3 of 3 completed") && table.contains("2 of 2 completed"),
        "{table}"
    );
    assert!(notes.contains("dataset or validation differ"), "{notes}");
    let csv = system.trawl_stdout(&["compare", "one", "other", "--csv"])?;
    assert_eq!(csv_column(&csv, "name")?, ["one", "other"]);
    for column in ["best_value", "refit_test_loss", "params.learning_rate"] {
        let cells = csv_column(&csv, column)?;
        assert!(cells.iter().all(|cell| cell.parse::<f64>().is_ok()), "{column}: {csv}");
    }
    Ok(())
}
