//! Stands before every RPC: refuses those who may not call it and what is beyond the load that is held, and ends the streams of
//! tokens that have ended.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::service::Routes;
use trawl_domain::access::TokenHash;

use super::access::{self, Audience, Comes, Rpc};
use super::load::{Load, PIECE_BYTES, Place, TurnTaken, Waiting};
use super::requests::Messages;
use super::shares::Permit;
use super::{calls, status};
use crate::app::App;
use crate::app::door::{Caller, Door, Refusal};
use crate::connections::{CallOf, CallsOf};
use crate::metrics::Refused;

/// A request is read before anything else where its message may be so long: what waits then holds no more.
const READ_FIRST_BYTES_MAX: usize = 8 << 10;

/// Lets only those calls through that the table of [`super::access`] allows, and no more of them than [`super::load`] does; and
/// counts all.
pub fn guarded(routes: Routes, app: Arc<App>, door: Arc<Door>) -> Routes {
    calls::begin_at_zero(app.metrics());
    let gate = Gate {
        door,
        load: Arc::new(Load::new()),
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
    load: Arc<Load>,
}

/// Why a call is not let in.
enum NotLetIn {
    AtOnce(Status),
    /// There are too many calls: one that is refused at once would come again at once.
    Later(Status),
    /// Whoever has this token may not call that, as often as they may call.
    Paced(Status, Caller),
}

impl From<Status> for NotLetIn {
    fn from(status: Status) -> Self {
        Self::AtOnce(status)
    }
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

async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let (rpc, token) = (access::rpc(request.uri().path()), token_of(request.headers()));
    let let_in = match rpc {
        // Nobody asks who they are, and nothing paces them: places do.
        Some(rpc) if rpc.audience == Audience::Everybody => {
            let place = gate.load.place(rpc, Caller::Anybody);
            place.map(|place| (rpc, Caller::Anybody, place)).map_err(NotLetIn::Later)
        }
        _ => admit(&gate, request.uri().path(), rpc, token).await,
    };
    let (rpc, caller, place) = match let_in {
        Ok(let_in) => let_in,
        Err(refused) => return refuse(&gate, request, refused).await,
    };
    let call = request.extensions().get::<CallsOf>().map(CallsOf::begin);
    // Calls may wait and streams live for long, and tokens end.
    let closes = || -> Closes {
        let door = Arc::clone(&gate.door);
        if rpc.audience == Audience::Everybody {
            Box::pin(pending())
        } else {
            Box::pin(async move { door.closes_for(token).await })
        }
    };
    let served = serve(&gate, rpc, caller, request, next, closes());
    let served = tokio::select! {
        served = served => served,
        refusal = closes() => Err(of_refusal(refusal).into()),
        told = place.makes_room() => Err(told.into()),
    };
    match served {
        Ok((response, turn)) => {
            let side = Side::Response {
                waiting: gate.load.waiting(rpc, caller),
                rest: Bytes::new(),
                kept: None,
                call,
                _place: place,
                _turn: turn,
            };
            response.map(|body| Body::new(Guarded::new(body, closes(), side)))
        }
        Err(refused) => {
            drop((place, call));
            refuse(&gate, (), refused).await
        }
    }
}

/// Refuses a call. What it had is dropped first: nothing of it is in memory while it waits to be told.
async fn refuse<T>(gate: &Gate, request: T, refused: NotLetIn) -> Response {
    drop(request);
    let status = match refused {
        NotLetIn::AtOnce(status) => return status.into_http(),
        NotLetIn::Paced(status, caller) => match pace(gate, caller).await {
            Ok(()) => return status.into_http(),
            Err(status) => status,
        },
        NotLetIn::Later(status) => status,
    };
    gate.door.tell_later().await;
    status.into_http()
}

async fn pace(gate: &Gate, caller: Caller) -> Result<(), Status> {
    gate.door.count(caller).await.map_err(|refusal| {
        gate.door.metrics().refused(refusal.reason());
        of_refusal(refusal)
    })
}

/// Serves a call that has its place: once its request came, where that is small, and once it is its turn.
async fn serve(
    gate: &Gate,
    rpc: &'static Rpc,
    caller: Caller,
    request: Request,
    next: Next,
    closes: Closes,
) -> Result<(Response, Option<TurnTaken>), NotLetIn> {
    let is_small = matches!(rpc.comes, Comes::Whole(_)) && rpc.message_bytes_max <= READ_FIRST_BYTES_MAX;
    let (parts, body) = request.into_parts();
    let incoming = |body: Body| Body::new(Guarded::new(body, closes, Side::of_request(rpc)));
    // What waits has a small message in memory, or else nothing but what its connection takes unread.
    let (small, unread) = if is_small {
        let read = to_bytes(incoming(body), usize::MAX).await;
        (Some(read.map_err(|error| Status::from_error(error.into()))?), None)
    } else {
        (None, Some((body, incoming)))
    };
    if rpc.audience != Audience::Everybody {
        pace(gate, caller).await.map_err(NotLetIn::Later)?;
    }
    let turn = gate.load.turn(rpc, caller).await?;
    // The time in which a request has to come begins when somebody reads it.
    let body = match unread {
        Some((body, incoming)) => incoming(body),
        None => small.map_or_else(Body::empty, Body::from),
    };
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(caller);
    Ok((next.run(request).await, turn))
}

async fn admit(
    gate: &Gate,
    path: &str,
    rpc: Option<&'static Rpc>,
    token: Option<TokenHash>,
) -> Result<(&'static Rpc, Caller, Place), NotLetIn> {
    let door = &gate.door;
    let arrived = gate.load.arrive()?;
    let caller = door.identify(token).await.map_err(|refusal| {
        door.metrics().refused(refusal.reason());
        of_refusal(refusal)
    })?;
    drop(arrived);
    // A newer client may know more; and what is in no table is nobody's.
    let Some(rpc) = rpc else {
        door.metrics().refused(Refused::NoSuchRpc);
        let status = Status::unimplemented("this coordinator has no such RPC");
        return Err(NotLetIn::Paced(status, caller));
    };
    if !rpc.audience.admits(caller.role()) {
        door.metrics().refused(Refused::Role);
        let rpc = path.rsplit('/').next().unwrap_or_default();
        let role = caller.role();
        let status = Status::permission_denied(format!("a token of the role {role} may not call {rpc}"));
        return Err(NotLetIn::Paced(status, caller));
    }
    let place = gate.load.place(rpc, caller).map_err(NotLetIn::Later)?;
    Ok((rpc, caller, place))
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
    Request {
        comes: Comes,
        messages: Messages,
        deadline: Option<Pin<Box<Sleep>>>,
    },
    /// What it gets. The call has its place until all of it is gone.
    Response {
        waiting: Waiting,
        /// Of a message, what is not handed to the connection yet.
        rest: Bytes,
        /// Lets that wait.
        kept: Option<Permit>,
        call: Option<CallOf>,
        _place: Place,
        _turn: Option<TurnTaken>,
    },
}

impl Side {
    fn of_request(rpc: &Rpc) -> Self {
        let (is_stream, within) = match rpc.comes {
            Comes::Whole(within) => (false, Some(within)),
            Comes::Stream(first_within) => (true, first_within),
        };
        Self::Request {
            comes: rpc.comes,
            messages: Messages::new(rpc.message_bytes_max, is_stream),
            deadline: within.map(|within| Box::pin(sleep(within))),
        }
    }
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

    /// Counts what came of a request.
    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
        let Side::Request {
            comes,
            messages,
            deadline,
        } = &mut self.side
        else {
            return Ok(frame);
        };
        if let Some(Err(status)) = frame.data_ref().map(|came| messages.count(came)) {
            return self.close(status);
        }
        if messages.has_first() && matches!(comes, Comes::Stream(_)) {
            *deadline = None;
        }
        Ok(frame)
    }

    /// What of an answer may go out now: a piece of it, so that the connection holds no more than that for a slow reader.
    fn piece(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BoxError> {
        let Side::Response {
            waiting,
            rest,
            kept,
            call,
            ..
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
        if let Some(call) = call {
            call.sends(piece.len());
        }
        Ok(Frame::data(piece))
    }

    /// The next piece of what waits.
    fn next_piece(&mut self) -> Option<Frame<Bytes>> {
        let Side::Response { rest, kept, call, .. } = &mut self.side else {
            return None;
        };
        if rest.is_empty() {
            return None;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        if rest.is_empty() {
            (*rest, *kept) = (Bytes::new(), None);
        }
        if let Some(call) = call {
            call.sends(piece.len());
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
            ..
        } = &mut self.side
            && deadline.as_mut().poll(cx).is_ready()
        {
            let status = Status::deadline_exceeded("the request did not come in time");
            return Poll::Ready(Some(self.close(status)));
        }
        if let Side::Response { call: Some(call), .. } = &self.side {
            ready!(call.poll_send(cx));
        }
        if let Some(piece) = self.next_piece() {
            return Poll::Ready(Some(Ok(piece)));
        }
        let next = ready!(Pin::new(&mut self.messages).poll_frame(cx));
        Poll::Ready(match next {
            Some(Ok(frame)) => Some(match &self.side {
                Side::Request { .. } => self.count(frame),
                Side::Response { .. } => self.piece(frame),
            }),
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
