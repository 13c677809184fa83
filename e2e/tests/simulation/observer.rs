//! Looks on at the store, keeps its own account of the leases, and notes every promise that is broken. It takes nothing from the
//! model: a model that forgets to look at a token is caught here.

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
pub(crate) struct Observer {
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
    ended: Option<&'static str>,
}

impl Observer {
    /// Nothing was seen yet.
    pub(crate) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            leases: BTreeMap::new(),
            came_back: None,
            broken: Vec::new(),
        }
    }

    /// What was broken.
    pub(crate) fn broken(&self) -> &[String] {
        &self.broken
    }

    fn breaks(&mut self, now: Duration, what: String) {
        if self.broken.len() < TOLD_MAX {
            self.broken.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
        }
    }

    /// At most one live lease a job, and none once it has its result.
    pub(crate) fn granted(&mut self, now: Duration, claim: LeaseClaim, worker_id: WorkerId) {
        let until = now + self.ttl;
        let leases = self.leases.entry(claim.job_id).or_default();
        let live = leases.iter().any(|lease| lease.ended.is_none());
        let done = leases.iter().any(|lease| lease.ended == Some("finished"));
        leases.push(Granted {
            token: claim.token,
            worker_id,
            until,
            renewed_until: until,
            ended: None,
        });
        if live {
            self.breaks(now, format!("job {} was leased while it was held", claim.job_id));
        }
        if done {
            self.breaks(now, format!("job {} was leased after its end", claim.job_id));
        }
    }

    /// A write was accepted: its token has to be that of the job's last lease, and that one live.
    pub(crate) fn accepted(&mut self, now: Duration, claim: LeaseClaim, what: &str) {
        let last = self.leases.get(&claim.job_id).and_then(|leases| leases.last());
        let wrong = match last {
            Some(lease) if lease.token != claim.token => "of a lease that another one followed",
            Some(lease) if lease.ended.is_some() => "of a lease that ended",
            Some(lease) if lease.until <= now => "of a lease that ran out",
            Some(_) => return,
            None => "of no lease",
        };
        self.breaks(
            now,
            format!("job {}: a write was accepted {wrong}: {what}", claim.job_id),
        );
    }

    /// A lease was renewed; this may be one that ran out, if nobody took it back.
    pub(crate) fn renewed(&mut self, now: Duration, claim: LeaseClaim) {
        let until = now + self.ttl;
        if let Some(lease) = self.find(claim) {
            lease.until = if lease.ended.is_some() { lease.until } else { until };
            lease.renewed_until = until;
        }
        self.accepted(now, claim, "renewal");
    }

    /// A job was answered to have ended under this lease: now, or before.
    pub(crate) fn finished(&mut self, now: Duration, claim: LeaseClaim) {
        self.ended(now, claim, "finished");
    }

    /// A lease was answered to have been handed back: now, or before.
    pub(crate) fn released(&mut self, now: Duration, claim: LeaseClaim) {
        self.ended(now, claim, "released");
    }

    fn ended(&mut self, now: Duration, claim: LeaseClaim, how: &'static str) {
        // A repeated end is answered like the first, whatever happened since.
        if self.find(claim).and_then(|lease| lease.ended) == Some(how) {
            return;
        }
        self.accepted(now, claim, how);
        if let Some(lease) = self.find(claim) {
            lease.ended = Some(how);
        }
    }

    /// A coordinator begins to serve, or the store answers again. For a time limit from then on no lease runs out: nobody may have been
    /// there to renew it.
    pub(crate) fn came_back(&mut self, now: Duration) {
        self.came_back = Some(now);
    }

    /// A lease was taken back.
    pub(crate) fn expired(&mut self, now: Duration, claim: LeaseClaim) {
        let early = match self.find(claim) {
            Some(lease) => {
                let early = lease.ended.is_some() || lease.until > now;
                lease.ended = Some("expired");
                early
            }
            None => true,
        };
        if early {
            self.breaks(now, format!("job {}: a live lease was taken back", claim.job_id));
        }
        if self
            .came_back
            .is_some_and(|came_back| now + TOLD_WITHIN < came_back + self.ttl)
        {
            self.breaks(
                now,
                format!(
                    "job {}: a lease was taken back just after a coordinator began or the store came back",
                    claim.job_id
                ),
            );
        }
    }

    /// Every lease got a full time limit more.
    pub(crate) fn grace(&mut self, now: Duration) {
        let until = now + self.ttl;
        for lease in self.leases.values_mut().flatten() {
            lease.until = lease.until.max(until);
        }
    }

    /// A worker takes a step of a job's training: not after its lease may have run out for all that it knows.
    pub(crate) fn works(&mut self, now: Duration, claim: LeaseClaim) {
        let job_id = claim.job_id;
        let lease = self.find(claim);
        let late = lease.filter(|lease| lease.renewed_until + FENCED_WITHIN < now);
        if let Some(lease) = late {
            let (worker_id, late) = (lease.worker_id, now - lease.renewed_until);
            self.breaks(
                now,
                format!(
                    "job {job_id}: worker {worker_id} trains {:.3} s after its lease may have run out",
                    late.as_secs_f64()
                ),
            );
        }
    }

    fn find(&mut self, claim: LeaseClaim) -> Option<&mut Granted> {
        let leases = self.leases.get_mut(&claim.job_id)?;
        leases.iter_mut().find(|lease| lease.token == claim.token)
    }
}
