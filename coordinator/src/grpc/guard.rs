//! Stands before every RPC: refuses those who may not call it, and ends the streams of tokens that have ended.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::service::Routes;
use trawl_domain::access::TokenHash;

use super::access::{Audience, audience};
use super::{calls, status};
use crate::app::App;
use crate::app::door::{Door, Refusal};
use crate::metrics::Refused;

/// Lets only those calls through that the table of [`super::access`] allows, and counts all.
pub fn guarded(routes: Routes, app: Arc<App>, door: Arc<Door>) -> Routes {
    routes
        .into_axum_router()
        .layer(from_fn_with_state(door, guard))
        .layer(from_fn_with_state(app, calls::count))
        .into()
}

/// The token of a request, as its hash.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<TokenHash> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    // The name of the scheme counts in any case.
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| TokenHash::of(token.trim()))
}

async fn guard(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if audience(path) == Some(Audience::Everybody) {
        return next.run(request).await;
    }
    let token = token_of(request.headers());
    if let Err(status) = admit(&door, path, token).await {
        return status.into_http();
    }
    // Calls may wait and streams live for long, and tokens end.
    let request = request.map(|body| Body::new(Guarded::new(body, &door, token, Side::Request)));
    tokio::select! {
        response = next.run(request) => {
            response.map(|body| Body::new(Guarded::new(body, &door, token, Side::Response)))
        }
        refusal = door.closes_for(token) => of_refusal(refusal).into_http(),
    }
}

async fn admit(door: &Door, path: &str, token: Option<TokenHash>) -> Result<(), Status> {
    let refused = |refusal: Refusal| {
        door.metrics().refused(refusal.reason());
        of_refusal(refusal)
    };
    let caller = door.identify(token).await.map_err(refused)?;
    door.count(caller).map_err(refused)?;
    // A newer client may know more; and what is in no table is nobody's.
    let Some(audience) = audience(path) else {
        door.metrics().refused(Refused::NoSuchRpc);
        return Err(Status::unimplemented("this coordinator has no such RPC"));
    };
    if audience.admits(caller.role()) {
        Ok(())
    } else {
        door.metrics().refused(Refused::Role);
        let rpc = path.rsplit('/').next().unwrap_or_default();
        Err(Status::permission_denied(format!(
            "a token of the role {} may not call {rpc}",
            caller.role()
        )))
    }
}

fn of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NoToken | Refusal::BadToken => Status::unauthenticated(refusal.to_string()),
        Refusal::TooOften { .. } => Status::resource_exhausted(refusal.to_string()),
        Refusal::NotNow(error) => status::of(error),
    }
}

/// Which half of a call a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// The messages of a call, until its token ends.
struct Guarded {
    messages: Body,
    closes: Pin<Box<dyn Future<Output = Refusal> + Send>>,
    side: Side,
    closed: bool,
}

impl Guarded {
    fn new(messages: Body, door: &Arc<Door>, token: Option<TokenHash>, side: Side) -> Self {
        let door = Arc::clone(door);
        Self {
            messages,
            closes: Box::pin(async move { door.closes_for(token).await }),
            side,
            closed: false,
        }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.closed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(refusal) = self.closes.as_mut().poll(cx) {
            self.closed = true;
            let status = of_refusal(refusal);
            return Poll::Ready(Some(match self.side {
                Side::Request => Err(status.into()),
                // How a stream says why it ends.
                Side::Response => {
                    let mut trailers = status.into_http::<()>().into_parts().0.headers;
                    trailers.remove(CONTENT_TYPE);
                    Ok(Frame::trailers(trailers))
                }
            }));
        }
        Pin::new(&mut self.messages).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.closed || self.messages.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.messages.size_hint()
    }
}
