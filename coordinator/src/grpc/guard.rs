//! Stands before every RPC: refuses those who may not call it and what is beyond the load that is held, and ends the streams of
//! tokens that have ended.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::service::Routes;
use trawl_domain::access::TokenHash;

use super::access::{Audience, audience};
use super::load::{Load, PIECE_BYTES, Place, Waiting, request_within};
use super::{calls, status};
use crate::app::App;
use crate::app::door::{Caller, Door, Refusal};
use crate::connections::{CallOf, CallsOf};
use crate::metrics::Refused;

/// Lets only those calls through that the table of [`super::access`] allows, and no more of them than [`super::load`] does; and
/// counts all.
pub fn guarded(routes: Routes, app: Arc<App>, door: Arc<Door>) -> Routes {
    calls::begin_at_zero(app.metrics());
    let gate = Gate {
        door,
        load: Load::new(),
    };
    routes
        .into_axum_router()
        .layer(from_fn_with_state(gate, guard))
        .layer(from_fn_with_state(app, calls::count))
        .into()
}

/// What every call passes.
#[derive(Clone, Debug)]
struct Gate {
    door: Arc<Door>,
    load: Load,
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

async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (audience, token) = (audience(path), token_of(request.headers()));
    let of_everybody = audience == Some(Audience::Everybody);
    let admitted = match of_everybody {
        true => Ok(None),
        false => admit(&gate.door, path, token).await.map(Some),
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(status) => return status.into_http(),
    };
    let place = match gate.load.take(path, audience).await {
        Ok(place) => place,
        Err(status) => return status.into_http(),
    };
    let call = request.extensions().get::<CallsOf>().map(CallsOf::begin);
    let deadline = request_within(path).map(|within| Box::pin(sleep(within)));
    let waiting = gate.load.waiting(path);
    // Calls may wait and streams live for long, and tokens end.
    let closes = || -> Closes {
        let door = Arc::clone(&gate.door);
        if of_everybody {
            Box::pin(pending())
        } else {
            Box::pin(async move { door.closes_for(token).await })
        }
    };
    // A worker's id belongs to whoever registered it.
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let side = Side::Request { deadline };
    let request = request.map(|body| Body::new(Guarded::new(body, closes(), side)));
    tokio::select! {
        response = next.run(request) => {
            let side = Side::Response { waiting, rest: Bytes::new(), kept: None, _place: place, _call: call };
            response.map(|body| Body::new(Guarded::new(body, closes(), side)))
        }
        refusal = closes() => of_refusal(refusal).into_http(),
    }
}

async fn admit(door: &Door, path: &str, token: Option<TokenHash>) -> Result<Caller, Status> {
    let refused = |refusal: Refusal| {
        door.metrics().refused(refusal.reason());
        of_refusal(refusal)
    };
    let caller = door.identify(token).await.map_err(refused)?;
    door.count(caller).await.map_err(refused)?;
    // A newer client may know more; and what is in no table is nobody's.
    let Some(audience) = audience(path) else {
        door.metrics().refused(Refused::NoSuchRpc);
        return Err(Status::unimplemented("this coordinator has no such RPC"));
    };
    if audience.admits(caller.role()) {
        Ok(caller)
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

type Closes = Pin<Box<dyn Future<Output = Refusal> + Send>>;

/// Which half of a call a body is.
enum Side {
    /// What the client sends, which may have to come within some time.
    Request { deadline: Option<Pin<Box<Sleep>>> },
    /// What it gets. The call has its place until all of it is gone.
    Response {
        waiting: Waiting,
        /// Of a message, what is not handed to the connection yet.
        rest: Bytes,
        /// Lets that wait.
        kept: Option<OwnedSemaphorePermit>,
        _place: Place,
        _call: Option<CallOf>,
    },
}

/// The messages of a call, until its token ends.
struct Guarded {
    messages: Body,
    closes: Closes,
    side: Side,
    closed: bool,
}

impl Guarded {
    fn new(messages: Body, closes: Closes, side: Side) -> Self {
        Self {
            messages,
            closes,
            side,
            closed: false,
        }
    }

    /// Ends this half with a status.
    fn close(&mut self, status: Status) -> Result<Frame<Bytes>, BoxError> {
        self.closed = true;
        match &mut self.side {
            Side::Request { .. } => Err(status.into()),
            // How a stream says why it ends.
            Side::Response { rest, kept, .. } => {
                (*rest, *kept) = (Bytes::new(), None);
                let mut trailers = status.into_http::<()>().into_parts().0.headers;
                trailers.remove(CONTENT_TYPE);
                Ok(Frame::trailers(trailers))
            }
        }
    }

    /// What of an answer may go out now: a piece of it, so that the connection holds no more than that for a slow reader.
    fn piece(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
        let Side::Response {
            waiting, rest, kept, ..
        } = &mut self.side
        else {
            return Ok(frame);
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Ok(trailers),
        };
        match waiting.keep(&data) {
            Ok(permit) => *kept = permit,
            Err(status) => return self.close(status),
        }
        let piece = data.split_to(data.len().min(PIECE_BYTES));
        *rest = data;
        Ok(Frame::data(piece))
    }

    /// The next piece of what waits.
    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        let Side::Response { rest, kept, .. } = &mut self.side else {
            return None;
        };
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        if rest.is_empty() {
            (*rest, *kept) = (Bytes::new(), None);
        }
        Some(Frame::data(piece))
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
            return Poll::Ready(Some(self.close(of_refusal(refusal))));
        }
        if let Side::Request {
            deadline: Some(deadline),
        } = &mut self.side
            && deadline.as_mut().poll(cx).is_ready()
        {
            let status = Status::deadline_exceeded("the request did not come in time");
            return Poll::Ready(Some(self.close(status)));
        }
        if let Some(piece) = self.next_piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let next = ready!(Pin::new(&mut self.messages).poll_frame(cx));
        Poll::Ready(match next {
            Some(Ok(frame)) => Some(self.piece(frame)),
            other => other.map(|next| next.map_err(Into::into)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let waits = matches!(&self.side, Side::Response { rest, .. } if !rest.is_empty());
        self.closed || (!waits && self.messages.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        // What waits is not counted, and nobody needs an exact size: messages say their own.
        SizeHint::default()
    }
}
