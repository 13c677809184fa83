//! Compares a history with the database: acknowledged writes are there, and refused ones are not. It looks at studies that have
//! ended: a job that went back to the queue lost the epochs after its checkpoints, and they were reported again by then, with the same losses.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tonic::Code;

use super::{Action, Operation, Outcome, Stored};

/// Broken rules that are named; further ones are only counted.
const TOLD_MAX: usize = 20;

/// What a history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Epochs of folds that were acknowledged.
    pub acknowledged: usize,
    /// Acknowledged epochs that are not stored, or with other losses.
    pub lost: usize,
    /// Epochs of folds, results or leases that are there twice.
    pub doubled: usize,
    /// Writes tried under a lease that had ended.
    pub stale_tried: usize,
    /// Writes under an ended lease that were acknowledged, or are stored.
    pub stale_accepted: usize,
    /// Every broken rule, in words.
    pub broken: Vec<String>,
}

impl Findings {
    fn broken(&mut self, what: String) {
        if self.broken.len() < TOLD_MAX {
            self.broken.push(what);
        }
    }
}

/// The key of an epoch report: study, trial, fold and epoch.
type Key<'a> = (&'a str, u32, u32, u32);

/// Compares the operations, in the order in which they were invoked, with the rows of a run that has ended.
pub fn check(operations: &[Operation], stored: &Stored) -> Findings {
    let mut findings = Findings::default();
    let rows = rows_by_key(stored, &mut findings);
    check_reports(operations, &rows, &mut findings);
    check_stale(operations, stored, &rows, &mut findings);
    check_results(operations, stored, &mut findings);
    check_attempts(stored, &mut findings);
    check_states(stored, &mut findings);
    check_refusals(operations, &mut findings);
    findings
}

fn rows_by_key<'a>(stored: &'a Stored, findings: &mut Findings) -> HashMap<Key<'a>, (f64, Option<f64>)> {
    let mut rows = HashMap::with_capacity(stored.reports.len());
    for row in &stored.reports {
        let key = (row.study.as_str(), row.trial as u32, row.fold as u32, row.epoch as u32);
        if rows.insert(key, (row.train_loss, row.val_loss)).is_some() {
            findings.doubled += 1;
            findings.broken(format!("the epoch report of {key:?} is there twice"));
        }
    }
    rows
}

/// The reports of an operation, each with its key and losses.
fn reports_of(operation: &Operation) -> impl Iterator<Item = (Key<'_>, (f64, Option<f64>))> {
    let members = match (&operation.action, &operation.lease) {
        (Action::Report { epoch, losses }, Some(lease)) => Some((lease, *epoch, losses)),
        _ => None,
    };
    members.into_iter().flat_map(|(lease, epoch, losses)| {
        let members = lease.members.iter().zip(losses);
        members.map(move |((trial, fold), (train, val))| {
            ((lease.study.as_str(), *trial, *fold, epoch), (*train, Some(*val)))
        })
    })
}

/// Acknowledged reports are stored, with the losses of the first copy.
fn check_reports(operations: &[Operation], rows: &HashMap<Key<'_>, (f64, Option<f64>)>, findings: &mut Findings) {
    let mut acknowledged = HashSet::new();
    for operation in operations.iter().filter(|operation| operation.outcome == Outcome::Ok) {
        for (key, losses) in reports_of(operation) {
            // A write accepted after its lease had ended counts as stale, and not here.
            if operation.is_stale || !acknowledged.insert(key) {
                continue;
            }
            if rows.get(&key) != Some(&losses) {
                findings.lost += 1;
                let stored = rows.get(&key);
                findings.broken(format!(
                    "{key:?} was acknowledged with {losses:?}, and {stored:?} is stored"
                ));
            }
        }
    }
    findings.acknowledged = acknowledged.len();
}

/// No write goes through once its lease has ended: neither one that a client tried although it knew that, nor one after
/// somebody else had been granted the job.
fn check_stale(
    operations: &[Operation],
    stored: &Stored,
    rows: &HashMap<Key<'_>, (f64, Option<f64>)>,
    findings: &mut Findings,
) {
    let mut granted: HashMap<&str, Vec<(Duration, &str)>> = HashMap::new();
    for operation in operations {
        let Action::Lease(leases) = &operation.action else {
            continue;
        };
        let Some(ended) = operation.ended else { continue };
        for lease in leases {
            granted.entry(&lease.job_id).or_default().push((ended, &lease.token));
        }
    }
    let finished: HashSet<&str> = stored
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome.as_deref() == Some("finished"))
        .map(|attempt| attempt.token.as_str())
        .collect();
    // A grant counts for another one only if it is of a later attempt.
    let epochs: HashMap<&str, i32> = stored
        .attempts
        .iter()
        .map(|attempt| (attempt.token.as_str(), attempt.lease_epoch))
        .collect();
    for operation in operations.iter().filter(|operation| operation.action.is_write()) {
        let Some(lease) = &operation.lease else { continue };
        let is_later = |token: &str| epochs.get(token) > epochs.get(lease.token.as_str());
        let is_overtaken = granted.get(lease.job_id.as_str()).is_some_and(|grants| {
            grants
                .iter()
                .any(|(at, token)| *at <= operation.invoked && is_later(token))
        });
        if !operation.is_stale && !is_overtaken {
            continue;
        }
        findings.stale_tried += 1;
        let is_stored = operation.is_stale
            && (reports_of(operation).any(|(key, losses)| rows.get(&key) == Some(&losses))
                || operation.action == Action::Finish && finished.contains(lease.token.as_str()));
        if operation.outcome == Outcome::Ok || is_stored {
            findings.stale_accepted += 1;
            findings.broken(format!(
                "worker {} wrote {:?} under the ended lease {} of job {}: {:?}",
                operation.worker, operation.action, lease.token, lease.job_id, operation.outcome
            ));
        }
    }
}

/// An acknowledged end is recorded, a fold has one result, and no lease that was lost ended its job.
fn check_results(operations: &[Operation], stored: &Stored, findings: &mut Findings) {
    let outcomes: HashMap<&str, Option<&str>> = stored
        .attempts
        .iter()
        .map(|attempt| (attempt.token.as_str(), attempt.outcome.as_deref()))
        .collect();
    for operation in operations {
        let (Action::Finish, Some(lease)) = (&operation.action, &operation.lease) else {
            continue;
        };
        let outcome = outcomes.get(lease.token.as_str()).copied().flatten();
        let is_finished = outcome == Some("finished");
        if operation.outcome == Outcome::Ok && !operation.is_stale && !is_finished {
            findings.lost += 1;
            findings.broken(format!(
                "the end of job {} was acknowledged, and its lease {} is {outcome:?}",
                lease.job_id, lease.token
            ));
        }
    }
    let mut folds = HashSet::new();
    for fold in &stored.folds {
        if !folds.insert((fold.study.as_str(), fold.trial, fold.fold)) {
            findings.doubled += 1;
            findings.broken(format!("fold {} of trial {} is there twice", fold.fold, fold.trial));
        }
    }
    let mut finished = HashSet::new();
    let ends = stored
        .attempts
        .iter()
        .filter(|attempt| attempt.outcome.as_deref() == Some("finished"));
    for attempt in ends {
        if !finished.insert(attempt.job_id.as_str()) {
            findings.doubled += 1;
            findings.broken(format!("job {} was finished twice", attempt.job_id));
        }
    }
}

/// The leases of a job follow each other: there is never more than one.
fn check_attempts(stored: &Stored, findings: &mut Findings) {
    for pair in stored.attempts.windows(2) {
        let [earlier, later] = pair else { continue };
        if earlier.job_id == later.job_id && earlier.ended.is_none_or(|ended| ended > later.granted) {
            findings.doubled += 1;
            findings.broken(format!(
                "job {}: lease {} was granted before lease {} had ended",
                later.job_id, later.lease_epoch, earlier.lease_epoch
            ));
        }
    }
}

/// No running job without a lease, no lease without a running job, and the best trial is the best.
fn check_states(stored: &Stored, findings: &mut Findings) {
    for job in &stored.jobs {
        if (job.state == "leased") != (job.leases == 1) || job.leases > 1 {
            findings.broken(format!(
                "job {} is {} and has {} leases",
                job.job_id, job.state, job.leases
            ));
        }
    }
    for fold in &stored.folds {
        let is_running = fold.state == "running" && fold.job_state != "leased";
        let has_no_result = fold.state == "completed" && (fold.val_loss.is_none() || fold.job_state != "completed");
        if is_running || has_no_result {
            findings.broken(format!("a fold and its job disagree: {fold:?}"));
        }
    }
    for study in &stored.studies {
        if study.better_trials > 0 {
            findings.broken(format!("the best trial is not the best: {study:?}"));
        }
        if study.state != "completed" {
            findings.broken(format!("study {} is {}", study.name, study.state));
        }
    }
}

/// Scripted workers never ask for nonsense, and no injected fault makes a mistake of trawl's own.
fn check_refusals(operations: &[Operation], findings: &mut Findings) {
    for operation in operations {
        if matches!(
            operation.outcome,
            Outcome::Failed(Code::InvalidArgument | Code::FailedPrecondition) | Outcome::Unknown(Code::Internal)
        ) {
            findings.broken(format!(
                "worker {} was refused: {:?}: {:?}",
                operation.worker, operation.action, operation.outcome
            ));
        }
    }
}

#[cfg(test)]
mod tests;
