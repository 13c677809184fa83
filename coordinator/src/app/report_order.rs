//! Epoch reports and their order: a job's epochs come one after the other, without gaps, and none is beyond its last.
//! So the last report determines the number of epochs, whatever a worker claims.

use std::collections::HashMap;

use trawl_domain::id::JobId;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::JOB_MEMBERS_MAX;
use trawl_domain::metric::Metric;

use crate::store::job_reports::{JobProgress, Report};

/// Consecutive epochs of all of a job's members.
#[derive(Clone, Debug, PartialEq)]
pub struct JobReport {
    /// The lease.
    pub lease: LeaseClaim,
    /// The first epoch, from 0.
    pub first_epoch: u32,
    /// Metrics on the validation rows.
    pub metrics: Vec<Metric>,
    /// Ascending.
    pub members: Vec<MemberEpochs>,
}

/// Consecutive epochs of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberEpochs {
    /// Place among the job's members.
    pub member: u32,
    /// Mean training losses, [epochs]; all of them are valid losses.
    pub train_loss: Vec<f64>,
    /// [metrics, epochs]
    pub val: Vec<Option<f64>>,
    /// True if a non-finite loss ended it in the next epoch.
    pub diverged: bool,
}

impl JobReport {
    /// Epochs of the longest member, counting the one in which it diverged.
    pub fn epochs(&self) -> u32 {
        let of_member = |of: &MemberEpochs| of.train_loss.len() as u32 + u32::from(of.diverged);
        self.members.iter().map(of_member).max().unwrap_or(0)
    }

    /// The epochs of one member.
    pub fn of_member(&self, member: u32) -> Option<&MemberEpochs> {
        let place = self.members.binary_search_by_key(&member, |of| of.member).ok()?;
        self.members.get(place)
    }

    /// Most numbers that the report takes when stored: members that ended occupy space too.
    pub fn values_max(&self) -> usize {
        JOB_MEMBERS_MAX * self.epochs() as usize * (1 + self.metrics.len())
    }
}

/// The result of a [`JobReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// The lease is lost; nothing was written.
    LeaseLost,
    /// An earlier epoch is missing: sent again in order, the report may be written.
    Ahead,
    /// The job has no such epochs, or other members; names the wrong field of the request.
    Refused(&'static str),
}

/// How far jobs are, and the additions of a batch.
#[derive(Debug, Default)]
pub(super) struct Order {
    jobs: HashMap<JobId, JobProgress>,
    /// New epochs.
    pub(super) reports: Vec<Report>,
    /// Members that diverged: job, member and epoch.
    pub(super) diverged: Vec<(JobId, u32, u32)>,
}

impl Order {
    pub(super) fn new(progress: Vec<JobProgress>) -> Self {
        Self {
            jobs: progress.into_iter().map(|job| (job.job_id, job)).collect(),
            ..Self::default()
        }
    }

    /// Takes a report of a job whose lease is held, whole or not at all. Stored epochs stay as they are. A diverged
    /// member gets no more epochs, although on another kind of device it might not diverge.
    pub(super) fn take(&mut self, report: &JobReport) -> Written {
        let Some(job) = self.jobs.get_mut(&report.lease.job_id) else {
            return Written::LeaseLost;
        };
        let epochs = report.epochs();
        if report.members.iter().any(|member| member.member >= job.members) {
            return Written::Refused("members");
        }
        if report.first_epoch + epochs > job.end_epoch {
            return Written::Refused("first_epoch");
        }
        if job.running.is_empty() {
            return Written::Durable;
        }
        if report.first_epoch > job.reported {
            return Written::Ahead;
        }
        let running: Option<Vec<&MemberEpochs>> = job.running.iter().map(|member| report.of_member(*member)).collect();
        let Some(running) = running else {
            return Written::Refused("members");
        };
        let reported = job.reported;
        let known = (reported - report.first_epoch) as usize;
        let new = running
            .iter()
            .map(|of| of.train_loss.len().saturating_sub(known))
            .max()
            .unwrap_or(0);
        if new > 0 {
            self.reports.push(stack(job, report, known, new));
            job.reported += new as u32;
        }
        for of in running.into_iter().filter(|of| of.diverged) {
            // Stored epochs stay: they may come from another device, on which the member went on.
            let epoch = (report.first_epoch + of.train_loss.len() as u32).max(reported);
            self.diverged.push((job.job_id, of.member, epoch));
            job.running.retain(|member| *member != of.member);
        }
        Written::Durable
    }
}

/// The `new` epochs after `known`, of all members of a job.
fn stack(job: &JobProgress, report: &JobReport, known: usize, new: usize) -> Report {
    let mut stacked = Report {
        job_id: job.job_id,
        first_epoch: job.reported,
        epochs: new as u32,
        metrics: report.metrics.clone(),
        train_loss: Vec::with_capacity(job.members as usize * new),
        val: Vec::with_capacity(job.members as usize * report.metrics.len() * new),
    };
    let take = |into: &mut Vec<Option<f64>>, curve: &mut dyn Iterator<Item = Option<f64>>| {
        let end = into.len() + new;
        into.extend(curve.skip(known).take(new));
        into.resize(end, None);
    };
    for member in 0..job.members {
        let of = report.of_member(member).filter(|_| job.running.contains(&member));
        let (train_loss, val) = of.map_or((&[][..], &[][..]), |of| (&of.train_loss[..], &of.val[..]));
        take(&mut stacked.train_loss, &mut train_loss.iter().copied().map(Some));
        for metric in 0..report.metrics.len() {
            let epochs = train_loss.len();
            take(&mut stacked.val, &mut val[metric * epochs..][..epochs].iter().copied());
        }
    }
    stacked
}

#[cfg(test)]
mod tests {
    use trawl_domain::id::LeaseToken;
    use uuid::Uuid;

    use super::*;

    const JOB: JobId = JobId(Uuid::nil());

    /// Three members of a job of five epochs; two epochs are reported, and the last member diverged.
    fn order() -> Order {
        Order::new(vec![JobProgress {
            job_id: JOB,
            members: 3,
            running: vec![0, 1],
            reported: 2,
            end_epoch: 5,
        }])
    }

    /// Epochs of members: each with its number of losses, and whether it diverges after them. A loss identifies its member and epoch.
    fn report(first_epoch: u32, members: &[(u32, u32, bool)]) -> JobReport {
        let epochs = |member: u32, epochs: u32| {
            let of_epoch = |epoch| f64::from(10 * member + first_epoch + epoch);
            (0..epochs).map(of_epoch).collect::<Vec<_>>()
        };
        let members = members.iter().map(|(member, len, diverged)| MemberEpochs {
            member: *member,
            train_loss: epochs(*member, *len),
            val: epochs(*member, *len).iter().map(|loss| Some(loss + 0.5)).collect(),
            diverged: *diverged,
        });
        JobReport {
            lease: LeaseClaim {
                job_id: JOB,
                token: LeaseToken(Uuid::nil()),
            },
            first_epoch,
            metrics: vec![Metric::ValLoss],
            members: members.collect(),
        }
    }

    /// A report of both running members.
    fn both(first_epoch: u32, epochs: u32) -> JobReport {
        report(first_epoch, &[(0, epochs, false), (1, epochs, false)])
    }

    #[test]
    fn epochs_follow_each_other_and_what_is_there_stays() {
        let mut order = order();
        for repeated in [both(2, 1), both(0, 3), both(1, 4), both(4, 1)] {
            assert_eq!(order.take(&repeated), Written::Durable);
        }
        let stored: Vec<(u32, u32)> = order.reports.iter().map(|new| (new.first_epoch, new.epochs)).collect();
        assert_eq!(stored, [(2, 1), (3, 2)]);
        let last = &order.reports[1];
        assert_eq!(
            last.train_loss,
            [Some(3.0), Some(4.0), Some(13.0), Some(14.0), None, None]
        );
        assert_eq!(last.val, [Some(3.5), Some(4.5), Some(13.5), Some(14.5), None, None]);
        assert_eq!(last.epoch_reports(), 4);
    }

    #[test]
    fn what_the_job_has_not_is_refused_and_what_comes_early_has_to_come_again() {
        let cases = [
            (both(5, 1), Written::Refused("first_epoch")),
            (both(3, 3), Written::Refused("first_epoch")),
            (
                report(4, &[(0, 1, true), (1, 1, false)]),
                Written::Refused("first_epoch"),
            ),
            (
                report(2, &[(0, 1, false), (1, 1, false), (3, 1, false)]),
                Written::Refused("members"),
            ),
            (report(2, &[(0, 1, false)]), Written::Refused("members")),
            (both(3, 1), Written::Ahead),
        ];
        for (taken, answer) in &cases {
            let mut order = order();
            assert_eq!(order.take(taken), *answer, "{taken:?}");
            assert!(order.reports.is_empty() && order.diverged.is_empty(), "{taken:?}");
        }
    }

    #[test]
    fn a_member_diverges_once_and_has_no_epochs_after_it() {
        let mut order = order();
        let batch = [
            report(2, &[(0, 1, true), (1, 2, false)]),
            report(3, &[(0, 1, false), (1, 1, false)]),
            report(4, &[(0, 0, true), (1, 0, true)]),
            both(4, 1),
        ];
        for taken in &batch {
            assert_eq!(order.take(taken), Written::Durable);
        }
        assert_eq!(order.diverged, [(JOB, 0, 3), (JOB, 1, 4)]);
        assert_eq!(order.reports.len(), 1);
        let only = &order.reports[0];
        assert_eq!(only.train_loss, [Some(2.0), None, Some(12.0), Some(13.0), None, None]);
    }
}
