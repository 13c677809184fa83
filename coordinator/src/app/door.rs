//! The door: who calls, and whether they call too often.
//!
//! All valid tokens are in memory, as hashes, and are read again when a call comes and what is there is older than
//! [`TOKENS_MAX_AGE`]. So a heartbeat costs no query, a forged token neither, and a token that was revoked, by whomever, is
//! refused within that time.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use trawl_domain::access::{Role, TokenHash};
use trawl_domain::id::TokenId;
use trawl_domain::secret::Secret;

use super::{App, AppError};
use crate::metrics::{Metrics, Refused};
use crate::store::tokens;

/// What is known of tokens is no older.
const TOKENS_MAX_AGE: Duration = Duration::from_secs(2);
/// How often streams are asked whether they may go on: with [`TOKENS_MAX_AGE`], they end within 5 s.
const STREAM_RECHECK: Duration = Duration::from_secs(2);
/// How long reading the tokens may take.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// How long a call waits that comes too early, and one before it is told that there are too many: a client that calls again as soon
/// as it is answered is slowed down by it.
const PACE_WAIT: Duration = Duration::from_secs(1);
/// Calls that wait go on in steps of this time: one wake-up, and one write of their answers, for all of a step.
const PACE_STEP: Duration = Duration::from_millis(10);
/// Calls that wait to be told so. Further ones are told at once.
const TOLD_LATER_MAX: usize = 1_024;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody without a token, where none is asked for and workers have none either.
    Anybody,
    /// Somebody without a token, where none is asked for but of workers.
    AnyUser,
    /// Whoever has the token that the coordinator was started with.
    Operator,
    /// Whoever has the one that it was started with for workers.
    Worker,
    /// Whoever has this token.
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

    /// Under what name the workers that it registers are its own; `None` where no token is asked for, and all are everybody's.
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

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no token.
    #[error("a token is needed: authorization: Bearer TOKEN")]
    NoToken,
    /// It is not valid. Which of these it is is not told.
    #[error("the token is unknown here, has expired or was revoked")]
    BadToken,
    /// Too many calls.
    #[error("too many calls with this token, more than {per_second} a second; try again in {wait_ms} ms")]
    TooOften {
        /// Calls that are allowed.
        per_second: u32,
        /// Time until the next one is.
        wait_ms: u64,
    },
    /// The tokens cannot be read.
    #[error(transparent)]
    NotNow(#[from] AppError),
}

impl Refusal {
    /// As it is counted.
    pub fn reason(&self) -> Refused {
        match self {
            Self::NoToken => Refused::NoToken,
            Self::BadToken => Refused::BadToken,
            Self::TooOften { .. } => Refused::TooOften,
            Self::NotNow(_) => Refused::NotNow,
        }
    }
}

/// Who may call this coordinator.
#[derive(Debug)]
pub struct Door {
    app: Arc<App>,
    /// What the steps of the pace are counted from.
    opened: Instant,
    /// Those that the coordinator was started with.
    fixed: Vec<(TokenHash, Caller)>,
    /// Who calls without a token, where none was ever made here; `None` if the operator has one, which is asked for then.
    tokenless: Option<Caller>,
    known: RwLock<Option<Arc<Known>>>,
    /// One reads at a time, and what was read later is kept.
    reading: Mutex<()>,
    pace: RateLimiter<Caller, HashMapStateStore<Caller>, DefaultClock, StateInformationMiddleware>,
    per_second: NonZeroU32,
    told_later: Semaphore,
}

/// The tokens as they were at a moment.
#[derive(Debug)]
struct Known {
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

impl Door {
    /// With the tokens that the operator started the coordinator with: one that may do everything, and one for workers. Each
    /// token may call `per_second` times a second, and as often at once; as many calls more wait for their second.
    pub fn new(app: Arc<App>, operator: Option<&Secret>, worker: Option<&Secret>, per_second: NonZeroU32) -> Self {
        let tokenless = match (operator, worker) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(Caller::AnyUser),
            (None, None) => Some(Caller::Anybody),
        };
        let fixed = [(operator, Caller::Operator), (worker, Caller::Worker)];
        let quota = Quota::per_second(per_second).allow_burst(per_second.saturating_add(per_second.get()));
        Self {
            app,
            opened: Instant::now(),
            fixed: fixed
                .into_iter()
                .filter_map(|(token, caller)| Some((TokenHash::of(token?.expose()), caller)))
                .collect(),
            tokenless,
            known: RwLock::new(None),
            reading: Mutex::new(()),
            pace: RateLimiter::hashmap(quota).with_middleware(),
            per_second,
            told_later: Semaphore::new(TOLD_LATER_MAX),
        }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// It is not valid, or there is none and one is needed.
    pub async fn identify(&self, token: Option<TokenHash>) -> Result<Caller, Refusal> {
        let Some(token) = token else {
            return self.open_to().await?.ok_or(Refusal::NoToken);
        };
        if let Some((_, caller)) = self.fixed.iter().find(|(fixed, _)| *fixed == token) {
            return Ok(*caller);
        }
        let known = self.known().await?;
        match known.live.get(&token) {
            Some(live) if live.until.is_none_or(|until| Instant::now() < until) => Ok(live.caller),
            // Where no token is asked for, a wrong one is ignored, as anything else that nobody asked for.
            None if !known.any => self.tokenless.ok_or(Refusal::BadToken),
            _ => Err(Refusal::BadToken),
        }
    }

    /// Whose token this was when tokens were last read, if it has not expired since; for what may be told while the database
    /// is away, and is no reason to let anybody change anything.
    pub fn remembers(&self, token: TokenHash) -> Option<Caller> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let live = known.as_ref()?.live.get(&token)?;
        live.until
            .is_none_or(|until| Instant::now() < until)
            .then_some(live.caller)
    }

    /// What Prometheus is told.
    pub fn metrics(&self) -> &Metrics {
        self.app.metrics()
    }

    /// Counts a call. One that comes too early waits until its time has come, in the order in which they came.
    ///
    /// # Errors
    /// Too many wait already; [`Door::tell_later`] comes before the answer.
    pub async fn count(&self, caller: Caller) -> Result<(), Refusal> {
        match self.pace.check_key(&caller) {
            Ok(counted) => {
                let early = self.per_second.get().saturating_sub(counted.remaining_burst_capacity());
                if early > 0 {
                    sleep_until(self.step_after(PACE_WAIT * early / self.per_second.get())).await;
                }
                Ok(())
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                Err(Refusal::TooOften {
                    per_second: self.per_second.get(),
                    wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1),
                })
            }
        }
    }

    /// Lets somebody who calls too much wait before the answer. What their call had is given up before: this wait costs a task.
    pub async fn tell_later(&self) {
        if let Ok(_waits) = self.told_later.try_acquire() {
            sleep(PACE_WAIT).await;
        }
    }

    /// The end of a wait that begins now: the next step of the pace.
    fn step_after(&self, wait: Duration) -> Instant {
        let step = PACE_STEP.as_micros();
        let at = (self.opened.elapsed() + wait).as_micros().div_ceil(step) * step;
        self.opened + Duration::from_micros(u64::try_from(at).unwrap_or(u64::MAX))
    }

    /// Waits until a token that was let in is not valid any more; for ever, if it stays valid.
    pub async fn closes_for(&self, token: Option<TokenHash>) -> Refusal {
        loop {
            sleep(STREAM_RECHECK).await;
            match self.identify(token).await {
                // A database that is away takes nobody's rights.
                Ok(_) | Err(Refusal::NotNow(_) | Refusal::TooOften { .. }) => {}
                Err(refusal) => return refusal,
            }
        }
    }

    /// As whom those are let in who have no token, if none is asked for: the operator gave none, and none was ever made. A token
    /// that is revoked does not open the door again.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub async fn open_to(&self) -> Result<Option<Caller>, AppError> {
        match self.tokenless {
            None => Ok(None),
            Some(caller) => Ok((!self.known().await?.any).then_some(caller)),
        }
    }

    /// Tokens that are valid.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn live_tokens(&self) -> Result<usize, AppError> {
        Ok(self.known().await?.live.len())
    }

    /// Reads the tokens again, because they changed.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn look_again(&self) -> Result<(), AppError> {
        let _reading = self.reading.lock().await;
        self.read().await.map(drop)
    }

    async fn known(&self) -> Result<Arc<Known>, AppError> {
        if let Some(known) = self.fresh() {
            return Ok(known);
        }
        let _reading = self.reading.lock().await;
        // Another call may have read them meanwhile.
        match self.fresh() {
            Some(known) => Ok(known),
            // Apart: every call that may have to read has room for this as long as it lives otherwise.
            None => Box::pin(self.read()).await,
        }
    }

    fn fresh(&self) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .as_ref()
            .filter(|known| known.asked_at.elapsed() < TOKENS_MAX_AGE)
            .cloned()
    }

    async fn read(&self) -> Result<Arc<Known>, AppError> {
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
        let known = Arc::new(Known {
            asked_at,
            any,
            live: live.collect(),
        });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        // Counts of callers that have been silent say nothing any more; what is left is bounded by the valid tokens.
        self.pace.retain_recent();
        Ok(known)
    }
}
