//! Sends epoch reports to the coordinator, in order, and keeps each until it is acknowledged as durable. After a broken
//! stream the kept reports are sent again; a second copy changes nothing.
//!
//! Epochs of small networks take a millisecond, so the epochs of a tenth of a second are sent as one report.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};
use tracing::{debug, error, info};
use trawl_domain::id::{LeaseToken, WorkerId};
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::WORKER_SLOTS_MAX;
use trawl_domain::metric::Metric;
use trawl_engine::MemberLosses;
use trawl_proto::v1;

use super::connection::{Backoff, Connection};
use super::leases::{LeaseEnd, Leases};

/// Most reports without an acknowledgement; at this number training waits.
const UNACKNOWLEDGED_MAX: usize = 256;
/// Time between two sendings of gathered epochs.
const SEND_EVERY: Duration = Duration::from_millis(100);
/// Numbers after which a report is sent at once: with one more epoch it still fits the 32 KiB that the coordinator accepts.
const REPORT_VALUES_MAX: usize = 3_072;

/// Passes epochs to the sender of reports.
#[derive(Clone, Debug)]
pub(super) struct Reports(mpsc::Sender<Item>);

/// One epoch of a job.
#[derive(Clone, Debug)]
pub(super) struct JobEpoch {
    /// The job's lease.
    pub(super) lease: LeaseClaim,
    /// Epoch, from 0.
    pub(super) epoch: u32,
    /// Metrics on the validation rows; none where no rows validate.
    pub(super) metrics: Arc<[Metric]>,
    /// Losses of the members that still train, ascending.
    pub(super) losses: Vec<MemberLosses>,
    /// Members whose loss was not finite: their last epoch.
    pub(super) diverged: Vec<usize>,
}

#[derive(Debug)]
enum Item {
    Epoch(JobEpoch),
    /// Answered once every epoch before it is acknowledged.
    Flush(oneshot::Sender<()>),
}

impl Reports {
    /// Queues an epoch. Waits while too many reports are unacknowledged.
    pub(super) async fn push(&self, epoch: JobEpoch) {
        // As in `push_blocking`.
        let _ = self.0.send(Item::Epoch(epoch)).await;
    }

    /// The same for threads that train.
    pub(super) fn push_blocking(&self, epoch: JobEpoch) {
        // The carrier ends after all jobs: once the queue is closed, nobody needs the epoch.
        let _ = self.0.blocking_send(Item::Epoch(epoch));
    }

    /// Waits until every epoch queued before is acknowledged or its lease is lost. False if the carrier ended.
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
        gathered: BTreeMap::new(),
        send_at: Instant::now(),
        kept: VecDeque::new(),
        backoff: Backoff::new(worker_id),
    };
    (Reports(sender), carrier.run(connection, stop))
}

/// Sent, but not acknowledged.
#[derive(Debug)]
enum Kept {
    Report(LeaseClaim, v1::ReportEpochsRequest),
    Flush(oneshot::Sender<()>),
}

/// Epochs of one job that are being gathered into a report.
#[derive(Debug)]
struct Gathered {
    lease: LeaseClaim,
    first_epoch: u32,
    metrics: Arc<[Metric]>,
    members: BTreeMap<usize, Curve>,
    /// Numbers gathered.
    values: usize,
}

/// Consecutive epochs of one member.
#[derive(Debug, Default)]
struct Curve {
    train_loss: Vec<f64>,
    /// By metric.
    metrics: Vec<Vec<f64>>,
    diverged: bool,
}

impl Gathered {
    /// An empty report that begins at this epoch.
    fn new(first: &JobEpoch) -> Self {
        Self {
            lease: first.lease,
            first_epoch: first.epoch,
            metrics: Arc::clone(&first.metrics),
            members: BTreeMap::new(),
            values: 0,
        }
    }

    fn add(&mut self, epoch: &JobEpoch) {
        for losses in &epoch.losses {
            let curve = self.members.entry(losses.member).or_default();
            curve.metrics.resize(self.metrics.len(), Vec::new());
            curve.train_loss.push(losses.train_loss);
            for (values, metric) in curve.metrics.iter_mut().zip(&*self.metrics) {
                values.push(losses.metrics.get(*metric).unwrap_or(f64::NAN));
            }
            self.values += 1 + self.metrics.len();
        }
        for member in &epoch.diverged {
            self.members.entry(*member).or_default().diverged = true;
        }
    }

    fn into_report(self) -> v1::ReportEpochsRequest {
        let members = self.members.into_iter().map(|(member, curve)| v1::MemberEpochs {
            member: member as u32,
            train_loss: curve.train_loss,
            metrics: curve.metrics.concat(),
            diverged: curve.diverged,
        });
        v1::ReportEpochsRequest {
            lease: Some(self.lease.into()),
            first_epoch: self.first_epoch,
            metrics: self.metrics.iter().map(Metric::to_string).collect(),
            members: members.collect(),
        }
    }
}

/// Epochs of a report: the epochs of its longest member, counting the one in which it diverged.
fn epochs(report: &v1::ReportEpochsRequest) -> u32 {
    let of_member = |of: &v1::MemberEpochs| of.train_loss.len() as u32 + u32::from(of.diverged);
    report.members.iter().map(of_member).max().unwrap_or(0)
}

/// The channel has room for all reports that can be kept.
fn send(outbound: &mpsc::Sender<v1::ReportEpochsRequest>, report: v1::ReportEpochsRequest) -> Result<(), Status> {
    outbound
        .try_send(report)
        .map_err(|_| Status::unavailable("the stream is closed"))
}

struct Carrier {
    queue: mpsc::Receiver<Item>,
    leases: Leases,
    /// Gathered epochs, by fencing token.
    gathered: BTreeMap<LeaseToken, Gathered>,
    /// When they are sent.
    send_at: Instant,
    /// Reports without an acknowledgement, in order.
    kept: VecDeque<Kept>,
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
            if status.code() == Code::InvalidArgument {
                self.give_up_refused();
            }
            connection.failed("the stream of epoch reports broke", &status);
            tokio::select! {
                biased;
                () = self.backoff.wait(&status) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Opens a stream, sends the kept reports, and handles answers, until the stream breaks or the queue is closed.
    async fn carry(&mut self, connection: &Connection) -> Result<(), Status> {
        // Room for all reports that can be kept, and one more for each of the worker's jobs.
        let (outbound, receiver) = mpsc::channel(UNACKNOWLEDGED_MAX + WORKER_SLOTS_MAX as usize);
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
            send(&outbound, report)?;
        }
        self.answer_flushes();
        loop {
            tokio::select! {
                biased;
                answer = next(&mut answers) => self.acknowledged(&answer?)?,
                () = sleep_until(self.send_at), if !self.gathered.is_empty() => self.send_gathered(&outbound)?,
                item = self.queue.recv(), if self.kept.len() < UNACKNOWLEDGED_MAX => match item {
                    None => return Ok(()),
                    Some(Item::Epoch(epoch)) => self.gather(epoch, &outbound)?,
                    Some(Item::Flush(done)) => {
                        let sent = self.send_gathered(&outbound);
                        self.kept.push_back(Kept::Flush(done));
                        self.answer_flushes();
                        sent?;
                    }
                }
            }
        }
    }

    /// Takes an epoch, and sends its job's epochs once they are many. Epochs of a lost lease are dropped: earlier ones may have been dropped too.
    fn gather(&mut self, epoch: JobEpoch, outbound: &mpsc::Sender<v1::ReportEpochsRequest>) -> Result<(), Status> {
        if self.leases.end_of(epoch.lease) == Some(LeaseEnd::Lost) {
            return Ok(());
        }
        let token = epoch.lease.token;
        let of_job = self.gathered.entry(token).or_insert_with(|| Gathered::new(&epoch));
        of_job.add(&epoch);
        match of_job.values >= REPORT_VALUES_MAX {
            true => self.send_of(token, outbound),
            false => Ok(()),
        }
    }

    /// Sends the gathered epochs of all jobs.
    fn send_gathered(&mut self, outbound: &mpsc::Sender<v1::ReportEpochsRequest>) -> Result<(), Status> {
        self.send_at = Instant::now() + SEND_EVERY;
        let tokens: Vec<LeaseToken> = self.gathered.keys().copied().collect();
        let sent = tokens.into_iter().map(|token| self.send_of(token, outbound));
        // Tries all of them: a report that is not sent is kept for the next stream.
        sent.fold(Ok(()), Result::and)
    }

    /// Sends the gathered epochs of a job. The report is kept in any case, so that it is not lost with the stream.
    fn send_of(&mut self, token: LeaseToken, outbound: &mpsc::Sender<v1::ReportEpochsRequest>) -> Result<(), Status> {
        let Some(gathered) = self.gathered.remove(&token) else {
            return Ok(());
        };
        let lease = gathered.lease;
        let report = gathered.into_report();
        self.kept.push_back(Kept::Report(lease, report.clone()));
        send(outbound, report)
    }

    /// Gives up the job whose report was refused, which is the first report without an answer. Sent again, it would be
    /// refused again, and block the reports of other jobs.
    fn give_up_refused(&mut self) {
        let mut reports = self.kept.iter().filter_map(|kept| match kept {
            Kept::Report(lease, _) => Some(*lease),
            Kept::Flush(_) => None,
        });
        let Some(refused) = reports.next() else { return };
        error!(job.id = %refused.job_id, "the coordinator refused a report: its job is given up");
        self.leases.lost(refused);
        self.gathered.remove(&refused.token);
        self.kept
            .retain(|kept| !matches!(kept, Kept::Report(lease, _) if *lease == refused));
        self.answer_flushes();
    }

    fn kept_reports(&self) -> impl Iterator<Item = &v1::ReportEpochsRequest> {
        self.kept.iter().filter_map(|item| match item {
            Kept::Report(_, report) => Some(report),
            Kept::Flush(_) => None,
        })
    }

    /// Answers come in the order of the reports.
    fn acknowledged(&mut self, answer: &v1::ReportEpochsResponse) -> Result<(), Status> {
        let Some(Kept::Report(lease, report)) = self.kept.pop_front() else {
            return Err(Status::internal("an answer without a report"));
        };
        let is_of_it = answer.job_id.parse() == Ok(lease.job_id) && answer.first_epoch == report.first_epoch;
        if !is_of_it {
            // Only the order of answers is lost: the next stream sends all kept reports again.
            self.kept.push_front(Kept::Report(lease, report));
            return Err(Status::internal("an answer out of order"));
        }
        // The connection works: the next failure begins with the shortest pause.
        self.backoff.reset();
        if answer.status == i32::from(v1::LeaseStatus::Held) {
            debug!(
                job.id = %lease.job_id,
                report.first_epoch = answer.first_epoch,
                report.epochs = epochs(&report),
                "report acknowledged"
            );
        } else {
            self.leases.lost(lease);
        }
        self.answer_flushes();
        Ok(())
    }

    fn answer_flushes(&mut self) {
        while matches!(self.kept.front(), Some(Kept::Flush(_))) {
            if let Some(Kept::Flush(done)) = self.kept.pop_front() {
                // The asking task may have been stopped meanwhile.
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

#[cfg(test)]
mod tests {
    use trawl_domain::id::JobId;
    use trawl_engine::Control;
    use uuid::Uuid;

    use super::*;

    fn lease(number: u128) -> LeaseClaim {
        LeaseClaim {
            job_id: JobId(Uuid::from_u128(number)),
            token: LeaseToken(Uuid::from_u128(number)),
        }
    }

    fn epoch(lease: LeaseClaim, epoch: u32) -> JobEpoch {
        JobEpoch {
            lease,
            epoch,
            metrics: Arc::new([]),
            losses: vec![MemberLosses {
                member: 0,
                train_loss: 1.0,
                metrics: Default::default(),
            }],
            diverged: Vec::new(),
        }
    }

    #[test]
    fn a_refused_report_ends_its_job_and_no_other_one() {
        let (refused, other) = (lease(1), lease(2));
        let leases = Leases::new();
        let until = Instant::now() + Duration::from_secs(10);
        for lease in [refused, other] {
            leases.hold(lease, until, Control::new());
        }
        let (_sender, queue) = mpsc::channel(1);
        let mut carrier = Carrier {
            queue,
            leases: leases.clone(),
            gathered: BTreeMap::new(),
            send_at: Instant::now(),
            kept: VecDeque::new(),
            backoff: Backoff::new(WorkerId(Uuid::nil())),
        };
        let (outbound, mut sent) = mpsc::channel(8);
        for lease in [refused, other] {
            carrier.gather(epoch(lease, 0), &outbound).expect("is gathered");
        }
        carrier.send_gathered(&outbound).expect("there is room");
        carrier.gather(epoch(refused, 1), &outbound).expect("is gathered");

        carrier.give_up_refused();
        assert_eq!(leases.end_of(refused), Some(LeaseEnd::Lost));
        assert_eq!(leases.end_of(other), None);
        // Later epochs of its training would leave a gap.
        carrier.gather(epoch(refused, 2), &outbound).expect("is dropped");
        carrier.gather(epoch(other, 1), &outbound).expect("is gathered");
        carrier.send_gathered(&outbound).expect("there is room");
        let kept: Vec<_> = carrier
            .kept_reports()
            .map(|report| (report.lease.clone(), report.first_epoch))
            .collect();
        assert_eq!(kept, [(Some(other.into()), 0), (Some(other.into()), 1)]);
        let mut all = Vec::new();
        while let Ok(report) = sent.try_recv() {
            all.push(report.first_epoch);
        }
        assert_eq!(all, [0, 0, 1], "both jobs' first epochs, then the other job's next one");
    }
}
