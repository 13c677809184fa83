//! The web port: pages for a browser, liveness, readiness, and metrics. Where tokens are needed, pages and metrics need one that
//! may read studies. The operator may give the metrics a port of their own as well: on loopback, without a token.

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
use crate::app::{App, gauges, probe_files};
use crate::grpc::rpcs::READERS;
use crate::grpc::{Studies, token_of};
use crate::metrics::Refused;
use crate::pages;

/// Paths for probes, which have no token.
const FOR_EVERYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// For Prometheus.
const METRICS: &str = "/metrics";
/// Content type of Prometheus's text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The [pages]. `/healthz`: the process lives. `/readyz`: Postgres and the object store answer. `/metrics`: for Prometheus. `secure` where the port speaks TLS.
pub fn router(
    app: Arc<App>,
    studies: Studies,
    authenticator: Arc<Authenticator>,
    rate_limiter: Arc<RateLimiter>,
    secure: bool,
) -> Router {
    let guard_state = Guard {
        app: Arc::clone(&app),
        authenticator,
        rate_limiter,
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(METRICS, get(metrics))
        .merge(pages::router(studies, secure))
        .fallback(nothing_here)
        .with_state(app)
        .layer(from_fn_with_state(guard_state, guard))
}

/// `/metrics` alone, for every caller that reaches the port.
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
    if !app.is_database_up().await {
        (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
    } else if !probe_files::files_answer(&app).await {
        (StatusCode::SERVICE_UNAVAILABLE, "the object store does not answer\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], gauges::metrics_text(&app).await)
}

/// Shared by all requests.
#[derive(Clone, Debug)]
struct Guard {
    app: Arc<App>,
    authenticator: Arc<Authenticator>,
    rate_limiter: Arc<RateLimiter>,
}

async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if FOR_EVERYBODY.contains(&path) || pages::FOR_EVERYBODY.contains(&path) {
        return next.run(request).await;
    }
    let is_page = pages::is_page(path);
    match guard.refuses(&request) {
        Some((reason, refusal)) => {
            guard.app.metrics().refused(reason);
            match refusal.status() {
                StatusCode::UNAUTHORIZED if is_page => pages::ask_for_token(request.headers()),
                _ => refusal,
            }
        }
        None => next.run(request).await,
    }
}

impl Guard {
    /// The reason to refuse a request, and the answer to it.
    fn refuses(&self, request: &Request) -> Option<(Refused, Response)> {
        let headers = request.headers();
        let caller = match self
            .authenticator
            .identify(token_of(headers).or_else(|| pages::token_of_cookie(headers)))
        {
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
