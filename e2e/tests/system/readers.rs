//! Users of the database who read results: what they cannot do or hold, in a database that `deploy/postgres/roles.sql` made ready and in
//! one where it was never run.

use std::process::Command;

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use trawl_e2e::{
    Ask, Coordinator, Postgres, StoreAt, System, binary, fresh_database, look_for, owner_pool, ran, repository,
    studies, text, wait_for, written,
};

/// SQLSTATE of a missing right.
const NO_RIGHT: &str = "42501";
/// SQLSTATE of one connection too many.
const TOO_MANY: &str = "53300";
/// SQLSTATE of a session that somebody else ended.
const ENDED: &str = "57P01";

/// SQLSTATE of an error from Postgres.
fn state_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// A session that lifted whatever a session can lift.
async fn unbound(url: &str) -> anyhow::Result<PgConnection> {
    let mut conn = PgConnection::connect(url).await?;
    for setting in [
        "default_transaction_read_only",
        "statement_timeout",
        "idle_in_transaction_session_timeout",
    ] {
        let statement = format!("SELECT set_config('{setting}', '0', false)");
        conn.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    Ok(conn)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_study_needs_no_superuser() -> anyhow::Result<()> {
    let postgres = Postgres::start_alone()?;
    let database = postgres.prepared_database().await?;
    let mut system = System::start_on(database.owner_url.clone(), &[]).await?;
    system.add_workers(2)?;
    system.complete(studies::small("owned", 6, 4)?).await?;

    // Another coordinator beside it, and one that starts again.
    let _second = system.another_coordinator(&[]).await?;
    let system = system.crash_coordinator().await?;
    system.trawl_stdout(&["delete", "owned"])?;
    let owner = system.owner().await?;
    look_for("the end of all rows", async || {
        let left: i64 = owner.value("SELECT count(*) FROM trawl_store.studies").await?;
        Ok((left == 0).then_some(()))
    })
    .await?;

    let mut conn = PgConnection::connect(&database.owner_url).await?;
    for refused in [
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY trawl_store.studies TO '/tmp/studies'",
        "SELECT pg_read_file('PG_VERSION')",
        "CREATE ROLE another",
        "CREATE DATABASE another",
        "ALTER SYSTEM SET fsync = off",
        "ALTER ROLE trawl SUPERUSER",
        "SET ROLE postgres",
    ] {
        let error = conn.execute(refused).await.expect_err(refused);
        assert_eq!(state_of(&error).as_deref(), Some(NO_RIGHT), "{refused}: {error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_results_can_write_nothing_and_keep_nothing() -> anyhow::Result<()> {
    let postgres = Postgres::start_alone()?;
    let database = postgres.prepared_database().await?;
    let _system = System::start_on(database.owner_url.clone(), &[]).await?;
    let mut conn = unbound(&database.reader_url).await?;
    let studies: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.studies")
        .fetch_one(&mut conn)
        .await?;
    assert_eq!(studies, 0);
    for refused in [
        "CREATE TABLE mine (id integer)",
        "CREATE TEMP TABLE mine (id integer)",
        "CREATE FUNCTION pg_temp.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "UPDATE trawl_store.studies SET name = 'x'",
        "SELECT count(*) FROM trawl_store.tokens",
        "SELECT FROM trawl_store.quota_lock FOR UPDATE",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "SELECT pg_logical_emit_message(false, 'x', 'y')",
        "SELECT pg_export_snapshot()",
        "SELECT pg_advisory_lock(1953658737, 0)",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_try_advisory_xact_lock_shared(1)",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/mine'",
        "SELECT pg_read_file('PG_VERSION')",
        "BEGIN; LOCK TABLE trawl.studies IN EXCLUSIVE MODE",
        "BEGIN; LOCK TABLE trawl.trials IN ROW EXCLUSIVE MODE",
        "SELECT * FROM trawl.studies FOR UPDATE",
        "SELECT * FROM trawl.workers FOR KEY SHARE",
        "SET temp_file_limit = -1",
        "ALTER ROLE reader SET temp_file_limit = -1",
        "ALTER ROLE reader CONNECTION LIMIT -1",
        "ALTER ROLE reader SUPERUSER",
        "SET ROLE trawl",
    ] {
        let error = sqlx::raw_sql(refused).execute(&mut conn).await.expect_err(refused);
        assert_eq!(state_of(&error).as_deref(), Some(NO_RIGHT), "{refused}: {error}");
        sqlx::raw_sql("ROLLBACK").execute(&mut conn).await?;
    }
    // Nor elsewhere.
    for other in ["postgres", "template1"] {
        let url = database.reader_url.replacen("/trawl?", &format!("/{other}?"), 1);
        let error = PgConnection::connect(&url).await.expect_err(other);
        assert_eq!(state_of(&error).as_deref(), Some(NO_RIGHT), "{other}: {error}");
    }

    // Others find places.
    let mut held = vec![conn];
    for _ in 1..16 {
        held.push(PgConnection::connect(&database.reader_url).await?);
    }
    let error = PgConnection::connect(&database.reader_url)
        .await
        .expect_err("one too many");
    assert_eq!(state_of(&error).as_deref(), Some(TOO_MANY), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_a_reader_ends_whatever_limits_it_lifted() -> anyhow::Result<()> {
    let postgres = Postgres::start_alone()?;
    let database = postgres.prepared_database().await?;
    let _system = System::start_on(database.owner_url.clone(), &["--reader-transaction-limit-ms", "100"]).await?;
    let mut idle = unbound(&database.reader_url).await?;
    let mut owner = PgConnection::connect(&database.owner_url).await?;
    let mut of_owner = owner.begin().await?;
    let mut holding = unbound(&database.reader_url).await?;
    holding.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    holding.execute("SELECT count(*) FROM trawl.studies").await?;
    let mut running = unbound(&database.reader_url).await?;
    let error = wait_for("the end of a query", async {
        Ok(running
            .execute("SELECT pg_sleep(3600)")
            .await
            .expect_err("it was not ended"))
    })
    .await?;
    assert_eq!(state_of(&error).as_deref(), Some(ENDED), "{error}");
    let error = look_for("the end of a transaction", async || {
        Ok(holding.execute("SELECT 1").await.err())
    })
    .await?;
    assert!(
        state_of(&error).is_none_or(|state| state == ENDED),
        "it ended by itself: {error}"
    );
    // A reader's session that holds nothing stays, and so does a session of another role.
    idle.execute("SELECT count(*) FROM trawl.studies").await?;
    of_owner.execute("SELECT count(*) FROM trawl.studies").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_database_that_nobody_prepared_stops_no_submission() -> anyhow::Result<()> {
    let database_url = fresh_database().await?;
    let system = System::start_on(database_url.clone(), &[]).await?;
    let mut holder = reader_of_its_own(&database_url, "holder").await?;
    // The lock under which studies were once counted.
    holder.execute("SELECT pg_advisory_lock(1953658737, 0)").await?;
    holder.execute("BEGIN").await?;
    holder.execute("SELECT count(*) FROM trawl.studies").await?;
    system.submit(studies::one_job("beside", 1, 1)?).await?;
    Ok(())
}

/// A session of a new user who may read the views, and has Postgres's default rights.
async fn reader_of_its_own(database_url: &str, user: &str) -> anyhow::Result<PgConnection> {
    let mut superuser = PgConnection::connect(database_url).await?;
    let statement = format!("CREATE ROLE {user} LOGIN IN ROLE trawl_reader");
    superuser.execute(sqlx::AssertSqlSafe(statement)).await?;
    let url = database_url.replacen("//postgres@", &format!("//{user}@"), 1);
    Ok(PgConnection::connect(&url).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_that_is_told_is_of_somebody_who_can_only_read() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let postgres = Postgres::start_alone()?;
    let database = postgres.prepared_database().await?;
    let database_file = written(folder.path(), "database.url", &database.owner_url)?;
    let reader_file = folder.path().join("reader.url");
    let named = |user: &str| std::fs::write(&reader_file, format!("postgres://{user}:secret@127.0.0.1/trawl\n"));
    let superuser = owner_pool(&database.superuser_url).await?;
    for (user, attributes) in [
        ("somebody", "LOGIN"),
        ("maker", "LOGIN CREATEROLE IN ROLE trawl_reader"),
        ("of_owner", "LOGIN IN ROLE trawl_reader, trawl"),
        ("reads_files", "LOGIN IN ROLE trawl_reader, pg_read_server_files"),
        ("nologin", "NOLOGIN IN ROLE trawl_reader"),
    ] {
        let made = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE ROLE {user} {attributes}")));
        made.execute(&superuser).await?;
    }
    let not_one = "is not one that reads results alone";
    for (user, said) in [
        ("missing", "has no user missing"),
        ("postgres", not_one),
        ("trawl", not_one),
        ("somebody", not_one),
        ("maker", not_one),
        ("of_owner", not_one),
        ("reads_files", not_one),
        ("nologin", not_one),
    ] {
        named(user)?;
        let mut command = Command::new(binary("trawl-coordinator")?);
        command
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--artifacts"])
            .arg(format!("file://{}", folder.path().display()))
            .args(["--database-url-file", &database_file])
            .args(["--reader-url-file", text(&reader_file)?])
            .env_remove("DATABASE_URL");
        let refused = ran(command.current_dir(repository()))?;
        let is_told = refused.stderr.contains(said) && refused.stderr.contains("deploy/postgres/roles.sql");
        assert!(refused.code != Some(0) && is_told, "{user}: {refused:?}");
        assert!(
            refused.stdout.is_empty() && !refused.stderr.contains("secret"),
            "{user}: {refused:?}"
        );
    }
    named("reader")?;
    let store = StoreAt::folder(folder.path());
    let flags = ["--reader-url-file", text(&reader_file)?];
    Coordinator::start(&database.owner_url, &store, &flags, "127.0.0.1:0").await?;
    Ok(())
}
