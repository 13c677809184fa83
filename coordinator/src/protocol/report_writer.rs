//! The writer of epoch reports. All streams feed it. While it commits, further reports gather, and the next batch takes
//! all of them: batches grow with the load, and a lone report does not wait.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use trawl_domain::id::JobId;

use super::WorkerStore;
use crate::app::report_order::{JobReport, Written};
use crate::metrics::Answered;

/// Reports of all streams that wait for the writer; at this number streams are not read.
const WAITING_MAX: usize = 1_024;
/// Stored numbers after which a batch takes no further report.
const BATCH_VALUES_MAX: usize = 1 << 18;

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

/// The writer of all epoch reports: its queue, and its loop, which runs until `stop`.
pub fn report_writer<S: WorkerStore>(
    store: Arc<S>,
    stop: CancellationToken,
) -> (ReportQueue, impl Future<Output = ()>) {
    let (sender, mut receiver) = mpsc::channel(WAITING_MAX);
    let run = async move {
        loop {
            let first: Option<Waiting> = tokio::select! {
                biased;
                waiting = receiver.recv() => waiting,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { return };
            let mut values = first.report.values_max();
            let mut batch = vec![first];
            while values < BATCH_VALUES_MAX {
                let Ok(next) = receiver.try_recv() else { break };
                values += next.report.values_max();
                batch.push(next);
            }
            write_and_answer(&*store, batch).await;
        }
    };
    (ReportQueue(sender), run)
}

async fn write_and_answer<S: WorkerStore>(store: &S, batch: Vec<Waiting>) {
    let (reports, askers): (Vec<JobReport>, Vec<_>) = batch
        .into_iter()
        .map(|waiting| (waiting.report, (waiting.came_at, waiting.answer)))
        .unzip();
    let written = store.write_reports(&reports).await;
    if let Err(error) = &written {
        warn!(error = %error, "epoch reports were not written; workers keep them and send them again");
        if let Some(reason) = error.lack_of_space() {
            // If even this cannot be written, the reports wait.
            let jobs: HashSet<JobId> = reports.iter().map(|report| report.lease.job_id).collect();
            store.pause_for_space(&Vec::from_iter(jobs), &reason).await;
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
        store.metrics().answered(answered, came_at.elapsed());
        // The stream may be gone: its worker will send the report again.
        let _ = sender.send(answer);
    }
}
