//! Samplers that learn: their proposals are the same on any workers and whatever happens meanwhile.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use trawl_e2e::{Ask, Rows, ScriptedWorker, System, assert_same_rows, studies, written};
use trawl_proto::v1;

/// Six generations of six trials, which are raced.
fn learning(name: &str, sampler: &str) -> anyhow::Result<Value> {
    let mut study = studies::small(name, 36, 9)?;
    study["sampler"] = json!({ sampler: {}, "generation": 6 });
    study["racing"] = json!({ "keep": 0.5 });
    Ok(study)
}

async fn run(sampler: &str, workers: usize) -> anyhow::Result<(System, Rows)> {
    let system = System::with_workers(&[], workers).await?;
    system.complete(learning("learning", sampler)?).await?;
    let rows = system.all_rows("learning").await?;
    Ok((system, rows))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_learned_does_not_depend_on_the_workers_or_on_crashes() -> anyhow::Result<()> {
    for sampler in ["gp", "tpe"] {
        let (system, expected) = run(sampler, 1).await?;
        let said = system.trawl_stdout(&["replay", "learning"])?;
        assert!(
            said.contains("36 trials proposed") && said.ends_with("identical\n"),
            "{said}"
        );
        drop(system);
        let (_, by_three) = run(sampler, 3).await?;
        assert_same_rows(&expected, &by_three, &format!("{sampler} by three workers"));

        let mut system = System::with_workers(&["--lease-ttl-ms", "1500"], 2).await?;
        system.submit(learning("learning", sampler)?).await?;
        let ended = |study: &v1::StudySummary| study.trials_pruned + study.trials_completed + study.trials_failed;
        system
            .watch_until("learning", "the first generation", |study| ended(study) >= 6)
            .await?;
        system.workers.remove(0).crash()?;
        system.add_workers(1)?;
        system
            .watch_until("learning", "two generations", |study| ended(study) >= 12)
            .await?;
        let system = system.crash_coordinator().await?;
        system
            .completes_as("learning", &expected, &format!("{sampler} with crashes"))
            .await?;
    }
    Ok(())
}

/// Writes the study file of so many trials into a folder and submits it. The file says nothing of the search, so the defaults hold: a model, and racing.
fn submit_by_default(system: &System, folder: &Path, study: &Value, trials: u32) -> anyhow::Result<()> {
    let mut study = study.clone();
    let settings = study.as_object_mut().context("a study is an object")?;
    settings.remove("sampler");
    settings.remove("racing");
    study["max_trials"] = json!(trials);
    study["training"]["epochs"] = json!(18);
    let file = written(folder, "study.json", study)?;
    system.trawl_stdout(&["submit", &file])?;
    Ok(())
}

/// One undisturbed worker, four workers, and two workers of which one dies, with a pause, a coordinator that dies and an end that is set later,
/// find the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_by_default_is_the_same_on_any_workers() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (regression, classes) = ("regression", "classes");
    let mut of_classes = studies::with_classes(folder.path(), classes, 6)?;
    of_classes["training"]["loss"] = json!("cross_entropy");
    of_classes["training"]["label_smoothing"] = json!("$setting");
    of_classes["training"]["learning_rate"] = json!("$learning_rate");
    of_classes["training"]["batch_size"] = json!("$batch_size");
    of_classes["space"]["learning_rate"] = json!({ "log_uniform": { "low": 1e-4, "high": 0.1 } });
    of_classes["space"]["batch_size"] = json!({ "choice": [4, 8, 16] });
    let studies = [
        (
            regression,
            studies::with_whole_paths(studies::small(regression, 48, 18)?),
        ),
        (classes, of_classes),
    ];
    for (name, study) in studies {
        let system = System::with_workers(&[], 1).await?;
        submit_by_default(&system, folder.path(), &study, 48)?;
        system.completed(name).await?;
        let expected = system.all_rows(name).await?;
        let rungs: i64 = system.value("SELECT count(*) FROM trawl.rungs").await?;
        assert_eq!(rungs, 12, "{name}: three generations on four rungs");
        system.trawl_stdout(&["replay", name])?;
        drop(system);

        let mut system = System::with_workers(&["--lease-ttl-ms", "1500"], 2).await?;
        submit_by_default(&system, folder.path(), &study, 32)?;
        let ended = |trials: u32| {
            move |study: &v1::StudySummary| study.trials_pruned + study.trials_completed + study.trials_failed >= trials
        };
        system.watch_until(name, "a trial", ended(1)).await?;
        system.workers.remove(0).crash()?;
        system.trawl_stdout(&["pause", name])?;
        system.add_workers(1)?;
        system.trawl_stdout(&["resume", name])?;
        system.watch_until(name, "a generation", ended(16)).await?;
        let system = system.crash_coordinator().await?;
        system.trawl_stdout(&["extend", name, "--max-trials", "48"])?;
        system
            .completes_as(name, &expected, "by two workers, disturbed")
            .await?;
        drop(system);

        let system = System::with_workers(&[], 4).await?;
        submit_by_default(&system, folder.path(), &study, 48)?;
        system.completes_as(name, &expected, "by four workers").await?;
    }
    Ok(())
}

/// Trials of the third generation are not there before all of the first ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_waits_for_what_it_learns_from() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = learning("waits", "gp")?;
    study["racing"] = json!("none");
    study["space"]["batch_size"] = json!({ "choice": [8] });
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["dataset"]["csv"]["train"] = json!("e2e/tests/data/99_rows.csv");
    system.submit(&study).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let trials = async || -> anyhow::Result<i64> { system.value("SELECT count(*) FROM trawl.trials").await };
    let first = worker.lease_one().await?;
    let second = worker.lease_one().await?;
    assert_eq!(trials().await?, 12, "two generations, with a lag of one");
    assert!(worker.lease(1).await?.is_empty(), "the third one has to wait");
    worker.train(&first).await?;
    let third = worker.lease_one().await?;
    assert_eq!(trials().await?, 18);
    let owners = |job: &v1::LeasedJob| job.job.as_ref().map_or(0, |job| job.members.len());
    assert_eq!((owners(&first), owners(&second), owners(&third)), (18, 18, 18));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_infrastructure_gave_up_teaches_nothing() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = learning("given-up", "tpe")?;
    study["racing"] = json!("none");
    system.submit(&study).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert!(worker.release(&job, "bad_input", "no such column").await?);
    let study = system.study("given-up").await?;
    assert_eq!(study.state, "paused");
    assert!(study.pause_reason.contains("no such column"), "{}", study.pause_reason);
    Ok(())
}

fn eight_configurations() -> Value {
    json!({
        "optimizer": { "choice": ["adam", "sgd"] },
        "learning_rate": { "choice": [0.001, 0.01] },
        "batch_size": { "choice": [8] },
        "l2": { "choice": [0.0] },
        "activation": { "choice": ["relu", "tanh"] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_ends_with_its_last_configuration() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = learning("grid", "grid")?;
    study["racing"] = json!("none");
    study["space"] = eight_configurations();
    system.submit(&study).await?;
    let ended = system.watch_to_end("grid").await?;
    assert_eq!((ended.state.as_str(), ended.trials_total), ("completed", 8));
    let configurations: i64 = system.value("SELECT count(DISTINCT params) FROM trawl.trials").await?;
    assert_eq!(configurations, 8);
    Ok(())
}

/// Random search takes a configuration again where there are few; such a trial names the first one. An enqueued one does, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_twin_names_the_first_trial_with_its_parameters() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut study = studies::small("twins", 40, 9)?;
    study["sampler"] = json!({ "random": {} });
    study["racing"] = json!("none");
    study["space"] = eight_configurations();
    system.submit(&study).await?;
    let twins = async || -> anyhow::Result<Vec<(i32, Option<i32>, Value)>> {
        let query = "SELECT trial, twin_of, params FROM trawl.trials WHERE study = 'twins' ORDER BY trial";
        system.tuples(query).await
    };
    let check = |trials: &[(i32, Option<i32>, Value)]| {
        for (trial, twin_of, params) in trials {
            let first = trials
                .iter()
                .find(|(_, _, other)| other == params)
                .map(|(first, ..)| *first);
            assert_eq!(*twin_of, first.filter(|first| first != trial), "trial {trial}");
        }
    };
    let trials = twins().await?;
    check(&trials);
    let first: Vec<_> = trials.iter().filter(|(_, twin_of, _)| twin_of.is_none()).collect();
    assert_eq!((trials.len(), first.len()), (40, 8));

    let folder = tempfile::tempdir()?;
    let chosen = written(folder.path(), "chosen.json", json!({ "trials": [trials[7].2] }))?;
    system.trawl_stdout(&["enqueue", "twins", &chosen])?;
    let trials = twins().await?;
    check(&trials);
    assert_eq!(trials.len(), 41);
    assert!(trials[40].1.is_some());
    Ok(())
}

/// Momentum belongs to sgd, and its step with l2; batches are in order; and what the constraint rules out never comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trial_does_not_need_it_does_not_have() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let mut study = learning("dependent", "tpe")?;
    study["training"]["momentum"] = json!("$momentum");
    study["space"]["batch_size"] = json!({ "ordered": [4, 8, 10, 12] });
    study["space"]["l2"] =
        json!({ "log_normal": { "mean": -7, "std": 2, "low": 1e-5, "high": 0.1 }, "when": { "momentum": [0, 0.3] } });
    study["space"]["momentum"] =
        json!({ "uniform": { "low": 0, "high": 0.9, "step": 0.3 }, "when": { "optimizer": ["sgd"] } });
    study["constraints"] = json!([
        "batch_size > 4 or learning_rate < 0.01",
        "optimizer != 'rmsprop' or batch_size == 12"
    ]);
    system.complete(&study).await?;
    system.trawl_stdout(&["replay", "dependent"])?;

    let params: Vec<Value> = system.values("SELECT params FROM trawl.trials ORDER BY trial").await?;
    assert_eq!(params.len(), 36);
    for params in &params {
        let number = |name: &str| params[name].as_f64();
        let momentum = number("momentum");
        assert_eq!(momentum.is_some(), params["optimizer"] == "sgd", "{params}");
        assert_eq!(
            number("l2").is_some(),
            momentum.is_some_and(|momentum| momentum < 0.4),
            "{params}"
        );
        let (batch, rate) = (
            number("batch_size").unwrap_or(0.0),
            number("learning_rate").unwrap_or(1.0),
        );
        assert!(batch > 4.0 || rate < 0.01, "{params}");
        assert!(params["optimizer"] != "rmsprop" || batch == 12.0, "{params}");
        // It is not there, and is not null either.
        let names = params.as_object().map(|params| params.keys().len());
        let lacking = [momentum, number("l2")].iter().filter(|value| value.is_none()).count();
        assert_eq!(names, Some(6 - lacking), "{params}");
    }
    let lack = |name: &str| params.iter().filter(|params| params.get(name).is_none()).count();
    assert!((1..36).contains(&lack("momentum")) && lack("l2") > lack("momentum"));

    // An empty cell of a table, and a figure that is drawn.
    let table = system.trawl_stdout(&["trials", "dependent", "--csv"])?;
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap_or_default();
    let column = header.iter().position(|name| *name == "params.momentum");
    let cells: Vec<&str> = rows.filter_map(|row| row.get(column?).copied()).collect();
    assert_eq!(cells.iter().filter(|cell| cell.is_empty()).count(), lack("momentum"));
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (page, figures) = (path("report.html"), path("figures"));
    system.trawl_stdout(&["report", "dependent", "-o", &page, "--png", &figures])?;
    assert!(std::fs::exists(folder.path().join("figures/parallel-coordinates.png"))?);
    Ok(())
}

/// Results of another study count from the start, if they fit.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_an_ended_study_count_from_the_start() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let mut first = learning("first", "random")?;
    first["racing"] = json!("none");
    first["space"]["learning_rate"] = json!({ "log_uniform": { "low": 1e-5, "high": 0.1 } });
    system.submit(&first).await?;

    let mut second = learning("second", "gp")?;
    second["from"] = json!(["first", "nobody"]);
    let findings = system.findings(&second).await?;
    for (field, told) in [
        ("from[0]", "'first' is running"),
        ("from[1]", "there is no study 'nobody'"),
    ] {
        let is_told = |(of, said): &(String, String)| of == field && said.contains(told);
        assert!(findings.iter().any(is_told), "{findings:?}");
    }
    // Nobody trained until now, so that it had to be under way.
    system.add_workers(2)?;
    system.watch_to_end("first").await?;
    second["from"] = json!(["first"]);
    let mut other = second.clone();
    other["name"] = json!("other");
    other["objective"] = json!({ "metric": "val_mae" });
    let findings = system.findings(&other).await?;
    assert!(format!("{findings:?}").contains("other objectives"), "{findings:?}");

    let answer = system.create(&second, false).await??;
    let rates: Vec<f64> = system
        .values(
            "SELECT (params->>'learning_rate')::double precision FROM trawl.trials
             WHERE study = 'first' AND state = 'completed'",
        )
        .await?;
    let fitting = rates.iter().filter(|rate| **rate >= 1e-4).count();
    assert!((1..rates.len()).contains(&fitting), "{rates:?}");
    let note = format!(
        "{fitting} of {} completed trials of 'first' count as results of this study",
        rates.len()
    );
    assert_eq!(answer.notes, [note]);
    system.completed("second").await?;
    system.trawl_stdout(&["replay", "second"])?;

    // Submitted again after the other one was deleted, it is the same study.
    system.trawl_stdout(&["delete", "first", "-y"])?;
    assert!(system.create(&second, false).await??.already_there);
    // Its first generation is learned, and so differs from one without these results.
    let mut alone = learning("alone", "gp")?;
    alone["max_trials"] = json!(6);
    system.complete(&alone).await?;
    let params = async |study: &str| -> anyhow::Result<Vec<Value>> {
        let query = "SELECT params FROM trawl.trials WHERE study = $1 AND trial < 6 ORDER BY trial";
        Ok(sqlx::query_scalar(query)
            .bind(study.to_owned())
            .fetch_all(&system.sql)
            .await?)
    };
    assert_ne!(params("second").await?, params("alone").await?);
    Ok(())
}
