//! A throw-away Postgres for all tests of one process, and a database of its own for each test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::process::repository;

/// Held to the process's end: the script waits for the end of its standard input, then stops Postgres and removes it.
struct Server {
    url: String,
    _script: Child,
}

fn server() -> anyhow::Result<&'static Server> {
    static SERVER: OnceLock<Server> = OnceLock::new();
    if let Some(server) = SERVER.get() {
        return Ok(server);
    }
    let started = start()?;
    Ok(SERVER.get_or_init(|| started))
}

fn start() -> anyhow::Result<Server> {
    let mut script = Command::new(repository().join("deploy/with-postgres.sh"))
        .args(["bash", "-c", "echo \"$DATABASE_URL\"; read -r _"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start deploy/with-postgres.sh")?;
    let output = script.stdout.take().context("the script has no output")?;
    let mut url = String::new();
    BufReader::new(output).read_line(&mut url)?;
    anyhow::ensure!(!url.trim().is_empty(), "no Postgres: run make setup first");
    Ok(Server {
        url: url.trim().to_owned(),
        _script: script,
    })
}

/// The URL of a database that is empty.
///
/// # Errors
/// Postgres cannot be started.
pub async fn fresh_database() -> anyhow::Result<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let server = server()?;
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut conn = PgConnection::connect(&server.url).await?;
    conn.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await?;
    Ok(server.url.replacen("/postgres?", &format!("/{name}?"), 1))
}

/// Connections to a database as its owner, for tests that look behind the views.
///
/// # Errors
/// Postgres does not answer.
pub async fn owner_pool(url: &str) -> anyhow::Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(2).connect(url).await?)
}

/// Connections to a database as `trawl_reader`, which may read the views and nothing else.
///
/// # Errors
/// Postgres does not answer.
pub async fn reader_pool(url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    let options = options.options([("role", "trawl_reader")]);
    Ok(PgPoolOptions::new().max_connections(2).connect_with(options).await?)
}
