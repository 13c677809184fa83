//! How long jobs are without a worker after the death of the one that held them.

use std::fmt;
use std::time::Duration;

use super::{Attempt, Death};

/// The time from each death to the next grant of the same job, by the database's clock; none where the lease had ended by itself,
/// or the job ended with its study.
pub fn recoveries(deaths: &[Death], attempts: &[Attempt]) -> Vec<Duration> {
    let of = |death: &Death| {
        // Attempts are in the order of their jobs and grants.
        let place = attempts.iter().position(|attempt| attempt.claim == death.claim)?;
        let next = attempts.get(place + 1)?;
        let follows = attempts[place].ended_as("expired") && next.claim.job_id == death.claim.job_id;
        next.granted.checked_sub(death.at).filter(|_| follows)
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

#[cfg(test)]
mod tests {
    use trawl_domain::id::{JobId, LeaseToken, WorkerId};
    use trawl_domain::lease::LeaseClaim;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_recovery_is_from_the_death_to_the_next_grant_of_the_job() {
        let claim = |token: u128| LeaseClaim {
            job_id: JobId(Uuid::from_u128(token / 10)),
            token: LeaseToken(Uuid::from_u128(token)),
        };
        let attempt = |token: u128, granted: u64, how: &str| Attempt {
            claim: claim(token),
            worker_id: WorkerId(Uuid::nil()),
            granted: Duration::from_secs(granted),
            ended: Some((Duration::from_secs(granted + 3), how.to_owned())),
        };
        let attempts = [
            attempt(10, 1, "expired"),
            attempt(11, 5, "finished"),
            attempt(20, 9, "expired"),
        ];
        let deaths = [10, 11, 20].map(|token| Death {
            claim: claim(token),
            at: Duration::from_millis(3_500),
        });
        let found = recoveries(&deaths, &attempts);
        assert_eq!(found, [Duration::from_millis(1_500)]);
        assert_eq!(Percentiles::of(&found).max, Duration::from_millis(1_500));
    }
}
