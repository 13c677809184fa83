//! Stands before every RPC: refuses those who may not call it and what is beyond the load that is held, and ends the streams of
//! tokens that have ended.

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

use super::access::{self, Audience, Comes, Rpc};
use super::guarded_body::{Closes, Guarded, Side};
use super::load::{Load, Place, TurnTaken};
use super::{calls, status};
use crate::app::App;
use crate::app::door::{Caller, Door, Refusal};
use crate::connections::CallsOf;
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
    /// The token is valid and the call is not: those count, too.
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
            place
                .map(|place| (rpc, Caller::Anybody, place))
                .map_err(NotLetIn::Later)
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
            let side = Side::of_answer(gate.load.waiting(rpc, caller), call, place, turn);
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
        let paced = |error: axum::Error| match rpc.audience {
            Audience::Everybody => NotLetIn::AtOnce(Status::from_error(error.into())),
            _ => NotLetIn::Paced(Status::from_error(error.into()), caller),
        };
        (Some(read.map_err(paced)?), None)
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
    let arrived = gate.load.arrive().map_err(NotLetIn::Later)?;
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
    if !rpc.audience.admits(caller.roles()) {
        door.metrics().refused(Refused::Role);
        let rpc = path.rsplit('/').next().unwrap_or_default();
        let status = Status::permission_denied(format!("{caller} may not call {rpc}"));
        return Err(NotLetIn::Paced(status, caller));
    }
    let place = gate.load.place(rpc, caller).map_err(NotLetIn::Later)?;
    Ok((rpc, caller, place))
}

/// What a refusal is on the wire.
pub(super) fn of_refusal(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NoToken | Refusal::BadToken => Status::unauthenticated(refusal.to_string()),
        Refusal::TooOften { .. } => Status::resource_exhausted(refusal.to_string()),
        Refusal::NotNow(error) => status::of(error),
    }
}
