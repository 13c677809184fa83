//! Compares a history with the leases that the database granted: a job has one at a time, and no write goes through once its lease has
//! ended. That acknowledged epochs are stored, once and with their losses, shows in the rows of the studies: they have to be those
//! of an undisturbed run, whose losses scripted workers report, and others under leases that have ended.

use std::collections::HashSet;
use std::time::Duration;

use tonic::Code;

use super::{Action, Attempt, Observer, Operation, Outcome};

/// How far the clocks of the database and of the clients may drift apart during a run.
const DRIFT_MAX: Duration = Duration::from_millis(100);

/// What a history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Epochs of folds that were acknowledged.
    pub acknowledged: usize,
    /// Writes tried under a lease that had ended.
    pub stale_tried: usize,
    /// Broken rules, in words; the first ones.
    pub broken: Vec<String>,
}

/// Compares the operations with the leases of a run that has ended, by job and in the order of their grants.
pub fn check(operations: &[Operation], attempts: &[Attempt]) -> Findings {
    // Scripted workers alone tell of their renewals: how long a lease was good for is not known here.
    let mut observer = Observer::new(Duration::MAX);
    for attempt in attempts {
        observer.granted(attempt.granted, attempt.claim, attempt.worker_id);
        if let Some((ended, how)) = &attempt.ended {
            observer.end(*ended, attempt.claim, how);
        }
    }
    let finished = attempts.iter().filter(|attempt| attempt.ended_as("finished"));
    let finished: HashSet<_> = finished.map(|attempt| attempt.claim).collect();
    let (mut acknowledged, mut stale_tried) = (HashSet::new(), 0);
    for operation in operations {
        let (action, at) = (operation.action, operation.invoked.saturating_sub(DRIFT_MAX));
        if is_a_mistake(operation.outcome) {
            let what = format!("worker {}: {action:?}: {:?}", operation.worker, operation.outcome);
            observer.breaks(at, &what);
        }
        let Some(lease) = &operation.lease else { continue };
        stale_tried += usize::from(action.is_write() && observer.is_stale(at, lease.claim));
        match action {
            _ if !operation.is_ok() => {}
            Action::Report(epoch) => {
                observer.accepted(at, lease.claim, "report");
                let epochs = lease.members.iter().map(|member| (&lease.study, member, epoch));
                acknowledged.extend(epochs);
            }
            Action::Checkpoint(_) | Action::Artifact => observer.accepted(at, lease.claim, "file"),
            // A repeated end is answered like the first, however much later.
            Action::Finish if !finished.contains(&lease.claim) => {
                let what = format!(
                    "the end of job {} was acknowledged, and is not recorded",
                    lease.claim.job_id
                );
                observer.breaks(at, &what);
            }
            _ => {}
        }
    }
    Findings {
        acknowledged: acknowledged.len(),
        stale_tried,
        broken: observer.broken().to_vec(),
    }
}

/// Scripted workers never ask for nonsense, and no injected fault makes a mistake of trawl's own.
fn is_a_mistake(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Failed(Code::InvalidArgument | Code::FailedPrecondition) | Outcome::Unknown(Code::Internal)
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trawl_domain::id::{JobId, LeaseToken, WorkerId};
    use trawl_domain::lease::LeaseClaim;
    use uuid::Uuid;

    use super::*;
    use crate::history::LeasedTo;

    fn claim(token: u128) -> LeaseClaim {
        LeaseClaim {
            job_id: JobId(Uuid::from_u128(7)),
            token: LeaseToken(Uuid::from_u128(token)),
        }
    }

    fn operation(at: u64, token: u128, action: Action, outcome: Outcome) -> Operation {
        let lease = LeasedTo {
            study: "load".into(),
            claim: claim(token),
            members: vec![(0, 0), (0, 1)],
        };
        Operation {
            worker: 1,
            action,
            lease: Some(Arc::new(lease)),
            invoked: Duration::from_secs(at),
            ended: Some(Duration::from_secs(at)),
            outcome,
        }
    }

    fn attempt(token: u128, granted: u64, ended: u64, how: &str) -> Attempt {
        Attempt {
            claim: claim(token),
            worker_id: WorkerId(Uuid::from_u128(token)),
            granted: Duration::from_secs(granted),
            ended: Some((Duration::from_secs(ended), how.to_owned())),
        }
    }

    /// A worker reports an epoch and goes silent; another one reports it again, and the next one, and finishes. The first one comes back
    /// meanwhile and is refused. Then something is broken.
    fn found(break_it: impl FnOnce(&mut [Operation], &mut Vec<Attempt>)) -> Findings {
        let mut operations = [
            operation(2, 1, Action::Report(0), Outcome::Ok),
            operation(6, 1, Action::Report(1), Outcome::LeaseLost),
            operation(7, 2, Action::Report(0), Outcome::Unknown(Code::Unavailable)),
            operation(8, 2, Action::Report(0), Outcome::Ok),
            operation(9, 2, Action::Report(1), Outcome::Ok),
            operation(10, 2, Action::Finish, Outcome::Unknown(Code::Unavailable)),
            operation(12, 2, Action::Finish, Outcome::Ok),
        ];
        let mut attempts = vec![attempt(1, 1, 4, "expired"), attempt(2, 5, 10, "finished")];
        break_it(&mut operations, &mut attempts);
        check(&operations, &attempts)
    }

    #[test]
    fn nothing_is_found_where_nothing_is_broken() {
        let expected = Findings {
            acknowledged: 4,
            stale_tried: 1,
            broken: Vec::new(),
        };
        assert_eq!(found(|_, _| {}), expected);
    }

    #[test]
    fn every_broken_rule_is_found() {
        type BreakIt = fn(&mut [Operation], &mut Vec<Attempt>);
        let cases: [(&str, BreakIt); 6] = [
            ("is not recorded", |_, attempts| {
                attempts[1] = attempt(2, 5, 10, "expired");
            }),
            ("leased while it was held", |_, attempts| {
                attempts[0] = attempt(1, 1, 6, "expired");
            }),
            ("leased after its end", |_, attempts| {
                attempts.push(attempt(3, 13, 14, "expired"));
            }),
            ("of a lease that ended: report", |operations, _| {
                operations[1].outcome = Outcome::Ok;
            }),
            ("Report(0): Unknown(Internal)", |operations, _| {
                operations[2].outcome = Outcome::Unknown(Code::Internal);
            }),
            ("Report(0): Failed(InvalidArgument)", |operations, _| {
                operations[2].outcome = Outcome::Failed(Code::InvalidArgument);
            }),
        ];
        for (expected, break_it) in cases {
            let broken = found(break_it).broken;
            assert!(
                broken.len() == 1 && broken[0].contains(expected),
                "{expected}: {broken:?}"
            );
        }
    }
}
