//! Report: writes epoch reports in batches, each batch in one transaction with the check of its leases and of their order.
//!
//! All streams feed one writer. While it commits, reports gather, and the next batch takes all that came: batches grow with
//! the load by themselves, and a lone report does not wait.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use trawl_domain::id::JobId;
use trawl_domain::metric::Metric;

use super::report_order::Order;
use super::steps::Steps;
use super::{App, AppError};
use crate::metrics::Answered;
use crate::store::leases::{self, LeaseClaim};
use crate::store::{StoreError, folds, job_reports};

/// Reports that wait for the writer, all streams together; beyond it streams are not read.
const WAITING_MAX: usize = 1_024;
/// Epoch reports that one transaction takes: one more report comes after so many.
const BATCH_MAX: usize = 32_768;

/// Some epochs of all of a job's members.
#[derive(Clone, Debug, PartialEq)]
pub struct JobReport {
    /// The lease.
    pub lease: LeaseClaim,
    /// The first epoch, from 0.
    pub first_epoch: u32,
    /// What is measured on the validation rows.
    pub metrics: Vec<Metric>,
    /// Ascending.
    pub members: Vec<MemberEpochs>,
}

/// Some epochs of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberEpochs {
    /// Place among the job's members.
    pub member: u32,
    /// Mean training losses, [epochs]; all of them count as losses.
    pub train_loss: Vec<f64>,
    /// [metrics, epochs]
    pub val: Vec<Option<f64>>,
    /// True if it ended with the epoch after these because a loss was not finite.
    pub diverged: bool,
}

impl JobReport {
    /// Epochs of the member that has most, the one included in which it diverged.
    pub fn epochs(&self) -> u32 {
        let of_member = |of: &MemberEpochs| of.train_loss.len() as u32 + u32::from(of.diverged);
        self.members.iter().map(of_member).max().unwrap_or(0)
    }

    /// The epochs of one member.
    pub fn of_member(&self, member: u32) -> Option<&MemberEpochs> {
        let place = self.members.binary_search_by_key(&member, |of| of.member).ok()?;
        self.members.get(place)
    }

    /// Epoch reports in it: one for each training loss.
    fn len(&self) -> usize {
        self.members.iter().map(|of| of.train_loss.len()).sum()
    }
}

/// What became of a [`JobReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// The lease is lost; nothing was written.
    LeaseLost,
    /// An epoch before it is not there, so it may not be yet: sent again in order, it may.
    Ahead,
    /// The job has no such epochs, or other members: what this field of the request says.
    Refused(&'static str),
}

/// The batch was not written, and may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotWritten {
    /// Postgres is away, or the writer has stopped.
    #[error("epoch reports cannot be written now")]
    Now,
    /// Postgres has no space for them.
    #[error("epoch reports cannot be written: the disk of the database is full")]
    NoSpace,
}

struct Waiting {
    report: JobReport,
    came_at: Instant,
    answer: oneshot::Sender<Result<Written, NotWritten>>,
}

/// Hands reports to the writer.
#[derive(Clone, Debug)]
pub struct ReportQueue(mpsc::Sender<Waiting>);

impl ReportQueue {
    /// Queues a report, and waits while the queue is full. The answer comes once its batch is written.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn push(&self, report: JobReport) -> Result<oneshot::Receiver<Result<Written, NotWritten>>, NotWritten> {
        let (answer, receiver) = oneshot::channel();
        let came_at = Instant::now();
        let waiting = Waiting {
            report,
            came_at,
            answer,
        };
        self.0.send(waiting).await.map_err(|_| NotWritten::Now)?;
        Ok(receiver)
    }
}

/// The writer of all epoch reports: a queue into it, and the loop to be run until `stop`.
pub fn report_writer<S: Steps>(app: Arc<S>, stop: CancellationToken) -> (ReportQueue, impl Future<Output = ()>) {
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let run = async move {
        loop {
            let first: Option<Waiting> = tokio::select! {
                biased;
                waiting = receiver.recv() => waiting,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { return };
            let mut reports = first.report.len();
            let mut batch = vec![first];
            while reports < BATCH_MAX {
                let Ok(next) = receiver.try_recv() else { break };
                reports += next.report.len();
                batch.push(next);
            }
            write_and_answer(&*app, batch).await;
        }
    };
    (ReportQueue(sender), run)
}

async fn write_and_answer<S: Steps>(app: &S, batch: Vec<Waiting>) {
    let (reports, askers): (Vec<JobReport>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.report, (waiting.came_at, waiting.answer)))
        .unzip();
    let written = app.write_reports(&reports).await;
    if let Err(error) = &written {
        warn!(report.batch_len = reports.len(), error = %error, "epoch reports were not written");
        if let Some(reason) = error.lack_of_space() {
            // As far as that can still be written; if not, the reports wait where they are.
            let jobs: HashSet<JobId> = reports.iter().map(|report| report.lease.job_id).collect();
            app.pause_for_space(&Vec::from_iter(jobs), &reason).await;
        }
    }
    for (place, (came_at, sender)) in askers.into_iter().enumerate() {
        let (answer, answered) = match &written {
            Ok(written) => {
                let answered = match written[place] {
                    Written::Durable => Answered::Durable,
                    Written::LeaseLost => Answered::LeaseLost,
                    Written::Ahead => Answered::NotWritten,
                    Written::Refused(_) => Answered::Refused,
                };
                (Ok(written[place]), answered)
            }
            Err(error) if error.lack_of_space().is_some() => (Err(NotWritten::NoSpace), Answered::NotWritten),
            Err(_) => (Err(NotWritten::Now), Answered::NotWritten),
        };
        app.metrics().answered(answered, came_at.elapsed());
        // The stream may be gone: its worker will send the report again.
        let _ = sender.send(answer);
    }
}

/// Writes reports in one transaction, those that may be written; what became of each.
pub(super) async fn write(app: &App, batch: &[JobReport]) -> Result<Vec<Written>, AppError> {
    let mut tx = app.begin().await?;
    let mut claims: Vec<LeaseClaim> = batch.iter().map(|report| report.lease).collect();
    claims.sort_by_key(|claim| claim.job_id);
    claims.dedup();
    let live: HashSet<LeaseClaim> = leases::share(&mut tx, &claims).await?.into_iter().collect();
    let jobs: Vec<JobId> = live.iter().map(|claim| claim.job_id).collect();
    let mut order = Order::new(job_reports::progress(&mut tx, &jobs).await?);
    let written = batch.iter().map(|report| match live.contains(&report.lease) {
        true => order.take(report),
        false => Written::LeaseLost,
    });
    let written: Vec<Written> = written.collect();
    if !order.diverged.is_empty() {
        folds::diverge(&mut tx, &order.diverged).await?;
    }
    if !order.reports.is_empty() {
        job_reports::insert(&mut tx, &order.reports).await?;
    }
    tx.commit().await.map_err(StoreError::from)?;
    let epoch_reports = order.reports.iter().map(job_reports::Report::len).sum();
    app.metrics.committed(epoch_reports);
    debug!(
        report.batch_len = batch.len(),
        report.epoch_reports = epoch_reports,
        "epoch reports written"
    );
    app.signal_studies();
    Ok(written)
}
