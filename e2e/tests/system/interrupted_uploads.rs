//! Uploads that are interrupted at random points, by the end of their sender or receiver: only whole files are visible, and in the
//! end the object store has the listed ones.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde_json::json;
use trawl_domain::seed::{Purpose, Seed, Stream};
use trawl_e2e::{Client, FaultProxy, Process, ScriptedWorker, System, View, binary, studies, worker, written};

/// Uploads of each kind that are interrupted.
const DATASETS: u64 = 12;
const ARTIFACTS: u64 = 14;
/// Studies with a worker that trains; each is interrupted once.
const STUDIES: u64 = 5;

/// More than two parts go to the store before the end of the largest.
const BYTES_MAX: u64 = 12 << 20;

/// The same for every run of the tests.
fn chance(seed: u64) -> Stream {
    Seed(seed).stream(Purpose::Folds)
}

/// Which process dies: the coordinator every other time, and always at random points.
fn meets_coordinator(round: u64) -> bool {
    round % 2 == 1
}

/// A study file with a dataset of its own of about `bytes`.
fn study_with_data(folder: &Path, number: u64, bytes: u64) -> anyhow::Result<String> {
    let mut rows = String::from("input,label\n");
    while (rows.len() as u64) < bytes {
        writeln!(rows, "{:09},{number}.5", rows.len())?;
    }
    let mut study = studies::small(&format!("study-{number}"), 1, 1)?;
    study["dataset"]["csv"]["train"] = json!(written(folder, &format!("{number}.csv"), rows)?);
    study["dataset"]["csv"]["test"] = json!(System::examples().join("data/test.csv"));
    written(folder, &format!("{number}.json"), study)
}

fn submit(proxy: &FaultProxy, file: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("trawl")?);
    Process::start(command.args(["submit", file]).env("TRAWL_SERVER", &proxy.url))
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_dataset_files_leave_nothing() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let proxy = FaultProxy::open(&system.coordinator.url).await?;
    let folder = tempfile::tempdir()?;
    let mut chance = chance(1);
    for number in 0..DATASETS {
        let size = 1 + chance.below(BYTES_MAX);
        let file = study_with_data(folder.path(), number, size)?;
        proxy.close_after(chance.below(size));
        let client = submit(&proxy, &file)?;
        proxy.closed().await?;
        if meets_coordinator(number) {
            system = system.crash_coordinator().await?;
        }
        client.crash()?;
        proxy.cut();
        assert!(
            system.rows(View::Trials, &format!("study-{number}")).await?.is_empty(),
            "study {number} was interrupted"
        );
        let again = submit(&proxy, &file)?.ended().await?;
        assert!(again.success(), "study {number}: {again}");
    }
    let system = system.crash_coordinator().await?;
    // Each study has its own file to train on, and all have one to test with.
    assert_eq!(system.compare_objects().await?, DATASETS as usize + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_artifacts_leave_nothing() -> anyhow::Result<()> {
    let mut system = System::start(&["--lease-ttl-ms", "60000"]).await?;
    // 5 trials, of which members 0 to 8 are the three best.
    system.submit(studies::one_job("job", 5, 1)?).await?;
    let proxy = FaultProxy::open(&system.coordinator.url).await?;
    let trawl = Client::new(&proxy.url, &system.database_url).await?;
    let mut worker = ScriptedWorker::register(&trawl).await?;
    let job = worker.lease_one().await?;
    worker.report_all(&job).await?;
    let mut chance = chance(2);
    let mut sent = BTreeMap::new();
    for number in 0..ARTIFACTS {
        let member = chance.below(15) as u32;
        let size = 1 + chance.below(BYTES_MAX);
        let content: Vec<u8> = (0..size).map(|place| (place + number) as u8).collect();
        let name = format!("fold-{}.safetensors", member % 3);
        let messages = ScriptedWorker::artifact_messages(&job, Some(member), &name, &content);
        proxy.close_after(chance.below(size));
        let mut sender = worker.reconnect(&trawl).await?;
        let first = messages.clone();
        let sending = tokio::spawn(async move { sender.put_artifact(tokio_stream::iter(first)).await });
        proxy.closed().await?;
        if meets_coordinator(number) {
            system = system.crash_coordinator().await?;
            proxy.cut();
            assert!(sending.await?.is_err(), "nobody was there to answer");
        } else {
            sending.abort();
            proxy.cut();
            assert!(sending.await.is_err(), "it was amid its work");
        }
        worker = ScriptedWorker::register(&trawl).await?;
        if chance.below(3) > 0 {
            assert!(worker.put_artifact(tokio_stream::iter(messages)).await?);
            sent.insert((member / 3, name), content);
        }
        assert_eq!(system.listed_artifacts().await?, [], "its job has not finished");
    }
    assert!(worker.finish(&job).await?);
    sent.retain(|(trial, _), _| *trial < 3);
    let listed = system.listed_artifacts().await?;
    let found: Vec<_> = listed
        .iter()
        .map(|row| (row.trial.unwrap_or(-1) as u32, row.name.clone()))
        .collect();
    assert_eq!(found, sent.keys().cloned().collect::<Vec<_>>());
    for (row, content) in listed.iter().zip(sent.values()) {
        assert!(system.artifact(row.request()).await? == *content, "{row:?}");
    }
    let system = system.crash_coordinator().await?;
    // Two files of the dataset.
    assert_eq!(system.compare_objects().await?, 2 + system.fetch_all_artifacts().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_interrupted_workers_leave_is_whole() -> anyhow::Result<()> {
    let mut system = System::start(&["--lease-ttl-ms", "2000"]).await?;
    let proxy = FaultProxy::open(&system.coordinator.url).await?;
    let start = || worker(&proxy.url, |_| {});
    let mut chance = chance(3);
    for number in 0..STUDIES {
        // Weights of 6 folds and of the refit: nearly all that a worker sends.
        proxy.close_after(chance.below(7 * studies::WIDE_WEIGHTS_BYTES));
        let mut worker = start()?;
        let name = format!("study-{number}");
        system.submit(studies::wide(&name)?).await?;
        proxy.closed().await?;
        if meets_coordinator(number) {
            system = system.crash_coordinator().await?;
        } else {
            worker.crash()?;
            worker = start()?;
        }
        proxy.cut();
        let ended = system.completed(&name).await?;
        let refit = ended.refits.first().context("a refit")?;
        assert_eq!(refit.artifacts.len(), 7, "{name}");
        worker.crash()?;
    }
    let system = system.crash_coordinator().await?;
    let visible = system.fetch_all_artifacts().await?;
    // Weights and predictions of 6 folds, and what the refit leaves.
    assert_eq!(visible, STUDIES as usize * (2 * 6 + 7));
    assert_eq!(system.compare_objects().await?, 2 + visible);
    Ok(())
}
