//! Raced trials: the same ones are dropped, and the others have the same rows, on any workers and whatever happens meanwhile.

use serde_json::{Value, json};
use trawl_e2e::{Ask, Rows, ScriptedWorker, System, assert_same_rows, look_for, studies};
use trawl_proto::v1;

/// Four generations on four rungs: a fold for 3, 9 and 27 epochs, then all three folds.
fn raced(name: &str) -> anyhow::Result<Value> {
    let mut study = studies::small(name, 32, 27)?;
    study["sampler"] = json!({ "random": {}, "generation": 8 });
    study["racing"] = json!({ "keep": 0.5 });
    Ok(study)
}

/// Runs the study, undisturbed, with so many workers.
async fn run(workers: usize) -> anyhow::Result<(System, Rows)> {
    let system = System::with_workers(&[], workers).await?;
    system.complete(raced("raced")?).await?;
    let rows = system.all_rows("raced").await?;
    Ok((system, rows))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_ends_the_same_whoever_trains_and_whatever_dies() -> anyhow::Result<()> {
    let (system, expected) = run(1).await?;
    what_a_race_leaves(&system).await?;
    a_replay_finds_what_was_changed(&system).await?;
    drop(system);
    let (_, by_three) = run(3).await?;
    assert_same_rows(&expected, &by_three, "by three workers");

    let mut system = System::with_workers(&["--lease-ttl-ms", "1500"], 2).await?;
    let total = system.submit(raced("raced")?).await?.epochs_total;
    let share = |part: u64| move |study: &v1::StudySummary| study.epochs_reported > total * part / 8;
    system.watch_until("raced", "an eighth of the epochs", share(1)).await?;
    system.workers.remove(0).crash()?;
    system.add_workers(1)?;
    system.watch_until("raced", "a quarter of the epochs", share(2)).await?;
    let mut system = system.crash_coordinator().await?;
    system.watch_until("raced", "half of the epochs", share(4)).await?;
    system.trawl_stdout(&["pause", "raced"])?;
    system.workers.remove(0).crash()?;
    system.add_workers(2)?;
    system.trawl_stdout(&["resume", "raced"])?;
    system
        .completes_as("raced", &expected, "with crashes and a pause")
        .await?;
    Ok(())
}

/// Which trials came to which rung, and that nothing is left of the way there.
async fn what_a_race_leaves(system: &System) -> anyhow::Result<()> {
    let rungs: Vec<(i32, i32, i64, i64, i64, i64, i64)> = system
        .tuples(
            "SELECT generation, rung, trials, promoted, pruned, completed, failed FROM trawl.rungs
             WHERE study = 'raced' ORDER BY generation, rung",
        )
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
    let came: Vec<(i32, i32, i32, i32, f64)> = system
        .tuples(
            "SELECT t.generation, e.rung, t.trial, t.rung, r.val_loss
             FROM trawl.trials t
             CROSS JOIN (VALUES (0, 2), (1, 8), (2, 26)) AS e (rung, epoch)
             JOIN trawl.epoch_reports r USING (study, trial, epoch)
             WHERE t.study = 'raced' AND r.fold = t.generation % 3 AND t.rung >= e.rung",
        )
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
    let partial: i64 = system
        .value(
            "SELECT count(*) FROM trawl.best_trials b JOIN trawl.trials t USING (study, trial)
             WHERE t.state <> 'completed'",
        )
        .await?;
    assert_eq!(partial, 0, "whole trials alone are ranked");
    let owner = system.owner().await?;
    let open: i64 = owner
        .value("SELECT count(*) FROM trawl_store.folds WHERE state IN ('queued', 'running', 'paused')")
        .await?;
    assert_eq!(open, 0);
    let kept: i64 = owner.value("SELECT count(*) FROM trawl_store.checkpoints").await?;
    assert_eq!(kept, 0, "nobody goes on from a checkpoint any more");
    Ok(())
}

/// All of it can be computed anew, and a changed row shows.
async fn a_replay_finds_what_was_changed(system: &System) -> anyhow::Result<()> {
    let said = system.trawl_stdout(&["replay", "raced"])?;
    assert_eq!(said, "raced: 32 trials proposed and 12 rungs decided anew: identical\n");
    let owner = system.owner().await?;
    let change = async |sql: &'static str| sqlx::query(sql).execute(&owner).await.map(|_| ());
    change("UPDATE trawl_store.trials SET params = params || '{\"l2\": 0.5}' WHERE trial = 3").await?;
    change(
        "UPDATE trawl_store.trials SET rung_value = rung_value + 1 WHERE trial = (SELECT min(trial) FROM trawl_store.trials
         WHERE state = 'pruned' AND rung = 0)",
    )
    .await?;
    let said = system.trawl(&["replay", "raced"])?;
    let (told, error) = (said.stdout, said.stderr);
    assert_eq!(said.code, Some(1), "{told}{error}");
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
    let system = System::with_workers(&[], 2).await?;
    let mut whole = raced("whole")?;
    whole["racing"] = json!("none");
    let whole = system.complete(&whole).await?;
    let raced = system.complete(raced("raced")?).await?;
    assert!(raced.epochs_total < whole.epochs_total);
    let (of_raced, of_both, differing): (i64, i64, i64) = system
        .tuple(
            "SELECT count(*), count(w), count(*) FILTER (WHERE (r.train_loss, r.val_loss) <> (w.train_loss, w.val_loss))
             FROM trawl.epoch_reports r
             LEFT JOIN trawl.epoch_reports w ON w.study = 'whole' AND (w.trial, w.fold, w.epoch) = (r.trial, r.fold, r.epoch)
             WHERE r.study = 'raced'",
        )
        .await?;
    assert!(
        0 < of_raced && of_raced < i64::try_from(whole.epochs_reported)? / 2,
        "{of_raced} epochs"
    );
    assert_eq!((of_both, differing), (of_raced, 0));
    let differing: i64 = system
        .value(
            "SELECT count(*) FROM trawl.best_trials r JOIN trawl.best_trials w USING (trial)
             WHERE r.study = 'raced' AND w.study = 'whole' AND r.value <> w.value",
        )
        .await?;
    assert_eq!(differing, 0);
    Ok(())
}

/// A job that nobody can train says nothing about its configurations.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_given_up_pauses_the_race() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let mut json = raced("given-up")?;
    json["space"]["batch_size"] = json!({ "choice": [8] });
    json["space"]["activation"] = json!({ "choice": ["relu"] });
    system.submit(&json).await?;
    let mut scripted = ScriptedWorker::register(&system).await?;
    let job = scripted.lease_one().await?;
    let members = job.job.as_ref().map(|job| job.members.len()).unwrap_or_default();
    assert!(scripted.release(&job, "bad_input", "the file is broken").await?);
    let paused = system.study("given-up").await?;
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
    system.trawl_stdout(&["resume", "given-up"])?;
    let ended = system.watch_to_end("given-up").await?;
    assert_eq!(ended.trials_completed + ended.trials_pruned + ended.trials_failed, 32);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_that_is_cancelled_leaves_nothing_open() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 1).await?;
    system.submit(raced("cancelled")?).await?;
    system
        .watch_until("cancelled", "the first pruned trials", |study| study.trials_pruned > 0)
        .await?;
    system.trawl_stdout(&["cancel", "cancelled"])?;
    let owner = system.owner().await?;
    look_for("all to be over", async || {
        let open: i64 = owner
            .value(
                "SELECT (SELECT count(*) FROM trawl_store.folds WHERE state IN ('queued', 'running', 'paused'))
                  + (SELECT count(*) FROM trawl_store.trials WHERE state IN ('queued', 'running'))
                  + (SELECT count(*) FROM trawl_store.checkpoints)",
            )
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
    let system = System::with_workers(&[], 2).await?;
    let mut study = raced("lengths")?;
    study["validation"] = json!({ "holdout": 0.2 });
    study["training"]["epochs"] = json!("$epochs");
    study["space"]["epochs"] = json!({ "choice": [1, 2, 9, 27] });
    let ended = system.complete(&study).await?;
    assert_eq!(ended.trials_completed + ended.trials_pruned + ended.trials_failed, 32);
    let early: i64 = system
        .value("SELECT count(*) FROM trawl.trials WHERE state = 'completed' AND rung < 2")
        .await?;
    assert!(early > 0, "no trial of one epoch completed on the first rung");
    system.trawl_stdout(&["replay", "lengths"])?;
    Ok(())
}
