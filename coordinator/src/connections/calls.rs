//! The calls of a connection: whether there are any, and what of their answers is on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Bytes of answers that a connection has and that are not sent. The system holds more of them, and a fast line never waits for this.
pub(super) const UNSENT_BYTES_MAX: usize = 64 << 10;

/// The calls that a connection has under way, for those who answer them.
#[derive(Clone, Debug)]
pub struct CallsOf(Arc<Calls>);

#[derive(Debug)]
struct Calls {
    under_way: AtomicUsize,
    begun: AtomicU64,
    /// When the last one ended, or the connection began.
    idle_since: Mutex<Instant>,
    /// Since when calls have had something that their other end does not read.
    unread_since: Mutex<BTreeMap<u64, Instant>>,
    /// Bytes of answers that the connection was given and that are not sent.
    unsent_bytes: AtomicUsize,
    /// Calls that wait for these to be sent.
    wait_to_send: Mutex<Vec<Waker>>,
}

/// One of them, as long as it lives.
#[derive(Debug)]
pub struct CallOf {
    calls: Arc<Calls>,
    number: u64,
}

impl CallsOf {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Calls {
            under_way: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            idle_since: Mutex::new(Instant::now()),
            unread_since: Mutex::default(),
            unsent_bytes: AtomicUsize::new(0),
            wait_to_send: Mutex::default(),
        }))
    }

    /// Counts a call.
    pub fn begin(&self) -> CallOf {
        self.0.under_way.fetch_add(1, Ordering::Relaxed);
        CallOf {
            calls: Arc::clone(&self.0),
            number: self.0.begun.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// How long there has been none.
    pub(super) fn idle(&self) -> Duration {
        if self.0.under_way.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        lock(&self.0.idle_since).elapsed()
    }

    /// How long an answer has not been read, at most.
    pub(super) fn unread(&self) -> Duration {
        let unread_since = lock(&self.0.unread_since);
        unread_since.values().map(Instant::elapsed).max().unwrap_or_default()
    }

    /// Notes what was sent. More than answers is, so that it says too much, and never by more than is there.
    pub(super) fn sent(&self, bytes: usize) {
        let less = |unsent: usize| Some(unsent.saturating_sub(bytes));
        let before = self
            .0
            .unsent_bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        let before = before.unwrap_or_else(|before| before);
        if before >= UNSENT_BYTES_MAX && before.saturating_sub(bytes) < UNSENT_BYTES_MAX {
            for waiting in lock(&self.0.wait_to_send).drain(..) {
                waiting.wake();
            }
        }
    }
}

impl CallOf {
    /// Notes that what the connection got before is read: it asks for more.
    pub fn goes_on(&self) {
        lock(&self.calls.unread_since).remove(&self.number);
    }

    /// Ready once the connection takes more of an answer.
    pub fn poll_send(&self, cx: &Context<'_>) -> Poll<()> {
        let is_full = || self.calls.unsent_bytes.load(Ordering::Acquire) >= UNSENT_BYTES_MAX;
        if !is_full() {
            return Poll::Ready(());
        }
        let mut waiting = lock(&self.calls.wait_to_send);
        // It may have been sent just before this call was among those who are told.
        if !is_full() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waits| waits.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Notes what the connection gets of an answer.
    pub fn sends(&self, bytes: usize) {
        self.calls.unsent_bytes.fetch_add(bytes, Ordering::AcqRel);
        lock(&self.calls.unread_since).insert(self.number, Instant::now());
    }
}

impl Drop for CallOf {
    fn drop(&mut self) {
        lock(&self.calls.unread_since).remove(&self.number);
        *lock(&self.calls.idle_since) = Instant::now();
        self.calls.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
