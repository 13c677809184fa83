//! Raced trials: the same ones are dropped, and the others have the same rows, on any workers and whatever happens meanwhile.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trawl_e2e::{Client, ScriptedWorker, System, View, assert_same_rows, look_for, owner_pool, studies};
use trawl_proto::v1;

/// Losses by trial, fold and epoch.
type Epochs = BTreeMap<(i32, i32, i32), (f64, f64)>;

/// Four generations on four rungs: a fold for 3, 9 and 27 epochs, then all three folds.
fn raced(name: &str) -> anyhow::Result<Value> {
    let mut study = studies::small(name, 32, 27)?;
    study["sampler"] = json!({ "random": {}, "generation": 8 });
    study["racing"] = json!({ "keep": 0.5 });
    Ok(study)
}

async fn study(client: &Client, name: &str) -> anyhow::Result<v1::StudySummary> {
    let request = v1::GetStudyRequest { study: name.to_owned() };
    let answer = client.studies().await?.get_study(request).await?.into_inner();
    Ok(answer.study.unwrap_or_default())
}

async fn steer(client: &Client, name: &str, pauses: bool) -> anyhow::Result<()> {
    let mut studies = client.studies().await?;
    let study = name.to_owned();
    if pauses {
        studies.pause_study(v1::PauseStudyRequest { study }).await?;
    } else {
        studies.resume_study(v1::ResumeStudyRequest { study }).await?;
    }
    Ok(())
}

/// Runs the study, undisturbed, with so many workers.
async fn run(workers: usize) -> anyhow::Result<(System, Vec<(View, Vec<String>)>)> {
    let mut system = System::start(&[]).await?;
    system.add_workers(workers)?;
    system.submit(studies::from_json(&raced("raced")?)?).await?;
    let ended = system.watch_to_end("raced").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    let rows = system.all_rows("raced").await?;
    Ok((system, rows))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_ends_the_same_whoever_trains_and_whatever_dies() -> anyhow::Result<()> {
    let (system, expected) = run(1).await?;
    what_a_race_leaves(&system).await?;
    a_replay_finds_what_was_changed(&system).await?;
    drop(system);
    let (system, by_three) = run(3).await?;
    drop(system);
    assert_same_rows(&expected, &by_three, "by three workers");

    let mut system = System::start(&["--lease-ttl-ms", "1500"]).await?;
    system.add_workers(2)?;
    system.submit(studies::from_json(&raced("raced")?)?).await?;
    let total = study(&system, "raced").await?.epochs_total;
    let share = |part: u64| move |study: &v1::StudySummary| study.epochs_reported > total * part / 8;
    system.watch_until("raced", "an eighth of the epochs", share(1)).await?;
    system.workers.remove(0).crash()?;
    system.add_workers(1)?;
    system.watch_until("raced", "a quarter of the epochs", share(2)).await?;
    let mut system = system.crash_coordinator().await?;
    system.watch_until("raced", "half of the epochs", share(4)).await?;
    steer(&system, "raced", true).await?;
    system.workers.remove(0).crash()?;
    system.add_workers(2)?;
    steer(&system, "raced", false).await?;
    let ended = system.watch_to_end("raced").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    assert_same_rows(&expected, &system.all_rows("raced").await?, "with crashes and a pause");
    Ok(())
}

/// Which trials came to which rung, and that nothing is left of the way there.
async fn what_a_race_leaves(system: &System) -> anyhow::Result<()> {
    let rungs: Vec<(i32, i32, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT generation, rung, trials, promoted, pruned, completed, failed FROM trawl.rungs
         WHERE study = 'raced' ORDER BY generation, rung",
    )
    .fetch_all(&system.sql)
    .await?;
    assert_eq!(rungs.len(), 16, "four generations on four rungs: {rungs:?}");
    for (generation, rung, trials, promoted, pruned, completed, failed) in &rungs {
        assert_eq!(promoted + pruned + completed + failed, *trials, "{generation}/{rung}");
        if *rung == 0 {
            assert_eq!(*trials, 8);
        }
        if *rung < 3 {
            assert!(
                *promoted <= (trials + 1) / 2 && *completed == 0,
                "{generation}/{rung}: {promoted} of {trials}"
            );
        }
    }
    // The trials of a generation that went on were better on the same fold after as many epochs.
    let came: Vec<(i32, i32, i32, i32, f64)> = sqlx::query_as(
        "SELECT t.generation, e.rung, t.trial, t.rung, r.val_loss
         FROM trawl.trials t
         CROSS JOIN (VALUES (0, 2), (1, 8), (2, 26)) AS e (rung, epoch)
         JOIN trawl.epoch_reports r USING (study, trial, epoch)
         WHERE t.study = 'raced' AND r.fold = t.generation % 3 AND t.rung >= e.rung",
    )
    .fetch_all(&system.sql)
    .await?;
    for (generation, rung, ..) in &rungs {
        let here = || came.iter().filter(|row| (row.0, row.1) == (*generation, *rung));
        let worst_kept = here()
            .filter(|row| row.3 > *rung)
            .map(|row| row.4)
            .fold(f64::MIN, f64::max);
        let best_dropped = here()
            .filter(|row| row.3 == *rung)
            .map(|row| row.4)
            .fold(f64::MAX, f64::min);
        assert!(
            worst_kept <= best_dropped,
            "{generation}/{rung}: {worst_kept} went on, {best_dropped} did not"
        );
    }
    assert!(came.len() > 32, "{came:?}");
    let partial: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM trawl.best_trials b JOIN trawl.trials t USING (study, trial) WHERE t.state <> 'completed'",
    )
    .fetch_one(&system.sql)
    .await?;
    assert_eq!(partial, 0, "whole trials alone are ranked");
    let owner = owner_pool(&system.database_url).await?;
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM trawl_store.folds WHERE state IN ('queued', 'running', 'paused')")
            .fetch_one(&owner)
            .await?;
    assert_eq!(open, 0);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl_store.checkpoints")
        .fetch_one(&owner)
        .await?;
    assert_eq!(kept, 0, "nobody goes on from a checkpoint any more");
    Ok(())
}

/// All of it can be computed anew, and a changed row shows.
async fn a_replay_finds_what_was_changed(system: &System) -> anyhow::Result<()> {
    let said = system.trawl_stdout(&["replay", "raced"])?;
    assert_eq!(said, "raced: 32 trials proposed and 12 rungs decided anew: identical\n");
    let owner = owner_pool(&system.database_url).await?;
    let change = async |sql: &'static str| sqlx::query(sql).execute(&owner).await.map(|_| ());
    change("UPDATE trawl_store.trials SET params = params || '{\"l2\": 0.5}' WHERE trial = 3").await?;
    change(
        "UPDATE trawl_store.trials SET rung_value = rung_value + 1 WHERE trial = (SELECT min(trial) FROM trawl_store.trials
         WHERE state = 'pruned' AND rung = 0)",
    )
    .await?;
    let said = system.trawl(&["replay", "raced"])?;
    let (told, error) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    assert_eq!(said.status.code(), Some(1), "{told}{error}");
    assert!(
        told.contains("trial 3 has other parameters than are proposed"),
        "{told}"
    );
    assert!(
        told.contains("has another value at rung 0 than its epochs have"),
        "{told}"
    );
    assert!(error.contains("2 differences"), "{error}");
    Ok(())
}

/// A trial that went from rung to rung, among others each time, has the epochs of one that was trained in one go.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_raced_has_the_losses_of_what_was_not() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let mut whole = raced("whole")?;
    whole["racing"] = json!("none");
    for study in [raced("raced")?, whole] {
        system.submit(studies::from_json(&study)?).await?;
    }
    for name in ["raced", "whole"] {
        let ended = system.watch_to_end(name).await?;
        assert_eq!(ended.state, "completed", "{}", ended.error);
    }
    let epochs = async |study: &str| -> anyhow::Result<Epochs> {
        let rows: Vec<(i32, i32, i32, f64, f64)> =
            sqlx::query_as("SELECT trial, fold, epoch, train_loss, val_loss FROM trawl.epoch_reports WHERE study = $1")
                .bind(study)
                .fetch_all(&system.sql)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(trial, fold, epoch, train, val)| ((trial, fold, epoch), (train, val)))
            .collect())
    };
    let (raced, whole) = (epochs("raced").await?, epochs("whole").await?);
    assert!(
        raced.len() < whole.len() / 2,
        "{} of {} epochs",
        raced.len(),
        whole.len()
    );
    for (epoch, losses) in &raced {
        assert_eq!(Some(losses), whole.get(epoch), "trial, fold and epoch {epoch:?}");
    }
    let differing: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM trawl.best_trials r JOIN trawl.best_trials w USING (trial)
         WHERE r.study = 'raced' AND w.study = 'whole' AND r.value <> w.value",
    )
    .fetch_one(&system.sql)
    .await?;
    assert_eq!(differing, 0);
    let told = study(&system, "raced").await?;
    assert!(told.epochs_total < study(&system, "whole").await?.epochs_total);
    Ok(())
}

/// A job that nobody can train says nothing about its configurations.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_given_up_pauses_the_race() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let mut json = raced("given-up")?;
    json["space"]["batch_size"] = json!({ "choice": [8] });
    json["space"]["activation"] = json!({ "choice": ["relu"] });
    system.submit(studies::from_json(&json)?).await?;
    let mut scripted = ScriptedWorker::register(&system).await?;
    let job = scripted.lease_one().await?;
    let members = job.job.as_ref().map(|job| job.members.len()).unwrap_or_default();
    assert!(scripted.release(&job, "bad_input", "the file is broken").await?);
    let paused = study(&system, "given-up").await?;
    assert_eq!(paused.state, "paused");
    assert!(
        paused.pause_reason.contains("the file is broken"),
        "{}",
        paused.pause_reason
    );
    assert_eq!(u64::from(paused.trials_failed), members as u64);
    assert_eq!(paused.trials_pruned, 0, "nothing was decided");
    scripted.unregister().await?;
    system.add_workers(1)?;
    steer(&system, "given-up", false).await?;
    let ended = system.watch_to_end("given-up").await?;
    assert_eq!(ended.trials_completed + ended.trials_pruned + ended.trials_failed, 32);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_is_cancelled_leaves_nothing_open() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    system.submit(studies::from_json(&raced("cancelled")?)?).await?;
    system
        .watch_until("cancelled", "the first pruned trials", |study| study.trials_pruned > 0)
        .await?;
    let cancel = v1::CancelStudyRequest {
        study: "cancelled".to_owned(),
    };
    system.studies().await?.cancel_study(cancel).await?;
    let owner = owner_pool(&system.database_url).await?;
    look_for("all to be over", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM trawl_store.folds WHERE state IN ('queued', 'running', 'paused'))
                  + (SELECT count(*) FROM trawl_store.trials WHERE state IN ('queued', 'running'))
                  + (SELECT count(*) FROM trawl_store.checkpoints)",
        )
        .fetch_one(&owner)
        .await?;
        Ok((open == 0).then_some(()))
    })
    .await?;
    system.wait_for_objects("checkpoints", 0).await?;
    Ok(())
}

/// Where epochs are searched, a trial may be whole on an early rung, and is compared by its value.
#[tokio::test(flavor = "multi_thread")]
async fn trials_of_different_lengths_are_raced() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    system.add_workers(2)?;
    let mut study = raced("lengths")?;
    study["validation"] = json!({ "holdout": 0.2 });
    study["training"]["epochs"] = json!("$epochs");
    study["space"]["epochs"] = json!({ "choice": [1, 2, 9, 27] });
    system.submit(studies::from_json(&study)?).await?;
    let ended = system.watch_to_end("lengths").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    assert_eq!(ended.trials_completed + ended.trials_pruned + ended.trials_failed, 32);
    let early: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.trials WHERE state = 'completed' AND rung < 2")
        .fetch_one(&system.sql)
        .await?;
    assert!(early > 0, "no trial of one epoch completed on the first rung");
    let said = system.trawl_stdout(&["replay", "lengths"])?;
    assert!(said.ends_with("identical\n"), "{said}");
    Ok(())
}
