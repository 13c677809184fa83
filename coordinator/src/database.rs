//! Connects to Postgres once it is up, and migrates its schema to this version.

use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;
use trawl_domain::secret::Secret;

/// Time limit for Postgres to start beside the coordinator.
const DATABASE_WITHIN: Duration = Duration::from_secs(60);
/// Time limit of one try to connect, and of a wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Connections at once; further calls wait for one.
const CONNECTIONS_MAX: u32 = 16;

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Connects to Postgres, and waits for it to come up.
///
/// # Errors
/// A malformed URL, or no answer for a minute.
pub async fn connect(url: &Secret) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.expose().parse().context("the database's URL is no Postgres URL")?;
    // The coordinator's statements are short; a long one waits for a forgotten lock.
    let options = options.application_name("trawl-coordinator").options([
        // The table of migrations must not end up in a schema named like the user, least of all in trawl's own.
        ("search_path", "public"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "15s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS_MAX)
        .acquire_timeout(CONNECT_WITHIN);
    let addr = addr(&options);
    let deadline = Instant::now() + DATABASE_WITHIN;
    let mut told = String::new();
    loop {
        let connects = async {
            // A pool tries for its whole time limit, and then says only that this is over.
            PgConnection::connect_with(&options).await?.close().await?;
            pool.clone().connect_with(options.clone()).await
        };
        let reason = match timeout(CONNECT_WITHIN, connects).await {
            Ok(Ok(pool)) => return Ok(pool),
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("no answer within {} s", CONNECT_WITHIN.as_secs()),
        };
        if Instant::now() >= deadline {
            bail!("cannot connect to Postgres at {addr}: {reason}");
        }
        if reason != told {
            warn!(postgres.addr = %addr, error = %reason, "waiting for Postgres");
            told = reason;
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Host, port and database, without user and password.
pub fn addr(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

/// Postgres's own words, or the cause of its silence.
fn reason(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}

/// Migrates the schema forward to this version; returns its number. Several coordinators may call this at once: one migrates, the
/// others wait. If nothing is to be done, nothing is written, so a database user that owns no tables suffices.
///
/// # Errors
/// A migration fails, or the schema is a later version's.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<i64> {
    let mut conn = pool.acquire().await?.detach();
    if !is_migrated(&mut conn).await? {
        // Migrating a large table, or waiting for another coordinator's migration, may take long.
        let unlimited = "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0";
        sqlx::raw_sql(unlimited).execute(&mut conn).await?;
        MIGRATOR.run(&mut conn).await.context("cannot migrate the database")?;
    }
    conn.close().await?;
    Ok(MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0))
}

/// True if exactly this version's migrations are applied.
async fn is_migrated(conn: &mut PgConnection) -> anyhow::Result<bool> {
    let there = "SELECT to_regclass('public._sqlx_migrations') IS NOT NULL";
    if !sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *conn).await? {
        return Ok(false);
    }
    let applied = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";
    let applied: Vec<(i64, Vec<u8>)> = sqlx::query_as(applied)
        .fetch_all(conn)
        .await
        .context("cannot look which migrations were applied")?;
    let own = MIGRATOR
        .iter()
        .map(|migration| (migration.version, migration.checksum.to_vec()));
    Ok(own.eq(applied))
}
