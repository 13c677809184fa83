//! The script of the scripted workers: each lives until its behaviour ends it, and another one takes its place.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use trawl_domain::id::LeaseToken;
use trawl_domain::seed::{Purpose, Seed, Stream};
use trawl_proto::v1;

use super::Shared;
use super::behaviour::{Behaviour, Point};
use super::reporter::{Held, Reporter};
use crate::history::{Action, LeasedTo, Outcome};
use crate::scripted_worker::ScriptedWorker;
use crate::system::wait_for;

/// A client gives a call up after that; the coordinator answers within 30 s.
pub(super) const CALL_WITHIN: Duration = Duration::from_secs(40);
/// How long a call waits for a job.
const LEASE_WAIT: Duration = Duration::from_secs(5);
/// Longest pause between two tries.
const PAUSE_MAX_MS: u64 = 300;
/// Time between two looks at whether a lease has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What is added to the losses of reports that must not be accepted: no loss is near it.
const POISON: f64 = 1e6;
/// Checkpoints and files of scripted workers: some messages each.
const FILE_BYTES: usize = 200 << 10;

/// Plays one worker after the other.
pub(super) async fn play(shared: Arc<Shared>) {
    loop {
        let number = shared.next_worker.fetch_add(1, Ordering::Relaxed);
        let purpose = Purpose::Param {
            trial: number,
            name: "scripted worker",
        };
        let script = Script {
            number,
            chance: Seed(shared.settings.seed).stream(purpose),
            shared: Arc::clone(&shared),
        };
        script.live().await;
    }
}

/// Pauses for a random time, so that clients do not come back all at once.
pub(super) async fn backoff(chance: &mut Stream) {
    sleep(Duration::from_millis(20 + chance.below(PAUSE_MAX_MS))).await;
}

struct Script {
    number: u32,
    shared: Arc<Shared>,
    chance: Stream,
}

impl Script {
    /// Does jobs until its behaviour meets it.
    async fn live(mut self) {
        let mut worker = self.register().await;
        loop {
            match self.lease(&mut worker).await {
                Some((lease, leased)) => {
                    if self.run(&worker, lease, &leased).await == Life::Ended {
                        return;
                    }
                }
                None => backoff(&mut self.chance).await,
            }
        }
    }

    async fn register(&mut self) -> ScriptedWorker {
        let shared = Arc::clone(&self.shared);
        let way = &shared.ways[self.number as usize % shared.ways.len()];
        loop {
            let begun = shared.history.invoke(self.number, None, Action::Register);
            match timeout(CALL_WITHIN, ScriptedWorker::register(way)).await {
                Ok(Ok(worker)) => {
                    shared.history.end(begun, Outcome::Ok);
                    return worker;
                }
                Ok(Err(error)) => {
                    let code = error.downcast_ref::<Status>().map_or(Code::Unavailable, Status::code);
                    shared.history.end(begun, Outcome::of_error(code));
                }
                Err(_) => shared.history.end(begun, Outcome::Unknown(Code::DeadlineExceeded)),
            }
            backoff(&mut self.chance).await;
        }
    }

    async fn lease(&mut self, worker: &mut ScriptedWorker) -> Option<(LeasedTo, v1::LeasedJob)> {
        let history = &self.shared.history;
        let begun = history.invoke(self.number, None, Action::Lease(0));
        match timeout(CALL_WITHIN, worker.lease_within(1, LEASE_WAIT)).await {
            Ok(Ok(jobs)) => {
                history.leased(begun, jobs.len());
                // A study whose lease is malformed never ends, and fails the run.
                jobs.into_iter().find_map(|job| Some((LeasedTo::of(&job)?, job)))
            }
            Ok(Err(status)) => {
                history.end(begun, Outcome::of_error(status.code()));
                None
            }
            Err(_) => {
                history.end(begun, Outcome::Unknown(Code::DeadlineExceeded));
                None
            }
        }
    }

    /// Does one job, or dies of it.
    async fn run(&mut self, worker: &ScriptedWorker, lease: LeasedTo, leased: &v1::LeasedJob) -> Life {
        let shared = Arc::clone(&self.shared);
        let lease = Arc::new(lease);
        let epochs = leased.job.as_ref().map_or(0, |job| job.epochs);
        let from = leased.checkpoints.first().map_or(0, |checkpoint| checkpoint.epochs);
        let behaviour = shared
            .behaviours
            .draw(lease.claim.job_id, from, epochs, &mut self.chance);
        let (lost_in, lost) = watch::channel(false);
        let mut heart = JoinSet::new();
        heart.spawn(beat(
            Arc::clone(&shared),
            self.number,
            worker.clone(),
            Arc::clone(&lease),
            leased.clone(),
            lost_in,
        ));
        let mut job = JobUnderWay {
            leased,
            epochs,
            reporter: Reporter {
                shared: &shared,
                number: self.number,
                worker: worker.clone(),
                lease,
                lost,
                stream: None,
                in_flight: VecDeque::new(),
            },
        };
        let is_met = self.train(&mut job, from, behaviour).await;
        if is_met {
            shared.behaviours.met(behaviour);
            match behaviour {
                Behaviour::Finish => {}
                Behaviour::Vanish(_) => {
                    shared.history.died(job.reporter.lease.claim);
                    return Life::Ended;
                }
                Behaviour::Silence(_) => {
                    heart.shutdown().await;
                    self.try_too_late(&mut job).await;
                }
            }
        }
        Life::Goes
    }

    /// Trains a job up to its end or its behaviour; true if it met its behaviour.
    async fn train(&mut self, job: &mut JobUnderWay<'_>, from: u32, behaviour: Behaviour) -> bool {
        let chance = &mut self.chance;
        let mut next = from;
        if let Behaviour::Vanish(Point::Epoch(epoch)) | Behaviour::Silence(Point::Epoch(epoch)) = behaviour {
            let stop = (epoch + 1).min(job.epochs);
            return job.reporter.report(next..stop.max(next), false, chance).await == Held::Held;
        }
        let mut checkpoint = None;
        if let Behaviour::Vanish(Point::Checkpoint(epoch)) = behaviour {
            checkpoint = Some(epoch.max(from));
        } else if chance.below(2) == 0 && from + 1 < job.epochs {
            checkpoint = Some(from + 1 + chance.below(u64::from(job.epochs - from - 1)) as u32);
        }
        if let Some(epoch) = checkpoint {
            if job.reporter.report(next..epoch, true, chance).await == Held::Lost {
                return false;
            }
            next = epoch;
            if matches!(behaviour, Behaviour::Vanish(Point::Checkpoint(_))) {
                job.interrupt_checkpoint(epoch, chance).await;
                return true;
            }
            if job.checkpoint(epoch).await == Outcome::LeaseLost {
                return false;
            }
        }
        if job.reporter.report(next..job.epochs, true, chance).await == Held::Lost {
            return false;
        }
        match behaviour {
            Behaviour::Vanish(Point::Upload) => {
                job.interrupt_artifact(chance).await;
                true
            }
            Behaviour::Vanish(_) | Behaviour::Silence(_) => true,
            Behaviour::Finish => {
                if chance.below(4) == 0 && job.artifact(chance).await == Outcome::LeaseLost {
                    return false;
                }
                while let Outcome::Unknown(_) = job.finish().await {
                    backoff(chance).await;
                }
                false
            }
        }
    }

    /// Is silent until the lease has ended and twice its time limit has passed; then tries everything that is forbidden.
    async fn try_too_late(&mut self, job: &mut JobUnderWay<'_>) {
        let shared = Arc::clone(&self.shared);
        let token = job.reporter.lease.claim.token;
        sleep(2 * shared.settings.lease_ttl).await;
        let ended = wait_for("the end of a lease", async {
            // Postgres may be away just now.
            while !has_ended(&shared.owner, token).await.unwrap_or(false) {
                sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        });
        if ended.await.is_err() {
            return;
        }
        for epoch in [job.epochs - 1, 0] {
            let message = shared.reference.report(&job.reporter.lease, epoch, POISON);
            let mut worker = job.reporter.worker.clone();
            job.call(Action::Report(epoch), worker.send_report(message)).await;
        }
        job.checkpoint(job.epochs - 1).await;
        job.artifact(&mut self.chance).await;
        job.finish().await;
    }
}

async fn has_ended(owner: &PgPool, token: LeaseToken) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT ended_at IS NOT NULL FROM trawl_store.job_attempts WHERE token = $1")
        .bind(token.0)
        .fetch_one(owner)
        .await
}

/// Whether a worker lives on after a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Goes,
    Ended,
}

/// A job on its way.
struct JobUnderWay<'a> {
    leased: &'a v1::LeasedJob,
    epochs: u32,
    reporter: Reporter<'a>,
}

impl JobUnderWay<'_> {
    async fn call(&self, action: Action, call: impl Future<Output = Result<bool, Status>>) -> Outcome {
        let reporter = &self.reporter;
        let history = &reporter.shared.history;
        let begun = history.invoke(reporter.number, Some(&reporter.lease), action);
        let outcome = outcome(timeout(CALL_WITHIN, call).await);
        history.end(begun, outcome);
        outcome
    }

    async fn finish(&self) -> Outcome {
        let mut worker = self.reporter.worker.clone();
        self.call(Action::Finish, worker.finish(self.leased)).await
    }

    async fn checkpoint(&self, epochs: u32) -> Outcome {
        let mut worker = self.reporter.worker.clone();
        let messages = ScriptedWorker::checkpoint_messages(self.leased, epochs, &content(epochs));
        let call = worker.put_checkpoint(tokio_stream::iter(messages));
        self.call(Action::Checkpoint(epochs), call).await
    }

    async fn artifact(&self, chance: &mut Stream) -> Outcome {
        let mut worker = self.reporter.worker.clone();
        let call = worker.put_artifact(tokio_stream::iter(self.artifact_messages(chance)));
        self.call(Action::Artifact, call).await
    }

    fn artifact_messages(&self, chance: &mut Stream) -> Vec<v1::PutArtifactRequest> {
        let member = chance.below(self.reporter.lease.members.len() as u64) as u32;
        let (_, fold) = self.reporter.lease.members[member as usize];
        let name = format!("fold-{fold}.safetensors");
        ScriptedWorker::artifact_messages(self.leased, Some(member), &name, &content(member))
    }

    /// Sends a part of a checkpoint, and drops the call.
    async fn interrupt_checkpoint(&self, epochs: u32, chance: &mut Stream) {
        let mut worker = self.reporter.worker.clone();
        let messages = ScriptedWorker::checkpoint_messages(self.leased, epochs, &content(epochs));
        let (part, taken) = part(messages, chance);
        let call = self.call(Action::Checkpoint(epochs), worker.put_checkpoint(part));
        tokio::select! { _ = call => {}, () = taken => {} }
    }

    async fn interrupt_artifact(&self, chance: &mut Stream) {
        let mut worker = self.reporter.worker.clone();
        let (part, taken) = part(self.artifact_messages(chance), chance);
        let call = self.call(Action::Artifact, worker.put_artifact(part));
        tokio::select! { _ = call => {}, () = taken => {} }
    }
}

/// A stream of the first messages, at least one and not all, on which nothing follows; and a future that ends once they were taken.
fn part<M>(messages: Vec<M>, chance: &mut Stream) -> (ReceiverStream<M>, impl Future<Output = ()>) {
    let count = 1 + chance.below(messages.len() as u64 - 1) as usize;
    let (sender, receiver) = mpsc::channel(1);
    let taken = async move {
        for message in messages.into_iter().take(count) {
            if sender.send(message).await.is_err() {
                return;
            }
        }
        // There is room again once the last one was taken.
        let _ = sender.reserve().await;
    };
    (ReceiverStream::new(receiver), taken)
}

/// Renews the lease until it is lost.
async fn beat(
    shared: Arc<Shared>,
    number: u32,
    mut worker: ScriptedWorker,
    lease: Arc<LeasedTo>,
    leased: v1::LeasedJob,
    lost: watch::Sender<bool>,
) {
    let interval = shared.settings.lease_ttl / 3;
    let mut beats = tokio::time::interval(interval);
    loop {
        beats.tick().await;
        let begun = shared.history.invoke(number, Some(&lease), Action::Heartbeat);
        let held = timeout(interval, worker.heartbeat(&[&leased])).await;
        let answer = held.map(|held| held.map(|held| held == [true]));
        let outcome = outcome(answer);
        shared.history.end(begun, outcome);
        if outcome == Outcome::LeaseLost {
            lost.send_replace(true);
            return;
        }
    }
}

fn outcome(answer: Result<Result<bool, Status>, tokio::time::error::Elapsed>) -> Outcome {
    match answer {
        Ok(Ok(true)) => Outcome::Ok,
        Ok(Ok(false)) => Outcome::LeaseLost,
        Ok(Err(status)) => Outcome::of_error(status.code()),
        Err(_) => Outcome::Unknown(Code::DeadlineExceeded),
    }
}

fn content(number: u32) -> Vec<u8> {
    (0..FILE_BYTES).map(|place| (place as u32 + number) as u8).collect()
}
