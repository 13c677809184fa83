//! The order of epoch reports: those of a member come one epoch after the other, none is left out, and none is beyond the job's
//! last. So the last report of a fold tells how many there are, whatever a worker says.

use std::collections::HashMap;

use trawl_domain::id::JobId;

use super::report_epochs::{JobEpoch, Written};
use crate::store::epoch_reports::{MemberProgress, NewRow};

/// How far jobs are, and what a batch adds to it.
#[derive(Debug, Default)]
pub(super) struct Order<'a> {
    /// In the order of each job's members.
    jobs: HashMap<JobId, Vec<MemberProgress>>,
    /// Reports that are new.
    pub(super) rows: Vec<NewRow<'a>>,
    /// Folds that diverged, and in which epoch.
    pub(super) diverged: Vec<(i64, u32)>,
}

impl<'a> Order<'a> {
    /// From how far the members of jobs are, by job and member.
    pub(super) fn new(progress: Vec<MemberProgress>) -> Self {
        let mut order = Self::default();
        for member in progress {
            order.jobs.entry(member.job_id).or_default().push(member);
        }
        order
    }

    /// Takes an epoch of a job whose lease is held, whole or not at all. What is there already stays as it is. A fold that
    /// diverged gets no reports any more: on another sort of device it may not diverge.
    pub(super) fn take(&mut self, epoch: &'a JobEpoch) -> Written {
        let members = self.jobs.entry(epoch.lease.job_id).or_default();
        let named = epoch.reports.iter().map(|report| report.member);
        for member in named.chain(epoch.diverged.iter().copied()) {
            match members.get(member as usize) {
                None => return Written::Refused("members"),
                Some(member) if epoch.epoch >= member.epochs => return Written::Refused("epoch"),
                Some(member) if member.is_running && epoch.epoch > member.reported => return Written::Ahead,
                Some(_) => {}
            }
        }
        for report in &epoch.reports {
            let member = &mut members[report.member as usize];
            if member.is_running && epoch.epoch == member.reported {
                member.reported += 1;
                self.rows.push(NewRow {
                    fold_id: member.fold_id,
                    epoch: epoch.epoch,
                    report,
                });
            }
        }
        for member in &epoch.diverged {
            let member = &mut members[*member as usize];
            if std::mem::replace(&mut member.is_running, false) {
                self.diverged.push((member.fold_id, epoch.epoch));
            }
        }
        Written::Durable
    }
}

#[cfg(test)]
mod tests {
    use trawl_domain::id::LeaseToken;
    use uuid::Uuid;

    use super::*;
    use crate::store::epoch_reports::NewReport;
    use crate::store::leases::LeaseClaim;

    const JOB: JobId = JobId(Uuid::nil());

    /// Two members of a job of four epochs: the first one reported two of them, the other one diverged after one.
    fn order<'a>() -> Order<'a> {
        let member = |fold_id, reported, is_running| MemberProgress {
            job_id: JOB,
            fold_id,
            is_running,
            reported,
            epochs: 4,
        };
        Order::new(vec![member(10, 2, true), member(11, 1, false)])
    }

    fn epoch(epoch: u32, members: &[u32], diverged: &[u32]) -> JobEpoch {
        let report = |member: &u32| NewReport {
            member: *member,
            train_loss: 1.0,
            val_loss: None,
            val_accuracy: None,
        };
        JobEpoch {
            lease: LeaseClaim {
                job_id: JOB,
                token: LeaseToken(Uuid::nil()),
            },
            epoch,
            reports: members.iter().map(report).collect(),
            diverged: diverged.to_vec(),
        }
    }

    #[test]
    fn epochs_follow_each_other_and_none_is_left_out() {
        let batch = [2, 3, 1, 3].map(|number| epoch(number, &[0], &[]));
        let mut order = order();
        for taken in &batch {
            assert_eq!(order.take(taken), Written::Durable);
        }
        let rows: Vec<(i64, u32)> = order.rows.iter().map(|row| (row.fold_id, row.epoch)).collect();
        assert_eq!(rows, [(10, 2), (10, 3)], "a repeat changes nothing");
    }

    #[test]
    fn what_the_job_has_not_is_refused_and_what_comes_early_has_to_come_again() {
        let cases = [
            (epoch(4, &[0], &[]), Written::Refused("epoch")),
            (epoch(4, &[], &[1]), Written::Refused("epoch")),
            (epoch(2, &[0, 2], &[]), Written::Refused("members")),
            (epoch(2, &[], &[2]), Written::Refused("members")),
            (epoch(3, &[0], &[]), Written::Ahead),
            (epoch(3, &[], &[0]), Written::Ahead),
        ];
        for (taken, answer) in &cases {
            let mut order = order();
            assert_eq!(order.take(taken), *answer, "{taken:?}");
            assert!(order.rows.is_empty() && order.diverged.is_empty(), "{taken:?}");
        }
    }

    #[test]
    fn a_fold_diverges_once_and_has_no_reports_after_it() {
        let batch = [epoch(2, &[1], &[0]), epoch(3, &[0, 1], &[]), epoch(3, &[], &[0, 1])];
        let mut order = order();
        for taken in &batch {
            assert_eq!(order.take(taken), Written::Durable);
        }
        assert!(order.rows.is_empty());
        assert_eq!(order.diverged, [(10, 2)]);
    }
}
