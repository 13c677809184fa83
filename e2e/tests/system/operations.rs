//! What operators do: migrate a database alone, give workers a token from the start, and look for signs of life.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;
use trawl_e2e::{
    Coordinator, Postgres, Process, StoreAt, System, binary, call_raw, fresh_database, look_for, owner_pool,
    repository, studies, worker,
};

/// A file with one line.
fn file(folder: &TempDir, name: &str, content: &str) -> anyhow::Result<PathBuf> {
    let path = folder.path().join(name);
    std::fs::write(&path, format!("{content}\n"))?;
    Ok(path)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

/// Runs a coordinator that ends by itself, with no database but the one in its arguments.
fn coordinator(args: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(binary("trawl-coordinator")?);
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    command.args(ports).args(args).env_remove("DATABASE_URL");
    Ok(command.current_dir(repository()).output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_without_a_port() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let database_url = fresh_database().await?;
    let url = file(&folder, "database.url", &database_url)?;
    let newest = std::fs::read_dir(repository().join("migrations"))?.count();
    for _ in 0..2 {
        let output = coordinator(&["migrate", "--database-url-file", text(&url)?])?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            String::from_utf8(output.stdout)?,
            format!("the database has the schema of version {newest}\n")
        );
    }
    let owner = owner_pool(&database_url).await?;
    let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.studies")
        .fetch_one(&owner)
        .await?;
    assert_eq!(studies, 0);
    // Of a later version: it is not touched.
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '', 0)")
        .execute(&owner)
        .await?;
    let output = coordinator(&["migrate", "--database-url-file", text(&url)?])?;
    let errors = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && errors.contains("9999"), "{errors}");

    for (args, expected) in [
        (vec!["migrate"], "--database-url-file (DATABASE_URL_FILE) is needed"),
        (
            vec!["migrate", "--database-url", "postgres://x", "--database-url-file", "y"],
            "there are two databases",
        ),
    ] {
        let output = coordinator(&args)?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    Ok(())
}

/// The first SQL below a heading of a page.
fn documented_sql(page: &str, heading: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(repository().join(page))?;
    let section = text
        .split_once(&format!("\n{heading}\n"))
        .with_context(|| format!("no {heading} in {page}"))?
        .1;
    let fenced = section
        .split_once("```sql\n")
        .and_then(|(_, fenced)| fenced.split_once("```"));
    Ok(fenced.with_context(|| format!("no SQL below {heading}"))?.0.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_owns_no_tables_may_serve_a_migrated_database() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let postgres = Postgres::start_alone()?;
    let database = postgres.prepared_database().await?;
    let owner_url = file(&folder, "owner.url", &database.owner_url)?;
    let output = coordinator(&["migrate", "--database-url-file", text(&owner_url)?])?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let superuser = owner_pool(&database.superuser_url).await?;
    sqlx::raw_sql("CREATE ROLE serving LOGIN IN ROLE trawl_reader")
        .execute(&superuser)
        .await?;
    let owner = owner_pool(&database.owner_url).await?;
    let grants = documented_sql("deploy/README.md", "## Upgrades")?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&owner).await?;

    let served_by = database.owner_url.parse::<PgConnectOptions>()?.username("serving");
    let mut system = System::start_on(served_by.to_url_lossy().to_string(), &[]).await?;
    system.add_workers(1)?;
    let study = studies::small("served", 4, 2)?;
    system.submit(studies::from_json(&study)?).await?;
    assert_eq!(system.watch_to_end("served").await?.state, "completed");
    let study = "served".to_owned();
    let delete = trawl_proto::v1::DeleteStudyRequest { study };
    system.studies().await?.delete_study(delete).await?;
    look_for("the end of all rows", async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl_store.studies")
            .fetch_one(&owner)
            .await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    let serving = PgPoolOptions::new().connect_with(served_by).await?;
    for refused in [
        "DROP TABLE trawl_store.studies",
        "CREATE TABLE trawl_store.mine (id integer)",
    ] {
        sqlx::raw_sql(refused).execute(&serving).await.expect_err(refused);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_may_have_a_token_from_the_start() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (operator, workers) = ("of-the-operator", "of-the-workers");
    let operator_file = file(&folder, "operator.token", operator)?;
    let worker_file = file(&folder, "worker.token", workers)?;
    let store = StoreAt::folder(folder.path());
    let database_url = fresh_database().await?;
    let flags = [
        "--token-file",
        text(&operator_file)?,
        "--worker-token-file",
        text(&worker_file)?,
    ];
    let coordinator_process = Coordinator::start(&database_url, &store, &flags, "127.0.0.1:0").await?;
    let channel = Channel::from_shared(coordinator_process.url.clone())?.connect().await?;
    let list = "/trawl.v1.StudyService/ListStudies";
    let refused = call_raw(&channel, list, Some(workers), vec![Vec::new()])
        .await
        .expect_err("no reader");
    assert_eq!(refused.code(), Code::PermissionDenied);
    call_raw(&channel, list, Some(operator), vec![Vec::new()]).await?;

    let mut program = Command::new(binary("trawl-worker")?);
    program.args(["--token-file", text(&worker_file)?]);
    let _worker = worker(program, &coordinator_process.url)?;
    let study = file(
        &folder,
        "study.json",
        &studies::with_whole_paths(studies::small("with-it", 2, 1)?).to_string(),
    )?;
    let output = Command::new(binary("trawl")?)
        .args([
            "submit",
            text(&study)?,
            "--watch",
            "--token-file",
            text(&operator_file)?,
        ])
        .env("TRAWL_SERVER", &coordinator_process.url)
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // A worker must not be an operator.
    let database = file(&folder, "database.url", &database_url)?;
    let output = coordinator(&[
        "--database-url-file",
        text(&database)?,
        "--token-file",
        text(&worker_file)?,
        "--worker-token-file",
        text(&worker_file)?,
    ])?;
    let errors = String::from_utf8(output.stderr)?;
    assert!(
        !output.status.success() && errors.contains("holds the operator's token"),
        "{errors}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisors_are_told_who_lives() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let system = System::start(&["--token", "nobody-needs-it-here"]).await?;
    assert_eq!(system.trawl_stdout(&["health"])?, "serving\n");
    let output = system.trawl(&["health", "--server", "http://127.0.0.1:1"])?;
    assert_eq!(output.status.code(), Some(1));

    // It waits for a coordinator that is not there, and lives.
    let sign = folder.path().join("alive");
    let alive = || -> anyhow::Result<Output> {
        let mut command = Command::new(binary("trawl-worker")?);
        Ok(command.arg("alive").env("TRAWL_ALIVE_FILE", &sign).output()?)
    };
    let before = alive()?;
    assert_eq!(before.status.code(), Some(1));
    assert!(
        String::from_utf8(before.stderr)?.contains("alive: No such file"),
        "it says which file"
    );
    let _worker = Process::start(
        Command::new(binary("trawl-worker")?)
            .args(["--coordinator", "http://127.0.0.1:1", "--device", "cpu"])
            .env("TRAWL_ALIVE_FILE", &sign)
            .env("RUST_LOG", "error"),
    )?;
    look_for("a sign of life", async || Ok(sign.exists().then_some(()))).await?;
    assert!(alive()?.status.success());
    Ok(())
}
