//! Watches the store, keeps its own account of the leases, and notes every broken promise. Its account does not use the store's own
//! decisions about leases: so a store that forgets to look at a token is caught here.

use std::collections::BTreeMap;
use std::time::Duration;

use trawl_domain::id::{JobId, LeaseToken, WorkerId};
use trawl_domain::lease::LeaseClaim;

/// How late a worker may stop after its lease may have run out: a step of its training, and a moment.
const FENCED_WITHIN: Duration = Duration::from_millis(1_500);
/// From the commit of a grace until its coordinator knows of it, and begins.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// Broken promises that are named for one run.
const TOLD_MAX: usize = 20;

/// An account of the leases of one run.
#[derive(Debug)]
pub struct Observer {
    ttl: Duration,
    leases: BTreeMap<JobId, Vec<Granted>>,
    /// When a coordinator last began to serve, or the store answered again.
    came_back: Option<Duration>,
    broken: Vec<String>,
}

#[derive(Debug)]
struct Granted {
    token: LeaseToken,
    worker_id: WorkerId,
    /// When it runs out, with every grace.
    until: Duration,
    /// When it runs out as far as its worker can know.
    renewed_until: Duration,
    /// When it ended, and how.
    ended: Option<(Duration, String)>,
}

impl Granted {
    fn has_ended(&self, now: Duration) -> bool {
        self.ended.as_ref().is_some_and(|(at, _)| *at <= now)
    }

    fn ended_as(&self, how: &str) -> bool {
        self.ended.as_ref().is_some_and(|(_, ended)| ended == how)
    }
}

impl Observer {
    /// Nothing was seen yet of leases that last so long; [`Duration::MAX`] where nobody sees all renewals.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            leases: BTreeMap::new(),
            came_back: None,
            broken: Vec::new(),
        }
    }

    /// What was broken.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// Notes a broken promise.
    pub fn breaks(&mut self, now: Duration, what: &str) {
        if self.broken.len() < TOLD_MAX {
            self.broken.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
        }
    }

    /// At most one live lease a job, and none once it has its result.
    pub fn granted(&mut self, now: Duration, claim: LeaseClaim, worker_id: WorkerId) {
        let until = now.saturating_add(self.ttl);
        let leases = self.leases.entry(claim.job_id).or_default();
        let live = leases.iter().any(|lease| !lease.has_ended(now));
        let done = leases.iter().any(|lease| lease.ended_as("finished"));
        leases.push(Granted {
            token: claim.token,
            worker_id,
            until,
            renewed_until: until,
            ended: None,
        });
        if live {
            self.breaks(now, &format!("job {} was leased while it was held", claim.job_id));
        }
        if done {
            self.breaks(now, &format!("job {} was leased after its end", claim.job_id));
        }
    }

    /// A write was accepted: its lease has to be live.
    pub fn accepted(&mut self, now: Duration, claim: LeaseClaim, what: &str) {
        let wrong = match self.find(claim) {
            Some(lease) if lease.has_ended(now) => "of a lease that ended",
            Some(lease) if lease.until <= now => "of a lease that ran out",
            Some(_) => return,
            None => "of no lease",
        };
        let what = format!("job {}: a write was accepted {wrong}: {what}", claim.job_id);
        self.breaks(now, &what);
    }

    /// A lease was renewed; this may be one that ran out, if nobody took it back.
    pub fn renewed(&mut self, now: Duration, claim: LeaseClaim) {
        let until = now.saturating_add(self.ttl);
        if let Some(lease) = self.find(claim) {
            lease.until = if lease.ended.is_some() { lease.until } else { until };
            lease.renewed_until = until;
        }
        self.accepted(now, claim, "renewal");
    }

    /// A job was answered to have ended under this lease: now, or before.
    pub fn finished(&mut self, now: Duration, claim: LeaseClaim) {
        self.ended(now, claim, "finished");
    }

    /// A lease was answered to have been handed back: now, or before.
    pub fn released(&mut self, now: Duration, claim: LeaseClaim) {
        self.ended(now, claim, "released");
    }

    fn ended(&mut self, now: Duration, claim: LeaseClaim, how: &str) {
        // A repeated end is answered like the first, whatever happened since.
        if self.find(claim).is_some_and(|lease| lease.ended_as(how)) {
            return;
        }
        self.accepted(now, claim, how);
        self.end(now, claim, how);
    }

    /// Notes that a lease ended, by whomever.
    pub fn end(&mut self, now: Duration, claim: LeaseClaim, how: &str) {
        if let Some(lease) = self.find(claim) {
            lease.ended = Some((now, how.to_owned()));
        }
    }

    /// A coordinator begins to serve, or the store answers again. For a time limit from then on no lease runs out: nobody may have been
    /// there to renew it.
    pub fn came_back(&mut self, now: Duration) {
        self.came_back = Some(now);
    }

    /// A lease was taken back.
    pub fn expired(&mut self, now: Duration, claim: LeaseClaim) {
        let early = self
            .find(claim)
            .is_none_or(|lease| lease.ended.is_some() || lease.until > now);
        self.end(now, claim, "expired");
        if early {
            self.breaks(now, &format!("job {}: a live lease was taken back", claim.job_id));
        }
        if self
            .came_back
            .is_some_and(|came_back| now + TOLD_WITHIN < came_back.saturating_add(self.ttl))
        {
            let after = "a lease was taken back just after a coordinator began or the store came back";
            self.breaks(now, &format!("job {}: {after}", claim.job_id));
        }
    }

    /// Every lease got a full time limit more.
    pub fn grace(&mut self, now: Duration) {
        let until = now.saturating_add(self.ttl);
        for lease in self.leases.values_mut().flatten() {
            lease.until = lease.until.max(until);
        }
    }

    /// A worker takes a step of a job's training: not after its lease may have run out for all that it knows.
    pub fn works(&mut self, now: Duration, claim: LeaseClaim) {
        let job_id = claim.job_id;
        let lease = self.find(claim);
        let late = lease.filter(|lease| lease.renewed_until + FENCED_WITHIN < now);
        if let Some(lease) = late {
            let (worker_id, late) = (lease.worker_id, (now - lease.renewed_until).as_secs_f64());
            let what = format!("job {job_id}: worker {worker_id} trains {late:.3} s after its lease may have run out");
            self.breaks(now, &what);
        }
    }

    /// True for a lease that ended before, and not by the end of its job.
    pub fn is_stale(&self, now: Duration, claim: LeaseClaim) -> bool {
        let mut leases = self.leases.get(&claim.job_id).into_iter().flatten();
        let lease = leases.find(|lease| lease.token == claim.token);
        lease.is_some_and(|lease| lease.has_ended(now) && !lease.ended_as("finished"))
    }

    fn find(&mut self, claim: LeaseClaim) -> Option<&mut Granted> {
        let leases = self.leases.get_mut(&claim.job_id)?;
        leases.iter_mut().find(|lease| lease.token == claim.token)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const TTL: Duration = Duration::from_secs(15);
    const WORKER: WorkerId = WorkerId(Uuid::from_u128(1));

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(token: u128) -> LeaseClaim {
        LeaseClaim {
            job_id: JobId(Uuid::from_u128(7)),
            token: LeaseToken(Uuid::from_u128(token)),
        }
    }

    /// What is broken once a job was leased at 0 s and more happened.
    fn broken(happens: impl FnOnce(&mut Observer)) -> String {
        let mut observer = Observer::new(TTL);
        observer.granted(at(0), lease(1), WORKER);
        happens(&mut observer);
        observer.broken().join("; ")
    }

    #[test]
    fn a_lease_that_is_kept_renewed_and_taken_back_in_time_breaks_nothing() {
        let found = broken(|observer| {
            observer.renewed(at(10), lease(1));
            observer.accepted(at(24), lease(1), "report");
            observer.works(at(26), lease(1));
            observer.expired(at(26), lease(1));
            observer.granted(at(27), lease(2), WORKER);
            observer.finished(at(30), lease(2));
            observer.finished(at(40), lease(2));
        });
        assert_eq!(found, "");
    }

    #[test]
    fn every_broken_promise_is_found() {
        type Happens = fn(&mut Observer);
        let cases: [(&str, Happens); 10] = [
            ("leased while it was held", |o| o.granted(at(9), lease(2), WORKER)),
            ("leased after its end", |o| {
                o.finished(at(5), lease(1));
                o.granted(at(6), lease(2), WORKER);
            }),
            ("of no lease", |o| o.accepted(at(5), lease(9), "report")),
            ("of a lease that ran out", |o| o.accepted(at(15), lease(1), "report")),
            ("of a lease that ended", |o| {
                o.released(at(5), lease(1));
                o.finished(at(5), lease(1));
            }),
            ("a live lease was taken back", |o| o.expired(at(14), lease(1))),
            ("a live lease was taken back", |o| {
                o.renewed(at(14), lease(1));
                o.expired(at(20), lease(1));
            }),
            ("a live lease was taken back", |o| {
                o.grace(at(14));
                o.expired(at(20), lease(1));
            }),
            ("just after a coordinator began", |o| {
                o.came_back(at(10));
                o.expired(at(16), lease(1));
            }),
            ("trains 2.000 s after", |o| o.works(at(17), lease(1))),
        ];
        for (expected, happens) in cases {
            let found = broken(happens);
            assert!(found.contains(expected) && !found.contains(';'), "{expected}: {found}");
        }
    }
}
