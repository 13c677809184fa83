//! Files on streams, in both directions: in pieces, and never whole in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};

use super::status;
use super::status::invalid_field;
use crate::app::{AppError, UPLOAD_WITHIN};
use crate::files::{CHUNK_BYTES_MAX, Pieces, Upload};

/// Time limit for a sender's next piece; also the time before its rate counts.
const PIECE_SENT_WITHIN: Duration = Duration::from_secs(10);
/// Bytes a second that a sender has to average: a slower one would keep others from their turns.
const LEAST_RATE: u64 = 64 << 10;
/// Time limit for a reader to take a piece. A line of 8 kbit/s needs as long.
const PIECE_READ_WITHIN: Duration = Duration::from_secs(60);

/// Why a file could not be received.
#[derive(Debug)]
pub(super) enum NotReceived {
    /// The sender sent a wrong file, or the connection broke.
    Sent(Status),
    /// It cannot be stored.
    Stored(AppError),
}

impl From<Status> for NotReceived {
    fn from(status: Status) -> Self {
        Self::Sent(status)
    }
}

impl From<NotReceived> for Status {
    fn from(error: NotReceived) -> Self {
        match error {
            NotReceived::Sent(status) => status,
            NotReceived::Stored(error) => status::of(error),
        }
    }
}

/// The time that the sender of a file has: for its next piece, and for the whole file by the least rate. Only waiting
/// counts, not storing.
#[derive(Debug, Default)]
struct Patience {
    waited: Duration,
}

impl Patience {
    /// Time limit for the next piece, after `came_bytes`.
    fn left(&self, came_bytes: u64) -> Duration {
        let by_rate = PIECE_SENT_WITHIN + Duration::from_millis(came_bytes.saturating_mul(1_000) / LEAST_RATE);
        by_rate.saturating_sub(self.waited).min(PIECE_SENT_WITHIN)
    }

    /// The next message of a file, after `came_bytes`.
    async fn next<M>(&mut self, inbound: &mut Streaming<M>, came_bytes: u64) -> Result<Option<M>, Status> {
        let asked_at = Instant::now();
        let next = timeout(self.left(came_bytes), inbound.message()).await;
        self.waited += asked_at.elapsed();
        next.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "the file comes too slowly: a piece of it within {} s, and {LEAST_RATE} bytes a second, is the least",
                PIECE_SENT_WITHIN.as_secs()
            )))
        })
    }
}

/// Receives the rest of a file from a stream, after the chunk of its first message. This checks that the file is no
/// larger than announced; whether it is the announced file shows at its end.
pub(super) async fn receive<M>(
    inbound: &mut Streaming<M>,
    chunk_of: fn(M) -> Vec<u8>,
    first: Vec<u8>,
    upload: &mut Upload,
    bytes_max: u64,
) -> Result<(), NotReceived> {
    let received = async {
        let (mut chunk, mut patience) = (first, Patience::default());
        loop {
            if chunk.len() > CHUNK_BYTES_MAX {
                let limit = format!("must be at most {CHUNK_BYTES_MAX} bytes");
                return Err(invalid_field("chunk", limit).into());
            }
            // The announced size bounds the bytes received; it was checked against the limit.
            if upload.written_bytes() + chunk.len() as u64 > bytes_max {
                return Err(invalid_field("chunk", "there are more bytes than announced").into());
            }
            if !chunk.is_empty() {
                let written = upload.write(chunk.into()).await;
                written.map_err(|error| NotReceived::Stored(error.into()))?;
            }
            match patience.next(inbound, upload.written_bytes()).await? {
                Some(message) => chunk = chunk_of(message),
                None => return Ok(()),
            }
        }
    };
    timeout(UPLOAD_WITHIN, received)
        .await
        .map_err(|_| Status::deadline_exceeded("the file did not come in time"))?
}

/// Sends a file as messages. Even an empty file has one, because the first message may describe the file.
pub(super) fn send<T: Send + 'static>(
    tasks: &TaskTracker,
    mut pieces: Pieces,
    mut message: impl FnMut(Vec<u8>) -> T + Send + 'static,
) -> FileStream<T> {
    let (sender, receiver) = mpsc::channel(1);
    let stream = FileStream {
        pieces: ReceiverStream::new(receiver),
        is_given_up: Arc::default(),
    };
    let is_given_up = Arc::clone(&stream.is_given_up);
    tasks.spawn(async move {
        let mut is_first = true;
        loop {
            let next = match pieces.next().await {
                Ok(Some(chunk)) => Ok(message(chunk.into())),
                Ok(None) if is_first => Ok(message(Vec::new())),
                Ok(None) => return,
                Err(error) => Err(status::of(AppError::from(error))),
            };
            let is_last = next.is_err();
            let Ok(sent) = timeout(PIECE_READ_WITHIN, sender.send(next)).await else {
                is_given_up.store(true, Ordering::Relaxed);
                return;
            };
            if sent.is_err() || is_last {
                return;
            }
            is_first = false;
        }
    });
    stream
}

/// An outgoing file.
#[derive(Debug)]
pub struct FileStream<T> {
    pieces: ReceiverStream<Result<T, Status>>,
    /// Its reader paused for too long; a reader that goes on gets an error.
    is_given_up: Arc<AtomicBool>,
}

impl<T> Stream for FileStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.pieces).poll_next(cx));
        Poll::Ready(match next {
            None if self.is_given_up.swap(false, Ordering::Relaxed) => {
                Some(Err(Status::deadline_exceeded("the file was not read in time")))
            }
            next => next,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_ten_seconds_for_a_piece_and_a_least_rate_for_all_of_it() {
        let mut patience = Patience::default();
        assert_eq!(patience.left(0), PIECE_SENT_WITHIN);
        patience.waited = Duration::from_secs(9);
        assert_eq!(patience.left(0), Duration::from_secs(1));
        assert_eq!(patience.left(LEAST_RATE), Duration::from_secs(2));
        assert_eq!(
            patience.left(1 << 30),
            PIECE_SENT_WITHIN,
            "no credit for a long silence"
        );
        patience.waited = Duration::from_secs(20);
        assert_eq!(patience.left(10 * LEAST_RATE), Duration::ZERO);
    }
}
