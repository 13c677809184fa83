//! Streams of epoch reports: read no faster than they are written, and answered in their order.

use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use trawl_domain::limits::{EPOCHS_MAX, JOB_MEMBERS_MAX, REPORT_EPOCHS_MAX};
use trawl_domain::metric::{Metric, is_loss};
use trawl_domain::violation::Violations;
use trawl_proto::v1;

use super::claim;
use super::status::{invalid, invalid_field};
use crate::app::report_order::{JobReport, MemberEpochs, Written};
use crate::protocol::report_writer::{NotWritten, ReportQueue};

/// Reports of one stream that wait for their acknowledgement; at this number the stream is not read.
const UNACKNOWLEDGED_MAX: usize = 64;

type Answer = Result<v1::ReportEpochsResponse, Status>;

/// The answers to a stream, each sent once its report is durable. They end when `stop` is cancelled.
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

/// One request on a stream of reports, in order of arrival.
enum Pending {
    /// Waits for the writer.
    Queued {
        job_id: String,
        first_epoch: u32,
        written: oneshot::Receiver<Result<Written, NotWritten>>,
    },
    /// Ends the stream.
    Refused(Status),
}

/// Reads a stream of reports into the writer's queue, no faster than the writer empties it.
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
    let first_epoch = message.first_epoch;
    let report = job_report(message)?;
    let job_id = report.lease.job_id.to_string();
    let written = reports
        .push(report)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(Pending::Queued {
        job_id,
        first_epoch,
        written,
    })
}

/// Answers reports in their order, each once it is durable.
async fn acknowledge(mut pending: mpsc::Receiver<Pending>, answers: mpsc::Sender<Answer>) {
    while let Some(next) = pending.recv().await {
        let answer = match next {
            Pending::Refused(status) => Err(status),
            Pending::Queued {
                job_id,
                first_epoch,
                written,
            } => match written.await {
                Ok(Ok(Written::Durable)) => Ok(response(job_id, first_epoch, v1::LeaseStatus::Held)),
                Ok(Ok(Written::LeaseLost)) => Ok(response(job_id, first_epoch, v1::LeaseStatus::Lost)),
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

fn response(job_id: String, first_epoch: u32, status: v1::LeaseStatus) -> v1::ReportEpochsResponse {
    v1::ReportEpochsResponse {
        job_id,
        first_epoch,
        status: status.into(),
    }
}

/// Converts a report, and checks that its parts fit together.
fn job_report(message: v1::ReportEpochsRequest) -> Result<JobReport, Status> {
    let lease = claim(message.lease.as_ref())?;
    let mut v = Violations::new();
    let metrics: Vec<Option<Metric>> = message.metrics.iter().map(|name| name.parse().ok()).collect();
    for (index, (name, metric)) in message.metrics.iter().zip(&metrics).enumerate() {
        if metric.is_none() || metrics[..index].contains(metric) {
            v.add(
                format!("metrics[{index}]"),
                format!("'{name}' is no metric, or comes twice"),
            );
        }
    }
    if !message.members.is_sorted_by(|a, b| a.member < b.member)
        || message.members.iter().any(|of| of.member as usize >= JOB_MEMBERS_MAX)
    {
        v.add("members", format!("must be ascending and below {JOB_MEMBERS_MAX}"));
    }
    let epochs = message
        .members
        .iter()
        .map(|of| of.train_loss.len() + usize::from(of.diverged))
        .max();
    let epochs = epochs.unwrap_or(0);
    if !(1..=REPORT_EPOCHS_MAX as usize).contains(&epochs) {
        v.add("members", format!("must have 1 to {REPORT_EPOCHS_MAX} epochs"));
    }
    if message.first_epoch as usize + epochs > EPOCHS_MAX as usize {
        v.add(
            "first_epoch",
            format!("must be so low that all epochs are below {EPOCHS_MAX}"),
        );
    }
    for (index, of) in message.members.iter().enumerate() {
        check_member(&format!("members[{index}]"), of, epochs, &metrics, &mut v);
    }
    if !v.is_empty() {
        return Err(invalid(&v));
    }
    let metrics: Vec<Metric> = metrics.into_iter().flatten().collect();
    let members = message.members.into_iter().map(|of| member_epochs(of, &metrics));
    Ok(JobReport {
        lease,
        first_epoch: message.first_epoch,
        members: members.collect(),
        metrics,
    })
}

fn check_member(field: &str, of: &v1::MemberEpochs, epochs: usize, metrics: &[Option<Metric>], v: &mut Violations) {
    let len = of.train_loss.len();
    if len != epochs && !of.diverged {
        v.add(
            format!("{field}.train_loss"),
            format!("must have one value for each of the {epochs} epochs"),
        );
    }
    if !of.train_loss.iter().all(|loss| loss.is_finite()) {
        let why = "must be finite: a member whose loss is not has diverged";
        v.add(format!("{field}.train_loss"), why);
    }
    if of.metrics.len() != len * metrics.len() {
        v.add(
            format!("{field}.metrics"),
            format!(
                "must have one value for each of {len} epochs and {} metrics",
                metrics.len()
            ),
        );
        return;
    }
    for (metric, values) in metrics.iter().flatten().zip(of.metrics.chunks(len.max(1))) {
        let is_one = |value: f64| metric.takes(value) || (metric.may_lack() && value.is_nan());
        if let Some(value) = values.iter().find(|value| !is_one(**value)) {
            v.add(format!("{field}.metrics"), format!("{value} is no {metric}"));
        }
    }
}

/// A finite loss may still be too large to use: there the member diverged.
fn member_epochs(of: v1::MemberEpochs, metrics: &[Metric]) -> MemberEpochs {
    let len = of.train_loss.len();
    let losses = metrics.iter().zip(of.metrics.chunks(len.max(1)));
    let losses: Vec<&[f64]> = losses
        .filter(|(metric, _)| metric.is_loss())
        .map(|(_, values)| values)
        .collect();
    let counts = |epoch: &usize| is_loss(of.train_loss[*epoch]) && losses.iter().all(|values| is_loss(values[*epoch]));
    let epochs = (0..len).find(|epoch| !counts(epoch)).unwrap_or(len);
    let val = of.metrics.chunks(len.max(1)).flat_map(|values| &values[..epochs]);
    MemberEpochs {
        member: of.member,
        val: val.map(|value| (!value.is_nan()).then_some(*value)).collect(),
        train_loss: of.train_loss[..epochs].to_vec(),
        diverged: of.diverged || epochs < len,
    }
}
