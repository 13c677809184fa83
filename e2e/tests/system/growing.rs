//! Studies that change: they are extended, get configurations that a user chose, stop early, and share the workers.

use serde_json::{Value, json};
use trawl_e2e::{Ask, ScriptedWorker, System, assert_same_rows, look_for, studies, written};
use trawl_proto::v1;

/// Generations of six trials, which are raced and learned from.
fn learning(name: &str, trials: u32) -> anyhow::Result<Value> {
    let mut study = without_refit(studies::small(name, trials, 9)?);
    study["sampler"] = json!({ "tpe": {}, "generation": 6 });
    study["racing"] = json!({ "keep": 0.5 });
    Ok(study)
}

fn without_refit(mut study: Value) -> Value {
    study.as_object_mut().map(|study| study.remove("refit"));
    study
}

async fn run(study: &Value) -> anyhow::Result<System> {
    let system = System::with_workers(&[], 2).await?;
    system.complete(study).await?;
    Ok(system)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extended_study_is_what_it_would_have_been() -> anyhow::Result<()> {
    let system = run(&learning("grown", 30)?).await?;
    let expected = system.all_rows("grown").await?;
    drop(system);
    // Once after its end, and once while it runs, by workers that die.
    let mut system = run(&learning("grown", 12)?).await?;
    let said = system.trawl_stdout(&["extend", "grown", "--max-trials", "24"])?;
    assert_eq!(said, "study grown running: 24 trials\n");
    system.workers.remove(0).crash()?;
    system.add_workers(1)?;
    let said = system.trawl_stdout(&["extend", "grown", "--max-trials", "30", "--watch"])?;
    assert!(said.starts_with("study grown running: 30 trials\n"), "{said}");
    // The same once more is the same.
    let said = system.trawl_stdout(&["extend", "grown", "--max-trials", "30"])?;
    assert_eq!(said, "study grown completed: 30 trials\n");
    assert_same_rows(&expected, &system.all_rows("grown").await?, "in three pieces");
    system.trawl_stdout(&["replay", "grown"])?;
    // The file of a study of that length is that study's.
    let folder = tempfile::tempdir()?;
    let of_length = |trials| -> anyhow::Result<String> {
        let study = studies::with_whole_paths(learning("grown", trials)?);
        written(folder.path(), &format!("{trials}.json"), study)
    };
    system.trawl_stdout(&["submit", &of_length(30)?])?;
    let error = system.trawl(&["submit", &of_length(36)?])?.stderr;
    assert!(
        error.contains("max_trials") && error.contains("trawl extend"),
        "{error}"
    );
    Ok(())
}

/// A generation that an end cut is raced in two heats, which do not depend on each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_was_cut_is_raced_in_two_heats() -> anyhow::Result<()> {
    let system = run(&learning("cut", 9)?).await?;
    let before = trials(&system, "cut").await?;
    let said = system.trawl_stdout(&["extend", "cut", "--max-trials", "18", "--watch"])?;
    assert!(said.contains("completed"), "{said}");
    let after = trials(&system, "cut").await?;
    assert_eq!(before[..], after[..9], "what is there stays as it is");
    assert_eq!(after.len(), 18);
    let compared: Vec<(i64, Option<i64>)> = system
        .tuples(
            "SELECT count(*), max(rung_trials)::bigint FROM trawl.trials
             WHERE study = 'cut' AND generation = 1 GROUP BY trial >= 9 ORDER BY trial >= 9",
        )
        .await?;
    assert_eq!(compared, [(3, Some(3)), (3, Some(3))]);
    system.trawl_stdout(&["replay", "cut"])?;
    for (asked, why) in [("17", "must be above 18"), ("10001", "must be at most 10000")] {
        let said = system.trawl(&["extend", "cut", "--max-trials", asked])?;
        assert!(said.code != Some(0) && said.stderr.contains(why), "{said:?}");
    }
    Ok(())
}

type Row = (i32, String, Option<f64>, Option<i32>, Value, bool);

async fn trials(system: &System, study: &str) -> anyhow::Result<Vec<Row>> {
    let rows = sqlx::query_as(
        "SELECT trial, state, value, rung, params, chosen FROM trawl.trials WHERE study = $1 ORDER BY trial",
    );
    Ok(rows.bind(study).fetch_all(&system.sql).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_configurations_come_first_and_are_trained_whole() -> anyhow::Result<()> {
    let whole =
        json!({ "learning_rate": 0.01, "optimizer": "adam", "batch_size": 8, "l2": 0.0001, "activation": "tanh" });
    let mut study = learning("chosen", 12)?;
    study["trials"] = json!([whole, { "optimizer": "sgd", "learning_rate": 0.001 }]);
    let system = run(&study).await?;
    let rows = trials(&system, "chosen").await?;
    assert_eq!(rows.len(), 12);
    assert_eq!(rows[0].4, whole);
    assert_eq!(rows[1].4["optimizer"], json!("sgd"));
    for row in &rows[..2] {
        assert_eq!((row.1.as_str(), row.3, row.5), ("completed", None, true), "{row:?}");
    }
    assert!(rows[2..].iter().all(|row| row.3.is_some() && !row.5), "{rows:?}");

    // More of them, for a study that ended; a configuration that is there is not trained again.
    let folder = tempfile::tempdir()?;
    let more = json!({ "trials": [{ "learning_rate": 0.002, "optimizer": "adam" }, { "optimizer": "sgd", "learning_rate": 0.001 }] });
    let more = written(folder.path(), "more.json", more)?;
    for _ in 0..2 {
        let said = system.trawl_stdout(&["enqueue", "chosen", &more, "--watch"])?;
        assert!(said.starts_with("trial 12\ntrial 1\n"), "{said}");
    }
    let rows = trials(&system, "chosen").await?;
    assert_eq!(rows.len(), 13);
    assert_eq!(
        (rows[12].1.as_str(), &rows[12].4["learning_rate"]),
        ("completed", &json!(0.002))
    );
    let said = system.trawl_stdout(&["replay", "chosen"])?;
    assert!(
        said.contains("10 trials proposed") && said.ends_with("identical\n"),
        "{said}"
    );

    let wrong = json!({ "trials": [{ "learning_rate": 7.5, "layers": 3 }, { "optimizer": "sdg" }] });
    let error = system.refused(&["enqueue", "chosen", &written(folder.path(), "wrong.json", wrong)?])?;
    for part in [
        "trials[0].layers: there is no parameter 'layers' in the space",
        "trials[0].learning_rate: must be a number from",
        "trials[1].optimizer: must be one of",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(trials(&system, "chosen").await?.len(), 13);
    Ok(())
}

/// A refit of the same trial would differ by nothing but its seed.
#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_grew_keeps_the_refit_of_its_best_trial() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let best = system.complete(studies::small("kept", 6, 9)?).await?.best_trial;
    let folder = tempfile::tempdir()?;
    // Steps so small learn nothing: the best trial stays.
    let grow = async |rate: f64| -> anyhow::Result<Vec<String>> {
        let more = json!({ "trials": [{ "optimizer": "sgd", "learning_rate": rate, "activation": "sigmoid" }] });
        system.trawl_stdout(&[
            "enqueue",
            "kept",
            &written(folder.path(), "more.json", more)?,
            "--watch",
        ])?;
        let study = system.study("kept").await?;
        assert_eq!((study.state.as_str(), study.best_trial), ("completed", best));
        assert!(study.refits.iter().all(|refit| Some(refit.trial) == best), "{study:?}");
        Ok(study.refits.into_iter().map(|refit| refit.state).collect())
    };
    assert_eq!(grow(0.0001).await?, ["completed"]);
    // A failed one is no network to keep.
    sqlx::query("UPDATE trawl_store.refits SET state = 'failed', error = 'hung', test_loss = NULL")
        .execute(&system.owner().await?)
        .await?;
    assert_eq!(grow(0.00011).await?, ["failed", "completed"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_stops_where_its_results_say_so() -> anyhow::Result<()> {
    // Any value will do: the first two generations are there before one is known, and are trained to their end.
    let mut study = without_refit(studies::small("reached", 60, 2)?);
    study["sampler"] = json!({ "random": {}, "generation": 6 });
    study["racing"] = json!("none");
    study["stop"] = json!({ "value": 1e9 });
    let system = run(&study).await?;
    let shown = system.trawl_stdout(&["show", "reached"])?;
    assert!(
        shown.contains("stopped early") && shown.contains("(stop.value)"),
        "{shown}"
    );
    let rows = trials(&system, "reached").await?;
    assert_eq!(rows.len(), 12);
    assert!(
        rows.iter().all(|row| ["completed", "failed"].contains(&row.1.as_str())),
        "{rows:?}"
    );
    // A user wants more: then nothing stops it.
    system.trawl_stdout(&["extend", "reached", "--max-trials", "30", "--watch"])?;
    assert_eq!(trials(&system, "reached").await?.len(), 30);

    let mut study = without_refit(studies::small("spent", 60, 2)?);
    study["sampler"] = json!({ "random": {}, "generation": 6 });
    study["stop"] = json!({ "fold_epochs": 40 });
    study["racing"] = json!("none");
    system.submit(&study).await?;
    let ended = system.watch_to_end("spent").await?;
    // A generation trains 6 x 3 x 2 epochs: two of them are enough, and a third one was begun.
    assert_eq!(
        (ended.state.as_str(), ended.trials_total),
        ("completed", 18),
        "{}",
        ended.error
    );
    assert!(
        ended.stop_reason.contains("stop.fold_epochs: 40"),
        "{}",
        ended.stop_reason
    );
    Ok(())
}

/// Trials that have begun when the time is over are trained to their end; the others are cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_whose_time_is_over_begins_no_trial() -> anyhow::Result<()> {
    let system = System::start(&["--lease-ttl-ms", "60000"]).await?;
    let mut study = without_refit(studies::small("late", 40, 1)?);
    study["racing"] = json!("none");
    study["stop"] = json!({ "hours": 4.0 / 3600.0 });
    system.submit(&study).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    let cancelled = async || -> anyhow::Result<i64> {
        let count =
            sqlx::query_scalar("SELECT count(*) FROM trawl.trials WHERE study = 'late' AND state = 'cancelled'");
        Ok(count.fetch_one(&system.sql).await?)
    };
    look_for("cancelled trials", async || Ok((cancelled().await? > 0).then_some(()))).await?;
    worker.train(&job).await?;
    // Trials that had begun have folds in further jobs.
    while let Some(job) = worker.lease(1).await?.pop() {
        worker.train(&job).await?;
    }
    let ended = system.completed("late").await?;
    assert!(ended.stop_reason.contains("stop.hours"), "{}", ended.stop_reason);
    assert_eq!(u64::from(ended.trials_completed) + cancelled().await? as u64, 40);
    assert!(ended.trials_completed > 0);
    Ok(())
}

/// A small study does not wait behind a large one, and one of double priority gets twice the jobs.
#[tokio::test(flavor = "multi_thread")]
async fn studies_share_the_workers() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let submit = async |name: &str, priority: u32| -> anyhow::Result<()> {
        let mut study = without_refit(studies::small(name, 60, 1)?);
        study["racing"] = json!("none");
        study["priority"] = json!(priority);
        system.submit(&study).await?;
        Ok(())
    };
    submit("large", 10).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let next = async |worker: &mut ScriptedWorker| -> anyhow::Result<String> {
        let leased = worker.lease_one().await?;
        Ok(leased.job.map(|job: v1::Job| job.study).unwrap_or_default())
    };
    for _ in 0..3 {
        assert_eq!(next(&mut worker).await?, "large");
    }
    submit("small", 10).await?;
    let mut order = Vec::new();
    for _ in 0..7 {
        order.push(next(&mut worker).await?);
    }
    // The large study's turn, and then the turn of both, three times.
    assert_eq!(order.iter().filter(|name| *name == "small").count(), 3, "{order:?}");
    submit("urgent", 20).await?;
    let mut order = Vec::new();
    for _ in 0..10 {
        order.push(next(&mut worker).await?);
    }
    // One turn of the earlier studies; then two more turns of each of them, and four of the urgent one.
    assert_eq!(order.iter().filter(|name| *name == "urgent").count(), 4, "{order:?}");
    Ok(())
}

/// A user gets no larger share by submitting several studies: each study comes less often.
#[tokio::test(flavor = "multi_thread")]
async fn users_share_the_workers() -> anyhow::Result<()> {
    let operator = "the-operators-own-token";
    let system = System::start(&["--token", operator]).await?;
    let mut admin = system.admin(operator).await?;
    let ann = system.client(&admin.create("ann", "user", None).await?).await?;
    let bob = system.client(&admin.create("bob", "user", None).await?).await?;
    for (name, user) in [("ann-1", &ann), ("bob-1", &bob), ("ann-2", &ann)] {
        let mut study = without_refit(studies::small(name, 60, 1)?);
        study["racing"] = json!("none");
        user.submit(study).await?;
    }
    let owner = system.owner().await?;
    let order: Vec<String> = owner
        .values("SELECT s.name FROM trawl_store.jobs j JOIN trawl_store.studies s USING (study_id) ORDER BY j.position LIMIT 26")
        .await?;
    let of = |study: &str| order.iter().filter(|name| *name == study).count();
    // Ann had another study when her second one was placed; the others are placed where the queue was, a step behind its head.
    assert_eq!((of("ann-1"), of("bob-1"), of("ann-2")), (11, 10, 5), "{order:?}");
    Ok(())
}

/// A trial that failed through no fault of its own is trained again, and the study is what it would have been.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_can_be_trained_again() -> anyhow::Result<()> {
    let system = run(&learning("again", 24)?).await?;
    let expected = system.all_rows("again").await?;
    drop(system);
    let mut system = System::start(&[]).await?;
    system.submit(learning("again", 24)?).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert!(worker.release(&job, "bad_input", "no such column").await?);
    worker.unregister().await?;
    let failed: Vec<i32> = system
        .values("SELECT trial FROM trawl.trials WHERE state = 'failed' ORDER BY trial")
        .await?;
    assert!(!failed.is_empty());
    let said = system.trawl_stdout(&["retry", "again"])?;
    let lines: String = failed.iter().map(|trial| format!("trial {trial}\n")).collect();
    assert_eq!(said, lines);
    assert_eq!(system.trawl_stdout(&["retry", "again"])?, "", "once is enough");
    system.add_workers(2)?;
    system.trawl_stdout(&["resume", "again"])?;
    let ended = system
        .completes_as("again", &expected, "with a job that was given up")
        .await?;
    let reported: i64 = system.value("SELECT count(*) FROM trawl.epoch_reports").await?;
    assert_eq!(ended.epochs_reported, reported.unsigned_abs());
    system.trawl_stdout(&["replay", "again"])?;
    Ok(())
}
