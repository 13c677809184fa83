//! A study from its submission to its end; its rows depend on nothing but the study.

use serde_json::json;
use trawl_e2e::{System, View, assert_same_rows, studies};

#[tokio::test(flavor = "multi_thread")]
async fn a_study_runs_to_its_refit() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let (trials, folds, epochs) = (24, 3, 6);
    let submitted = system
        .submit(studies::from_json(&studies::small("whole", trials, epochs)?)?)
        .await?;
    let study = system.watch_to_end("whole").await?;

    assert_eq!(study.state, "completed", "{}", study.error);
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
    let counts: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT count(*), count(DISTINCT (r.fold, r.epoch))
         FROM trawl.epoch_reports r JOIN trawl.trials t USING (study, trial)
         WHERE study = 'whole' AND t.state = 'completed' GROUP BY r.trial",
    )
    .fetch_all(&system.sql)
    .await?;
    let each = i64::from(folds * epochs);
    assert_eq!(counts.len() as u32, study.trials_completed);
    assert!(counts.iter().all(|count| *count == (each, each)), "{counts:?}");

    // A trial's value follows from its folds as documented.
    let wrong: Vec<i32> = sqlx::query_scalar(
        "SELECT t.trial FROM trawl.trials t
         JOIN (SELECT study, trial, avg(val_loss) AS mean, stddev_samp(val_loss) AS std
               FROM trawl.fold_metrics GROUP BY study, trial) f USING (study, trial)
         WHERE study = 'whole' AND t.state = 'completed'
           AND (abs(t.value - f.mean) > 1e-12 * abs(f.mean) OR abs(t.value_std - f.std) > 1e-9 * f.std)",
    )
    .fetch_all(&system.sql)
    .await?;
    assert_eq!(wrong, Vec::<i32>::new());

    // The ranking is by value, and its head is the best trial.
    let ranking: Vec<(i64, i32, f64)> =
        sqlx::query_as("SELECT rank, trial, value FROM trawl.best_trials WHERE study = 'whole' ORDER BY rank")
            .fetch_all(&system.sql)
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
    let curves: Vec<(Option<i32>, i64, i64)> = sqlx::query_as(
        "SELECT fold, count(*), count(val_loss) FROM trawl.refit_epoch_reports WHERE study = 'whole'
         GROUP BY fold ORDER BY fold NULLS LAST",
    )
    .fetch_all(&system.sql)
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
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let mut study = studies::small("explained", 4, 3)?;
    study["objective"] = json!({ "metric": "val_r2", "at": "best" });
    system.submit(studies::from_json(&study)?).await?;
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
    let mut expected = None;
    for workers in [1, 2, 4] {
        let mut system = System::start(&[]).await?;
        system.add_workers(workers)?;
        system
            .submit(studies::from_json(&studies::small("same", 60, 8)?)?)
            .await?;
        let study = system.watch_to_end("same").await?;
        assert_eq!(study.state, "completed", "{}", study.error);
        let rows = system.all_rows("same").await?;
        match &expected {
            None => expected = Some(rows),
            Some(expected) => assert_same_rows(expected, &rows, &format!("{workers} workers")),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_do_not_depend_on_crashes() -> anyhow::Result<()> {
    let study = studies::from_json(&studies::small("crash", 40, 60)?)?;
    let mut undisturbed = System::start(&[]).await?;
    undisturbed.add_workers(2)?;
    undisturbed.submit(study.clone()).await?;
    assert_eq!(undisturbed.watch_to_end("crash").await?.state, "completed");
    let expected = undisturbed.all_rows("crash").await?;
    drop(undisturbed);

    let mut system = System::start(&["--lease-ttl-ms", "3000"]).await?;
    system.add_workers(2)?;
    system.submit(study).await?;
    // A worker dies amid a job: reports of it are stored, its end is not.
    let total = system
        .watch_until("crash", "first epochs", |study| study.epochs_reported > 0)
        .await?
        .epochs_total;
    system.workers.swap_remove(0).crash()?;
    system.add_workers(1)?;
    // Then the coordinator, and it comes back at its address.
    system
        .watch_until("crash", "a third of the epochs", |study| {
            study.epochs_reported > total / 3
        })
        .await?;
    let mut system = system.crash_coordinator().await?;
    // Then a worker gets the signal to stop, and hands its lease back.
    system
        .watch_until("crash", "half of the epochs", |study| study.epochs_reported > total / 2)
        .await?;
    let stopped = system.workers.swap_remove(0).stop()?;
    assert!(stopped.success(), "a worker that is told to stop: {stopped}");
    system.add_workers(1)?;

    let study = system.watch_to_end("crash").await?;
    assert_eq!(study.state, "completed", "{}", study.error);
    assert_same_rows(&expected, &system.all_rows("crash").await?, "after crashes");
    Ok(())
}

/// The example's whole study, while a process dies every few seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_regression_study_outlives_constant_crashes() -> anyhow::Result<()> {
    const CRASHES: u64 = 15;
    let study = studies::from_json(&studies::regression_json("crashes")?)?;
    let mut undisturbed = System::start(&[]).await?;
    undisturbed.add_workers(2)?;
    undisturbed.submit(study.clone()).await?;
    assert_eq!(undisturbed.watch_to_end("crashes").await?.state, "completed");
    let expected = undisturbed.all_rows("crashes").await?;
    drop(undisturbed);

    let mut system = System::start(&["--lease-ttl-ms", "1500", "--checkpoint-interval-ms", "100"]).await?;
    system.add_workers(2)?;
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
    let ended = system.watch_to_end("crashes").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    assert_same_rows(&expected, &system.all_rows("crashes").await?, "after constant crashes");
    let lost: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.trials WHERE study = 'crashes' AND attempts > 1")
        .fetch_one(&system.sql)
        .await?;
    assert!(lost > 0, "workers died with jobs");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_diverges_fails_its_trial_alone() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let mut study = studies::small("diverging", 12, 5)?;
    study["space"]["optimizer"] = json!({ "choice": ["sgd"] });
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["batch_size"] = json!({ "choice": [8] });
    // Half of the trials take such large steps that their loss is soon not finite.
    study["space"]["learning_rate"] = json!({ "choice": [0.01, 900.0] });
    study["refit"]["set"] = json!({ "learning_rate": 0.01 });
    system.submit(studies::from_json(&study)?).await?;
    let ended = system.watch_to_end("diverging").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);

    let trials: Vec<(f64, String, Option<String>, i32)> = sqlx::query_as(
        "SELECT (params->>'learning_rate')::float8, state, error, attempts FROM trawl.trials WHERE study = 'diverging'",
    )
    .fetch_all(&system.sql)
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
    let ranked: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.best_trials WHERE study = 'diverging'")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(ranked as usize, tame.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_of_which_every_trial_diverged_says_so_and_what_helps() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let mut study = studies::small("wild", 6, 5)?;
    study["space"]["optimizer"] = json!({ "choice": ["sgd"] });
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["learning_rate"] = json!({ "choice": [900.0] });
    system.submit(studies::from_json(&study)?).await?;
    let ended = system.watch_to_end("wild").await?;
    let said = "no trial completed: 6 of 6 diverged; lower learning_rate, or standardise features and target";
    assert_eq!((ended.state.as_str(), ended.error.as_str()), ("failed", said));
    assert!(system.trawl_stdout(&["show", "wild"])?.contains(said));
    let watched = system.trawl(&["watch", "wild"])?;
    let errors = String::from_utf8(watched.stderr)?;
    assert_eq!(
        (watched.status.code(), errors.contains(said)),
        (Some(1), true),
        "{errors}"
    );
    let stored: Option<String> = sqlx::query_scalar("SELECT error FROM trawl.studies WHERE name = 'wild'")
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(stored.as_deref(), Some(said));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_study_starts_nothing_and_a_cancelled_one_ends() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let mut client = system.studies().await?;
    system
        .submit(studies::from_json(&studies::small("steered", 30, 4)?)?)
        .await?;
    let name = || "steered".to_owned();
    let paused = client
        .pause_study(trawl_proto::v1::PauseStudyRequest { study: name() })
        .await?
        .into_inner();
    assert_eq!(paused.study.map(|study| study.state).as_deref(), Some("paused"));

    // A worker that asks gets nothing, although jobs are queued.
    let mut worker = trawl_e2e::ScriptedWorker::register(&system).await?;
    assert_eq!(worker.lease(1).await?.len(), 0);
    client
        .resume_study(trawl_proto::v1::ResumeStudyRequest { study: name() })
        .await?;
    let leased = worker.lease(1).await?;
    assert_eq!(leased.len(), 1);

    let delete = || trawl_proto::v1::DeleteStudyRequest { study: name() };
    let refused = client
        .delete_study(delete())
        .await
        .expect_err("a running study is not deleted");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    client
        .cancel_study(trawl_proto::v1::CancelStudyRequest { study: name() })
        .await?;
    assert!(
        !worker.report(&leased[0], 0).await?,
        "a cancelled study takes no reports"
    );
    let states: Vec<(String, i64)> =
        sqlx::query_as("SELECT state, count(*) FROM trawl.trials WHERE study = 'steered' GROUP BY state")
            .fetch_all(&system.sql)
            .await?;
    assert_eq!(states, [("cancelled".to_owned(), 30)]);

    client.delete_study(delete()).await?;
    for view in View::ALL {
        assert_eq!(system.rows(view, "steered").await?, Vec::<String>::new());
    }
    // Its name is free at once, and the new study has nothing of the old one.
    system.add_workers(1)?;
    system
        .submit(studies::from_json(&studies::small("steered", 3, 2)?)?)
        .await?;
    assert_eq!(system.watch_to_end("steered").await?.state, "completed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_that_is_paused_at_its_last_trial_refits_once_it_is_resumed() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let study = || "last-trial".to_owned();
    let mut submitted = studies::small(&study(), 1, 2)?;
    // With one fold, the trial is one job.
    submitted["validation"] = serde_json::json!({ "holdout": 0.2 });
    system.submit(studies::from_json(&submitted)?).await?;
    let mut worker = trawl_e2e::ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    worker.report_all(&job).await?;
    let mut client = system.studies().await?;
    let pause = trawl_proto::v1::PauseStudyRequest { study: study() };
    client.pause_study(pause).await?;
    assert!(worker.finish(&job).await?, "what is done counts");
    let state = async |system: &System| -> anyhow::Result<String> {
        let query = sqlx::query_scalar("SELECT state FROM trawl.studies WHERE name = 'last-trial'");
        Ok(query.fetch_one(&system.sql).await?)
    };
    assert_eq!(state(&system).await?, "paused");
    assert_eq!(worker.lease(1).await?.len(), 0, "nothing of a paused study is trained");
    let resume = trawl_proto::v1::ResumeStudyRequest { study: study() };
    let resumed = client.resume_study(resume).await?.into_inner().study;
    assert_eq!(resumed.map(|study| study.state).as_deref(), Some("refitting"));
    system.add_workers(1)?;
    assert_eq!(system.watch_to_end(&study()).await?.state, "completed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_deleted_study() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    // More trials and folds than one transaction removes.
    let study = studies::small("deleted", 450, 1)?;
    system.submit(studies::from_json(&study)?).await?;
    let mut worker = trawl_e2e::ScriptedWorker::register(&system).await?;
    for job in worker.lease(2).await? {
        worker.report_all(&job).await?;
        assert!(worker.finish(&job).await?);
    }
    let mut client = system.studies().await?;
    let study = "deleted".to_owned();
    let cancel = trawl_proto::v1::CancelStudyRequest { study: study.clone() };
    client.cancel_study(cancel).await?;
    client
        .delete_study(trawl_proto::v1::DeleteStudyRequest { study })
        .await?;
    let owner = trawl_e2e::owner_pool(&system.database_url).await?;
    trawl_e2e::look_for("the end of all rows", async || {
        let left: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM trawl_store.studies) + (SELECT count(*) FROM trawl_store.trials)
                  + (SELECT count(*) FROM trawl_store.jobs) + (SELECT count(*) FROM trawl_store.job_attempts)
                  + (SELECT count(*) FROM trawl_store.folds) + (SELECT count(*) FROM trawl_store.curves)
                  + (SELECT count(*) FROM trawl_store.job_reports)
                  + (SELECT count(*) FROM trawl_store.artifacts) + (SELECT count(*) FROM trawl_store.checkpoints)",
        )
        .fetch_one(&owner)
        .await?;
        Ok((left == 0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn all_binaries_stop_cleanly() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    system
        .submit(studies::from_json(&studies::small("stopped", 200, 400)?)?)
        .await?;
    system
        .watch_until("stopped", "first epochs", |study| study.epochs_reported > 0)
        .await?;
    let worker = system.workers.swap_remove(0).stop()?;
    assert!(worker.success(), "worker: {worker}");
    // The job is back in the queue, and the attempt does not count.
    let workers: Vec<(String, i32)> = sqlx::query_as("SELECT state, jobs FROM trawl.workers")
        .fetch_all(&system.sql)
        .await?;
    assert_eq!(workers, [("stopped".to_owned(), 0)]);
    let coordinator = system.coordinator.process.stop()?;
    assert!(coordinator.success(), "coordinator: {coordinator}");
    Ok(())
}
