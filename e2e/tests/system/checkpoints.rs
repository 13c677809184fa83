//! Jobs that change hands go on from their last checkpoint, and end with the rows of an undisturbed run, to the last bit.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;
use trawl_e2e::{Ask, Rows, System, look_for, studies};
use trawl_proto::v1;

const STUDY: &str = "kept";
const EPOCHS: u32 = 2_000;
/// Never, as far as a test goes.
const NO_INTERVAL: [&str; 2] = ["--checkpoint-interval-ms", "86400000"];
const SHORT_INTERVAL: [&str; 2] = ["--checkpoint-interval-ms", "50"];
const SHORT_LEASES: [&str; 2] = ["--lease-ttl-ms", "1500"];

/// One job of 6 members that trains for seconds.
fn one_job() -> anyhow::Result<v1::Study> {
    studies::long_job(STUDY, EPOCHS)
}

async fn undisturbed() -> anyhow::Result<Rows> {
    trawl_e2e::undisturbed(one_job()?).await
}

/// A system with a worker that trains the study.
struct Run {
    system: System,
    owner: PgPool,
    logs: TempDir,
}

impl Run {
    async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let system = System::with_workers(flags, 1).await?;
        system.submit(one_job()?).await?;
        Ok(Self {
            owner: system.owner().await?,
            system,
            logs: TempDir::new()?,
        })
    }

    fn log(&self) -> PathBuf {
        self.logs.path().join("worker.log")
    }

    /// Waits until the job has that many checkpoints, of which the newest one is of a later epoch than the first.
    async fn wait_for_checkpoints(&self, count: usize) -> anyhow::Result<Vec<(i32, i32, String)>> {
        look_for("checkpoints", async || {
            let checkpoints: Vec<(i32, i32, String)> = self
                .owner
                .tuples("SELECT number, epochs, object_key FROM trawl_store.checkpoints ORDER BY number DESC")
                .await?;
            let are_there = checkpoints.len() == count && checkpoints.iter().all(|(_, epochs, _)| *epochs > 0);
            Ok(are_there.then_some(checkpoints))
        })
        .await
    }

    /// Waits until the job is back in the queue: from then on nothing more is kept of it. Returns how its attempts ended.
    async fn wait_until_queued(&self) -> anyhow::Result<Vec<(Option<String>, i32)>> {
        look_for("the job to be queued", async || {
            let attempts: Vec<(Option<String>, i32)> = self
                .owner
                .tuples(
                    "SELECT a.outcome, j.attempts FROM trawl_store.job_attempts a JOIN trawl_store.jobs j USING (job_id)
                     WHERE j.state = 'queued'",
                )
                .await?;
            Ok(Some(attempts).filter(|attempts| !attempts.is_empty()))
        })
        .await
    }

    /// Kills the worker amid the job, once the job has two checkpoints; returns the checkpoints that are left.
    async fn crash_worker(&mut self) -> anyhow::Result<Vec<(i32, i32, String)>> {
        self.wait_for_checkpoints(2).await?;
        self.system.workers.remove(0).crash()?;
        assert_eq!(self.wait_until_queued().await?, [(Some("expired".to_owned()), 1)]);
        self.wait_for_checkpoints(2).await
    }

    /// Lets another worker end the study, and compares the rows.
    async fn end(mut self, expected: &Rows, what: &str) -> anyhow::Result<Vec<Value>> {
        self.system.add_worker_with_log(&self.log())?;
        self.system.completes_as(STUDY, expected, what).await?;
        let left: i64 = self.owner.value("SELECT count(*) FROM trawl_store.checkpoints").await?;
        assert_eq!(left, 0, "checkpoints go with their job");
        self.system.wait_for_objects("checkpoints", 0).await?;
        log_of(&self.log())
    }

    fn object(&self, key: &str) -> PathBuf {
        self.system.artifacts.path().join(key)
    }
}

fn log_of(path: &Path) -> anyhow::Result<Vec<Value>> {
    let log = std::fs::read_to_string(path)?;
    log.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Number and epochs of the checkpoints in messages of this text.
fn checkpoints_in(log: &[Value], message: &str) -> Vec<(i64, i64)> {
    log.iter()
        .filter(|line| line["message"] == message)
        .filter_map(|line| Some((line["checkpoint.number"].as_i64()?, line["checkpoint.epochs"].as_i64()?)))
        .collect()
}

const RESUMED: &str = "job goes on from a checkpoint";
const LEFT_ASIDE: &str = "checkpoint left aside";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_worker_goes_on_and_a_broken_checkpoint_is_left_aside() -> anyhow::Result<()> {
    let expected = undisturbed().await?;
    let flags = [SHORT_INTERVAL, SHORT_LEASES].concat();

    let mut run = Run::start(&flags).await?;
    let kept = run.crash_worker().await?;
    let newest = (i64::from(kept[0].0), i64::from(kept[0].1));
    let log = run.end(&expected, "after a crash").await?;
    assert_eq!(checkpoints_in(&log, RESUMED), [newest]);
    assert_eq!(checkpoints_in(&log, LEFT_ASIDE), []);

    // The newest one is flipped in a bit of its last tensor, which no format notices.
    let mut run = Run::start(&flags).await?;
    let kept = run.crash_worker().await?;
    let path = run.object(&kept[0].2);
    let mut content = std::fs::read(&path)?;
    *content.last_mut().context("an empty checkpoint")? ^= 1;
    std::fs::write(&path, content)?;
    let log = run.end(&expected, "after a flipped bit").await?;
    assert_eq!(
        checkpoints_in(&log, LEFT_ASIDE).first().map(|first| first.0),
        Some(kept[0].0.into())
    );
    assert_eq!(
        checkpoints_in(&log, RESUMED).first().map(|first| first.0),
        Some(kept[1].0.into())
    );

    // One is cut short and one is gone: the job begins anew.
    let mut run = Run::start(&flags).await?;
    let kept = run.crash_worker().await?;
    let path = run.object(&kept[0].2);
    let content = std::fs::read(&path)?;
    std::fs::write(&path, &content[..content.len() / 2])?;
    std::fs::remove_file(run.object(&kept[1].2))?;
    let log = run.end(&expected, "after the loss of both").await?;
    assert_eq!(checkpoints_in(&log, LEFT_ASIDE).len(), 2);
    assert_eq!(checkpoints_in(&log, RESUMED), []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_read_just_now_is_waited_for() -> anyhow::Result<()> {
    let expected = undisturbed().await?;
    let mut run = Run::start(&[SHORT_INTERVAL, SHORT_LEASES].concat()).await?;
    let kept = run.crash_worker().await?;
    // The store fails, and does not say that there is no such object.
    let path = run.object(&kept[0].2);
    let aside = run.logs.path().join("aside");
    std::fs::rename(&path, &aside)?;
    std::os::unix::fs::symlink(&path, &path)?;
    run.system.add_worker_with_log(&run.log())?;
    look_for("a try that fails", async || {
        let log = std::fs::read_to_string(run.log())?;
        Ok(log.contains("no checkpoint; trying again").then_some(()))
    })
    .await?;
    // A worker that stops meanwhile does not leave a fresh start as the newest checkpoint.
    assert!(run.system.workers.remove(0).stop()?.success());
    run.wait_until_queued().await?;
    assert_eq!(run.wait_for_checkpoints(2).await?, kept);
    std::fs::remove_file(&path)?;
    std::fs::rename(&aside, &path)?;
    let log = run.end(&expected, "after the store failed").await?;
    assert_eq!(checkpoints_in(&log, RESUMED), [(kept[0].0.into(), kept[0].1.into())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_leaves_a_checkpoint() -> anyhow::Result<()> {
    let expected = undisturbed().await?;
    let mut run = Run::start(&NO_INTERVAL).await?;
    let is_under_way = |study: &v1::StudySummary| study.epochs_reported > 100;
    run.system.watch_until(STUDY, "some epochs", is_under_way).await?;
    assert!(run.system.workers.remove(0).stop()?.success());
    let kept = run.wait_for_checkpoints(1).await?;
    let log = run.end(&expected, "after a drain").await?;
    assert_eq!(checkpoints_in(&log, RESUMED), [(0, kept[0].1.into())]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_study_gives_its_workers_back_and_goes_on_where_it_was() -> anyhow::Result<()> {
    let expected = undisturbed().await?;
    let mut run = Run::start(&[NO_INTERVAL, SHORT_LEASES].concat()).await?;
    let is_under_way = |study: &v1::StudySummary| study.epochs_reported > 100;
    run.system.watch_until(STUDY, "some epochs", is_under_way).await?;
    run.system.trawl_stdout(&["pause", STUDY])?;
    let kept = run.wait_for_checkpoints(1).await?;
    assert_eq!(run.wait_until_queued().await?, [(Some("drained".to_owned()), 0)]);
    // The worker that had it takes it again, or another one does.
    run.system.workers.remove(0).crash()?;
    run.system.trawl_stdout(&["resume", STUDY])?;
    let log = run.end(&expected, "after a pause").await?;
    assert_eq!(checkpoints_in(&log, RESUMED), [(0, kept[0].1.into())]);
    Ok(())
}
