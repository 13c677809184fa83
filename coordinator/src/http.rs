//! The web port: whether the process lives, whether it can serve, and metrics. Anything but the first two needs a token that may
//! read studies.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::timeout;

use crate::app::door::{Door, Refusal};
use crate::app::{App, AppError, take_stock};
use crate::grpc::access::READERS;
use crate::grpc::token_of;
use crate::metrics::Refused;

/// For probes, which have no token.
const FOR_EVERYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// How long it may take to look up who scrapes; then what was known before counts.
const SCRAPER_KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// For Prometheus.
const METRICS: &str = "/metrics";
/// The version of its text form.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/healthz`: the process lives. `/readyz`: Postgres answers. `/metrics`: for Prometheus.
pub fn router(app: Arc<App>, door: Arc<Door>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route(METRICS, get(metrics))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is nothing here\n") })
        .with_state(app)
        .layer(from_fn_with_state(door, guard))
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

async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if FOR_EVERYBODY.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let token = token_of(request.headers());
    let identified = if request.uri().path() == METRICS {
        // That the database is away is what metrics have to tell, and before Prometheus has waited enough.
        let not_now = || Refusal::NotNow(AppError::Unavailable("the database does not answer"));
        let identified = timeout(SCRAPER_KNOWN_WITHIN, door.identify(token)).await;
        match identified.unwrap_or_else(|_| Err(not_now())) {
            Err(Refusal::NotNow(_)) => token.and_then(|token| door.remembers(token)).ok_or_else(not_now),
            identified => identified,
        }
    } else {
        door.identify(token).await
    };
    match identified {
        Ok(caller) if !READERS.admits(caller.roles()) => {
            door.metrics().refused(Refused::Role);
            let message = format!("{caller} may not read studies\n");
            (StatusCode::FORBIDDEN, message).into_response()
        }
        Ok(caller) => match door.count(caller).await {
            Ok(()) => next.run(request).await,
            Err(refusal) => {
                drop(request);
                door.tell_later().await;
                refuse(&door, &refusal)
            }
        },
        Err(refusal) => refuse(&door, &refusal),
    }
}

fn refuse(door: &Door, refusal: &Refusal) -> Response {
    door.metrics().refused(refusal.reason());
    let message = format!("{refusal}\n");
    match refusal {
        Refusal::NoToken | Refusal::BadToken => {
            (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], message).into_response()
        }
        Refusal::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, message).into_response(),
        // Why is for the log, where gRPC's calls say it.
        Refusal::NotNow(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n").into_response(),
    }
}
