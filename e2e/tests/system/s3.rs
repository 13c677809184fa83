//! The object store as a bucket of S3's kind: a server that speaks the protocol over a folder, and checks signatures.

use std::path::PathBuf;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use trawl_domain::dataset::FileHash;
use trawl_e2e::{Client, FaultProxy, ScriptedWorker, StoreAt, System, fresh_database, studies};
use trawl_proto::v1;

const KEY: &str = "trawl";
const SECRET: &str = "sesame";
/// The server's own files beside the objects have names of their own.
const PREFIX: &str = "bucket/some/prefix";

/// A system whose coordinator reaches a bucket with this secret.
async fn system_on_s3(secret: &str) -> anyhow::Result<System> {
    let folder = TempDir::new()?;
    std::fs::create_dir(folder.path().join("bucket"))?;
    let files = FileSystem::new(folder.path()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let failed = |error: s3s::HttpError| async move { (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")) };
    let server = Router::new().fallback_service(HandleError::new(service.build(), failed));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, server).await });
    let store = StoreAt {
        wrapper: Vec::new(),
        url: format!("s3://{PREFIX}"),
        variables: vec![
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ],
    };
    System::start_with(fresh_database().await?, folder, store, &["--lease-ttl-ms", "60000"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_keeps_its_files_in_a_bucket() -> anyhow::Result<()> {
    let mut system = system_on_s3(SECRET).await?;
    system.add_workers(1)?;
    system.submit(studies::wide("bucket")?).await?;
    let ended = system.watch_to_end("bucket").await?;
    assert_eq!(ended.state, "completed", "{}", ended.error);

    let listed = system.listed_artifacts().await?;
    assert_eq!(listed.len(), 2 * 6 + 7, "{listed:?}");
    assert_eq!(
        system.objects(PREFIX)?.len(),
        2 + listed.len(),
        "the dataset's files, and these"
    );
    let fetched = TempDir::new()?;
    for trial in ["0", "1"] {
        let into = fetched.path().join(trial).display().to_string();
        system.trawl_stdout(&["artifacts", "bucket", "--trial", trial, "-o", &into])?;
    }
    let into = fetched.path().join("refit").display().to_string();
    system.trawl_stdout(&["artifacts", "bucket", "--refit", "0", "-o", &into])?;
    for row in &listed {
        let folder = row.trial.map_or("refit".to_owned(), |trial| trial.to_string());
        let content = std::fs::read(fetched.path().join(folder).join(&row.name))?;
        assert_eq!(FileHash::of(&content).to_string(), row.sha256, "{row:?}");
    }

    let request = v1::DeleteStudyRequest { study: "bucket".into() };
    system.studies().await?.delete_study(request).await?;
    system.wait_for_objects(&format!("{PREFIX}/artifacts"), 0).await?;
    system.wait_until_swept().await?;
    Ok(())
}

/// The objects of artifacts, and what the server has of uploads that did not end.
fn parts_and_objects(system: &System) -> anyhow::Result<Vec<PathBuf>> {
    let mut there = system.objects(&format!("{PREFIX}/artifacts"))?;
    let is_part = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().contains(".part-"))
    };
    there.extend(system.objects("")?.into_iter().filter(is_part));
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_upload_leaves_nothing_in_a_bucket() -> anyhow::Result<()> {
    let system = system_on_s3(SECRET).await?;
    system.submit(studies::one_job("job", 5, 1)?).await?;
    let proxy = FaultProxy::open(&system.coordinator.url).await?;
    let trawl = Client::new(&proxy.url, &system.database_url).await?;
    let mut worker = ScriptedWorker::register(&trawl).await?;
    let job = worker.lease_one().await?;
    worker.report_all(&job).await?;
    let messages = ScriptedWorker::artifact_messages(&job, Some(0), "fold-0.safetensors", &vec![7; 12 << 20]);
    proxy.close_after(11 << 20);
    let first = messages.clone();
    let sending = tokio::spawn(async move { worker.put_artifact(tokio_stream::iter(first)).await });
    proxy.closed().await?;
    sending.abort();
    proxy.cut();
    system.wait_until_swept().await?;
    assert_eq!(parts_and_objects(&system)?, [] as [PathBuf; 0]);

    // A coordinator that died is followed by one that takes the same file.
    let mut worker = ScriptedWorker::register(&trawl).await?;
    proxy.close_after(11 << 20);
    let first = messages.clone();
    let sending = tokio::spawn(async move { worker.put_artifact(tokio_stream::iter(first)).await });
    proxy.closed().await?;
    let system = system.crash_coordinator().await?;
    proxy.cut();
    assert!(sending.await?.is_err(), "nobody was there to answer");
    system.wait_until_swept().await?;
    let mut worker = ScriptedWorker::register(&trawl).await?;
    assert!(worker.put_artifact(tokio_stream::iter(messages)).await?);
    assert!(worker.finish(&job).await?);
    assert_eq!(system.fetch_all_artifacts().await?, 1);
    assert_eq!(system.objects(&format!("{PREFIX}/artifacts"))?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_key_nothing_is_taken() -> anyhow::Result<()> {
    let system = system_on_s3("a wrong one").await?;
    let refused = system
        .submit(studies::wide("bucket")?)
        .await
        .expect_err("there is no way in");
    let status = refused.downcast_ref::<tonic::Status>().map(tonic::Status::code);
    assert_eq!(status, Some(tonic::Code::Unavailable), "{refused:?}");
    Ok(())
}
