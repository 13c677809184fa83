//! A study from its submission to its end; its rows depend on nothing but the study.

use serde_json::json;
use tonic::Code;
use trawl_e2e::{Ask, ScriptedWorker, System, View, code_of, look_for, studies, undisturbed};
use trawl_proto::v1;

#[tokio::test(flavor = "multi_thread")]
async fn a_study_runs_to_its_refit() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    let (trials, folds, epochs) = (24, 3, 6);
    let submitted = system.submit(studies::small("whole", trials, epochs)?).await?;
    let study = system.completed("whole").await?;
    assert_eq!(study.study_id, submitted.study_id);
    assert_eq!(study.trials_completed + study.trials_failed, trials);
    assert_eq!(study.trials_running, 0);
    let [refit] = study.refits.as_slice() else {
        panic!("one refit, not {}", study.refits.len())
    };
    assert_eq!(
        (refit.state.as_str(), Some(refit.trial)),
        ("completed", study.best_trial)
    );
    assert!(refit.test_loss.is_some_and(|loss| loss > 0.0));
    let kinds: Vec<&str> = refit.artifacts.iter().map(|artifact| artifact.kind.as_str()).collect();
    assert!(kinds.contains(&"weights"), "the weights are among {kinds:?}");

    // Every epoch of every fold of a completed trial is there, once.
    let counts: Vec<(i64, i64)> = system
        .tuples(
            "SELECT count(*), count(DISTINCT (r.fold, r.epoch))
             FROM trawl.epoch_reports r JOIN trawl.trials t USING (study, trial)
             WHERE study = 'whole' AND t.state = 'completed' GROUP BY r.trial",
        )
        .await?;
    let each = i64::from(folds * epochs);
    assert_eq!(counts.len() as u32, study.trials_completed);
    assert!(counts.iter().all(|count| *count == (each, each)), "{counts:?}");

    // A trial's value follows from its folds as documented.
    let wrong: Vec<i32> = system
        .values(
            "SELECT t.trial FROM trawl.trials t
             JOIN (SELECT study, trial, avg(val_loss) AS mean, stddev_samp(val_loss) AS std
                   FROM trawl.fold_metrics GROUP BY study, trial) f USING (study, trial)
             WHERE study = 'whole' AND t.state = 'completed'
               AND (abs(t.value - f.mean) > 1e-12 * abs(f.mean) OR abs(t.value_std - f.std) > 1e-9 * f.std)",
        )
        .await?;
    assert_eq!(wrong, Vec::<i32>::new());

    // The ranking is by value, and its head is the best trial.
    let ranking: Vec<(i64, i32, f64)> = system
        .tuples("SELECT rank, trial, value FROM trawl.best_trials WHERE study = 'whole' ORDER BY rank")
        .await?;
    assert!(
        ranking
            .windows(2)
            .all(|pair| pair[0].2 <= pair[1].2 && pair[0].0 + 1 == pair[1].0),
        "{ranking:?}"
    );
    assert_eq!(
        ranking.first().map(|(_, trial, value)| (*trial as u32, *value)),
        study.best_trial.zip(study.best_value)
    );

    // The curves of the refit: its folds with validation, and the fit on all rows without.
    let curves: Vec<(Option<i32>, i64, i64)> = system
        .tuples(
            "SELECT fold, count(*), count(val_loss) FROM trawl.refit_epoch_reports WHERE study = 'whole'
             GROUP BY fold ORDER BY fold NULLS LAST",
        )
        .await?;
    let epochs = i64::from(epochs);
    let expected = [
        (Some(0), epochs, epochs),
        (Some(1), epochs, epochs),
        (Some(2), epochs, epochs),
        (None, epochs, 0),
    ];
    assert_eq!(curves, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_is_ranked_by_the_metric_that_it_names() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = studies::small("explained", 4, 3)?;
    study["objective"] = json!({ "metric": "val_r2", "at": "best" });
    system.submit(&study).await?;
    let study = system.watch_to_end("explained").await?;
    assert_eq!((study.state.as_str(), study.goal.as_str()), ("completed", "maximize"));
    let (best, of_epochs, others): (f64, f64, i64) = sqlx::query_as(
        "SELECT (SELECT avg((best_metrics->>'val_r2')::float8) FROM trawl.fold_metrics WHERE trial = $1),
                (SELECT avg(best) FROM (SELECT max((metrics->>'val_r2')::float8) AS best FROM trawl.epoch_reports
                                        WHERE trial = $1 GROUP BY fold) folds),
                (SELECT count(*) FROM trawl.epoch_reports WHERE metrics ? 'val_mae')",
    )
    .bind(study.best_trial.map(|trial| trial as i32))
    .fetch_one(&system.sql)
    .await?;
    let value = study.best_value.expect("a trial completed");
    assert!(
        (best - value).abs() < 1e-12 && (of_epochs - value).abs() < 1e-12,
        "{value} {best} {of_epochs}"
    );
    assert_eq!(others, 0, "what nobody asked for is not measured");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_do_not_depend_on_the_workers() -> anyhow::Result<()> {
    let study = || studies::small("same", 60, 8);
    let expected = undisturbed(study()?).await?;
    for workers in [2, 4] {
        let system = System::with_workers(&[], workers).await?;
        system.submit(study()?).await?;
        system
            .completes_as("same", &expected, &format!("{workers} workers"))
            .await?;
    }
    Ok(())
}

/// The example's whole study, while a process dies every few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_regression_study_outlives_constant_crashes() -> anyhow::Result<()> {
    const CRASHES: u64 = 15;
    let study = studies::from_json(&studies::regression_json("crashes")?)?;
    let expected = undisturbed(study.clone()).await?;

    let mut system = System::with_workers(&["--lease-ttl-ms", "1500", "--checkpoint-interval-ms", "100"], 2).await?;
    let total = system.submit(study).await?.epochs_total;
    for crash in 1..=CRASHES {
        system
            .watch_until("crashes", "more epochs", |study| {
                study.epochs_reported > total * crash / (CRASHES + 1)
            })
            .await?;
        if crash % 3 == 0 {
            system = system.crash_coordinator().await?;
        } else {
            system.workers.remove(0).crash()?;
            system.add_workers(1)?;
        }
    }
    system
        .completes_as("crashes", &expected, "after constant crashes")
        .await?;
    let lost: i64 = system
        .value("SELECT count(*) FROM trawl.trials WHERE study = 'crashes' AND attempts > 1")
        .await?;
    assert!(lost > 0, "workers died with jobs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_diverges_fails_its_trial_alone() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = studies::small("diverging", 12, 5)?;
    study["space"]["optimizer"] = json!({ "choice": ["sgd"] });
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["batch_size"] = json!({ "choice": [8] });
    // Half of the trials take such large steps that their loss is soon not finite.
    study["space"]["learning_rate"] = json!({ "choice": [0.01, 900.0] });
    study["refit"]["set"] = json!({ "learning_rate": 0.01 });
    system.complete(&study).await?;

    let trials: Vec<(f64, String, Option<String>, i32)> = system
        .tuples(
            "SELECT (params->>'learning_rate')::float8, state, error, attempts FROM trawl.trials WHERE study = 'diverging'",
        )
        .await?;
    let (wild, tame): (Vec<_>, Vec<_>) = trials.into_iter().partition(|(learning_rate, ..)| *learning_rate > 1.0);
    assert!(!wild.is_empty() && !tame.is_empty());
    assert!(
        wild.iter().all(|(_, state, error, attempts)| {
            (state.as_str(), error.as_deref(), *attempts) == ("failed", Some("diverged"), 1)
        }),
        "{wild:?}"
    );
    assert!(
        tame.iter()
            .all(|(_, state, error, _)| state == "completed" && error.is_none()),
        "{tame:?}"
    );
    let ranked: i64 = system
        .value("SELECT count(*) FROM trawl.best_trials WHERE study = 'diverging'")
        .await?;
    assert_eq!(ranked as usize, tame.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_of_which_every_trial_diverged_says_so_and_what_helps() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    let mut study = studies::small("wild", 6, 5)?;
    study["space"]["optimizer"] = json!({ "choice": ["sgd"] });
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["learning_rate"] = json!({ "choice": [900.0] });
    system.submit(&study).await?;
    let ended = system.watch_to_end("wild").await?;
    let said = "no trial completed: 6 of 6 diverged; lower learning_rate, or standardise features and target";
    assert_eq!((ended.state.as_str(), ended.error.as_str()), ("failed", said));
    assert!(system.trawl_stdout(&["show", "wild"])?.contains(said));
    let watched = system.trawl(&["watch", "wild"])?;
    assert!(watched.code == Some(1) && watched.stderr.contains(said), "{watched:?}");
    let stored: Option<String> = system
        .value("SELECT error FROM trawl.studies WHERE name = 'wild'")
        .await?;
    assert_eq!(stored.as_deref(), Some(said));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_study_starts_nothing_and_a_cancelled_one_ends() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.submit(studies::small("steered", 30, 4)?).await?;
    assert_eq!(system.trawl_stdout(&["pause", "steered"])?, "study steered paused\n");

    // A worker that asks gets nothing, although jobs are queued.
    let mut worker = ScriptedWorker::register(&system).await?;
    assert_eq!(worker.lease(1).await?.len(), 0);
    system.trawl_stdout(&["resume", "steered"])?;
    let leased = worker.lease(1).await?;
    assert_eq!(leased.len(), 1);

    let study = "steered".to_owned();
    let delete = v1::DeleteStudyRequest { study };
    let refused = system.studies().await?.delete_study(delete).await;
    assert_eq!(
        code_of(refused),
        Code::FailedPrecondition,
        "a running study is not deleted"
    );
    system.trawl_stdout(&["cancel", "steered"])?;
    assert!(
        !worker.report(&leased[0], 0).await?,
        "a cancelled study takes no reports"
    );
    let states: Vec<(String, i64)> = system
        .tuples("SELECT state, count(*) FROM trawl.trials WHERE study = 'steered' GROUP BY state")
        .await?;
    assert_eq!(states, [("cancelled".to_owned(), 30)]);

    system.trawl_stdout(&["delete", "steered"])?;
    for view in View::ALL {
        assert_eq!(system.rows(view, "steered").await?, Vec::<String>::new());
    }
    // Its name is free at once, and the new study has nothing of the old one.
    system.add_workers(1)?;
    system.complete(studies::small("steered", 3, 2)?).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_is_paused_at_its_last_trial_refits_once_it_is_resumed() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let mut submitted = studies::small("last-trial", 1, 2)?;
    // With one fold, the trial is one job.
    submitted["validation"] = json!({ "holdout": 0.2 });
    system.submit(&submitted).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    worker.report_all(&job).await?;
    system.trawl_stdout(&["pause", "last-trial"])?;
    assert!(worker.finish(&job).await?, "what is done counts");
    assert_eq!(system.study("last-trial").await?.state, "paused");
    assert_eq!(worker.lease(1).await?.len(), 0, "nothing of a paused study is trained");
    let resumed = system.trawl_stdout(&["resume", "last-trial"])?;
    assert_eq!(resumed, "study last-trial refitting\n");
    system.add_workers(1)?;
    system.completed("last-trial").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_deleted_study() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    // More trials and folds than one transaction removes.
    let study = studies::small("deleted", 450, 1)?;
    system.submit(&study).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    for job in worker.lease(2).await? {
        worker.train(&job).await?;
    }
    system.trawl_stdout(&["cancel", "deleted"])?;
    system.trawl_stdout(&["delete", "deleted"])?;
    let owner = system.owner().await?;
    look_for("the end of all rows", async || {
        let left: i64 = owner
            .value(
                "SELECT (SELECT count(*) FROM trawl_store.studies) + (SELECT count(*) FROM trawl_store.trials)
                  + (SELECT count(*) FROM trawl_store.jobs) + (SELECT count(*) FROM trawl_store.job_attempts)
                  + (SELECT count(*) FROM trawl_store.folds) + (SELECT count(*) FROM trawl_store.curves)
                  + (SELECT count(*) FROM trawl_store.job_reports)
                  + (SELECT count(*) FROM trawl_store.artifacts) + (SELECT count(*) FROM trawl_store.checkpoints)",
            )
            .await?;
        Ok((left == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_binaries_stop_cleanly() -> anyhow::Result<()> {
    let mut system = System::with_workers(&[], 1).await?;
    system.submit(studies::small("stopped", 200, 400)?).await?;
    system
        .watch_until("stopped", "first epochs", |study| study.epochs_reported > 0)
        .await?;
    let worker = system.workers.swap_remove(0).stop()?;
    assert!(worker.success(), "worker: {worker}");
    // The job is back in the queue, and the attempt does not count.
    let workers: Vec<(String, i32)> = system.tuples("SELECT state, jobs FROM trawl.workers").await?;
    assert_eq!(workers, [("stopped".to_owned(), 0)]);
    let coordinator = system.coordinator.process.stop()?;
    assert!(coordinator.success(), "coordinator: {coordinator}");
    Ok(())
}
