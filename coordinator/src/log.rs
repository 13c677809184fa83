//! Failures that repeat: while Postgres or the object store is away, every call and every tick fails for the same reason.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::error;

/// Time after which a reason is logged again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Reasons that are remembered; further ones wait until some are older.
const REASONS_MAX: usize = 64;

/// When each reason was logged, of the last minute.
static LOGGED: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// Logs that something does not work and why, each reason at most once a minute.
pub(crate) fn log_failure(what: &str, reason: &dyn Display) {
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if is_news(&mut logged, format!("{what}: {reason}"), Instant::now()) {
        error!(error = %reason, "{what}");
    }
}

fn is_news(logged: &mut BTreeMap<String, Instant>, line: String, now: Instant) -> bool {
    logged.retain(|_, at| now.saturating_duration_since(*at) < AGAIN_AFTER);
    if logged.contains_key(&line) || logged.len() >= REASONS_MAX {
        return false;
    }
    logged.insert(line, now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_logged_once_a_minute_and_a_new_one_at_once() {
        let mut logged = BTreeMap::new();
        let began = Instant::now();
        let mut at =
            |second: u64, line: &str| is_news(&mut logged, line.to_owned(), began + Duration::from_secs(second));
        assert!(at(0, "refused"));
        assert!(!at(30, "refused"));
        assert!(at(30, "timed out"));
        assert!(!at(59, "refused"));
        assert!(at(60, "refused"));
        assert!(!at(89, "timed out"));
        let many = (0..2 * REASONS_MAX)
            .filter(|reason| at(90, &reason.to_string()))
            .count();
        // Beside the one of a minute ago.
        assert_eq!(many, REASONS_MAX - 1);
    }
}
