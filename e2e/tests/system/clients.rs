//! What users type: `trawl`, `grpcurl` and SQL show the same.

use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};
use sqlx::Row;
use trawl_e2e::{System, repository, studies, tool};

/// Calls a method as a user would, and reads the answers.
fn grpcurl(system: &System, data: &str, what: &[&str]) -> anyhow::Result<Result<Vec<Value>, String>> {
    let address = system.coordinator.url.trim_start_matches("http://");
    let mut command = Command::new(tool("grpcurl")?);
    command.arg("-plaintext");
    if !data.is_empty() {
        command.args(["-d", data]);
    }
    let output = command.arg(address).args(what).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8(output.stderr)?));
    }
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    Ok(Ok(answers.collect::<Result<_, _>>().unwrap_or_else(|_| {
        vec![Value::String(String::from_utf8_lossy(&output.stdout).into_owned())]
    })))
}

fn call(system: &System, method: &str, data: &Value) -> anyhow::Result<Result<Vec<Value>, String>> {
    grpcurl(system, &data.to_string(), &[&format!("trawl.v1.StudyService/{method}")])
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_creates_watches_and_ranks() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
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
    let best = call(
        &system,
        "ListBestTrials",
        &json!({ "study": "from-grpcurl", "limit": 3 }),
    )?
    .expect("ranked");
    let best = best[0]["trials"].as_array().context("trials")?;

    let sql =
        sqlx::query("SELECT trial, value, params FROM trawl.best_trials WHERE study = 'from-grpcurl' AND rank <= 3")
            .fetch_all(&system.sql)
            .await?;
    assert_eq!(best.len(), 3);
    for (shown, row) in best.iter().zip(&sql) {
        // JSON leaves out what is 0.
        assert_eq!(
            shown["trial"].as_i64().unwrap_or(0),
            i64::from(row.get::<i32, _>("trial"))
        );
        assert_eq!(shown["value"].as_f64(), Some(row.get::<f64, _>("value")));
        assert_eq!(shown["params"].as_object().map(serde_json::Map::len), Some(5));
        assert_eq!(
            shown["params"]["activation"],
            row.get::<Value, _>("params")["activation"]
        );
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
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("study.json");
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
    std::fs::write(&file, study.to_string())?;
    let watched = system.trawl_stdout(&["submit", file.to_str().context("path")?, "--watch"])?;
    assert!(watched.starts_with("study shown "), "{watched}");
    assert!(watched.contains("completed"), "{watched}");

    let listed: Value = serde_json::from_str(&system.trawl_stdout(&["ls", "--json"])?)?;
    assert_eq!(listed[0]["name"], "shown");
    let best: Value = serde_json::from_str(&system.trawl_stdout(&["best", "shown", "-n", "8", "--json"])?)?;
    let ranked: Vec<(i32, f64)> =
        sqlx::query_as("SELECT trial, value FROM trawl.best_trials WHERE study = 'shown' ORDER BY rank")
            .fetch_all(&system.sql)
            .await?;
    let shown: Vec<(i32, f64)> = best
        .as_array()
        .context("an array")?
        .iter()
        .map(|trial| {
            (
                trial["trial"].as_i64().unwrap_or(0) as i32,
                trial["value"].as_f64().unwrap_or(f64::NAN),
            )
        })
        .collect();
    assert_eq!(shown, ranked);

    let curves = system.trawl_stdout(&["curves", "shown", "0", "--csv"])?;
    let reports: i64 =
        sqlx::query_scalar("SELECT count(*) FROM trawl.epoch_reports WHERE study = 'shown' AND trial = 0")
            .fetch_one(&system.sql)
            .await?;
    assert_eq!(curves.lines().count() as i64, reports + 1, "{curves}");
    let trials = system.trawl_stdout(&["trials", "shown", "--csv"])?;
    assert_eq!(trials.lines().count(), 9, "{trials}");
    assert!(
        trials
            .lines()
            .next()
            .is_some_and(|header| header.contains("params.learning_rate")),
        "{trials}"
    );
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
    let file = folder.path().join("study.yaml");
    let path = file.to_str().context("path")?;
    let failure = |args: &[&str]| -> anyhow::Result<(Option<i32>, String)> {
        let output = system.trawl(args)?;
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    };

    let mut study = studies::regression_json("wrong")?;
    study["max_trials"] = json!(0);
    study["training"]["optimizer"] = json!("lion");
    std::fs::write(&file, study.to_string())?;
    let (code, errors) = failure(&["submit", path])?;
    assert_eq!(code, Some(2), "{errors}");
    assert!(
        errors.contains("training.optimizer: ") && errors.contains("max_trials: "),
        "{errors}"
    );

    std::fs::write(&file, "name: typo\ntraining: { epoch: 3 }\n")?;
    let (code, errors) = failure(&["submit", path])?;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("training") && errors.contains("epoch"), "{errors}");

    let (code, errors) = failure(&["show", "nothing"])?;
    assert_eq!(
        (code, errors.contains("there is no study 'nothing'")),
        (Some(1), true),
        "{errors}"
    );
    let (code, errors) = failure(&["frobnicate"])?;
    assert_eq!(code, Some(2), "{errors}");
    let (code, errors) = failure(&["--server", "http://127.0.0.1:9", "ls"])?;
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("http://127.0.0.1:9"), "{errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn studies_are_compared_side_by_side() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let one = studies::small("one", 3, 4)?;
    let mut other = studies::small("other", 2, 4)?;
    other["validation"] = json!({ "k_fold": 2 });
    for study in [one, other] {
        system.submit(studies::from_json(&study)?).await?;
    }
    let ended = [system.watch_to_end("one").await?, system.watch_to_end("other").await?];
    let compared = system.trawl(&["compare", "one", "other"])?;
    let (table, notes) = (String::from_utf8(compared.stdout)?, String::from_utf8(compared.stderr)?);
    let best = table.lines().find_map(|line| line.strip_prefix("best trial"));
    let numbers = best.context(table.clone())?.split_whitespace();
    let numbers: Vec<Option<u32>> = numbers.map(|number| number.parse().ok()).collect();
    assert_eq!(numbers, ended.map(|study| study.best_trial), "{table}");
    assert!(
        table.contains("3 of 3 completed") && table.contains("2 of 2 completed"),
        "{table}"
    );
    assert!(notes.contains("dataset or validation differ"), "{notes}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_answered() -> anyhow::Result<()> {
    let system = System::start(&["--token", "secret"]).await?;
    let refused = call(&system, "ListStudies", &json!({}))?.expect_err("no token");
    assert!(refused.contains("Unauthenticated"), "{refused}");
    let output = system.trawl(&["--token", "wrong", "ls"])?;
    assert_eq!(output.status.code(), Some(1));
    system.trawl_stdout(&["--token", "secret", "ls"])?;
    Ok(())
}
