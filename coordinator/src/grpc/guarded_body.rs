//! The two halves of a call behind the guard: counts the request's messages as they arrive, sends the answer one part
//! at a time, and ends both with the token.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::admission::{Answers, CallPermit, SlotPermit};
use super::requests::Messages;
use super::rpcs::{Deadline, Rpc};
use super::shares::Permit;
use crate::app::auth::Caller;
use crate::connections::{CallOf, Sending};

/// Resolves once a token has ended.
pub(super) type Revoked = Pin<Box<dyn Future<Output = Status> + Send>>;

/// The request's body.
pub(super) struct RequestBody {
    messages: Body,
    revoked: Revoked,
    deadline: Deadline,
    late: Option<Pin<Box<Sleep>>>,
    counted: Messages,
    closed: bool,
}

impl RequestBody {
    /// The body of a request for this RPC; its time limit begins now.
    pub(super) fn new(messages: Body, revoked: Revoked, rpc: &Rpc) -> Self {
        let late = match rpc.deadline {
            Deadline::Whole(within) | Deadline::First(within) => Some(Box::pin(sleep(within))),
            Deadline::Never => None,
        };
        Self {
            messages,
            revoked,
            deadline: rpc.deadline,
            late,
            counted: Messages::new(rpc.message_bytes_max, rpc.is_stream()),
            closed: false,
        }
    }

    fn close(&mut self, status: Status) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.closed = true;
        Poll::Ready(Some(Err(status.into())))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.closed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = self.revoked.as_mut().poll(cx) {
            return self.close(status);
        }
        if self.late.as_mut().is_some_and(|late| late.as_mut().poll(cx).is_ready()) {
            return self.close(Status::deadline_exceeded("the request did not come in time"));
        }
        let frame = match ready!(Pin::new(&mut self.messages).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
        };
        if let Some(Err(status)) = frame.data_ref().map(|came| self.counted.count(came)) {
            return self.close(status);
        }
        if self.counted.has_first() && matches!(self.deadline, Deadline::First(_)) {
            self.late = None;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.closed || self.messages.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.messages.size_hint()
    }
}

/// What a call holds until the last part of its answer is sent.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) call: Option<CallOf>,
    pub(super) _permit: CallPermit,
    pub(super) _slot: Option<SlotPermit>,
}

/// After a part up to this length, the end of the answer may follow in the same write.
const SMALL_PART_BYTES: usize = 4 << 10;

/// The answer's body. h2 keeps all parts that it gets in memory until the peer reads: so it gets one part, and the next
/// one once that is sent.
pub(super) struct ResponseBody {
    messages: Body,
    revoked: Revoked,
    caller: Caller,
    answers: Arc<Answers>,
    held: Arc<Held>,
    /// Resolves once h2 has sent its part.
    sent: Option<oneshot::Receiver<()>>,
    is_small: bool,
    /// The next part, with its permit if it is large.
    next: Option<(Bytes, Option<Permit>)>,
    closed: bool,
}

impl ResponseBody {
    /// The body of an answer to this caller.
    pub(super) fn new(messages: Body, revoked: Revoked, caller: Caller, answers: Arc<Answers>, held: Held) -> Self {
        Self {
            messages,
            revoked,
            caller,
            answers,
            held: Arc::new(held),
            sent: None,
            is_small: false,
            next: None,
            closed: false,
        }
    }

    /// Ready while h2 has no part.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sent) = &mut self.sent {
            // The sender is dropped without a message.
            let _ = ready!(Pin::new(sent).poll(cx));
            self.sent = None;
        }
        Poll::Ready(())
    }

    /// The trailers that end a stream with this status.
    fn close(&mut self, status: Status) -> Frame<Bytes> {
        self.closed = true;
        let mut trailers = status.into_http::<()>().into_parts().0.headers;
        trailers.remove(CONTENT_TYPE);
        Frame::trailers(trailers)
    }

    /// Gives a part of the answer to h2.
    fn send(&mut self, bytes: Bytes, large: Option<Permit>) -> Frame<Bytes> {
        let (is_sent, sent) = oneshot::channel();
        (self.sent, self.is_small) = (Some(sent), bytes.len() <= SMALL_PART_BYTES);
        let sending = self.held.call.as_ref().map(|call| call.sends(bytes.len()));
        Frame::data(Bytes::from_owner(Part {
            bytes,
            _held: Arc::clone(&self.held),
            _large: large,
            _sending: sending,
            _is_sent: is_sent,
        }))
    }
}

/// A part of an answer, dropped once it is sent.
struct Part {
    bytes: Bytes,
    _held: Arc<Held>,
    _large: Option<Permit>,
    _sending: Option<Sending>,
    _is_sent: oneshot::Sender<()>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.closed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(status) = self.revoked.as_mut().poll(cx) {
            return Poll::Ready(Some(Ok(self.close(status))));
        }
        let is_sent = self.poll_sent(cx);
        let next = match self.next.take() {
            Some(next) => next,
            None if is_sent.is_pending() && !self.is_small => return Poll::Pending,
            None => match ready!(Pin::new(&mut self.messages).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Ok(bytes) => match self.answers.admit(self.caller, bytes.len()) {
                        Ok(large) => (bytes, large),
                        Err(status) => return Poll::Ready(Some(Ok(self.close(status)))),
                    },
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            },
        };
        if is_sent.is_pending() {
            self.next = Some(next);
            return Poll::Pending;
        }
        let (bytes, large) = next;
        Poll::Ready(Some(Ok(self.send(bytes, large))))
    }

    fn is_end_stream(&self) -> bool {
        self.closed || (self.next.is_none() && self.messages.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, poll_fn};

    use super::super::admission::Admission;
    use super::super::rpcs::Queue;
    use super::*;

    async fn next(body: &mut ResponseBody) -> Option<Bytes> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        frame.expect("no error").into_data().ok()
    }

    #[tokio::test]
    async fn a_part_is_given_once_the_one_before_is_sent_and_a_call_ends_with_its_last_one() {
        let (admission, caller) = (Admission::new(), Caller::Anybody);
        let parts = ["a small one", "another one"].map(|part| Ok::<_, Infallible>(Bytes::from_static(part.as_bytes())));
        let permits = std::iter::from_fn(|| admission.call(Queue::HealthWatches, caller).ok());
        let mut permits: Vec<_> = permits.collect();
        let held = Held {
            call: None,
            _permit: permits.pop().expect("one is admitted"),
            _slot: None,
        };
        let messages = Body::from_stream(tokio_stream::iter(parts));
        let mut body = ResponseBody::new(
            messages,
            Box::pin(pending()),
            caller,
            admission.answers(Queue::HealthWatches),
            held,
        );
        let first = next(&mut body).await.expect("the first part");
        let waits = tokio::time::timeout(std::time::Duration::from_millis(1), next(&mut body));
        assert!(waits.await.is_err(), "the first part is not sent");
        drop(first);
        let second = next(&mut body).await.expect("the second part");
        drop(body);
        assert!(
            admission.call(Queue::HealthWatches, caller).is_err(),
            "its last part is not sent"
        );
        drop(second);
        assert!(admission.call(Queue::HealthWatches, caller).is_ok());
    }
}
