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

use super::epoch_order::Order;
use super::steps::Steps;
use super::{App, AppError};
use crate::metrics::Answered;
use crate::store::epoch_reports::{self, NewReport};
use crate::store::leases::{self, LeaseClaim};
use crate::store::{StoreError, folds};

/// Reports that wait for the writer, all streams together; beyond it streams are not read.
const WAITING_MAX: usize = 1_024;
/// Rows that one transaction writes; a report is at most a job's members.
const BATCH_ROWS_MAX: usize = 8_192;

/// One epoch of all of a job's members.
#[derive(Clone, Debug, PartialEq)]
pub struct JobEpoch {
    /// The lease.
    pub lease: LeaseClaim,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Losses, all finite.
    pub reports: Vec<NewReport>,
    /// Members that ended because a loss was not finite.
    pub diverged: Vec<u32>,
}

/// What became of a [`JobEpoch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is durable.
    Durable,
    /// The lease is lost; nothing was written.
    LeaseLost,
    /// An epoch before it is not there, so it may not be yet: sent again in order, it may.
    Ahead,
    /// The job has no such epoch or no such member: what this field of the request says.
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
    epoch: JobEpoch,
    came_at: Instant,
    answer: oneshot::Sender<Result<Written, NotWritten>>,
}

/// Hands epochs to the writer.
#[derive(Clone, Debug)]
pub struct ReportQueue(mpsc::Sender<Waiting>);

impl ReportQueue {
    /// Queues an epoch, and waits while the queue is full. The answer comes once its batch is written.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn push(&self, epoch: JobEpoch) -> Result<oneshot::Receiver<Result<Written, NotWritten>>, NotWritten> {
        let (answer, receiver) = oneshot::channel();
        let came_at = Instant::now();
        let waiting = Waiting { epoch, came_at, answer };
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
            let mut rows = first.epoch.reports.len();
            let mut batch = vec![first];
            while rows < BATCH_ROWS_MAX {
                let Ok(next) = receiver.try_recv() else { break };
                rows += next.epoch.reports.len();
                batch.push(next);
            }
            write_and_answer(&*app, batch).await;
        }
    };
    (ReportQueue(sender), run)
}

async fn write_and_answer<S: Steps>(app: &S, batch: Vec<Waiting>) {
    let (epochs, askers): (Vec<JobEpoch>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.epoch, (waiting.came_at, waiting.answer)))
        .unzip();
    let written = app.write_epochs(&epochs).await;
    if let Err(error) = &written {
        warn!(report.batch_len = epochs.len(), error = %error, "epoch reports were not written");
        if let Some(reason) = error.lack_of_space() {
            // As far as that can still be written; if not, the reports wait where they are.
            let jobs: HashSet<JobId> = epochs.iter().map(|epoch| epoch.lease.job_id).collect();
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
        // The stream may be gone: its worker will send the epoch again.
        let _ = sender.send(answer);
    }
}

/// Writes epochs in one transaction, those that may be written; what became of each.
pub(super) async fn write(app: &App, batch: &[JobEpoch]) -> Result<Vec<Written>, AppError> {
    let mut tx = app.begin().await?;
    let mut claims: Vec<LeaseClaim> = batch.iter().map(|epoch| epoch.lease).collect();
    claims.sort_by_key(|claim| claim.job_id);
    claims.dedup();
    let live: HashSet<LeaseClaim> = leases::share(&mut tx, &claims).await?.into_iter().collect();
    let jobs: Vec<JobId> = live.iter().map(|claim| claim.job_id).collect();
    let mut order = Order::new(epoch_reports::progress(&mut tx, &jobs).await?);
    let written = batch.iter().map(|epoch| match live.contains(&epoch.lease) {
        true => order.take(epoch),
        false => Written::LeaseLost,
    });
    let written: Vec<Written> = written.collect();
    if !order.diverged.is_empty() {
        folds::diverge(&mut tx, &order.diverged).await?;
    }
    if !order.rows.is_empty() {
        epoch_reports::insert(&mut tx, &order.rows).await?;
    }
    tx.commit().await.map_err(StoreError::from)?;
    let rows = order.rows.len();
    app.metrics.committed(rows);
    debug!(
        report.batch_len = batch.len(),
        report.rows = rows,
        "epoch reports written"
    );
    app.signal_studies();
    Ok(written)
}
