//! Reports of one job on a stream: kept until they are acknowledged, and sent again on a new stream after a broken one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;
use trawl_domain::seed::Stream;
use trawl_proto::v1;

use super::Shared;
use super::script::{CALL_WITHIN, backoff};
use crate::history::{Action, Begun, LeasedTo, Outcome};
use crate::scripted_worker::{ReportStream, ScriptedWorker};

/// Reports that are sent before the first of them is acknowledged.
const IN_FLIGHT_MAX: usize = 16;

/// Whether the job goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It does.
    Held,
    /// Its lease is lost.
    Lost,
}

/// What happened to a stream.
enum Event {
    Answer(v1::ReportEpochsResponse),
    Broke(Code),
    /// It is time for the next epoch.
    Due,
    Lost,
}

/// The reports of one job.
pub(super) struct Reporter<'a> {
    pub(super) shared: &'a Shared,
    pub(super) number: u32,
    pub(super) worker: ScriptedWorker,
    pub(super) lease: Arc<LeasedTo>,
    /// Turns true when the answer to a heartbeat says that the lease is lost.
    pub(super) lost: watch::Receiver<bool>,
    pub(super) stream: Option<ReportStream>,
    /// Epochs that were sent and not acknowledged, in order.
    pub(super) in_flight: VecDeque<(u32, Begun)>,
}

impl Reporter<'_> {
    /// Reports these epochs, one after the other at the pace of the load; waits for the acknowledgements if `to_the_end`.
    pub(super) async fn report(&mut self, epochs: Range<u32>, to_the_end: bool, chance: &mut Stream) -> Held {
        let mut next = epochs.start;
        let mut due = Instant::now();
        loop {
            if next == epochs.end && (self.in_flight.is_empty() || !to_the_end) {
                return Held::Held;
            }
            if self.stream.is_none() && !self.open().await {
                backoff(chance).await;
                if *self.lost.borrow() {
                    return Held::Lost;
                }
                continue;
            }
            let Some((_, answers)) = &mut self.stream else { continue };
            let is_next_due = next < epochs.end && self.in_flight.len() < IN_FLIGHT_MAX;
            let event = tokio::select! {
                answer = timeout(CALL_WITHIN, answers.message()), if !self.in_flight.is_empty() => match answer {
                    Ok(Ok(Some(answer))) => Event::Answer(answer),
                    Ok(Ok(None)) => Event::Broke(Code::Unavailable),
                    Ok(Err(status)) => Event::Broke(status.code()),
                    Err(_) => Event::Broke(Code::DeadlineExceeded),
                },
                () = sleep_until(due), if is_next_due => Event::Due,
                _ = self.lost.wait_for(|lost| *lost) => Event::Lost,
            };
            match event {
                Event::Answer(answer) => {
                    if self.acknowledged(&answer) == Held::Lost {
                        return Held::Lost;
                    }
                }
                Event::Broke(code) => {
                    self.broke(code);
                    backoff(chance).await;
                }
                Event::Due => {
                    self.send(next);
                    next += 1;
                    due = Instant::now() + self.epoch_time();
                }
                Event::Lost => return Held::Lost,
            }
        }
    }

    /// Time that the worker takes for an epoch. No two are as fast: else they would all end their jobs in the same moments.
    fn epoch_time(&self) -> Duration {
        let percent = 70 + self.number * 37 % 61;
        Duration::from_millis(self.shared.epoch_ms.load(Ordering::Relaxed)) * percent / 100
    }

    fn send(&mut self, epoch: u32) {
        let begun = self.begin(epoch);
        self.in_flight.push_back((epoch, begun));
        let message = self.message(epoch);
        // The channel holds all that may be in flight.
        let is_sent = self
            .stream
            .as_ref()
            .is_some_and(|(sender, _)| sender.try_send(message).is_ok());
        if !is_sent {
            self.broke(Code::Unavailable);
        }
    }

    /// Opens a stream, and sends again what was not acknowledged. False if that does not work.
    async fn open(&mut self) -> bool {
        let Ok(Ok(stream)) = timeout(CALL_WITHIN, self.worker.open_reports(2 * IN_FLIGHT_MAX)).await else {
            return false;
        };
        let again: Vec<u32> = self.in_flight.drain(..).map(|(epoch, _)| epoch).collect();
        for epoch in again {
            let begun = self.begin(epoch);
            self.in_flight.push_back((epoch, begun));
            // The channel holds all of them; one that is closed is noticed when its answers end.
            let _ = stream.0.try_send(self.message(epoch));
        }
        self.stream = Some(stream);
        true
    }

    fn begin(&self, epoch: u32) -> Begun {
        let history = &self.shared.history;
        history.invoke(self.number, Some(&self.lease), Action::Report(epoch))
    }

    fn message(&self, epoch: u32) -> v1::ReportEpochsRequest {
        self.shared.reference.report(&self.lease, epoch, 0.0)
    }

    /// Answers come in the order of the reports.
    fn acknowledged(&mut self, answer: &v1::ReportEpochsResponse) -> Held {
        let Some((epoch, begun)) = self.in_flight.pop_front() else {
            return Held::Held;
        };
        let is_of_it = answer.job_id == self.lease.claim.job_id.to_string() && answer.first_epoch == epoch;
        let (outcome, held) = match (is_of_it, answer.status == i32::from(v1::LeaseStatus::Held)) {
            (true, true) => (Outcome::Ok, Held::Held),
            (true, false) => (Outcome::LeaseLost, Held::Lost),
            // An answer to another report is a mistake of trawl's own.
            (false, _) => (Outcome::Unknown(Code::Internal), Held::Lost),
        };
        self.shared.history.end(begun, outcome);
        held
    }

    /// Nobody knows what became of the reports on their way.
    fn broke(&mut self, code: Code) {
        self.stream = None;
        for (_, begun) in &self.in_flight {
            self.shared.history.end(*begun, Outcome::of_error(code));
        }
    }
}
