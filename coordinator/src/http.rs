//! The web port: whether the process lives, and whether it can serve. Anything else needs a token that may read studies.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::app::App;
use crate::app::door::{Door, Refusal};
use crate::grpc::access::READERS;
use crate::grpc::token_of;

/// For probes, which have no token.
const FOR_EVERYBODY: [&str; 2] = ["/healthz", "/readyz"];

/// `/healthz`: the process lives. `/readyz`: Postgres answers.
pub fn router(app: Arc<App>, door: Arc<Door>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
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

async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if FOR_EVERYBODY.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match door.identify(token_of(request.headers())).await {
        Ok(caller) if !READERS.admits(caller.role()) => {
            let message = format!("a token of the role {} may not read studies\n", caller.role());
            (StatusCode::FORBIDDEN, message).into_response()
        }
        Ok(caller) => match door.count(caller) {
            Ok(()) => next.run(request).await,
            Err(refusal) => of_refusal(&refusal),
        },
        Err(refusal) => of_refusal(&refusal),
    }
}

fn of_refusal(refusal: &Refusal) -> Response {
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
