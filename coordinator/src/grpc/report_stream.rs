//! Streams of epoch reports: read no faster than they are written, and answered in their order.

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use trawl_domain::limits::{EPOCHS_MAX, JOB_MEMBERS_MAX};
use trawl_domain::metric::is_loss;
use trawl_domain::violation::Violations;
use trawl_proto::v1;

use super::status::{invalid, invalid_field};
use super::worker_service::{claim, lease_status};
use crate::app::report_epochs::{JobEpoch, NotWritten, ReportQueue, Written};
use crate::store::epoch_reports::NewReport;

/// Epochs of one stream that wait for their acknowledgement; beyond it the stream is not read.
const UNACKNOWLEDGED_MAX: usize = 64;

type Answer = Result<v1::ReportEpochsResponse, Status>;

/// The answers to a stream, each once its report is durable. It ends when `stop` is cancelled.
pub(super) fn answer(
    inbound: Streaming<v1::ReportEpochsRequest>,
    reports: ReportQueue,
    stop: CancellationToken,
    tasks: &TaskTracker,
) -> ReceiverStream<Answer> {
    let (pending_in, pending_out) = mpsc::channel(UNACKNOWLEDGED_MAX);
    let (answers, receiver) = mpsc::channel(UNACKNOWLEDGED_MAX);
    tasks.spawn(read_reports(inbound, reports, pending_in, stop));
    tasks.spawn(acknowledge(pending_out, answers));
    ReceiverStream::new(receiver)
}

/// One request on a stream of reports, in the order in which they came.
enum Pending {
    /// Waits for the writer.
    Queued {
        job_id: String,
        epoch: u32,
        written: oneshot::Receiver<Result<Written, NotWritten>>,
    },
    /// Ends the stream.
    Refused(Status),
}

/// Reads a stream of reports into the writer's queue, no faster than it is emptied.
async fn read_reports(
    mut inbound: Streaming<v1::ReportEpochsRequest>,
    reports: ReportQueue,
    pending: mpsc::Sender<Pending>,
    stop: CancellationToken,
) {
    loop {
        let message = tokio::select! {
            biased;
            message = inbound.message() => message,
            () = stop.cancelled() => Err(Status::unavailable("the coordinator stops; connect again")),
        };
        let next = match message {
            Ok(None) => return,
            Ok(Some(message)) => queue(message, &reports).await.unwrap_or_else(Pending::Refused),
            Err(status) => Pending::Refused(status),
        };
        let is_last = matches!(next, Pending::Refused(_));
        if pending.send(next).await.is_err() || is_last {
            return;
        }
    }
}

async fn queue(message: v1::ReportEpochsRequest, reports: &ReportQueue) -> Result<Pending, Status> {
    let epoch = message.epoch;
    let job_epoch = job_epoch(&message)?;
    let job_id = job_epoch.lease.job_id.to_string();
    let written = reports
        .push(job_epoch)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(Pending::Queued { job_id, epoch, written })
}

/// Answers reports in their order, each once it is durable.
async fn acknowledge(mut pending: mpsc::Receiver<Pending>, answers: mpsc::Sender<Answer>) {
    while let Some(next) = pending.recv().await {
        let answer = match next {
            Pending::Refused(status) => Err(status),
            Pending::Queued { job_id, epoch, written } => match written.await {
                Ok(Ok(written @ (Written::Durable | Written::LeaseLost))) => Ok(v1::ReportEpochsResponse {
                    job_id,
                    epoch,
                    status: lease_status(written == Written::Durable),
                }),
                Ok(Ok(Written::Ahead)) => Err(Status::unavailable(
                    "an epoch before this one is not there: send again, from the first that is not acknowledged",
                )),
                Ok(Ok(Written::Refused(field))) => Err(invalid_field(field, "must be one that the job has")),
                Ok(Err(error)) => Err(Status::unavailable(error.to_string())),
                Err(_) => Err(Status::unavailable(NotWritten::Now.to_string())),
            },
        };
        let is_last = answer.is_err();
        if answers.send(answer).await.is_err() || is_last {
            return;
        }
    }
}

fn job_epoch(message: &v1::ReportEpochsRequest) -> Result<JobEpoch, Status> {
    let lease = claim(message.lease.as_ref())?;
    let mut v = Violations::new();
    if message.epoch >= EPOCHS_MAX {
        v.add("epoch", format!("must be below {EPOCHS_MAX}"));
    }
    for (field, members) in [("members", &message.members), ("diverged", &message.diverged)] {
        let ascending = members.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending || members.iter().any(|member| *member as usize >= JOB_MEMBERS_MAX) {
            v.add(field, format!("must be ascending and below {JOB_MEMBERS_MAX}"));
        }
    }
    if message.diverged.iter().any(|member| message.members.contains(member)) {
        v.add("diverged", "must have no member that has losses");
    }
    if message.train_loss.len() != message.members.len() {
        v.add("train_loss", "must have one value a member");
    }
    if !message.val_loss.is_empty() && message.val_loss.len() != message.members.len() {
        v.add("val_loss", "must have one value a member, or none at all");
    }
    if !message.val_accuracy.is_empty() && message.val_accuracy.len() != message.members.len() {
        v.add("val_accuracy", "must have one value a member, or none at all");
    }
    if message
        .val_accuracy
        .iter()
        .any(|accuracy| !(0.0..=1.0).contains(accuracy))
    {
        v.add("val_accuracy", "must be from 0 to 1");
    }
    for (field, losses) in [("train_loss", &message.train_loss), ("val_loss", &message.val_loss)] {
        if losses.iter().any(|loss| !loss.is_finite()) {
            v.add(field, "must be finite: a member whose loss is not has diverged");
        }
    }
    if !v.is_empty() {
        return Err(invalid(&v));
    }
    let reports = message.members.iter().enumerate().map(|(index, member)| NewReport {
        member: *member,
        train_loss: message.train_loss[index],
        val_loss: message.val_loss.get(index).copied(),
        val_accuracy: message.val_accuracy.get(index).copied(),
    });
    // Finite, but so large that nothing could be made of it.
    let (reports, overflown): (Vec<_>, Vec<_>) =
        reports.partition(|report| is_loss(report.train_loss) && report.val_loss.is_none_or(is_loss));
    let mut diverged = message.diverged.clone();
    diverged.extend(overflown.iter().map(|report| report.member));
    Ok(JobEpoch {
        lease,
        epoch: message.epoch,
        reports,
        diverged,
    })
}
