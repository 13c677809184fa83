//! Carries epoch reports to the coordinator, in order, and keeps each until it is acknowledged as durable. After a broken
//! stream, what is kept is sent again; a second copy changes nothing there.

use std::collections::VecDeque;

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};
use trawl_domain::id::WorkerId;
use trawl_proto::v1;

use super::connection::{Backoff, Connection};
use super::leases::Leases;

/// Reports that are kept without an acknowledgement; beyond it training waits.
const UNACKNOWLEDGED_MAX: usize = 256;

/// Hands reports to the carrier.
#[derive(Clone, Debug)]
pub(super) struct Reports(mpsc::Sender<Item>);

#[derive(Debug)]
enum Item {
    Report(v1::ReportEpochsRequest),
    /// Answered once every report before it is acknowledged.
    Flush(oneshot::Sender<()>),
}

impl Reports {
    /// Queues a report. Waits while too many are unacknowledged.
    pub(super) async fn push(&self, report: v1::ReportEpochsRequest) {
        // As below.
        let _ = self.0.send(Item::Report(report)).await;
    }

    /// The same for threads that train.
    pub(super) fn push_blocking(&self, report: v1::ReportEpochsRequest) {
        // The carrier ends after all jobs: a closed queue means that nobody cares any more.
        let _ = self.0.blocking_send(Item::Report(report));
    }

    /// Waits until every report that was queued before is acknowledged, held or lost. False if the carrier ended.
    pub(super) async fn flush(&self) -> bool {
        let (done, wait) = oneshot::channel();
        self.0.send(Item::Flush(done)).await.is_ok() && wait.await.is_ok()
    }
}

/// The queue of reports, and the carrier that runs until `stop`.
pub(super) fn reports(
    worker_id: WorkerId,
    connection: Connection,
    leases: Leases,
    stop: CancellationToken,
) -> (Reports, impl Future<Output = ()>) {
    let (sender, queue) = mpsc::channel(1);
    let carrier = Carrier {
        queue,
        leases,
        kept: VecDeque::new(),
        backoff: Backoff::new(worker_id),
    };
    (Reports(sender), carrier.run(connection, stop))
}

struct Carrier {
    queue: mpsc::Receiver<Item>,
    leases: Leases,
    /// What is not acknowledged, in order.
    kept: VecDeque<Item>,
    backoff: Backoff,
}

impl Carrier {
    async fn run(mut self, connection: Connection, stop: CancellationToken) {
        loop {
            let status = tokio::select! {
                biased;
                ended = self.carry(&connection) => match ended {
                    Ok(()) => return,
                    Err(status) => status,
                },
                () = stop.cancelled() => return,
            };
            connection.failed(status.code());
            let kept = self.kept.len();
            warn!(error = status.message(), code = %status.code(), reports.kept = kept, "report stream broke");
            tokio::select! {
                biased;
                () = self.backoff.wait(&status) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Opens a stream, sends what is kept, and carries what comes, until the stream breaks or the queue is closed.
    async fn carry(&mut self, connection: &Connection) -> Result<(), Status> {
        let (outbound, receiver) = mpsc::channel(UNACKNOWLEDGED_MAX);
        let answer = connection
            .patient_client()
            .report_epochs(ReceiverStream::new(receiver))
            .await?;
        let mut answers = answer.into_inner();
        let again: Vec<_> = self.kept_reports().cloned().collect();
        if !again.is_empty() {
            info!(
                reports.kept = again.len(),
                "reports that were not acknowledged are sent again"
            );
        }
        for report in again {
            // The channel holds all that can be kept.
            outbound
                .try_send(report)
                .map_err(|_| Status::unavailable("the stream is closed"))?;
        }
        self.answer_flushes();
        loop {
            tokio::select! {
                biased;
                answer = next(&mut answers) => self.acknowledged(&answer?)?,
                item = self.queue.recv(), if self.kept.len() < UNACKNOWLEDGED_MAX => {
                    let Some(item) = item else { return Ok(()) };
                    let sent = match &item {
                        Item::Report(report) => outbound.send(report.clone()).await.is_ok(),
                        Item::Flush(_) => true,
                    };
                    // Kept in any case: a report that was taken from the queue must not be lost with the stream.
                    self.kept.push_back(item);
                    self.answer_flushes();
                    if !sent {
                        return Err(Status::unavailable("the stream is closed"));
                    }
                }
            }
        }
    }

    fn kept_reports(&self) -> impl Iterator<Item = &v1::ReportEpochsRequest> {
        self.kept.iter().filter_map(|item| match item {
            Item::Report(report) => Some(report),
            Item::Flush(_) => None,
        })
    }

    /// Answers come in the order of the reports.
    fn acknowledged(&mut self, answer: &v1::ReportEpochsResponse) -> Result<(), Status> {
        let Some(Item::Report(report)) = self.kept.pop_front() else {
            return Err(Status::internal("an answer without a report"));
        };
        let job_id = report.lease.as_ref().map_or("", |lease| lease.job_id.as_str());
        if (job_id, report.epoch) != (answer.job_id.as_str(), answer.epoch) {
            // Its order is lost, its reports are not: all of them are sent again on the next stream.
            self.kept.push_front(Item::Report(report));
            return Err(Status::internal("an answer out of order"));
        }
        // The way is whole again: the next break is a new one.
        self.backoff.reset();
        if answer.status == i32::from(v1::LeaseStatus::Held) {
            debug!(job.id = job_id, report.epoch = answer.epoch, "report acknowledged");
        } else if let Some(lease) = &report.lease {
            self.leases.lost(lease);
        }
        self.answer_flushes();
        Ok(())
    }

    fn answer_flushes(&mut self) {
        while matches!(self.kept.front(), Some(Item::Flush(_))) {
            if let Some(Item::Flush(done)) = self.kept.pop_front() {
                // Who asked may have been stopped meanwhile.
                let _ = done.send(());
            }
        }
    }
}

async fn next(answers: &mut Streaming<v1::ReportEpochsResponse>) -> Result<v1::ReportEpochsResponse, Status> {
    answers
        .message()
        .await?
        .ok_or_else(|| Status::unavailable("the coordinator ended the stream"))
}
