//! Dataset files: registered once and whole, and needed by no path from then on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trawl_domain::dataset::FileHash;
use trawl_e2e::{System, binary, look_for, owner_pool, studies, wait_for, worker};
use trawl_proto::v1;
use uuid::Uuid;

/// A study file with a dataset beside it that no other test has, and the folder of both.
fn study_with_data(name: &str) -> anyhow::Result<(TempDir, PathBuf)> {
    let folder = TempDir::new()?;
    let mut study = studies::small(name, 4, 2)?;
    for which in ["train", "test"] {
        let file = format!("{which}.csv");
        let mut rows = std::fs::read_to_string(System::examples().join("data").join(&file))?;
        rows.push_str(&format!("0.5,{}\n", name.len()));
        std::fs::write(folder.path().join(&file), rows)?;
        study["dataset"]["csv"][which] = json!(file);
    }
    let file = folder.path().join("study.json");
    std::fs::write(&file, study.to_string())?;
    Ok((folder, file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_needs_no_path_once_it_is_submitted() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let (folder, file) = study_with_data("moved")?;
    let file = file.to_str().context("path")?;
    system.trawl_stdout(&["submit", file])?;
    // The same again is the same study: its files are known by their hashes.
    system.trawl_stdout(&["submit", file])?;
    assert_eq!(system.objects("datasets")?.len(), 2);
    drop(folder);
    system.add_workers(1)?;
    let ended = system.watch_to_end("moved").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    Ok(())
}

/// Runs a program where FOLDER is empty, in a mount namespace of its own, and says in a file beside it that it was so.
const WITHOUT_FOLDER: &str = r#"
    set -e
    folder=$1 said=$2
    shift 2
    test -e "$folder/train.csv"
    mount -t tmpfs none "$folder"
    test ! -e "$folder/train.csv"
    echo hidden > "$said"
    exec "$@""#;

/// A command that begins a program without a folder; `None` where no such namespace can be made.
fn without(folder: &Path, said: &Path) -> anyhow::Result<Option<Command>> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]);
        unshare
    };
    let probe = unshare().args(["mount", "-t", "tmpfs", "none", "/tmp"]).output();
    let why = match probe {
        Ok(output) if output.status.success() => {
            let mut command = unshare();
            command.args(["sh", "-c", WITHOUT_FOLDER, "sh"]).args([folder, said]);
            return Ok(Some(command));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    // Past the test harness, which keeps the output of tests that pass to itself.
    writeln!(
        std::io::stderr(),
        "skipped: no mount namespace can be made here: {}",
        why.trim()
    )?;
    Ok(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_trains_where_its_path_does_not_exist() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let (folder, file) = study_with_data("elsewhere")?;
    let beside = TempDir::new()?;
    let said = beside.path().join("said");
    let Some(mut command) = without(folder.path(), &said)? else {
        return Ok(());
    };
    command
        .arg(binary("trawl-worker")?)
        .arg("--cache-dir")
        .arg(beside.path().join("cache"));
    let mut worker = worker(command, &system.coordinator.url)?;
    system.trawl_stdout(&["submit", file.to_str().context("path")?])?;
    let ended = wait_for("the end of the study", async {
        tokio::select! {
            ended = system.watch_to_end("elsewhere") => ended,
            status = worker.ended() => anyhow::bail!("the worker ended: {}", status?),
        }
    })
    .await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);
    assert_eq!(std::fs::read_to_string(&said)?, "hidden\n");
    // The very process that trained sees no dataset, which is still there for others.
    let seen = Path::new("/proc").join(worker.id().to_string()).join("root");
    let seen = seen.join(folder.path().strip_prefix("/")?);
    assert_eq!(std::fs::read_dir(&seen)?.count(), 0);
    assert!(folder.path().join("train.csv").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_file_is_registered_once_and_only_whole() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut client = system.studies().await?;
    // More than goes to the store at once.
    let content: Vec<u8> = (0..12_u32 << 20).map(|n| (n % 251) as u8).collect();
    let head = v1::PutDatasetRequest {
        sha256: FileHash::of(&content).to_string(),
        bytes: content.len() as u64,
        chunk: Vec::new(),
    };
    let messages = |head: &v1::PutDatasetRequest| {
        let pieces = content.chunks(64 << 10).map(|chunk| v1::PutDatasetRequest {
            chunk: chunk.to_vec(),
            ..Default::default()
        });
        let all: Vec<_> = std::iter::once(head.clone()).chain(pieces).collect();
        tokio_stream::iter(all)
    };
    let wrong = [
        v1::PutDatasetRequest {
            sha256: "x".into(),
            ..head.clone()
        },
        v1::PutDatasetRequest {
            sha256: FileHash::of(b"other").to_string(),
            ..head.clone()
        },
        v1::PutDatasetRequest {
            bytes: head.bytes + 1,
            ..head.clone()
        },
        v1::PutDatasetRequest {
            bytes: 1 << 40,
            ..head.clone()
        },
    ];
    for head in wrong {
        let refused = client.put_dataset(messages(&head)).await.expect_err("it is wrong");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
    }
    system.wait_for_objects("datasets", 0).await?;

    let first = client.put_dataset(messages(&head)).await?.into_inner();
    assert!(!first.already_there);
    // Known by its first message: the rest need not come.
    let (sender, receiver) = mpsc::channel(1);
    sender.send(head).await?;
    let again = client.put_dataset(ReceiverStream::new(receiver)).await?.into_inner();
    assert!(again.already_there);
    system.wait_until_swept().await?;
    assert_eq!(system.objects("datasets")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_takes_no_file_from_one_that_began_after_it() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let sql = owner_pool(&system.database_url).await?;
    let content = b"0.5,1.5\n".repeat(1_000);
    let begin = async || {
        let (sender, receiver) = mpsc::channel(1);
        let mut client = system.studies().await?;
        let sending = tokio::spawn(async move { client.put_dataset(ReceiverStream::new(receiver)).await });
        let head = v1::PutDatasetRequest {
            sha256: FileHash::of(&content).to_string(),
            bytes: content.len() as u64,
            chunk: Vec::new(),
        };
        sender.send(head).await?;
        anyhow::Ok((sender, sending))
    };
    let noted_by = async |last: Option<Uuid>| {
        look_for("the note of an upload", async || {
            let noted = sqlx::query_scalar("SELECT upload_id FROM trawl_store.pending_objects");
            let noted: Option<Uuid> = noted.fetch_optional(&sql).await?;
            Ok(noted.filter(|_| noted != last))
        })
        .await
    };
    let chunk = |bytes: Vec<u8>| v1::PutDatasetRequest {
        chunk: bytes,
        ..Default::default()
    };

    let (first, broken) = begin().await?;
    let noted = noted_by(None).await?;
    let (second, whole) = begin().await?;
    noted_by(Some(noted)).await?;
    first.send(chunk(vec![0; content.len() + 1])).await?;
    assert!(broken.await?.is_err(), "more came than was announced");
    let is_due: bool = sqlx::query_scalar("SELECT due_at <= clock_timestamp() FROM trawl_store.pending_objects")
        .fetch_one(&sql)
        .await?;
    assert!(!is_due, "the second one is still under way");
    second.send(chunk(content.clone())).await?;
    drop(second);
    assert!(!whole.await??.into_inner().already_there);
    system.wait_until_swept().await?;
    assert_eq!(system.objects("datasets")?.len(), 1);
    Ok(())
}
