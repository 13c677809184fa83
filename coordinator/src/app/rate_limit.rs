//! How often a token may call: each caller has a bucket. A call that finds its bucket empty is refused at once, with
//! the time after which to try again.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

use super::auth::Caller;

/// The least wait that a refused caller is asked for. At the default rate a bucket has its next call after a
/// millisecond; retries that soon would cost clients more than they save.
const RETRY_AFTER_MIN: Duration = Duration::from_millis(100);

/// A caller is over its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many calls with this token, more than {per_second} a second; try again in {} ms", .retry_after.as_millis())]
pub struct RateLimited {
    /// Calls that are allowed.
    pub per_second: u32,
    /// Time until another call may succeed.
    pub retry_after: Duration,
}

/// Counts the calls of each caller.
#[derive(Debug)]
pub struct RateLimiter {
    buckets: DefaultKeyedRateLimiter<Caller>,
    per_second: NonZeroU32,
}

impl RateLimiter {
    /// Each caller may make `per_second` calls a second, and as many at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            buckets: DefaultKeyedRateLimiter::keyed(Quota::per_second(per_second)),
            per_second,
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// The caller is over its rate; the call is not counted.
    pub fn check(&self, caller: Caller) -> Result<(), RateLimited> {
        self.buckets.check_key(&caller).map_err(|not_until| RateLimited {
            per_second: self.per_second.get(),
            retry_after: not_until
                .wait_time_from(DefaultClock::default().now())
                .max(RETRY_AFTER_MIN),
        })
    }

    /// Forgets callers whose buckets are full again, so that the map is bounded by the tokens that called lately.
    pub fn forget_idle(&self) {
        self.buckets.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_over_its_rate_is_told_when_to_come_again_and_is_in_nobodys_way() {
        // The bucket fills in a second; the test ends long before.
        let limiter = RateLimiter::new(NonZeroU32::MIN);
        limiter.check(Caller::Worker).expect("a second's call");
        let limited = limiter.check(Caller::Worker).expect_err("one more");
        assert_eq!(limited.per_second, 1);
        assert!(
            (RETRY_AFTER_MIN..=Duration::from_secs(1)).contains(&limited.retry_after),
            "{limited}"
        );
        limiter.check(Caller::Operator).expect("another caller");
        limiter.forget_idle();
        assert!(limiter.check(Caller::Worker).is_err(), "its bucket is empty still");
    }
}
