//! A job that hangs, or runs out of memory, while it trains. Each has a cause of its own, and the study goes on.
//! (A loss that is no number is in `study.rs`: it is a result.)

use std::io::Write;
use std::process::Command;

use sqlx::PgPool;
use trawl_e2e::faults::leave_memory;
use trawl_e2e::{FrozenThread, System, assert_same_rows, binary, look_for, owner_pool, studies, wait_for, worker};

/// Attempts at jobs: how each ended, and why.
async fn attempts(owner: &PgPool) -> anyhow::Result<Vec<(Option<String>, Option<String>, Option<String>)>> {
    Ok(
        sqlx::query_as("SELECT outcome, cause, error FROM trawl_store.job_attempts ORDER BY granted_at")
            .fetch_all(owner)
            .await?,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_hangs_goes_to_another_worker_although_its_own_lives() -> anyhow::Result<()> {
    const STUDY: &str = "hung";
    const TTL_MS: u64 = 1_500;
    let study = || studies::long_job(STUDY, 1_000);
    let mut undisturbed = System::start(&[]).await?;
    undisturbed.add_workers(1)?;
    undisturbed.submit(study()?).await?;
    assert_eq!(undisturbed.watch_to_end(STUDY).await?.state, "completed");
    let expected = undisturbed.all_rows(STUDY).await?;
    drop(undisturbed);

    let flags = ["--lease-ttl-ms", "1500", "--checkpoint-interval-ms", "50"];
    let mut system = System::start(&flags).await?;
    let owner = owner_pool(&system.database_url).await?;
    let mut command = Command::new(binary("trawl-worker")?);
    // Longer than three leases last: heartbeats alone keep this one.
    command.args(["--progress-limit-ms", "5000"]);
    let mut hangs = worker(command, &system.coordinator.url)?;
    system.submit(study()?).await?;
    system
        .watch_until(STUDY, "some epochs", |study| study.epochs_reported > 600)
        .await?;
    let Some(thread) = FrozenThread::stop(hangs.id(), "trawl-trainer")? else {
        writeln!(
            std::io::stderr(),
            "skipped: no thread of another process may be stopped here"
        )?;
        return Ok(());
    };

    look_for("heartbeats for longer than two leases last", async || {
        let beats: bool = sqlx::query_scalar(
            "SELECT w.last_seen_at > max(r.reported_at) + make_interval(secs => $1)
             FROM trawl_store.workers w, trawl_store.job_reports r GROUP BY w.last_seen_at",
        )
        .bind((2 * TTL_MS) as f64 / 1e3)
        .fetch_one(&owner)
        .await?;
        Ok(beats.then_some(()))
    })
    .await?;
    assert!(thread.stands());
    assert_eq!(attempts(&owner).await?, [(None, None, None)], "the lease is held");

    system.add_workers(1)?;
    let ended = wait_for("the end of the worker", hangs.ended()).await?;
    assert_eq!(ended.code(), Some(3), "{ended}");
    let study = system.watch_to_end(STUDY).await?;
    assert_eq!(study.state, "completed", "{}", study.error);
    assert_same_rows(&expected, &system.all_rows(STUDY).await?, "after a training that hung");
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        attempts(&owner).await?,
        [
            (text("failed"), text("hung"), text("training made no step for 5 s")),
            (text("finished"), None, None)
        ]
    );
    let workers: i64 = sqlx::query_scalar("SELECT count(DISTINCT worker_id) FROM trawl_store.job_attempts")
        .fetch_one(&owner)
        .await?;
    assert_eq!(workers, 2);
    let tried: Vec<i32> = sqlx::query_scalar("SELECT attempts FROM trawl.trials ORDER BY trial")
        .fetch_all(&system.sql)
        .await?;
    assert_eq!(tried, [2, 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_too_large_for_a_worker_fails_alone() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let owner = owner_pool(&system.database_url).await?;
    system.add_workers(1)?;
    // A small study first: the worker has then mapped its own memory.
    system.submit(studies::one_job("before", 1, 2)?).await?;
    assert_eq!(system.watch_to_end("before").await?.state, "completed");
    leave_memory(system.workers[0].id(), 512 << 20)?;
    system.submit(studies::too_large("sizes", 8)?).await?;
    let ended = system.watch_to_end("sizes").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    let trials: Vec<(i64, String, Option<String>, i32)> = sqlx::query_as(
        "SELECT (params->>'units')::bigint, state, error, attempts FROM trawl.trials WHERE study = 'sizes'",
    )
    .fetch_all(&system.sql)
    .await?;
    let (large, small): (Vec<_>, Vec<_>) = trials.into_iter().partition(|(units, ..)| *units > 8);
    assert!(!large.is_empty() && !small.is_empty());
    for (_, state, error, attempts) in &large {
        assert_eq!((state.as_str(), *attempts), ("failed", 3));
        assert!(
            error
                .as_ref()
                .is_some_and(|error| error.starts_with("out of memory: ") && !error.contains("frame #0")),
            "{error:?}"
        );
    }
    assert!(small.iter().all(|(_, state, ..)| state == "completed"), "{small:?}");
    let causes: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT cause FROM trawl_store.job_attempts WHERE cause IS NOT NULL")
            .fetch_all(&owner)
            .await?;
    assert_eq!(causes, ["out_of_memory"]);
    assert!(system.workers[0].is_running(), "the worker lives");
    Ok(())
}
