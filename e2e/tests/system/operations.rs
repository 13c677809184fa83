//! What operators do: migrate a database alone, give workers a token from the start, and look for signs of life.

use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use reqwest::StatusCode;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;
use tonic::Code;
use trawl_e2e::{
    Ask, Client, Coordinator, Postgres, Ran, StoreAt, System, binary, call, code_of, fetched, fresh_database, look_for,
    owner_pool, ran, repository, studies, worker, written,
};

/// Runs a coordinator that ends by itself, with no database but the one in its arguments.
fn coordinator(args: &[&str]) -> anyhow::Result<Ran> {
    let mut command = Command::new(binary("trawl-coordinator")?);
    let ports = ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    command.args(ports).args(args).env_remove("DATABASE_URL");
    ran(command.current_dir(repository()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_migrated_without_a_port() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let database_url = fresh_database().await?;
    let url = written(folder.path(), "database.url", &database_url)?;
    let migrate = ["migrate", "--database-url-file", &url];
    let newest = std::fs::read_dir(repository().join("migrations"))?.count();
    for _ in 0..2 {
        let migrated = coordinator(&migrate)?;
        assert_eq!(
            (migrated.code, migrated.stdout),
            (Some(0), format!("the database has the schema of version {newest}\n")),
            "{}",
            migrated.stderr
        );
    }
    let owner = owner_pool(&database_url).await?;
    let studies: i64 = owner.value("SELECT count(*) FROM trawl.studies").await?;
    assert_eq!(studies, 0);
    // Of a later version: it is not touched.
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '', 0)")
        .execute(&owner)
        .await?;
    let refused = coordinator(&migrate)?;
    assert!(
        refused.code != Some(0) && refused.stderr.contains("9999"),
        "{refused:?}"
    );

    for (args, expected) in [
        (&migrate[..1], "--database-url-file (DATABASE_URL_FILE) is needed"),
        (
            &["migrate", "--database-url", "postgres://x", "--database-url-file", "y"],
            "there are two databases",
        ),
    ] {
        let refused = coordinator(args)?;
        assert!(
            refused.code == Some(2) && refused.stderr.contains(expected),
            "{refused:?}"
        );
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
    let owner_url = written(folder.path(), "owner.url", &database.owner_url)?;
    let migrated = coordinator(&["migrate", "--database-url-file", &owner_url])?;
    assert_eq!(migrated.code, Some(0), "{migrated:?}");
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
    system.complete(studies::small("served", 4, 2)?).await?;
    system.trawl_stdout(&["delete", "served"])?;
    look_for("the end of all rows", async || {
        let left: i64 = owner.value("SELECT count(*) FROM trawl_store.studies").await?;
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
    let operator_file = written(folder.path(), "operator.token", operator)?;
    let worker_file = written(folder.path(), "worker.token", workers)?;
    let store = StoreAt::folder(folder.path());
    let database_url = fresh_database().await?;
    let flags = ["--token-file", &operator_file, "--worker-token-file", &worker_file];
    let closed = Coordinator::start(&database_url, &store, &flags, "127.0.0.1:0").await?;
    let client = Client::with_token(&closed.url, &database_url, Some(operator)).await?;
    let channel = client.channel().await?;
    for (token, code) in [(workers, Code::PermissionDenied), (operator, Code::Ok)] {
        let answer = call(&channel, "StudyService/ListStudies", Some(token), &()).await;
        assert_eq!(code_of(answer), code);
    }

    let _worker = worker(&closed.url, |command| {
        command.args(["--token-file", &worker_file]);
    })?;
    client.complete(studies::small("with-it", 2, 1)?).await?;

    // A worker must not be an operator.
    let database = written(folder.path(), "database.url", &database_url)?;
    let flags = ["--token-file", &worker_file, "--worker-token-file", &worker_file];
    let refused = coordinator(&[&["--database-url-file", &database][..], &flags].concat())?;
    assert!(
        refused.code != Some(0) && refused.stderr.contains("holds the operator's token"),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_another_tokens_role_ends_and_one_whose_token_is_unknown_tries_on() -> anyhow::Result<()> {
    let operator = "of-the-operator";
    let folder = TempDir::new()?;
    let system = System::start(&["--token", operator]).await?;
    let url = system.url();
    let user = system.admin(operator).await?.create("user", "user", None).await?;
    let mut program = Command::new(binary("trawl-worker")?);
    program.args(["--coordinator", url, "--device", "cpu"]);
    let refused = ran(program.env("TRAWL_TOKEN", user).env("RUST_LOG", "warn"))?;
    assert_eq!(refused.code, Some(2));
    assert_eq!(
        refused.stderr,
        format!(
            "error: {url} refuses this worker: a token of the role user may not call RegisterWorker; it needs a token of the role \
             worker: `trawl token create NAME --role worker` makes one, and --token-file names its file\n"
        )
    );

    let log = folder.path().join("log");
    let stderr = File::create(&log)?;
    let mut worker = worker(url, |command| {
        command.env("TRAWL_TOKEN", "unknown").stderr(stderr);
    })?;
    let told = format!("cannot register; trying again coordinator.url={url} error=the token is unknown here");
    look_for("the reason", async || {
        let log = std::fs::read_to_string(&log)?;
        Ok((log.contains(&told) && log.contains("`trawl token create NAME --role worker` makes one")).then_some(()))
    })
    .await?;
    assert!(worker.is_running());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_is_ready_while_its_object_store_answers() -> anyhow::Result<()> {
    let system = System::start(&[]).await?;
    let readyz = format!("{}/readyz", system.coordinator.http_url);
    let ready = async || fetched(&readyz, None).await;
    // A file where the probe wants a folder.
    let in_the_way = system.artifacts.path().join("probes");
    std::fs::write(&in_the_way, "")?;
    let away = (
        StatusCode::SERVICE_UNAVAILABLE,
        "the object store does not answer\n".to_owned(),
    );
    let back = (StatusCode::OK, "ok\n".to_owned());
    assert_eq!(ready().await?, away);
    std::fs::remove_file(&in_the_way)?;
    look_for("readiness", async || {
        let answer = ready().await?;
        assert!(answer == away || answer == back, "{answer:?}");
        Ok((answer != away).then_some(()))
    })
    .await?;
    assert_eq!(system.objects("")?, [] as [PathBuf; 0], "a probe leaves nothing");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn supervisors_are_told_who_lives() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let system = System::start(&["--token", "nobody-needs-it-here"]).await?;
    assert_eq!(system.trawl_stdout(&["health"])?, "serving\n");
    let nobody = system.trawl(&["health", "--server", "http://127.0.0.1:1"])?;
    assert_eq!(nobody.code, Some(1));

    // It waits for a coordinator that is not there, and lives.
    let sign = folder.path().join("alive");
    let alive = || -> anyhow::Result<Ran> {
        let mut command = Command::new(binary("trawl-worker")?);
        ran(command.arg("alive").env("TRAWL_ALIVE_FILE", &sign))
    };
    let before = alive()?;
    assert!(
        before.code == Some(1) && before.stderr.contains("alive: No such file"),
        "it says which file: {before:?}"
    );
    let _worker = worker("http://127.0.0.1:1", |command| {
        command.env("TRAWL_ALIVE_FILE", &sign).env("RUST_LOG", "error");
    })?;
    look_for("a sign of life", async || Ok(sign.exists().then_some(()))).await?;
    assert_eq!(alive()?.code, Some(0));
    Ok(())
}
