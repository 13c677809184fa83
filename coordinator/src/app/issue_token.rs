//! Tokens: made, listed and revoked by administrators.

use chrono::{DateTime, Utc};
use tracing::info;
use trawl_domain::access::{TokenHash, TokenRequest, token_text};
use trawl_domain::id::TokenId;
use trawl_domain::limits::TOKENS_MAX;
use trawl_domain::secret::Secret;

use super::auth::Authenticator;
use super::{App, AppError};
use crate::store::tokens::{self, TokenRecord, UNIQUE_NAME};

/// Makes a token. Its text is in the answer and nowhere else.
///
/// # Errors
/// The name is taken, or there are too many.
pub async fn create_token(
    app: &App,
    authenticator: &Authenticator,
    request: &TokenRequest,
) -> Result<(Secret, TokenRecord), AppError> {
    if authenticator.live_tokens() >= TOKENS_MAX as usize {
        return Err(AppError::FailedPrecondition(format!(
            "there are {TOKENS_MAX} tokens that are valid; revoke some"
        )));
    }
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|error| AppError::Internal(format!("no random numbers: {error}")))?;
    let text = token_text(entropy);
    let token_id = TokenId(app.new_id());
    let mut conn = app.pool.acquire().await?;
    let record = tokens::insert(&mut conn, token_id, request, TokenHash::of(text.expose()))
        .await
        .map_err(|error| {
            if error.is_violation_of(UNIQUE_NAME) {
                AppError::AlreadyExists(format!("there is a token '{}'; revoke it first", request.name))
            } else {
                error.into()
            }
        })?;
    drop(conn);
    authenticator.refresh().await?;
    info!(token.id = %token_id, token.name = record.name, token.role = %record.role, "token created");
    Ok((text, record))
}

/// A page of tokens, the newest first.
///
/// # Errors
/// Postgres does not answer.
pub async fn list_tokens(
    app: &App,
    after: Option<(DateTime<Utc>, TokenId)>,
    limit: u32,
) -> Result<Vec<TokenRecord>, AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(tokens::list(&mut conn, after, limit).await?)
}

/// Revokes a token, by its name or id.
///
/// # Errors
/// There is none.
pub async fn revoke_token(app: &App, authenticator: &Authenticator, token: &str) -> Result<TokenRecord, AppError> {
    let mut conn = app.pool.acquire().await?;
    let revoked = tokens::revoke(&mut conn, token.parse().ok(), token).await?;
    drop(conn);
    // The message does not quote the request: its text may be a token itself.
    let record = revoked.ok_or_else(|| AppError::NotFound("there is no token of that name or id".to_owned()))?;
    authenticator.refresh().await?;
    info!(token.id = %record.token_id, token.name = record.name, "token revoked");
    Ok(record)
}
