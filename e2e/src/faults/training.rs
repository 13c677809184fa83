//! What goes wrong while a job trains: no number, no memory, a panic, no step.

use std::process::Command;

use anyhow::Context;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;
use trawl_proto::v1;

use super::{Outcome, Row, Settings};
use crate::failing_operation::FailingOperation;
use crate::frozen_thread::FrozenThread;
use crate::history::Percentiles;
use crate::postgres::owner_pool;
use crate::process::{Process, binary};
use crate::studies;
use crate::system::{System, look_for, wait_for, worker};
use crate::views::View;

const STUDY: &str = "disturbed";
const EPOCHS: u32 = 3_000;
/// Jobs whose trainings hang or panic, and how often each: once less than a job is tried.
const JOBS: usize = 3;
const FAULTS_PER_JOB: usize = 2;
/// The failing call is one of the first so many; a job of these epochs makes some hundred thousand.
const PANICS_BEFORE_CALL: u64 = 20_000;
/// A training that makes no step for so long hangs, in this row.
const PROGRESS_LIMIT_MS: u64 = 2_000;

/// A study half of whose trials diverge, and one some of whose networks are too large for the worker.
pub(super) async fn failed(_: &Settings) -> anyhow::Result<Outcome> {
    let mut system = System::start(&[]).await?;
    system.add_workers(1)?;
    let mut study = studies::small("diverging", 24, 5)?;
    study["space"]["optimizer"] = json!({ "choice": ["sgd"] });
    study["space"]["learning_rate"] = json!({ "choice": [0.01, 900.0] });
    study["refit"]["set"] = json!({ "learning_rate": 0.01 });
    system.submit(studies::from_json(&study)?).await?;
    let diverging = system.watch_to_end("diverging").await?;
    leave_memory(system.workers[0].id(), 512 << 20)?;
    system.submit(studies::too_large("sizes", 8)?).await?;
    let sizes = system.watch_to_end("sizes").await?;
    let errors: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT study, split_part(error, ':', 1), count(*) FROM trawl.trials WHERE error IS NOT NULL
         GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .fetch_all(&system.sql)
    .await?;
    let injected: i64 = errors.iter().map(|(_, _, trials)| trials).sum();
    let mut row = Row::new(injected as usize);
    for (study, error, trials) in &errors {
        row.see(format!("{study}: {trials} trials failed by '{error}'"));
    }
    let named = |study: &str, error: &str| {
        errors
            .iter()
            .any(|(of, by, _)| (of.as_str(), by.as_str()) == (study, error))
    };
    row.expect(
        errors.len() == 2 && named("diverging", "diverged") && named("sizes", "out of memory"),
        || format!("{errors:?}"),
    );
    for study in [diverging, sizes] {
        row.expect(study.state == "completed", || {
            format!("{}: {}", study.name, study.error)
        });
    }
    row.expect(system.workers[0].is_running(), || "the worker did not live".into());
    Ok(Outcome::Done(row))
}

/// Trainings panic at random moments: each job twice, as often as it may and still completes.
pub(super) async fn panicked(settings: &Settings) -> anyhow::Result<Outcome> {
    let mut chance = settings.chance("training-panicked");
    let folder = TempDir::new()?;
    let Some(operation) = FailingOperation::build(folder.path())? else {
        return Ok(Outcome::Skipped(
            "a call of libtorch is made to fail on x86-64 alone".into(),
        ));
    };
    let expected = undisturbed_rows().await?;
    let mut row = Row::new(JOBS * FAULTS_PER_JOB);
    for _ in 0..JOBS {
        let system = System::start(&["--checkpoint-interval-ms", "100"]).await?;
        let mut workers = Vec::new();
        // Each worker panics once, and then takes the job that the other one's panic left.
        for _ in 0..FAULTS_PER_JOB {
            let mut program = Command::new(binary("trawl-worker")?);
            operation.fail_at(&mut program, 1 + chance.below(PANICS_BEFORE_CALL));
            workers.push(worker(program, &system.coordinator.url)?);
        }
        system.submit(studies::long_job(STUDY, EPOCHS)?).await?;
        let study = system.watch_to_end(STUDY).await?;
        row.expect(study.state == "completed", || study.error.clone());
        let is_same = expected == system.all_rows(STUDY).await?;
        row.expect(is_same, || "rows differ from the undisturbed run's".into());
        let failures: Vec<(String, String)> =
            sqlx::query_as("SELECT cause, error FROM trawl_store.job_attempts WHERE cause IS NOT NULL")
                .fetch_all(&owner_pool(&system.database_url).await?)
                .await?;
        let is_typed = |(cause, error): &(String, String)| cause == "error" && error.contains("injected into libtorch");
        row.expect(
            failures.len() == FAULTS_PER_JOB && failures.iter().all(is_typed),
            || format!("{failures:?}"),
        );
        for worker in &mut workers {
            row.expect(worker.is_running(), || "a worker did not live".into());
        }
    }
    row.see("an operation of libtorch throws: the job failed by 'error' and went on from its checkpoint; rows as undisturbed");
    Ok(Outcome::Done(row))
}

/// The rows of an undisturbed job.
async fn undisturbed_rows() -> anyhow::Result<Vec<(View, Vec<String>)>> {
    let mut undisturbed = System::start(&[]).await?;
    undisturbed.add_workers(1)?;
    undisturbed.submit(studies::long_job(STUDY, EPOCHS)?).await?;
    undisturbed.watch_to_end(STUDY).await?;
    undisturbed.all_rows(STUDY).await
}

/// Threads that train stand still at random moments: each job twice, as often as it may and still completes.
pub(super) async fn hung(settings: &Settings) -> anyhow::Result<Outcome> {
    let mut chance = settings.chance("training-hung");
    let expected = undisturbed_rows().await?;
    let mut row = Row::new(JOBS * FAULTS_PER_JOB);
    let mut noticed = Vec::new();
    for _ in 0..JOBS {
        let system = System::start(&["--lease-ttl-ms", "1500", "--checkpoint-interval-ms", "100"]).await?;
        let mut trains = limited_worker(&system)?;
        system.submit(studies::long_job(STUDY, EPOCHS)?).await?;
        for hang in 0..FAULTS_PER_JOB as u64 {
            // Half of the job's reports are the first hang's, the other half the second's.
            let half = u64::from(6 * EPOCHS) / FAULTS_PER_JOB as u64;
            let reports = hang * half + 1 + chance.below(half * 3 / 4);
            let is_far = |study: &v1::StudySummary| study.epochs_reported >= reports;
            system.watch_until(STUDY, "more epochs", is_far).await?;
            let frozen_at = Instant::now();
            let stopped = look_for("a training", async || {
                // Before the job is leased, there is no such thread.
                FrozenThread::stop(trains.id(), "trawl-trainer").map_or(Ok(None), |stopped| Ok(Some(stopped)))
            });
            let Some(_thread) = stopped.await? else {
                return Ok(Outcome::Skipped("no thread of another process may be stopped".into()));
            };
            let mut hangs = std::mem::replace(&mut trains, limited_worker(&system)?);
            let tried = hang as i32 + 2;
            look_for("the job at another worker", async || {
                let attempts: Option<i32> = sqlx::query_scalar("SELECT max(attempts) FROM trawl.trials")
                    .fetch_one(&system.sql)
                    .await?;
                Ok((attempts == Some(tried)).then_some(()))
            })
            .await?;
            noticed.push(frozen_at.elapsed());
            let ended = wait_for("the end of the worker", hangs.ended()).await?;
            row.expect(ended.code() == Some(3), || format!("a worker ended with {ended}"));
        }
        let study = system.watch_to_end(STUDY).await?;
        row.expect(study.state == "completed", || study.error.clone());
        let is_same = expected == system.all_rows(STUDY).await?;
        row.expect(is_same, || "rows differ from the undisturbed run's".into());
    }
    noticed.sort_unstable();
    row.see(format!(
        "without a step for {PROGRESS_LIMIT_MS} ms it hangs; another worker had the job after {}; rows as undisturbed",
        Percentiles::of(&noticed)
    ));
    Ok(Outcome::Done(row))
}

fn limited_worker(system: &System) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("trawl-worker")?);
    command.args(["--progress-limit-ms", &PROGRESS_LIMIT_MS.to_string()]);
    worker(command, &system.coordinator.url)
}

/// Lets a process map so many bytes more than it has.
///
/// # Errors
/// It has ended.
pub fn leave_memory(process: u32, bytes: u64) -> anyhow::Result<()> {
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
