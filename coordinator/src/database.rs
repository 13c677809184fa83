//! Connects to Postgres once it is up, and migrates its schema to this version.

use std::time::Duration;

use anyhow::Context;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{Instant, sleep};
use tracing::warn;
use trawl_domain::secret::Secret;

/// Time limit for Postgres to start beside the coordinator.
const DATABASE_WITHIN: Duration = Duration::from_secs(60);
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
        .acquire_timeout(Duration::from_secs(10));
    let deadline = Instant::now() + DATABASE_WITHIN;
    let mut told = false;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if Instant::now() >= deadline => return Err(error).context("cannot connect to Postgres"),
            Err(error) => {
                if !told {
                    warn!(error = %error, "waiting for Postgres");
                    told = true;
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
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
