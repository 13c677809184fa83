//! Users of the database who read results. Statements about users take no parameters, so Postgres itself quotes what they name.

use sqlx::AssertSqlSafe;

use super::{Connection, StoreError};

/// What there is of a user before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nobody,
    /// One who may read the views of trawl, and has no right over others.
    Reader,
    /// Somebody else's user.
    Other,
}

/// Looks for a user, and keeps everybody else from making it until the transaction ends.
pub async fn find(conn: &mut Connection, user: &str) -> Result<Found, StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('trawl reader', 0))")
        .execute(&mut *conn)
        .await?;
    let reader = sqlx::query_scalar!(
        r#"SELECT rolcanlogin AND rolname <> current_user AND pg_has_role(oid, 'trawl_reader', 'MEMBER')
                  AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) AS "reader!"
           FROM pg_roles WHERE rolname = $1"#,
        user,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match reader {
        None => Found::Nobody,
        Some(true) => Found::Reader,
        Some(false) => Found::Other,
    })
}

/// Makes a user that may read the views.
pub async fn create(conn: &mut Connection, user: &str) -> Result<(), StoreError> {
    let statement = sqlx::query_scalar!(
        r#"SELECT format('CREATE ROLE %I LOGIN IN ROLE trawl_reader', $1::text) AS "statement!""#,
        user
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query(AssertSqlSafe(statement)).execute(conn).await?;
    Ok(())
}

/// Gives a user its password and its limits: it changes nothing, and a query that was forgotten ends by itself, as an old
/// snapshot keeps Postgres from tidying up the tables that workers write to.
pub async fn equip(conn: &mut Connection, user: &str, password: &str) -> Result<(), StoreError> {
    let statements = sqlx::query_scalar!(
        r#"SELECT format(form, $1::text, $2::text) AS "statement!"
           FROM unnest(ARRAY[
               'ALTER ROLE %1$I PASSWORD %2$L',
               'ALTER ROLE %1$I SET default_transaction_read_only = on',
               'ALTER ROLE %1$I SET statement_timeout = ''5min''',
               'ALTER ROLE %1$I SET idle_in_transaction_session_timeout = ''1min''']) AS form"#,
        user,
        password,
    )
    .fetch_all(&mut *conn)
    .await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *conn).await?;
    }
    Ok(())
}
