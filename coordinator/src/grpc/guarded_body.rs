//! The two halves of a call as they pass the guard: messages are counted as they come, answers go out in pieces, and both end with
//! the token.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::access::{Comes, Rpc};
use super::guard::of_refusal;
use super::load::{PIECE_BYTES, Place, TurnTaken, Waiting};
use super::requests::Messages;
use super::shares::Permit;
use crate::app::door::Refusal;
use crate::connections::CallOf;

/// Comes once a token has ended.
pub(super) type Closes = Pin<Box<dyn Future<Output = Refusal> + Send>>;

/// Which half of a call a body is.
pub(super) enum Side {
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
    /// Of a request for this RPC: the time that it has begins now.
    pub(super) fn of_request(rpc: &Rpc) -> Self {
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

    /// Of an answer that waits for its reader under these limits.
    pub(super) fn of_answer(waiting: Waiting, call: Option<CallOf>, place: Place, turn: Option<TurnTaken>) -> Self {
        Self::Response {
            waiting,
            rest: Bytes::new(),
            kept: None,
            call,
            _place: place,
            _turn: turn,
        }
    }
}

/// The messages of a call, until its token ends.
pub(super) struct Guarded {
    messages: Body,
    closes: Closes,
    side: Side,
    closed: bool,
}

impl Guarded {
    /// One half, until `closes`.
    pub(super) fn new(messages: Body, closes: Closes, side: Side) -> Self {
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

    /// Takes a message of an answer, which waits for its reader from then on; `None` for what is no message.
    fn wait(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, BoxError>> {
        let Side::Response {
            waiting, rest, kept, ..
        } = &mut self.side
        else {
            return Some(Ok(frame));
        };
        // What was made of the message before is gone, now that there is a next one.
        *kept = None;
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Some(Ok(Frame::data(data))),
            Ok(data) => data,
            Err(trailers) => return Some(Ok(trailers)),
        };
        match waiting.keep(&data) {
            Ok(permit) => (*rest, *kept) = (data, permit),
            Err(status) => return Some(self.close(status)),
        }
        None
    }

    /// A piece of what waits, once the connection takes one, so that it holds no more than that for a slow reader; `None` if
    /// nothing waits.
    fn poll_piece(&mut self, cx: &Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        let Side::Response { rest, kept, call, .. } = &mut self.side else {
            return Poll::Ready(None);
        };
        if let Some(call) = call {
            call.goes_on();
        }
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(call) = call {
            ready!(call.poll_send(cx));
            call.sends(rest.len().min(PIECE_BYTES));
        }
        let mut piece = rest.split_to(rest.len().min(PIECE_BYTES));
        if kept.is_some() {
            // A part of a message would hold on to the memory of all of it.
            piece = Bytes::copy_from_slice(&piece);
        }
        Poll::Ready(Some(Frame::data(piece)))
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
        loop {
            if let Some(piece) = ready!(self.poll_piece(cx)) {
                return Poll::Ready(Some(Ok(piece)));
            }
            // A message is taken as soon as it is there, whether or not it can be sent: then it is counted.
            let next = match ready!(Pin::new(&mut self.messages).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other.map(|next| next.map_err(Into::into))),
            };
            let out = match &self.side {
                Side::Request { .. } => Some(self.count(next)),
                Side::Response { .. } => self.wait(next),
            };
            if let Some(out) = out {
                return Poll::Ready(Some(out));
            }
        }
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
