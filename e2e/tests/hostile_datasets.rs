//! Datasets as an attack: paths to files of others, and files that would take memory or time from others.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::ensure;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Duration;
use tonic::Code;
use trawl_domain::limits::{CSV_COLUMNS_MAX, DATASET_VALUES_MAX};
use trawl_e2e::meters::{Beats, Heartbeats, peak_memory_bytes};
use trawl_e2e::{Client, StoreAt, System, findings, fresh_database, studies, text, wait_for, worker, written};

const OPERATOR: &str = "the-operators-own-token-which-nobody-else-may-read";
/// The coordinator's memory in any of these attacks, at most.
const COORDINATOR_BYTES_MAX: u64 = 768 << 20;
/// The same of a worker that has had four datasets of 64 MiB, half of what the chart gives it.
const WORKER_BYTES_MAX: u64 = 1 << 30;
/// How long a worker may wait for a heartbeat.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(2);

/// Checks a study, and stores none: what is wrong with it, each with its field.
async fn violations(trawl: &Client, study: &Value) -> anyhow::Result<Vec<(String, String)>> {
    let checked = wait_for("an answer", trawl.create(study, true)).await?;
    let status = match checked {
        Ok(_) => return Ok(Vec::new()),
        Err(status) => status,
    };
    ensure!(status.code() == Code::InvalidArgument, "{status:?}");
    Ok(findings(&status))
}

/// Datasets of every kind, with `path` in each of their fields in turn.
fn datasets_with(path: &str) -> Vec<(String, Value)> {
    let kinds = [
        (
            "csv",
            &["train", "test"][..],
            json!({ "features": ["x"], "target": "y" }),
        ),
        ("npz", &["train", "test"], json!({ "features": "x", "target": "y" })),
        (
            "idx",
            &["train_images", "train_labels", "test_images", "test_labels"],
            json!({}),
        ),
        (
            "npy",
            &["train_features", "train_targets", "test_features", "test_targets"],
            json!({}),
        ),
    ];
    let mut datasets = Vec::new();
    for (kind, fields, others) in kinds {
        for field in fields {
            let mut dataset = others.clone();
            for name in fields {
                // A file that is there, and is no dataset of most kinds.
                dataset[*name] = json!("rows.csv");
            }
            dataset[*field] = json!(path);
            datasets.push((format!("dataset.{kind}.{field}"), json!({ kind: dataset })));
        }
    }
    datasets
}

/// A coordinator with tokens, and a folder of datasets beside its secrets; and a user of it.
async fn system_beside_secrets(folder: &Path) -> anyhow::Result<(System, Client)> {
    let datasets = folder.join("datasets");
    fs::create_dir(&datasets)?;
    fs::write(datasets.join("rows.csv"), "x,y\n1,2\n3,4\n5,6\n")?;
    let token = written(folder, "operator.token", format!("{OPERATOR}\n"))?;
    let artifacts = TempDir::new()?;
    let store = StoreAt::folder(artifacts.path());
    let flags = ["--token-file", &token, "--dataset-dir", text(&datasets)?];
    let system = System::start_with(fresh_database().await?, artifacts, store, &flags).await?;
    fs::write(folder.join("database.url"), format!("{}\n", system.database_url))?;
    let user = system.admin(OPERATOR).await?.create("somebody", "user", None).await?;
    let client = system.client(&user).await?;
    Ok((system, client))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_reads_no_secret_through_any_path_of_a_dataset() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (system, user) = system_beside_secrets(folder.path()).await?;
    let datasets = folder.path().join("datasets");
    symlink("../operator.token", datasets.join("out"))?;
    symlink("..", datasets.join("up"))?;
    symlink("/", datasets.join("root"))?;
    let absolute = |name: &str| folder.path().join(name).display().to_string();
    let paths = [
        absolute("operator.token"),
        absolute("database.url"),
        absolute("datasets/../operator.token"),
        "../operator.token".into(),
        "../database.url".into(),
        "out".into(),
        "up/database.url".into(),
        "root/etc/passwd".into(),
        "/etc/passwd".into(),
        "/proc/self/environ".into(),
        "/proc/self/cwd/Cargo.toml".into(),
        format!("/proc/{}/environ", system.coordinator.process.id()),
        "/dev/zero".into(),
        "/dev/tty".into(),
        ".".into(),
    ];
    let mut study = studies::small("reads", 2, 1)?;
    let words = [OPERATOR, system.database_url.as_str(), "root:", "DATABASE_URL"];
    let said_of = async |study: &mut Value, path: &str| -> anyhow::Result<Vec<Vec<(String, String)>>> {
        let mut all = Vec::new();
        for (field, dataset) in datasets_with(path) {
            study["dataset"] = dataset;
            let said = violations(&user, study).await?;
            ensure!(said.iter().any(|(named, _)| *named == field), "{path}: {said:?}");
            for (_, said) in &said {
                ensure!(!words.iter().any(|word| said.contains(word)), "{path}: {said}");
            }
            // Its own path is repeated to the caller.
            all.push(
                said.into_iter()
                    .map(|(field, said)| (field, said.replace(&format!("'{path}'"), "PATH")))
                    .collect(),
            );
        }
        Ok(all)
    };
    let missing = said_of(&mut study, "nothing/is-here").await?;
    for path in &paths {
        let said = said_of(&mut study, path).await?;
        assert_eq!(said, missing, "{path} differs from what is not there");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_quote_files_to_those_who_sent_them_alone() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (_system, user) = system_beside_secrets(folder.path()).await?;
    let broken = "input,label\n1,2\n3,not-for-everybody\n";
    fs::write(folder.path().join("datasets/broken.csv"), broken)?;
    let mut study = studies::small("quotes", 2, 1)?;
    study["dataset"]["test_is_train"] = json!(true);
    let line = "line 3, column 'label'";
    for (file, expected) in [
        ("broken.csv".to_owned(), format!("{line}: '…' is not a finite number")),
        (
            user.put_dataset(broken.as_bytes()).await?,
            format!("{line}: 'not-for-everybody' is not a finite number"),
        ),
    ] {
        study["dataset"]["csv"]["train"] = json!(file);
        study["dataset"]["csv"]["test"] = json!(file);
        let said = violations(&user, &study).await?;
        assert_eq!(said, [("dataset.csv.train".to_owned(), format!("{file}: {expected}"))]);
    }
    // One of both is not the caller's: nothing is quoted of either.
    study["dataset"]["csv"]["test"] = json!("broken.csv");
    let said = violations(&user, &study).await?;
    assert!(!said[0].1.contains("not-for-everybody"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_without_a_folder_of_datasets_reads_no_path() -> anyhow::Result<()> {
    let artifacts = TempDir::new()?;
    let mut store = StoreAt::folder(artifacts.path());
    store.wrapper = ["env", "-u", "TRAWL_DATASET_DIR"].map(str::to_owned).to_vec();
    let system = System::start_with(fresh_database().await?, artifacts, store, &[]).await?;
    let mut study = studies::regression_json("paths")?;
    study["dataset"]["test_is_train"] = json!(true);
    let there = System::examples().join("data/train.csv").display().to_string();
    for path in [there.as_str(), "examples/data/train.csv", "nothing.csv"] {
        study["dataset"]["csv"]["train"] = json!(path);
        study["dataset"]["csv"]["test"] = json!(path);
        for (field, said) in violations(&system, &study).await? {
            assert!(field.starts_with("dataset.csv."), "{field}");
            assert!(
                said.starts_with(&format!("'{path}' is a path, and this coordinator reads none")),
                "{said}"
            );
            assert!(
                said.contains("`trawl submit` sends") && said.contains("--dataset-dir"),
                "{said}"
            );
        }
    }
    // The files that `trawl submit` sends are enough, and it names itself the files that it cannot read.
    system.trawl_stdout(&["submit", "examples/regression.yaml", "--dry-run"])?;
    let folder = TempDir::new()?;
    let errors = system.refused(&["submit", &written(folder.path(), "study.json", study)?])?;
    assert!(
        errors.contains("'nothing.csv' cannot be read here: No such file"),
        "{errors}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_among_the_datasets_is_refused_at_once_and_holds_no_shutdown_up() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (mut system, user) = system_beside_secrets(folder.path()).await?;
    let pipe = folder.path().join("datasets/pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let mut study = studies::small("pipe", 2, 1)?;
    for _ in 0..20 {
        study["dataset"]["csv"]["train"] = json!("pipe");
        let said = violations(&user, &study).await?;
        assert!(
            said[0].1.contains("'pipe' is no file that the coordinator can read"),
            "{said:?}"
        );
    }
    system.coordinator.process.signal(Signal::TERM)?;
    let status = wait_for("the end of the coordinator", system.coordinator.process.ended()).await?;
    assert!(status.success(), "{status}");
    Ok(())
}

/// A table of text with this header of 57 MiB: sixty million columns without a name, then those that are asked for.
fn wide_table(features: &[String]) -> Vec<u8> {
    let mut table = vec![b','; 60_000_000];
    table.extend_from_slice(features.join(",").as_bytes());
    table.extend_from_slice(b",y\n");
    table
}

/// An archive of bytes, nearly all of which are zero: so many rows of so many features, and a label each.
fn archive(rows: usize, features: usize) -> anyhow::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let members = [
        ("x.npy", format!("({rows}, {features})"), rows * features),
        ("y.npy", format!("({rows},)"), rows),
    ];
    for (name, shape, bytes) in members {
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        archive.start_file(name, options)?;
        let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
        archive.write_all(b"\x93NUMPY\x01\x00")?;
        archive.write_all(&u16::try_from(header.len())?.to_le_bytes())?;
        archive.write_all(header.as_bytes())?;
        // Two classes.
        archive.write_all(&[1])?;
        std::io::copy(&mut std::io::repeat(0).take(bytes as u64 - 1), &mut archive)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// The attack's study: a network for classes of the archive's rows.
fn study_of(name: &str, dataset: Value) -> Value {
    json!({
        "name": name,
        "seed": 5,
        "dataset": dataset,
        "model": [{ "linear": { "units": 2 } }],
        "training": {
            "loss": "cross_entropy", "optimizer": "sgd", "learning_rate": "$learning_rate", "batch_size": 1_024, "epochs": 1,
        },
        "validation": { "holdout": 0.5 },
        "objective": { "metric": "val_loss", "goal": "minimize", "at": "last" },
        "space": { "learning_rate": { "choice": [0.001] } },
        "sampler": { "random": {} },
        "max_trials": 1,
    })
}

/// Submits a study twice at once, while a worker sends heartbeats; what is wrong with it.
async fn twice_at_once(system: &System, study: &Value) -> anyhow::Result<Vec<(String, String)>> {
    let heartbeats = Heartbeats::begin(system).await?;
    let (first, second) = tokio::join!(violations(system, study), violations(system, study));
    let (first, second) = (first?, second?);
    assert_eq!(first, second);
    let beats = heartbeats.end().await?;
    assert_well(system, beats)?;
    Ok(first)
}

fn assert_well(system: &System, beats: Beats) -> anyhow::Result<()> {
    let peak = peak_memory_bytes(system.coordinator.process.id())?;
    // Past the test harness, which keeps the output of tests that pass to itself.
    writeln!(
        std::io::stderr(),
        "coordinator: {} MiB at most; the longest of {} heartbeats {} ms",
        peak >> 20,
        beats.count,
        beats.longest.as_millis()
    )?;
    assert!(peak < COORDINATOR_BYTES_MAX, "{peak} bytes");
    assert!(beats.longest < HEARTBEAT_WITHIN, "{beats:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_sixty_million_columns_stops_nobody() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let features: Vec<String> = (0..4_000).map(|n| format!("c{n}")).collect();
    let file = system.put_dataset(&wide_table(&features)).await?;
    let mut study = studies::small("wide", 2, 1)?;
    study["dataset"]["test_is_train"] = json!(true);
    study["dataset"]["csv"] = json!({ "train": file, "test": file, "features": features, "target": "y" });
    let said = twice_at_once(&system, &study).await?;
    let expected = format!("{file}: line 1 has more than {CSV_COLUMNS_MAX} columns");
    assert_eq!(said, [("dataset.csv.train".to_owned(), expected)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_unpacks_to_gigabytes_of_numbers_is_refused_in_little_memory() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let bomb = archive(62_000_000, 1)?;
    assert!(bomb.len() < 256 << 10, "{} bytes", bomb.len());
    let file = system.put_dataset(&bomb).await?;
    let npz = json!({ "train": file, "test": file, "features": "x", "target": "y" });
    let dataset = json!({ "npz": npz, "test_is_train": true });
    let said = twice_at_once(&system, &study_of("bomb", dataset)).await?;
    let expected = format!("{file}: array 'x' has too many numbers: a dataset may have {DATASET_VALUES_MAX}");
    assert!(said[0].1.starts_with(&expected), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_datasets_leave_coordinator_and_worker_within_their_memory() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let cache = TempDir::new()?;
    // Two of the archives have room on the disk.
    let cache_bytes = 5 * archive(262_144, 255)?.len() as u64 / 2;
    let worker = worker(&system.coordinator.url, |command| {
        command.arg("--cache-dir").arg(cache.path());
        command.args(["--cache-bytes", &cache_bytes.to_string()]);
    })?;
    let heartbeats = Heartbeats::begin(&system).await?;
    for number in 0..4 {
        // All the numbers that a dataset may have, in one part.
        let file = system.put_dataset(&archive(262_144 - number, 255)?).await?;
        let dataset = json!({ "npz": { "train": file, "features": "x", "target": "y" } });
        let name = format!("large-{number}");
        system.complete(&study_of(&name, dataset)).await?;
        writeln!(
            std::io::stderr(),
            "worker: {} MiB at most after {} studies",
            peak_memory_bytes(worker.id())? >> 20,
            number + 1
        )?;
    }
    assert_well(&system, heartbeats.end().await?)?;
    let peak = peak_memory_bytes(worker.id())?;
    assert!(peak < WORKER_BYTES_MAX, "{peak} bytes");
    let kept = fs::read_dir(cache.path())?.map(|entry| Ok(entry?.metadata()?.len()));
    let kept = kept.sum::<anyhow::Result<u64>>()?;
    assert!(kept > cache_bytes / 2 && kept <= cache_bytes, "{kept} bytes are cached");
    Ok(())
}
