//! Throw-away Postgres: one for all tests of a process, with a database of its own for each, and durable ones to measure on.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::process::{repository, wrapped};
use crate::small_disk::SmallDisk;
use crate::system::look_for;

/// A Postgres of its own, removed when it is dropped or the process ends.
#[derive(Debug)]
pub struct Postgres {
    url: String,
    /// Folder with its data, in `data`, and a `pg_ctl` that speaks for its owner.
    folder: PathBuf,
    /// A process that waits for the end of its standard input, then stops Postgres and removes it.
    script: Child,
}

/// A database as in production: made ready by `deploy/postgres/roles.sql`, its owner no superuser.
#[derive(Clone, Debug)]
pub struct PreparedDatabase {
    /// URL of its owner, as whom a coordinator connects.
    pub owner_url: String,
    /// URL of the user who reads results.
    pub reader_url: String,
    /// URL of the administrator of the whole Postgres.
    pub superuser_url: String,
}

impl Postgres {
    /// One for a test that changes what the whole of it has in common.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_alone() -> anyhow::Result<Self> {
        Self::start(&[], &[])
    }

    /// One whose commits wait for the disk, as in production.
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
            .args([
                "bash",
                "-c",
                "echo \"$TRAWL_POSTGRES_AT\"; echo \"$DATABASE_URL\"; read -r _",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start deploy/with-postgres.sh")?;
        let output = script.stdout.take().context("the script has no output")?;
        let mut lines = BufReader::new(output).lines();
        let folder = lines.next().context("no Postgres: run make setup first")??;
        let url = lines.next().context("no Postgres: run make setup first")??;
        Ok(Self {
            url,
            folder: folder.into(),
            script,
        })
    }

    /// Ends it at once, in order (`-m immediate`): its next start recovers from its log.
    ///
    /// # Errors
    /// It does not run.
    pub fn stop_immediately(&self) -> anyhow::Result<()> {
        self.control(&["-m", "immediate", "-w", "stop"])
    }

    /// Kills its first process as a crash would; the others notice, and end.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill_postmaster(&self) -> anyhow::Result<()> {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid"))?;
        let number = file.lines().next().and_then(|line| line.trim().parse().ok());
        let postmaster = number.and_then(Pid::from_raw).context("Postgres does not run")?;
        Ok(kill_process(postmaster, Signal::KILL)?)
    }

    /// Starts it again, as it was. Waits for what a killed one left to end.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start_again(&self) -> anyhow::Result<()> {
        let log = self.folder.join("postgres.log");
        let log = log.to_str().context("a path that is no text")?;
        look_for("Postgres", async || {
            // The processes of a killed one hold its memory for a moment more.
            Ok(self.control(&["-l", log, "-w", "restart"]).ok())
        })
        .await
    }

    fn control(&self, args: &[&str]) -> anyhow::Result<()> {
        let output = Command::new(self.folder.join("pg_ctl")).args(args).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "pg_ctl {args:?}: {errors}");
        Ok(())
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// A database that is empty, and made ready for a coordinator as an administrator does it by hand. One for each Postgres: its
    /// users have names that are the same everywhere.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn prepared_database(&self) -> anyhow::Result<PreparedDatabase> {
        let url = |user: &str| {
            let there = self.url.replacen("/postgres?", "/trawl?", 1);
            there.replacen("//postgres@", &format!("//{user}@"), 1)
        };
        let mut conn = PgConnection::connect(&self.url).await?;
        for statement in [
            "CREATE ROLE trawl LOGIN",
            "CREATE ROLE reader LOGIN",
            "CREATE DATABASE trawl OWNER trawl",
        ] {
            conn.execute(statement).await?;
        }
        let roles = std::fs::read_to_string(repository().join("deploy/postgres/roles.sql"))?;
        let superuser_url = url("postgres");
        let mut conn = PgConnection::connect(&superuser_url).await?;
        // As programs take the file apart that know no SQL.
        for statement in roles.split(";\n\n") {
            conn.execute(sqlx::AssertSqlSafe(statement.to_owned())).await?;
        }
        Ok(PreparedDatabase {
            owner_url: url("trawl"),
            reader_url: url("reader"),
            superuser_url,
        })
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
