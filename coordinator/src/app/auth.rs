//! Authentication: finds the caller that a call's token belongs to.
//!
//! All valid tokens are in memory, as hashes, and are read again every [`REFRESH_INTERVAL`]. So no call waits for the database to
//! be authenticated: neither a heartbeat nor a forged token costs a query. A revoked token is refused within that time, whichever
//! coordinator revoked it. Once the list is older than [`TOKENS_MAX_AGE`], it admits nobody.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use trawl_domain::access::{Role, TokenHash};
use trawl_domain::id::TokenId;
use trawl_domain::secret::Secret;

use super::{App, AppError};
use crate::metrics::Refused;
use crate::store::tokens;

/// Time between two readings of the tokens.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Age up to which the list of tokens is used, however slow the database is.
const TOKENS_MAX_AGE: Duration = Duration::from_secs(5);
/// How often a stream's token is looked up again.
const STREAM_RECHECK: Duration = Duration::from_secs(2);
/// How long reading the tokens may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A caller without a token, where neither the operator nor workers have one.
    Anybody,
    /// A caller without a token, where only workers have one.
    AnyUser,
    /// The holder of the operator's token, which the coordinator was started with.
    Operator,
    /// The holder of the workers' token, which the coordinator was started with.
    Worker,
    /// The holder of a token that the coordinator made.
    Token(TokenId, Role),
}

impl Caller {
    /// The roles that the caller has. A caller without a token may not make tokens: the first one made would shut out everybody else.
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Anybody => &[Role::User, Role::Worker],
            Self::AnyUser => &[Role::User],
            Self::Operator => &[Role::Admin],
            Self::Worker => &[Role::Worker],
            Self::Token(_, role) => std::slice::from_ref(role),
        }
    }

    /// The name that owns the workers and studies of this caller; `None` where no token is needed, and everybody owns
    /// them.
    pub fn owner(self) -> Option<String> {
        match self {
            Self::Anybody | Self::AnyUser => None,
            Self::Operator => Some("operator".to_owned()),
            Self::Worker => Some("worker".to_owned()),
            Self::Token(token_id, _) => Some(token_id.to_string()),
        }
    }
}

impl fmt::Display for Caller {
    /// As in "… may not call CreateStudy".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self {
            Self::Anybody | Self::AnyUser => return f.write_str("a caller without a token"),
            Self::Operator => Role::Admin,
            Self::Worker => Role::Worker,
            Self::Token(_, role) => *role,
        };
        write!(f, "a token of the role {role}")
    }
}

/// Why a caller is not authenticated.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// There is no token.
    #[error("a token is needed: authorization: Bearer TOKEN")]
    NoToken,
    /// It is not valid; the message does not say why.
    #[error("the token is unknown here, has expired or was revoked")]
    BadToken,
    /// The last reading of the tokens is too old.
    #[error("the database does not answer; try again later")]
    Unavailable,
}

impl AuthError {
    /// Its label in the metrics.
    pub fn reason(&self) -> Refused {
        match self {
            Self::NoToken => Refused::NoToken,
            Self::BadToken => Refused::BadToken,
            Self::Unavailable => Refused::Unavailable,
        }
    }
}

/// Maps tokens to callers.
#[derive(Debug)]
pub struct Authenticator {
    app: Arc<App>,
    /// The tokens that the coordinator was started with.
    fixed: Vec<(TokenHash, Caller)>,
    /// The caller without a token, as long as no token was ever made; `None` if the operator has one, so that every call needs a token.
    tokenless: Option<Caller>,
    tokens: RwLock<Option<Arc<Tokens>>>,
    /// One task reads at a time, so that the later reading is kept.
    refreshing: Mutex<()>,
}

/// The tokens at one moment.
#[derive(Debug)]
struct Tokens {
    /// Taken before the query is sent, so that the age is never underrated.
    asked_at: Instant,
    /// True if any token was ever made, even if none is left.
    any: bool,
    live: HashMap<TokenHash, Live>,
}

#[derive(Debug)]
struct Live {
    caller: Caller,
    until: Option<Instant>,
}

impl Authenticator {
    /// The operator started the coordinator with these tokens: one for everything, and one for workers. No other token
    /// is valid before the first [`Authenticator::refresh`].
    pub fn new(app: Arc<App>, operator: Option<&Secret>, worker: Option<&Secret>) -> Self {
        let tokenless = match (operator, worker) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(Caller::AnyUser),
            (None, None) => Some(Caller::Anybody),
        };
        let fixed = [(operator, Caller::Operator), (worker, Caller::Worker)];
        Self {
            app,
            fixed: fixed
                .into_iter()
                .filter_map(|(token, caller)| Some((TokenHash::of(token?.expose()), caller)))
                .collect(),
            tokenless,
            tokens: RwLock::new(None),
            refreshing: Mutex::new(()),
        }
    }

    /// The caller that a token belongs to.
    ///
    /// # Errors
    /// The token is not valid, or it is missing and one is needed.
    pub fn identify(&self, token: Option<TokenHash>) -> Result<Caller, AuthError> {
        let Some(token) = token else {
            return self.open_to()?.ok_or(AuthError::NoToken);
        };
        if let Some((_, caller)) = self.fixed.iter().find(|(fixed, _)| *fixed == token) {
            return Ok(*caller);
        }
        let tokens = self.tokens()?;
        match tokens.live.get(&token) {
            Some(live) if live.until.is_none_or(|until| Instant::now() < until) => Ok(live.caller),
            // Where no token is needed, a wrong one is ignored.
            None if !tokens.any => self.tokenless.ok_or(AuthError::BadToken),
            _ => Err(AuthError::BadToken),
        }
    }

    /// Waits until an admitted token is no longer valid; for ever, if it stays valid.
    pub async fn revoked(&self, token: Option<TokenHash>) -> AuthError {
        loop {
            sleep(STREAM_RECHECK).await;
            match self.identify(token) {
                // An outage of the database revokes nothing.
                Ok(_) | Err(AuthError::Unavailable) => {}
                Err(error) => return error,
            }
        }
    }

    /// The caller that anybody without a token is; `None` if a token is needed, because the operator has one or any was
    /// ever made. Revoking a token does not open the coordinator again.
    ///
    /// # Errors
    /// The last reading of the tokens is too old.
    pub fn open_to(&self) -> Result<Option<Caller>, AuthError> {
        match self.tokenless {
            None => Ok(None),
            Some(caller) => Ok((!self.tokens()?.any).then_some(caller)),
        }
    }

    /// Tokens that were valid at the last reading.
    pub fn live_tokens(&self) -> usize {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.as_ref().map_or(0, |tokens| tokens.live.len())
    }

    fn tokens(&self) -> Result<Arc<Tokens>, AuthError> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = tokens
            .as_ref()
            .filter(|tokens| tokens.asked_at.elapsed() < TOKENS_MAX_AGE);
        fresh.cloned().ok_or(AuthError::Unavailable)
    }

    /// Reads the tokens.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn refresh(&self) -> Result<(), AppError> {
        let _refreshing = self.refreshing.lock().await;
        let asked_at = Instant::now();
        let read = async {
            let mut conn = self.app.pool.acquire().await?;
            let live = tokens::live(&mut conn).await?;
            let any = !live.is_empty() || tokens::any(&mut conn).await?;
            Ok::<_, AppError>((any, live))
        };
        let (any, live) = timeout(READ_WITHIN, read)
            .await
            .map_err(|_| AppError::Unavailable("the database does not answer; try again later"))??;
        let live = live.into_iter().map(|token| {
            let caller = Caller::Token(token.token_id, token.role);
            let until = token.remaining.map(|remaining| asked_at + remaining);
            (token.hash, Live { caller, until })
        });
        let tokens = Tokens {
            asked_at,
            any,
            live: live.collect(),
        };
        *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(tokens));
        Ok(())
    }
}
