//! The object store as a bucket of S3's kind: a server that speaks the protocol over a folder, and checks signatures.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::error_handling::HandleError;
use axum::http::StatusCode;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use trawl_dataset::FileHash;
use trawl_e2e::{
    Client, Coordinator, FaultProxy, ScriptedWorker, StoreAt, System, binary, fresh_database, look_for, studies,
    wait_for,
};

const KEY: &str = "trawl";
const SECRET: &str = "sesame";
/// The server's own files beside the objects have names of their own.
const PREFIX: &str = "bucket/some/prefix";

/// Serves a bucket in this folder.
fn serve(folder: &Path, listener: TcpListener) -> anyhow::Result<()> {
    std::fs::create_dir(folder.join("bucket"))?;
    let files = FileSystem::new(folder).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let failed = |error: s3s::HttpError| async move { (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")) };
    let server = Router::new().fallback_service(HandleError::new(service.build(), failed));
    tokio::spawn(async move { axum::serve(listener, server).await });
    Ok(())
}

/// The way to a bucket at this address, with this secret.
fn store_at(address: SocketAddr, secret: &str) -> StoreAt {
    StoreAt {
        wrapper: Vec::new(),
        url: format!("s3://{PREFIX}"),
        variables: vec![
            ("AWS_ENDPOINT_URL", format!("http://{address}")),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ],
    }
}

/// A system whose coordinator keeps files in a bucket.
async fn system_on_s3() -> anyhow::Result<System> {
    let folder = TempDir::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let store = store_at(listener.local_addr()?, SECRET);
    serve(folder.path(), listener)?;
    System::start_with(fresh_database().await?, folder, store, &["--lease-ttl-ms", "60000"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_keeps_its_files_in_a_bucket() -> anyhow::Result<()> {
    let mut system = system_on_s3().await?;
    system.add_workers(1)?;
    system.complete(studies::wide("bucket")?).await?;

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

    system.trawl_stdout(&["delete", "bucket"])?;
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
    let system = system_on_s3().await?;
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

/// What a coordinator says that ends at its start because of its object store.
async fn refused(store: &StoreAt) -> anyhow::Result<String> {
    let mut program = tokio::process::Command::new(binary("trawl-coordinator")?);
    program
        .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
        .args(["--artifacts", &store.url])
        .env("DATABASE_URL", fresh_database().await?)
        .envs(store.variables.iter().map(|(name, value)| (name, value)))
        .env("RUST_LOG", "error")
        .kill_on_drop(true);
    let output = wait_for("the end of the coordinator", async { Ok(program.output().await?) }).await?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    Ok(errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_store_that_refuses_ends_the_start_in_one_line() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    serve(folder.path(), listener)?;
    let place = format!("error: --artifacts s3://{PREFIX} at http://{address}: ");
    let errors = refused(&store_at(address, "a wrong one")).await?;
    let told = format!("{place}403 Forbidden, SignatureDoesNotMatch; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must");
    assert!(errors.starts_with(&told), "{errors}");

    let mut plain = store_at(address, SECRET);
    plain.variables.retain(|(name, _)| *name != "AWS_ALLOW_HTTP");
    let errors = refused(&plain).await?;
    assert!(
        errors.starts_with(&place) && errors.ends_with("; an endpoint without TLS needs AWS_ALLOW_HTTP=true\n"),
        "{errors}"
    );

    // As S3 answers; the server above makes each bucket that is named.
    let no_bucket = || async {
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>There is none</Message></Error>";
        (StatusCode::NOT_FOUND, body)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(no_bucket)).await });
    let errors = refused(&store_at(address, SECRET)).await?;
    assert_eq!(
        errors,
        format!(
            "error: --artifacts s3://{PREFIX} at http://{address}: 404 Not Found, NoSuchBucket; make the bucket, or correct its name \
             or AWS_ENDPOINT_URL\n"
        )
    );

    // A file in the way: root could write into any folder.
    let folder = TempDir::new()?;
    std::fs::write(folder.path().join("probes"), "")?;
    let errors = refused(&StoreAt::folder(folder.path())).await?;
    let told = format!(
        "error: --artifacts file://{}: Not a directory (os error 20); this user must be able to write",
        folder.path().display()
    );
    assert!(errors.starts_with(&told), "{errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_away_at_the_start_is_waited_for() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let log = folder.path().join("log");
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let store = store_at(address, SECRET);
    let mut program = Command::new(binary("trawl-coordinator")?);
    program.stderr(File::create(&log)?);
    let database_url = fresh_database().await?;
    let starts = Coordinator::start_by(program, &database_url, &store, &[], "127.0.0.1:0");
    let serves = async {
        look_for("a try that fails", async || {
            let log = std::fs::read_to_string(&log)?;
            Ok(log.contains("waiting for the object store").then_some(()))
        })
        .await?;
        serve(folder.path(), TcpListener::bind(address).await?)
    };
    let (mut coordinator, ()) = tokio::try_join!(starts, serves)?;
    assert!(coordinator.process.is_running());
    let log = std::fs::read_to_string(&log)?;
    assert!(log.contains("Connection refused"), "{log}");
    assert_eq!(log.matches("waiting for the object store").count(), 1, "{log}");
    Ok(())
}
