//! Dataset files: registered once and whole, and needed by no path from then on.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use trawl_dataset::FileHash;
use trawl_e2e::{
    Ask, System, binary, code_of, dataset_messages, look_for, mount_namespace, studies, wait_for, worker_by, written,
};
use trawl_proto::v1;
use uuid::Uuid;

/// A study file with a dataset beside it that no other test has, and the folder of both.
fn study_with_data(name: &str) -> anyhow::Result<(TempDir, String)> {
    let folder = TempDir::new()?;
    let mut study = studies::small(name, 4, 2)?;
    for which in ["train", "test"] {
        let file = format!("{which}.csv");
        let mut rows = std::fs::read_to_string(System::examples().join("data").join(&file))?;
        rows.push_str(&format!("0.5,{}\n", name.len()));
        written(folder.path(), &file, rows)?;
        study["dataset"]["csv"][which] = json!(file);
    }
    let file = written(folder.path(), "study.json", study)?;
    Ok((folder, file))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_needs_no_path_once_it_is_submitted() -> anyhow::Result<()> {
    let mut system = System::start(&[]).await?;
    let (folder, file) = study_with_data("moved")?;
    system.trawl_stdout(&["submit", &file])?;
    // The same again is the same study: its files are known by their hashes.
    system.trawl_stdout(&["submit", &file])?;
    assert_eq!(system.objects("datasets")?.len(), 2);
    drop(folder);
    system.add_workers(1)?;
    system.completed("moved").await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_trains_where_its_path_does_not_exist() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let (folder, file) = study_with_data("elsewhere")?;
    let beside = TempDir::new()?;
    let said = beside.path().join("said");
    let Some(words) = mount_namespace()? else {
        return Ok(());
    };
    let mut program = Command::new(&words[0]);
    program
        .args(&words[1..])
        .args(["sh", "-c", WITHOUT_FOLDER, "sh"])
        .args([folder.path(), &said])
        .arg(binary("trawl-worker")?);
    let mut worker = worker_by(program, &system.coordinator.url, |command| {
        command.arg("--cache-dir").arg(beside.path().join("cache"));
    })?;
    system.trawl_stdout(&["submit", &file])?;
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

/// Makes a sound head of a file a broken one.
type Spoil = fn(&mut v1::PutDatasetRequest);

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_file_is_registered_once_and_only_whole() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let mut client = system.studies().await?;
    // More than goes to the store at once.
    let content: Vec<u8> = (0..12_u32 << 20).map(|n| (n % 251) as u8).collect();
    let good = dataset_messages(&content);
    let wrong: [Spoil; 4] = [
        |head| head.sha256 = "x".into(),
        |head| head.sha256 = FileHash::of(b"other").to_string(),
        |head| head.bytes += 1,
        |head| head.bytes = 1 << 40,
    ];
    for spoil in wrong {
        let mut messages = good.clone();
        spoil(&mut messages[0]);
        let refused = client.put_dataset(tokio_stream::iter(messages)).await;
        assert_eq!(code_of(refused), tonic::Code::InvalidArgument);
    }
    system.wait_for_objects("datasets", 0).await?;

    let first = client.put_dataset(tokio_stream::iter(good.clone())).await?.into_inner();
    assert!(!first.already_there);
    // Known by its first message: the rest need not come.
    let (sender, receiver) = mpsc::channel(1);
    sender.send(good[0].clone()).await?;
    let again = client.put_dataset(ReceiverStream::new(receiver)).await?.into_inner();
    assert!(again.already_there);
    system.wait_until_swept().await?;
    assert_eq!(system.objects("datasets")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_takes_no_file_from_one_that_began_after_it() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let sql = system.owner().await?;
    let content = b"0.5,1.5\n".repeat(1_000);
    let begin = async || {
        let (sender, receiver) = mpsc::channel(1);
        let mut client = system.studies().await?;
        let sending = tokio::spawn(async move { client.put_dataset(ReceiverStream::new(receiver)).await });
        sender.send(dataset_messages(&content).swap_remove(0)).await?;
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
    let is_due: bool = sql
        .value("SELECT due_at <= clock_timestamp() FROM trawl_store.pending_objects")
        .await?;
    assert!(!is_due, "the second one is still under way");
    second.send(chunk(content.clone())).await?;
    drop(second);
    assert!(!whole.await??.into_inner().already_there);
    system.wait_until_swept().await?;
    assert_eq!(system.objects("datasets")?.len(), 1);
    Ok(())
}
