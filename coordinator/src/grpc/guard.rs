//! Guards every RPC: authenticates the caller, checks rate, role and room, and ends streams whose token has ended.

use std::future::pending;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tonic::Status;
use tonic::service::Routes;
use trawl_domain::access::TokenHash;
use trawl_proto::retry_later;

use super::admission::{Admission, SlotPermit};
use super::calls;
use super::guarded_body::{Held, RequestBody, ResponseBody, Revoked};
use super::rpcs::{self, Audience, Rpc};
use crate::app::auth::{AuthError, Authenticator, Caller};
use crate::app::rate_limit::RateLimiter;
use crate::app::{App, AppError};
use crate::connections::CallsOf;
use crate::metrics::Refused;

/// A request with messages up to this length is read before it waits, and holds no more memory than that.
const READ_FIRST_BYTES_MAX: usize = 8 << 10;

/// Admits only calls that the table of [`super::rpcs`] allows, up to the limits of [`super::admission`]; and counts
/// all.
pub fn guarded(
    routes: Routes,
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    rate_limiter: Arc<RateLimiter>,
) -> Routes {
    calls::begin_at_zero(app.metrics());
    let guard_state = Guard {
        app: Arc::clone(&app),
        authenticator,
        rate_limiter,
        admission: Arc::new(Admission::new()),
    };
    routes
        .into_axum_router()
        .layer(from_fn_with_state(guard_state, guard))
        .layer(from_fn_with_state(app, calls::count))
        .into()
}

/// Shared by all calls.
#[derive(Clone, Debug)]
struct Guard {
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    rate_limiter: Arc<RateLimiter>,
    admission: Arc<Admission>,
}

/// The hash of a request's token.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<TokenHash> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    // The scheme's name is case-insensitive.
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| TokenHash::of(token.trim()))
}

/// The caller that the guard identified.
pub(super) fn caller<T>(request: &tonic::Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    caller
        .copied()
        .ok_or_else(|| super::status::of(AppError::Internal("a call came past the guard".to_owned())))
}

async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guard
        .serve(request, next)
        .await
        .unwrap_or_else(|status| status.into_http())
}

impl Guard {
    async fn serve(&self, request: Request, next: Next) -> Result<Response, Status> {
        let token = token_of(request.headers());
        let (rpc, caller) = self.identify(request.uri().path(), token)?;
        let permit = self.admission.call(rpc.queue, caller)?;
        let call = request.extensions().get::<CallsOf>().map(CallsOf::begin);
        // A call may wait, and a stream may live, longer than its token.
        let revoked = || self.revoked(rpc, token);
        let (response, slot) = tokio::select! {
            served = self.serve_admitted(rpc, caller, request, next, revoked()) => served?,
            status = revoked() => return Err(status),
            status = permit.makes_room() => return Err(status),
        };
        let held = Held {
            call,
            _permit: permit,
            _slot: slot,
        };
        let answers = self.admission.answers(rpc.queue);
        Ok(response.map(|body| Body::new(ResponseBody::new(body, revoked(), caller, answers, held))))
    }

    /// Identifies the RPC and its caller, and checks role and rate.
    fn identify(&self, path: &str, token: Option<TokenHash>) -> Result<(&'static Rpc, Caller), Status> {
        let rpc = rpcs::find(path);
        if let Some(rpc) = rpc
            && rpc.audience == Audience::Everybody
        {
            return Ok((rpc, Caller::Anybody));
        }
        let refused = |reason| self.app.metrics().refused(reason);
        let caller = self.authenticator.identify(token).map_err(|error| {
            refused(error.reason());
            of_auth(&error)
        })?;
        self.rate_limiter.check(caller).map_err(|limited| {
            refused(Refused::RateLimited);
            retry_later(limited.to_string(), limited.retry_after)
        })?;
        // A newer client may ask for newer RPCs.
        let Some(rpc) = rpc else {
            refused(Refused::NoSuchRpc);
            return Err(Status::unimplemented("this coordinator has no such RPC"));
        };
        if !rpc.audience.admits(caller.roles()) {
            refused(Refused::Role);
            let rpc = path.rsplit('/').next().unwrap_or_default();
            return Err(Status::permission_denied(format!("{caller} may not call {rpc}")));
        }
        Ok((rpc, caller))
    }

    /// Serves an admitted call when it is its turn; reads a small request first.
    async fn serve_admitted(
        &self,
        rpc: &'static Rpc,
        caller: Caller,
        request: Request,
        next: Next,
        revoked: Revoked,
    ) -> Result<(Response, Option<SlotPermit>), Status> {
        let is_small = !rpc.is_stream() && rpc.message_bytes_max <= READ_FIRST_BYTES_MAX;
        let (parts, body) = request.into_parts();
        // A waiting call holds a small message in memory, or only its connection's unread bytes.
        let (body, slot) = if is_small {
            let read = to_bytes(Body::new(RequestBody::new(body, revoked, rpc)), usize::MAX).await;
            let read = read.map_err(|error| Status::from_error(error.into()))?;
            (Body::from(read), self.admission.slot(rpc.queue, caller).await?)
        } else {
            let slot = self.admission.slot(rpc.queue, caller).await?;
            // The request's time limit begins when it is read.
            (Body::new(RequestBody::new(body, revoked, rpc)), slot)
        };
        let mut request = Request::from_parts(parts, body);
        request.extensions_mut().insert(caller);
        Ok((next.run(request).await, slot))
    }

    /// Resolves once the token of a call has ended.
    fn revoked(&self, rpc: &Rpc, token: Option<TokenHash>) -> Revoked {
        if rpc.audience == Audience::Everybody {
            return Box::pin(pending());
        }
        let authenticator = Arc::clone(&self.authenticator);
        Box::pin(async move { of_auth(&authenticator.revoked(token).await) })
    }
}

fn of_auth(error: &AuthError) -> Status {
    match error {
        AuthError::NoToken | AuthError::BadToken => Status::unauthenticated(error.to_string()),
        AuthError::Unavailable => Status::unavailable(error.to_string()),
    }
}
