//! Authentication: whose token a call carries.
//!
//! All valid tokens are in memory, as hashes, and are read again every [`REFRESH_INTERVAL`]. So no call waits for the database to be
//! authenticated, neither a heartbeat nor a forged token costs a query, and a token that was revoked, by whomever, is refused within
//! that time. Once the list is older than [`TOKENS_MAX_AGE`], nobody is let in by it.

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
/// What is known of tokens is no older, however slow the database is.
const TOKENS_MAX_AGE: Duration = Duration::from_secs(5);
/// How often a stream's token is looked up again.
const STREAM_RECHECK: Duration = Duration::from_secs(2);
/// How long reading the tokens may take.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody without a token, where none is asked for and workers have none either.
    Anybody,
    /// Somebody without a token, where none is asked for but of workers.
    AnyUser,
    /// The holder of the operator's token, which the coordinator was started with.
    Operator,
    /// The holder of the workers' token, which the coordinator was started with.
    Worker,
    /// The holder of a token that was made here.
    Token(TokenId, Role),
}

impl Caller {
    /// What they may do. Tokens are for nobody without one: the first that is made would shut out everybody else.
    pub fn roles(&self) -> &[Role] {
        match self {
            Self::Anybody => &[Role::User, Role::Worker],
            Self::AnyUser => &[Role::User],
            Self::Operator => &[Role::Admin],
            Self::Worker => &[Role::Worker],
            Self::Token(_, role) => std::slice::from_ref(role),
        }
    }

    /// Under what name the workers that it registers and the studies that it submits are its own; `None` where no token is asked for, and all are
    /// everybody's.
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
    /// As it stands in "… may not call CreateStudy".
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
    /// It is not valid; why, is not told.
    #[error("the token is unknown here, has expired or was revoked")]
    BadToken,
    /// The tokens could not be read of late.
    #[error("the database does not answer; try again later")]
    Unavailable,
}

impl AuthError {
    /// As it is counted.
    pub fn reason(&self) -> Refused {
        match self {
            Self::NoToken => Refused::NoToken,
            Self::BadToken => Refused::BadToken,
            Self::Unavailable => Refused::Unavailable,
        }
    }
}

/// Knows whose token is whose.
#[derive(Debug)]
pub struct Authenticator {
    app: Arc<App>,
    /// Those that the coordinator was started with.
    fixed: Vec<(TokenHash, Caller)>,
    /// Who calls without a token, where none was ever made here; `None` if the operator has one, which is asked for then.
    tokenless: Option<Caller>,
    tokens: RwLock<Option<Arc<Tokens>>>,
    /// One reads at a time, so that what was read later is kept.
    refreshing: Mutex<()>,
}

/// The tokens as they were at a moment.
#[derive(Debug)]
struct Tokens {
    /// From before the query left, so that its age is never underrated.
    asked_at: Instant,
    /// Tokens were made here, whatever became of them.
    any: bool,
    live: HashMap<TokenHash, Live>,
}

#[derive(Debug)]
struct Live {
    caller: Caller,
    until: Option<Instant>,
}

impl Authenticator {
    /// With the tokens that the operator started the coordinator with: one that may do everything, and one for workers. It lets
    /// nobody in by another one before its first [`Authenticator::refresh`].
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

    /// Whose token this is.
    ///
    /// # Errors
    /// It is not valid, or there is none and one is needed.
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
            // Where no token is asked for, a wrong one is ignored, as anything else that nobody asked for.
            None if !tokens.any => self.tokenless.ok_or(AuthError::BadToken),
            _ => Err(AuthError::BadToken),
        }
    }

    /// Waits until a token that was let in is not valid any more; for ever, if it stays valid.
    pub async fn revoked(&self, token: Option<TokenHash>) -> AuthError {
        loop {
            sleep(STREAM_RECHECK).await;
            match self.identify(token) {
                // A database that is away takes nobody's rights.
                Ok(_) | Err(AuthError::Unavailable) => {}
                Err(error) => return error,
            }
        }
    }

    /// As whom those are let in who have no token, if none is asked for: the operator gave none, and none was ever made. A token
    /// that is revoked does not open the coordinator again.
    ///
    /// # Errors
    /// The tokens could not be read of late.
    pub fn open_to(&self) -> Result<Option<Caller>, AuthError> {
        match self.tokenless {
            None => Ok(None),
            Some(caller) => Ok((!self.tokens()?.any).then_some(caller)),
        }
    }

    /// Tokens that were valid when they were last read.
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
