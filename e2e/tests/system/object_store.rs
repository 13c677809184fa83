//! Artifacts in the object store: listed ones are there, and others go.

use anyhow::Context;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use trawl_dataset::FileHash;
use trawl_e2e::{Ask, ListedArtifact, ScriptedWorker, System, look_for, studies, text};
use trawl_proto::v1;

/// A system without real workers, and a study of one job: 5 trials of 3 folds, 1 epoch.
async fn one_job(flags: &[&str]) -> anyhow::Result<System> {
    let system = System::start(flags).await?;
    system.submit(studies::one_job("job", 5, 1)?).await?;
    Ok(system)
}

/// What is listed of a job that left one file.
fn only_file(content: &[u8]) -> [ListedArtifact; 1] {
    [ListedArtifact {
        study: "job".into(),
        refit: None,
        trial: Some(0),
        name: "fold-0.safetensors".into(),
        bytes: content.len() as i64,
        sha256: FileHash::of(content).to_string(),
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_dies_between_upload_and_commit_leaves_no_orphan() -> anyhow::Result<()> {
    let system = one_job(&["--lease-ttl-ms", "60000"]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    // More than goes to the store at once: all but the end of it is written before the end comes.
    let content: Vec<u8> = (0..12_u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut messages = ScriptedWorker::artifact_messages(&job, Some(0), "fold-0.safetensors", &content);
    let last = messages.pop().context("no message")?;
    let (sender, receiver) = mpsc::channel(1);
    let call = tokio::spawn(async move { worker.put_artifact(ReceiverStream::new(receiver)).await });
    for message in messages {
        sender.send(message).await?;
    }
    // The part that was written shows as a file.
    system.wait_for_objects("artifacts", 1).await?;
    // The commit has to wait for this lock.
    let sql = system.owner().await?;
    let mut lock = sql.begin().await?;
    sqlx::query("SELECT FROM trawl_store.leases FOR UPDATE")
        .fetch_all(&mut *lock)
        .await?;
    sender.send(last).await?;
    drop(sender);
    look_for("the whole object", async || {
        let objects = system.objects("artifacts")?;
        Ok((objects.len() == 1 && !objects[0].to_string_lossy().contains('#')).then_some(()))
    })
    .await?;
    let system = system
        .crash_coordinator_and(async { Ok(lock.rollback().await?) })
        .await?;
    assert!(call.await?.is_err(), "nobody was there to answer");
    system.wait_for_objects("artifacts", 0).await?;
    system.wait_until_swept().await?;

    // The lease is live, and its work can be done again.
    let mut worker = ScriptedWorker::register(&system).await?;
    assert!(worker.leave(&job, 0, "fold-0.safetensors", b"again").await?);
    worker.report_all(&job).await?;
    assert_eq!(system.listed_artifacts().await?, [], "its job has not finished");
    assert!(worker.finish(&job).await?);
    assert_eq!(system.listed_artifacts().await?, only_file(b"again"));
    Ok(())
}

/// Makes a sound head of an artifact a broken one.
type Spoil = fn(&mut v1::PutArtifactRequest);

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_artifacts_of_a_held_lease_are_kept() -> anyhow::Result<()> {
    let system = one_job(&["--lease-ttl-ms", "400"]).await?;
    let mut silent = ScriptedWorker::register(&system).await?;
    let lost = silent.lease_one().await?;
    assert!(silent.leave(&lost, 0, "fold-0.safetensors", b"stale").await?);
    // The other one waits until the lease of the silent one has run out.
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    assert!(!silent.leave(&lost, 0, "fold-0.safetensors", b"stale").await?);

    let good = ScriptedWorker::artifact_messages(&job, Some(0), "fold-0.safetensors", b"content");
    let broken: [(&str, Spoil); 8] = [
        ("lease", |head| head.lease = None),
        ("kind", |head| head.kind = "secrets".into()),
        ("name", |head| head.name = "../up".into()),
        ("bytes", |head| head.bytes += 1),
        ("chunk", |head| head.bytes -= 1),
        ("sha256", |head| head.sha256 = FileHash::of(b"other").to_string()),
        ("member", |head| head.member = None),
        ("member", |head| head.member = Some(15)),
    ];
    for (field, break_it) in broken {
        assert_eq!(worker.heartbeat(&[&job]).await?, [true]);
        let mut messages = good.clone();
        break_it(&mut messages[0]);
        let refused = worker.put_artifact(tokio_stream::iter(messages)).await;
        let refused = refused.expect_err("it is broken");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(field), "{field}: {refused:?}");
    }
    assert!(worker.put_artifact(tokio_stream::iter(good.clone())).await?);
    assert!(
        worker.put_artifact(tokio_stream::iter(good)).await?,
        "a second copy replaces the first"
    );
    worker.train(&job).await?;
    assert_eq!(system.listed_artifacts().await?, only_file(b"content"));
    system.wait_until_swept().await?;
    assert_eq!(system.objects("artifacts")?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_trials_that_are_not_the_best_go_when_they_end() -> anyhow::Result<()> {
    let system = one_job(&[]).await?;
    let mut worker = ScriptedWorker::register(&system).await?;
    let job = worker.lease_one().await?;
    // Member m belongs to trial m / 3, and reports the higher losses the higher m is.
    for member in [0, 3, 6, 9, 14] {
        let content = format!("member {member}");
        let name = format!("fold-{}.safetensors", member % 3);
        assert!(worker.leave(&job, member, &name, content.as_bytes()).await?);
    }
    assert_eq!(system.objects("artifacts")?.len(), 5);
    worker.train(&job).await?;
    let listed = system.listed_artifacts().await?;
    let trials: Vec<Option<i32>> = listed.iter().map(|row| row.trial).collect();
    assert_eq!(trials, [Some(0), Some(1), Some(2)]);
    system.wait_until_swept().await?;
    assert_eq!(system.objects("artifacts")?.len(), 3);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_best_trials_leave_their_files_whatever_the_workers() -> anyhow::Result<()> {
    // Of 100 rows, 3 folds are not alike: the folds of a trial train in two jobs. 5 folds are.
    for folds in [3, 5] {
        let mut expected = None;
        for workers in [1, 3] {
            let system = System::with_workers(&[], workers).await?;
            let mut study = studies::small("best", 40, 4)?;
            study["validation"] = json!({ "k_fold": folds });
            system.complete(&study).await?;

            let rows = system.listed_artifacts().await?;
            let wanted: Vec<(Option<i32>, String)> = system
                .tuples(
                    "SELECT b.trial, 'fold-' || f.fold || e.name FROM trawl.best_trials b
                     JOIN trawl.fold_metrics f USING (study_id, trial)
                     CROSS JOIN (VALUES ('.csv'), ('.safetensors')) AS e (name) WHERE b.rank <= 3 ORDER BY 1, 2",
                )
                .await?;
            assert_eq!(wanted.len(), 2 * 3 * folds);
            let of_trials = rows.iter().filter(|row| row.trial.is_some());
            let found: Vec<_> = of_trials.map(|row| (row.trial, row.name.clone())).collect();
            assert_eq!(found, wanted, "{workers} workers, {folds} folds");
            system.wait_until_swept().await?;
            assert_eq!(system.objects("artifacts")?.len(), rows.len());
            match &expected {
                None => expected = Some(rows),
                Some(expected) => assert_eq!(*expected, rows, "{workers} workers, {folds} folds"),
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_listed_fetched_and_deleted_with_their_study() -> anyhow::Result<()> {
    let system = System::with_workers(&[], 2).await?;
    system.complete(studies::small("files", 6, 3)?).await?;
    let rows = system.listed_artifacts().await?;
    let mut client = system.studies().await?;

    // Page by page, in the order of the view.
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListArtifactsRequest {
            study: "files".into(),
            page_size: 2,
            page_token,
        };
        let page = client.list_artifacts(request).await?.into_inner();
        assert!(page.artifacts.len() <= 2);
        pages.extend(page.artifacts);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let number = |number: Option<u32>| number.map(|number| number as i32);
    let paged = pages.iter().map(|artifact| ListedArtifact {
        study: "files".into(),
        refit: number(artifact.refit),
        trial: number(artifact.trial),
        name: artifact.name.clone(),
        bytes: artifact.bytes as i64,
        sha256: artifact.sha256.clone(),
    });
    assert_eq!(paged.collect::<Vec<_>>(), rows);
    assert!(pages.iter().all(|artifact| artifact.created_at.is_some()));

    // Exactly one owner has to be named.
    for (refit, trial, field) in [(None, None, "refit"), (Some(0), Some(0), "trial")] {
        let request = v1::GetArtifactRequest {
            study: "files".into(),
            refit,
            name: "weights.safetensors".into(),
            trial,
        };
        let refused = client.get_artifact(request).await.expect_err("it names none, or two");
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(field), "{refused:?}");
    }

    // By the command line.
    let json: serde_json::Value = serde_json::from_str(&system.trawl_stdout(&["artifacts", "files", "--json"])?)?;
    assert_eq!(json.as_array().map(Vec::len), Some(rows.len()));
    let csv = system.trawl_stdout(&["artifacts", "files", "--csv"])?;
    assert!(
        csv.starts_with("refit,trial,kind,name,bytes,sha256,created_at\n"),
        "{csv}"
    );
    let folder = tempfile::tempdir()?;
    let new = folder.path().join("new");
    let into = text(&new)?;
    let best = rows.iter().find_map(|row| row.trial).context("no trial left files")?;
    system.trawl_stdout(&["artifacts", "files", "--refit", "0", "-o", into])?;
    system.trawl_stdout(&["artifacts", "files", "--trial", &best.to_string(), "-o", into])?;
    for row in rows.iter().filter(|row| row.refit.is_some() || row.trial == Some(best)) {
        let fetched = std::fs::read(new.join(&row.name))?;
        assert_eq!(FileHash::of(&fetched).to_string(), row.sha256, "{row:?}");
    }
    let none = system.trawl(&["artifacts", "files", "--trial", "0", "--name", "nothing", "-o", into])?;
    assert_eq!(none.code, Some(1));

    system.trawl_stdout(&["delete", "files"])?;
    assert_eq!(system.listed_artifacts().await?, []);
    system.wait_for_objects("artifacts", 0).await?;
    system.wait_until_swept().await?;
    Ok(())
}
