//! A job that hangs, or runs out of memory, while it trains. Each has a cause of its own, and the study goes on.
//! (A loss that is no number is in `study.rs`: it is a result.)

use std::io::Write;

use anyhow::Context;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use sqlx::PgPool;
use trawl_e2e::{Ask, FrozenThread, System, look_for, studies, undisturbed, wait_for, worker};

/// Attempts at jobs: how each ended, and why.
async fn attempts(owner: &PgPool) -> anyhow::Result<Vec<(Option<String>, Option<String>, Option<String>)>> {
    owner
        .tuples("SELECT outcome, cause, error FROM trawl_store.job_attempts ORDER BY granted_at")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_hangs_goes_to_another_worker_although_its_own_lives() -> anyhow::Result<()> {
    const STUDY: &str = "hung";
    const TTL_MS: u64 = 1_500;
    let study = || studies::long_job(STUDY, 1_000);
    let expected = undisturbed(study()?).await?;

    let flags = ["--lease-ttl-ms", "1500", "--checkpoint-interval-ms", "50"];
    let mut system = System::start(&flags).await?;
    let owner = system.owner().await?;
    // Longer than three leases last: heartbeats alone keep this one.
    let mut hangs = worker(&system.coordinator.url, |command| {
        command.args(["--progress-limit-ms", "5000"]);
    })?;
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
    system
        .completes_as(STUDY, &expected, "after a training that hung")
        .await?;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        attempts(&owner).await?,
        [
            (text("failed"), text("hung"), text("training made no step for 5 s")),
            (text("finished"), None, None)
        ]
    );
    let workers: i64 = owner
        .value("SELECT count(DISTINCT worker_id) FROM trawl_store.job_attempts")
        .await?;
    assert_eq!(workers, 2);
    let tried: Vec<i32> = system
        .values("SELECT attempts FROM trawl.trials ORDER BY trial")
        .await?;
    assert_eq!(tried, [2, 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_too_large_for_a_worker_fails_alone() -> anyhow::Result<()> {
    let mut system = System::with_workers(&[], 1).await?;
    let owner = system.owner().await?;
    // A small study first: the worker has then mapped its own memory.
    system.complete(studies::one_job("before", 1, 2)?).await?;
    leave_memory(system.workers[0].id(), 512 << 20)?;
    system.complete(studies::too_large("sizes", 8)?).await?;
    let trials: Vec<(i64, String, Option<String>, i32)> = system
        .tuples("SELECT (params->>'units')::bigint, state, error, attempts FROM trawl.trials WHERE study = 'sizes'")
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
    let causes: Vec<String> = owner
        .values("SELECT DISTINCT cause FROM trawl_store.job_attempts WHERE cause IS NOT NULL")
        .await?;
    assert_eq!(causes, ["out_of_memory"]);
    assert!(system.workers[0].is_running(), "the worker lives");
    Ok(())
}

/// Lets a process map so many bytes more than it has.
fn leave_memory(process: u32, bytes: u64) -> anyhow::Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib: u64 = line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?;
    let limit = Rlimit {
        current: Some((kib << 10) + bytes),
        maximum: None,
    };
    let pid = Pid::from_raw(i32::try_from(process)?).context("a process without a number")?;
    prlimit(Some(pid), Resource::As, limit)?;
    Ok(())
}
