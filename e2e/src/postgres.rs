//! Throw-away Postgres: one for all tests of a process, with a database of its own for each, and durable ones to measure on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::process::{repository, wrapped};
use crate::small_disk::SmallDisk;

/// A Postgres of its own, removed when it is dropped or the process ends.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    /// It waits for the end of its standard input, then stops Postgres and removes it.
    script: Child,
}

impl Postgres {
    /// One whose commits wait for the disk, as they do in earnest.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_durable() -> anyhow::Result<Self> {
        Self::start(&[], &["--durable"])
    }

    /// One that sees a disk of its own, for a tablespace on it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_beside(disk: &SmallDisk) -> anyhow::Result<Self> {
        Self::start(&disk.wrapper(), &[])
    }

    /// A process that sees what Postgres sees.
    pub fn process(&self) -> u32 {
        self.script.id()
    }

    fn start(wrapper: &[String], flags: &[&str]) -> anyhow::Result<Self> {
        let mut script = wrapped(wrapper, &repository().join("deploy/with-postgres.sh"))
            .args(flags)
            .args(["bash", "-c", "echo \"$DATABASE_URL\"; read -r _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start deploy/with-postgres.sh")?;
        let output = script.stdout.take().context("the script has no output")?;
        let mut url = String::new();
        BufReader::new(output).read_line(&mut url)?;
        anyhow::ensure!(!url.trim().is_empty(), "no Postgres: run make setup first");
        Ok(Self {
            url: url.trim().to_owned(),
            script,
        })
    }

    /// The URL of a database that is empty.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn fresh_database(&self) -> anyhow::Result<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut conn = PgConnection::connect(&self.url).await?;
        conn.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .await?;
        Ok(self.url.replacen("/postgres?", &format!("/{name}?"), 1))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// The URL of an empty database on the Postgres of this process, which lives to its end.
///
/// # Errors
/// Postgres cannot be started.
pub async fn fresh_database() -> anyhow::Result<String> {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    let postgres = match POSTGRES.get() {
        Some(postgres) => postgres,
        None => {
            let started = Postgres::start(&[], &[])?;
            POSTGRES.get_or_init(|| started)
        }
    };
    postgres.fresh_database().await
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
