//! Tokens. Only their hashes come here, never their texts.

use std::time::Duration;

use chrono::{DateTime, Utc};
use trawl_domain::access::{Role, TokenHash, TokenRequest};
use trawl_domain::id::TokenId;
use uuid::Uuid;

use super::{Connection, StoreError, bad_row, to_pg_int, word};

/// The constraint that two tokens of one name break.
pub const UNIQUE_NAME: &str = "tokens_unique_name";

/// A token that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRecord {
    /// Its id.
    pub token_id: TokenId,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// active, expired or revoked.
    pub state: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token that is valid.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveToken {
    /// Its id.
    pub token_id: TokenId,
    /// What it is for.
    pub role: Role,
    /// The hash of its text.
    pub hash: TokenHash,
    /// How long it stays valid.
    pub remaining: Option<Duration>,
}

struct Row {
    token_id: Uuid,
    name: String,
    role: String,
    state: String,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for TokenRecord {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            token_id: TokenId(row.token_id),
            role: word("tokens", row.token_id, "role", &row.role)?,
            name: row.name,
            state: row.state,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        })
    }
}

/// Keeps a new token. It expires relative to the database's clock.
pub async fn insert(
    conn: &mut Connection,
    token_id: TokenId,
    request: &TokenRequest,
    hash: TokenHash,
) -> Result<TokenRecord, StoreError> {
    sqlx::query_as!(
        Row,
        r#"INSERT INTO trawl_store.tokens (token_id, name, role, sha256, expires_at)
           VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
           RETURNING token_id, name, role, 'active' AS "state!", created_at, expires_at, revoked_at"#,
        token_id.0,
        request.name,
        request.role.as_str(),
        &hash.0[..],
        request.lifetime.map(|lifetime| lifetime.as_secs_f64()),
    )
    .fetch_one(conn)
    .await?
    .try_into()
}

/// True if any token was ever made, even if none is left.
pub async fn any(conn: &mut Connection) -> Result<bool, StoreError> {
    let any = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM trawl_store.tokens) AS "any!""#)
        .fetch_one(conn)
        .await?;
    Ok(any)
}

/// The tokens that are valid now.
pub async fn live(conn: &mut Connection) -> Result<Vec<LiveToken>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT token_id, role, sha256, extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining_seconds
           FROM trawl_store.tokens
           WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())"#
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash: [u8; 32] = row
                .sha256
                .try_into()
                .map_err(|_| bad_row("tokens", row.token_id, "sha256", "is no SHA-256"))?;
            Ok(LiveToken {
                token_id: TokenId(row.token_id),
                role: word("tokens", row.token_id, "role", &row.role)?,
                hash: TokenHash(hash),
                // It may have ended between the two looks at the clock.
                remaining: row
                    .remaining_seconds
                    .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()),
            })
        })
        .collect()
}

/// A page of tokens, the newest first, after the one given.
pub async fn list(
    conn: &mut Connection,
    after: Option<(DateTime<Utc>, TokenId)>,
    limit: u32,
) -> Result<Vec<TokenRecord>, StoreError> {
    let (after_at, after_id) = after.map(|(at, id)| (at, id.0)).unzip();
    sqlx::query_as!(
        Row,
        r#"SELECT token_id, name, role,
                  CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= clock_timestamp() THEN 'expired'
                       ELSE 'active' END AS "state!",
                  created_at, expires_at, revoked_at
           FROM trawl_store.tokens
           WHERE $1::timestamptz IS NULL OR (created_at, token_id) < ($1, $2)
           ORDER BY created_at DESC, token_id DESC
           LIMIT $3"#,
        after_at,
        after_id,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(TokenRecord::try_from)
    .collect()
}

/// Forgets tokens that ended `ended_days` ago, except the newest token of all: a coordinator that ever had tokens stays closed.
pub async fn remove_ended(conn: &mut Connection, ended_days: u32) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "DELETE FROM trawl_store.tokens
         WHERE LEAST(revoked_at, expires_at) < clock_timestamp() - make_interval(days => $1)
           AND token_id <> (SELECT token_id FROM trawl_store.tokens ORDER BY created_at DESC, token_id DESC LIMIT 1)",
        to_pg_int(ended_days),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Revokes a token by its id or, failing that, by its name. If all tokens of the name have ended, finds the newest of them.
pub async fn revoke(
    conn: &mut Connection,
    token_id: Option<TokenId>,
    name: &str,
) -> Result<Option<TokenRecord>, StoreError> {
    sqlx::query_as!(
        Row,
        r#"UPDATE trawl_store.tokens SET revoked_at = coalesce(revoked_at, clock_timestamp())
           WHERE token_id = (SELECT token_id FROM trawl_store.tokens WHERE token_id = $1 OR name = $2
                             ORDER BY token_id IS NOT DISTINCT FROM $1 DESC, revoked_at IS NULL DESC, created_at DESC
                             LIMIT 1)
           RETURNING token_id, name, role, 'revoked' AS "state!", created_at, expires_at, revoked_at"#,
        token_id.map(|id| id.0),
        name,
    )
    .fetch_optional(conn)
    .await?
    .map(TokenRecord::try_from)
    .transpose()
}
