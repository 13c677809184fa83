//! How long jobs are without a worker after the death of the one that held them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::{Death, Stored};

/// The time from each death to the next grant of the same job, by the database's clock; none where the lease had ended by itself,
/// or the job ended with its study.
pub fn recoveries(deaths: &[Death], stored: &Stored) -> Vec<Duration> {
    let by_token: HashMap<&str, usize> = stored
        .attempts
        .iter()
        .enumerate()
        .map(|(index, attempt)| (attempt.token.as_str(), index))
        .collect();
    let of = |death: &Death| {
        let lost = &stored.attempts[*by_token.get(death.token.as_str())?];
        let is_expired = lost.outcome.as_deref() == Some("expired");
        // Attempts are in the order of their jobs and grants.
        let next = stored
            .attempts
            .iter()
            .find(|next| is_expired && next.job_id == lost.job_id && next.lease_epoch == lost.lease_epoch + 1)?;
        next.granted.checked_sub(death.at)
    };
    let mut recoveries: Vec<Duration> = deaths.iter().filter_map(of).collect();
    recoveries.sort_unstable();
    recoveries
}

/// Of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many there were.
    pub count: usize,
    /// Half of them were at most that long.
    pub p50: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// All.
    pub max: Duration,
}

impl Percentiles {
    /// Of durations in ascending order.
    pub fn of(sorted: &[Duration]) -> Self {
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
        Self {
            count: sorted.len(),
            p50: at(50),
            p99: at(99),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        write!(
            f,
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms of {}",
            ms(self.p50),
            ms(self.p99),
            ms(self.max),
            self.count
        )
    }
}
