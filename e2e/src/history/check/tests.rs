//! Broken histories, whose faults have to be found.

use std::sync::Arc;
use std::time::Duration;

use tonic::Code;

use super::super::{
    Action, Death, LeasedTo, Operation, Outcome, Percentiles, Stored, StoredAttempt, StoredFold, StoredJob,
    StoredReport, StoredStudy, recoveries,
};
use super::{Findings, check};

const FIRST: &str = "token of the first lease";
const SECOND: &str = "token of the second lease";

fn lease(token: &str) -> Arc<LeasedTo> {
    Arc::new(LeasedTo {
        study: "load".into(),
        job_id: "job".into(),
        token: token.into(),
        members: vec![(0, 0), (0, 1)],
    })
}

fn operation(at: u64, lease: &Arc<LeasedTo>, action: Action, outcome: Outcome) -> Operation {
    Operation {
        worker: 1,
        lease: (!matches!(action, Action::Lease(_))).then(|| Arc::clone(lease)),
        action,
        is_stale: false,
        invoked: Duration::from_secs(at),
        ended: Some(Duration::from_secs(at)),
        outcome,
    }
}

fn report(at: u64, lease: &Arc<LeasedTo>, epoch: u32, more: f64, outcome: Outcome) -> Operation {
    let losses = vec![(more, more + 0.5), (more + 1.0, more + 1.5)];
    operation(at, lease, Action::Report { epoch, losses }, outcome)
}

fn row(fold: i32, epoch: i32) -> StoredReport {
    StoredReport {
        study: "load".into(),
        trial: 0,
        fold,
        epoch,
        train_loss: f64::from(fold),
        val_loss: Some(f64::from(fold) + 0.5),
    }
}

fn attempt(lease_epoch: i32, token: &str, outcome: &str, granted: u64, ended: u64) -> StoredAttempt {
    StoredAttempt {
        job_id: "job".into(),
        lease_epoch,
        token: token.into(),
        outcome: Some(outcome.into()),
        granted: Duration::from_secs(granted),
        ended: Some(Duration::from_secs(ended)),
    }
}

/// A worker reports an epoch and goes silent; another one reports it again, and the next one, and finishes. The first one
/// comes back meanwhile and is refused.
fn good() -> (Vec<Operation>, Stored) {
    let (first, second) = (lease(FIRST), lease(SECOND));
    let stale = Operation {
        is_stale: true,
        ..report(6, &first, 1, 100.0, Outcome::LeaseLost)
    };
    let operations = vec![
        operation(1, &first, Action::Lease(vec![Arc::clone(&first)]), Outcome::Ok),
        report(2, &first, 0, 0.0, Outcome::Ok),
        operation(5, &second, Action::Lease(vec![Arc::clone(&second)]), Outcome::Ok),
        stale,
        report(7, &second, 0, 0.0, Outcome::Unknown(Code::Unavailable)),
        report(8, &second, 0, 0.0, Outcome::Ok),
        report(9, &second, 1, 0.0, Outcome::Ok),
        operation(10, &second, Action::Finish, Outcome::Ok),
    ];
    let fold = |fold| StoredFold {
        study: "load".into(),
        trial: 0,
        fold,
        state: "completed".into(),
        job_state: "completed".into(),
        val_loss: Some(0.5),
    };
    let stored = Stored {
        reports: vec![row(0, 0), row(1, 0), row(0, 1), row(1, 1)],
        attempts: vec![
            attempt(1, FIRST, "expired", 1, 4),
            attempt(2, SECOND, "finished", 5, 10),
        ],
        jobs: vec![StoredJob {
            job_id: "job".into(),
            state: "completed".into(),
            leases: 0,
        }],
        folds: vec![fold(0), fold(1)],
        studies: vec![StoredStudy {
            name: "load".into(),
            state: "completed".into(),
            best_trial: Some(0),
            better_trials: 0,
        }],
    };
    (operations, stored)
}

/// What is found once something was broken.
fn found(break_it: impl FnOnce(&mut Vec<Operation>, &mut Stored)) -> Findings {
    let (mut operations, mut stored) = good();
    break_it(&mut operations, &mut stored);
    check(&operations, &stored)
}

#[test]
fn nothing_is_found_where_nothing_is_broken() {
    let expected = Findings {
        acknowledged: 4,
        stale_tried: 1,
        ..Findings::default()
    };
    assert_eq!(found(|_, _| {}), expected);
}

#[test]
fn a_lost_report_is_found() {
    let gone = found(|_, stored| drop(stored.reports.remove(2)));
    assert_eq!((gone.lost, gone.broken.len()), (1, 1), "{gone:?}");
    let other = found(|_, stored| stored.reports[2].train_loss = 7.0);
    assert_eq!((other.lost, other.broken.len()), (1, 1), "{other:?}");
}

#[test]
fn a_lost_end_is_found() {
    let gone = found(|_, stored| stored.attempts[1].outcome = Some("expired".into()));
    assert_eq!((gone.lost, gone.broken.len()), (1, 1), "{gone:?}");
}

#[test]
fn a_doubled_report_is_found() {
    let twice = found(|_, stored| stored.reports.push(row(0, 1)));
    assert_eq!((twice.doubled, twice.broken.len()), (1, 1), "{twice:?}");
}

#[test]
fn a_doubled_result_is_found() {
    let folds = found(|_, stored| stored.folds.push(stored.folds[0].clone()));
    assert_eq!((folds.doubled, folds.broken.len()), (1, 1), "{folds:?}");
    let jobs = found(|_, stored| stored.attempts[0].outcome = Some("finished".into()));
    assert_eq!((jobs.doubled, jobs.broken.len()), (1, 1), "{jobs:?}");
}

#[test]
fn a_stale_write_that_was_accepted_is_found() {
    // It was acknowledged.
    let told = found(|operations, _| operations[3].outcome = Outcome::Ok);
    assert_eq!((told.stale_tried, told.stale_accepted), (1, 1), "{told:?}");
    // It was refused in words, and is stored nevertheless.
    let stored = found(|_, stored| stored.reports[3].train_loss = 101.0);
    assert_eq!((stored.stale_accepted, stored.lost), (0, 1), "{stored:?}");
    let stored = found(|_, stored| {
        stored.reports[3].train_loss = 101.0;
        stored.reports[3].val_loss = Some(101.5);
    });
    assert_eq!((stored.stale_tried, stored.stale_accepted), (1, 1), "{stored:?}");
    // The writer did not know that somebody else had the job.
    let overtaken = found(|operations, _| {
        let late = report(6, &lease(FIRST), 0, 0.0, Outcome::Ok);
        operations.insert(4, late);
    });
    assert_eq!(
        (overtaken.stale_tried, overtaken.stale_accepted),
        (2, 1),
        "{overtaken:?}"
    );
}

#[test]
fn two_leases_at_once_are_found() {
    let both = found(|_, stored| stored.attempts[0].ended = Some(Duration::from_secs(6)));
    assert_eq!((both.doubled, both.broken.len()), (1, 1), "{both:?}");
}

#[test]
fn a_running_job_without_a_lease_is_found() {
    let running = found(|_, stored| stored.jobs[0].state = "leased".into());
    assert_eq!(running.broken.len(), 1, "{running:?}");
    let fold = found(|_, stored| stored.folds[0].state = "running".into());
    assert_eq!(fold.broken.len(), 1, "{fold:?}");
}

#[test]
fn a_wrong_ranking_is_found() {
    let wrong = found(|_, stored| stored.studies[0].better_trials = 1);
    assert_eq!(wrong.broken.len(), 1, "{wrong:?}");
}

#[test]
fn a_mistake_of_trawls_own_is_found() {
    let internal = found(|operations, _| operations[4].outcome = Outcome::Unknown(Code::Internal));
    assert_eq!(internal.broken.len(), 1, "{internal:?}");
    let refused = found(|operations, _| operations[4].outcome = Outcome::Failed(Code::InvalidArgument));
    assert_eq!(refused.broken.len(), 1, "{refused:?}");
}

#[test]
fn a_recovery_is_from_the_death_to_the_next_grant() {
    let (_, stored) = good();
    let death = |token: &str, ms| Death {
        token: token.into(),
        at: Duration::from_millis(ms),
        is_process: true,
    };
    let found = recoveries(&[death(FIRST, 3_500), death(SECOND, 9_000)], &stored);
    assert_eq!(found, [Duration::from_millis(1_500)], "the second job was finished");
    assert_eq!(Percentiles::of(&found).max, Duration::from_millis(1_500));
}
