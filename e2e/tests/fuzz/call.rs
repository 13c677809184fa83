//! A call whose every byte is the caller's, on a connection of its own, and how it ends.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request};
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

/// The coordinator bounds calls in half of it.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A request that does not end may have no answer: nobody waits longer for it.
const OPEN_FOR: Duration = Duration::from_millis(30);

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its last message, as it should.
    Close,
    /// The client cancels it.
    Reset,
    /// Never.
    Open,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// The body, in the pieces in which it goes out.
    pub(crate) pieces: VecDeque<Vec<u8>>,
    pub(crate) ending: Ending,
}

/// Calls.
///
/// # Errors
/// What is wrong with the answer, in words.
pub(crate) async fn call(url: &str, call: Call) -> Result<Option<Code>, String> {
    let must_answer = call.ending == Ending::Close && call.headers.is_empty();
    let within = if call.ending == Ending::Close {
        ANSWER_WITHIN
    } else {
        OPEN_FOR
    };
    match timeout(within, answer(url, call)).await {
        Ok(Ok((Code::Internal | Code::Unknown, message))) => Err(format!("a mistake of trawl: {message}")),
        Ok(Ok((code, _))) => Ok(Some(code)),
        Ok(Err(error)) if must_answer => Err(format!("no status: {error:#}")),
        Err(_) if must_answer => Err("no answer".to_owned()),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

async fn answer(url: &str, call: Call) -> anyhow::Result<(Code, String)> {
    let channel = Channel::from_shared(url.to_owned())?.connect().await?;
    let mut request = Request::post(call.path)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = &call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in call.headers {
        request = request.header(name, value);
    }
    let body = Sent {
        pieces: call.pieces,
        ending: call.ending,
    };
    let mut channel = channel;
    let response = channel.ready().await?.call(request.body(Body::new(body))?).await?;
    if let Some(status) = status(response.headers()) {
        return Ok(status);
    }
    let mut body = response.into_body();
    let mut next = async || {
        let frame = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await;
        let frame = frame.ok_or_else(|| anyhow::anyhow!("the answer ends without a status"))??;
        Ok(frame.into_trailers().ok().map(|trailers| status(&trailers)))
    };
    let mut ended: anyhow::Result<_> = next().await;
    loop {
        match ended? {
            Some(status) => return status.ok_or_else(|| anyhow::anyhow!("trailers without a status")),
            // A stream may go on for long after its first message.
            None => match timeout(OPEN_FOR, next()).await {
                Ok(frame) => ended = frame,
                Err(_) => return Ok((Code::Ok, String::new())),
            },
        }
    }
}

fn status(headers: &HeaderMap) -> Option<(Code, String)> {
    let status = tonic::Status::from_header_map(headers)?;
    Some((status.code(), status.message().to_owned()))
}

/// A request's body.
struct Sent {
    pieces: VecDeque<Vec<u8>>,
    ending: Ending,
}

impl http_body::Body for Sent {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match (self.pieces.pop_front(), self.ending) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            (None, Ending::Close) => Poll::Ready(None),
            (None, Ending::Reset) => Poll::Ready(Some(Err(std::io::Error::other("taken back")))),
            (None, Ending::Open) => Poll::Pending,
        }
    }
}
