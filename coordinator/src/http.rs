//! The web port: whether the process lives, whether it can serve, and metrics. Anything but the first two needs a token that may
//! read studies. The metrics have a port of their own, too, if the operator wants one: on loopback, and without a token.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::auth::{AuthError, Authenticator};
use crate::app::rate_limit::RateLimiter;
use crate::app::{App, take_stock};
use crate::grpc::rpcs::READERS;
use crate::grpc::token_of;
use crate::metrics::Refused;

/// For probes, which have no token.
const FOR_EVERYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// For Prometheus.
const METRICS: &str = "/metrics";
/// The version of its text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz`: the process lives. `/readyz`: Postgres answers. `/metrics`: for Prometheus.
pub fn router(app: Arc<App>, authenticator: Arc<Authenticator>, rate_limiter: Arc<RateLimiter>) -> Router {
    let guard_state = Guard {
        app: Arc::clone(&app),
        authenticator,
        rate_limiter,
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(METRICS, get(metrics))
        .fallback(nothing_here)
        .with_state(app)
        .layer(from_fn_with_state(guard_state, guard))
}

/// `/metrics` alone, for whoever reaches the port.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route(METRICS, get(metrics))
        .fallback(nothing_here)
        .with_state(app)
}

async fn nothing_here() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "there is nothing here\n")
}

async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.is_database_up().await {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
    }
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], take_stock::metrics_text(&app).await)
}

/// What every request passes.
#[derive(Clone, Debug)]
struct Guard {
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    rate_limiter: Arc<RateLimiter>,
}

async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if FOR_EVERYBODY.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match guard.refuses(&request) {
        Some((reason, refusal)) => {
            guard.app.metrics().refused(reason);
            refusal
        }
        None => next.run(request).await,
    }
}

impl Guard {
    /// Why a request may not pass, and what it is answered.
    fn refuses(&self, request: &Request) -> Option<(Refused, Response)> {
        let caller = match self.authenticator.identify(token_of(request.headers())) {
            Ok(caller) => caller,
            Err(error) => {
                let message = format!("{error}\n");
                let refusal = match error {
                    AuthError::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, message).into_response(),
                    AuthError::NoToken | AuthError::BadToken => {
                        (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], message).into_response()
                    }
                };
                return Some((error.reason(), refusal));
            }
        };
        if let Err(limited) = self.rate_limiter.check(caller) {
            let seconds = limited.retry_after.as_millis().div_ceil(1_000).to_string();
            let message = format!("{limited}\n");
            let refusal = (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds)], message);
            return Some((Refused::RateLimited, refusal.into_response()));
        }
        if !READERS.admits(caller.roles()) {
            let message = format!("{caller} may not read studies\n");
            return Some((Refused::Role, (StatusCode::FORBIDDEN, message).into_response()));
        }
        None
    }
}
