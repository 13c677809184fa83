//! The calls of a connection: whether there are any, and whether their answers are read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock;

/// Time limit for a reader to take a part of an answer, and the additional time for each byte: 4 KiB a second.
const READ_WITHIN: Duration = Duration::from_secs(60);
const READ_WITHIN_A_BYTE: Duration = Duration::from_micros(245);

/// The calls under way on a connection, shared with the code that answers them.
#[derive(Clone, Debug)]
pub struct CallsOf(Arc<Calls>);

#[derive(Debug)]
struct Calls {
    under_way: AtomicUsize,
    begun: AtomicU64,
    /// When the last one ended, or the connection began.
    idle_since: Mutex<Instant>,
    /// Deadlines for reading the parts of answers on their way, by call number.
    read_until: Mutex<BTreeMap<u64, Instant>>,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub struct CallOf {
    calls: Arc<Calls>,
    number: u64,
}

/// A part of an answer that the connection has, but has not sent yet.
#[derive(Debug)]
pub struct Sending {
    calls: Arc<Calls>,
    number: u64,
}

impl CallsOf {
    /// No calls yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(Calls {
            under_way: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            idle_since: Mutex::new(Instant::now()),
            read_until: Mutex::default(),
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

    /// Time since the last call ended; zero while there is one.
    pub(super) fn idle(&self) -> Duration {
        if self.0.under_way.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        lock(&self.0.idle_since).elapsed()
    }

    /// True if the reader of an answer is overdue.
    pub(super) fn is_unread(&self) -> bool {
        let now = Instant::now();
        lock(&self.0.read_until).values().any(|until| *until <= now)
    }
}

impl CallOf {
    /// Notes that the connection gets a part of an answer. A call sends one part at a time.
    pub fn sends(&self, bytes: usize) -> Sending {
        let more = READ_WITHIN_A_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
        lock(&self.calls.read_until).insert(self.number, Instant::now() + READ_WITHIN + more);
        Sending {
            calls: Arc::clone(&self.calls),
            number: self.number,
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        lock(&self.calls.read_until).remove(&self.number);
    }
}

impl Drop for CallOf {
    fn drop(&mut self) {
        *lock(&self.calls.idle_since) = Instant::now();
        self.calls.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
