//! The steps that sequences are made of, and how a store takes one.

use std::collections::BTreeSet;
use std::ops::{Deref, Range};
use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::keep_artifact::ArtifactHead;
use trawl_coordinator::app::keep_checkpoint::CheckpointHead;
use trawl_coordinator::app::register_worker::CallingWorker;
use trawl_coordinator::app::release_job::ReleaseReason;
use trawl_coordinator::app::report_order::{JobReport, MemberEpochs};
use trawl_coordinator::app::upload::UploadStore;
use trawl_coordinator::app::{AppError, JobResults, TestMetrics};
use trawl_coordinator::files::Fingerprint;
use trawl_coordinator::protocol::WorkerStore;
use trawl_coordinator::store::workers::NewWorker;
use trawl_dataset::FileHash;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::failure::FailureCause;
use trawl_domain::id::{JobId, LeaseToken, WorkerId};
use trawl_domain::lease::LeaseClaim;
use trawl_domain::metric::Metric;
use uuid::Uuid;

/// Workers of a sequence.
pub(super) const WORKERS: u8 = 3;
/// Epochs of the study, and one more that it does not have.
const EPOCHS: u32 = 2;

/// One step. Leases and objects are named by how long ago they came.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Register(u8),
    Unregister(u8),
    Lease {
        worker: u8,
        slots: u32,
    },
    Renew {
        worker: u8,
        leases: Vec<usize>,
    },
    Report {
        lease: usize,
        epochs: Range<u32>,
        diverged: Option<u32>,
        more: u8,
    },
    ReportAll(usize),
    /// Reports all epochs, and ends the job.
    Train(usize),
    Finish {
        lease: usize,
        has_test: bool,
    },
    Release {
        lease: usize,
        cause: usize,
    },
    Expire,
    Grace,
    NoteCheckpoint(usize),
    NoteArtifact {
        lease: usize,
        member: u32,
    },
    /// Lists the object as what it was noted.
    List(usize),
    GiveUp(usize),
    FindCheckpoint {
        lease: usize,
        number: u32,
    },
    Advance(Duration),
    Pause(bool),
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    use Operation::{
        Advance, Expire, FindCheckpoint, Finish, GiveUp, Grace, Lease, List, NoteArtifact, NoteCheckpoint, Pause,
        Register, Release, Renew, Report, ReportAll, Train, Unregister,
    };
    let worker = || 0..WORKERS;
    let lease = || 0_usize..6;
    prop_oneof![
        3 => worker().prop_map(Register),
        1 => worker().prop_map(Unregister),
        6 => (worker(), 1_u32..4).prop_map(|(worker, slots)| Lease { worker, slots }),
        3 => (worker(), proptest::collection::vec(lease(), 0..4)).prop_map(|(worker, leases)| Renew { worker, leases }),
        3 => (lease(), prop_oneof![9 => 0..EPOCHS, 1 => Just(EPOCHS)], 1..EPOCHS + 1, proptest::option::weighted(0.3, 0_u32..8), any::<u8>())
            .prop_map(|(lease, first, epochs, diverged, more)| {
                Report { lease, epochs: first..first + epochs, diverged, more }
            }),
        2 => lease().prop_map(ReportAll),
        6 => lease().prop_map(Train),
        2 => (lease(), proptest::bool::weighted(0.1)).prop_map(|(lease, has_test)| Finish { lease, has_test }),
        3 => (lease(), 0_usize..5).prop_map(|(lease, cause)| Release { lease, cause }),
        3 => Just(Expire),
        1 => Just(Grace),
        2 => lease().prop_map(NoteCheckpoint),
        2 => (lease(), 0_u32..9).prop_map(|(lease, member)| NoteArtifact { lease, member }),
        4 => lease().prop_map(List),
        1 => lease().prop_map(GiveUp),
        2 => (lease(), 0_u32..3).prop_map(|(lease, number)| FindCheckpoint { lease, number }),
        2 => prop_oneof![3 => Just(1_u64), 1 => 2_u64..5].prop_map(|times| Advance(Duration::from_secs(4 * times))),
        1 => proptest::bool::weighted(0.3).prop_map(Pause),
    ]
}

/// A store, and its answers so far.
#[derive(Debug)]
pub(crate) struct Side<S> {
    pub(crate) store: S,
    /// With the members and the epochs of their jobs.
    leases: Vec<(LeaseClaim, u32, Range<u32>)>,
    noted: Vec<(Noted, String)>,
    /// Files so far.
    files: u64,
}

#[derive(Clone, Debug)]
enum Noted {
    Checkpoint(CheckpointHead),
    Artifact(ArtifactHead),
}

impl<S: Deref<Target: WorkerStore>> Side<S> {
    pub(crate) fn new(store: S) -> Self {
        Self {
            store,
            leases: Vec::new(),
            noted: Vec::new(),
            files: 0,
        }
    }

    /// The lease that came so many leases ago, with the members and epochs of its job; one that nobody has where there is none.
    fn lease(&self, ago: usize) -> (LeaseClaim, u32, Range<u32>) {
        let nobodys = LeaseClaim {
            job_id: self
                .leases
                .first()
                .map_or(JobId(Uuid::nil()), |(claim, ..)| claim.job_id),
            token: LeaseToken(Uuid::nil()),
        };
        let place = self.leases.len().checked_sub(1 + ago);
        place.map_or((nobodys, 1, 0..EPOCHS), |place| self.leases[place].clone())
    }

    /// Takes a step; its answer as text, without ids that each store draws for itself.
    pub(crate) async fn apply(&mut self, operation: &Operation) -> String {
        let answer = self.answer(operation).await;
        answer.unwrap_or_else(|error| match error {
            AppError::Store(_) | AppError::Internal(_) | AppError::Files(_) => format!("a mistake: {error}"),
            refused => format!("refused: {refused}"),
        })
    }

    async fn answer(&mut self, operation: &Operation) -> Result<String, AppError> {
        use Operation as Op;
        Ok(match operation {
            Op::Register(worker) => format!(
                "{:?}",
                self.store
                    .register_worker(&new_worker(*worker), Caller::Anybody)
                    .await?
            ),
            Op::Unregister(worker) => format!("{:?}", self.store.unregister_worker(calling(*worker)).await?),
            Op::Lease { worker, slots } => self.take_leases(calling(*worker), *slots).await?,
            Op::Renew { worker, leases } => {
                // Each once: a worker has a lease once.
                let mut leases: Vec<usize> = leases.clone();
                leases.sort_unstable();
                leases.dedup();
                let claims: Vec<LeaseClaim> = leases.iter().map(|lease| self.lease(*lease).0).collect();
                format!("{:?}", self.store.renew_leases(calling(*worker), &claims).await?)
            }
            Op::Report {
                lease,
                epochs,
                diverged,
                more,
            } => {
                let (claim, members, _) = self.lease(*lease);
                let report = job_report(claim, members, epochs.clone(), *diverged, *more);
                format!("{:?}", self.store.write_reports(&[report]).await?)
            }
            Op::ReportAll(lease) => {
                let reports = all_epochs(self.lease(*lease));
                format!("{:?}", self.store.write_reports(&reports).await?)
            }
            Op::Train(lease) => {
                let reports = all_epochs(self.lease(*lease));
                let written = self.store.write_reports(&reports).await?;
                self.store
                    .finish_job(self.lease(*lease).0, &JobResults::default())
                    .await?;
                format!("{written:?}")
            }
            Op::Finish { lease, has_test } => {
                let results = JobResults {
                    test: TestMetrics {
                        loss: has_test.then_some(1.0),
                        accuracy: None,
                    },
                    ..JobResults::default()
                };
                format!("{:?}", self.store.finish_job(self.lease(*lease).0, &results).await?)
            }
            Op::Release { lease, cause } => {
                let claim = self.lease(*lease).0;
                format!("{:?}", self.store.release_job(claim, cause_of(*cause)).await?)
            }
            Op::Expire => format!("{:?}", self.store.expire_leases().await?),
            Op::Grace => format!("{:?}", self.store.grant_grace().await?),
            Op::NoteCheckpoint(lease) => {
                let head = self.checkpoint(*lease);
                let key = self.store.note_checkpoint(head).await?;
                self.noted.push((Noted::Checkpoint(head), key));
                String::new()
            }
            Op::NoteArtifact { lease, member } => {
                let head = self.artifact(*lease, *member);
                let key = self.store.note_artifact(&head).await?;
                self.noted.push((Noted::Artifact(head), key));
                String::new()
            }
            Op::List(ago) => {
                let Some((noted, key)) = self.noted_before(*ago) else {
                    return Ok(String::new());
                };
                // An upload comes to its end once.
                self.noted.retain(|(_, other)| *other != key);
                match noted {
                    Noted::Checkpoint(head) => self.store.list_checkpoint(head, &key).await?,
                    Noted::Artifact(head) => self.store.list_artifact(&head, &key).await?,
                }
                String::new()
            }
            Op::GiveUp(ago) => {
                if let Some((_, key)) = self.noted_before(*ago) {
                    self.store.give_up_file(&key).await;
                    // The sweep, which the model has not, would take its note.
                    self.noted.retain(|(_, noted)| *noted != key);
                }
                String::new()
            }
            Op::FindCheckpoint { lease, number } => {
                let claim = self.lease(*lease).0;
                let found = self.store.find_checkpoint(claim, claim.job_id, *number).await?;
                format!("{:?}", (found.number, found.epochs, found.bytes, found.sha256))
            }
            Op::Advance(_) | Op::Pause(_) => String::new(),
        })
    }

    /// Some after more epochs than were reported, or than there are; some empty.
    fn checkpoint(&mut self, lease: usize) -> CheckpointHead {
        let epochs = self.files as u32 % (EPOCHS + 2);
        let mut announced = self.fingerprint();
        announced.bytes *= u64::from(!self.files.is_multiple_of(7));
        CheckpointHead {
            lease: self.lease(lease).0,
            epochs,
            announced,
        }
    }

    fn artifact(&mut self, lease: usize, member: u32) -> ArtifactHead {
        ArtifactHead {
            lease: self.lease(lease).0,
            member: Some(member),
            kind: ArtifactKind::Weights,
            name: match member {
                7 => "..".to_owned(),
                _ => format!("fold-{}.safetensors", member % 2),
            },
            announced: self.fingerprint(),
        }
    }

    async fn take_leases(&mut self, worker: CallingWorker, slots: u32) -> Result<String, AppError> {
        let leased = self.store.try_lease(worker, slots).await?;
        let mut told: Vec<_> = leased
            .into_iter()
            .map(|leased| {
                let checkpoints = leased
                    .checkpoints
                    .iter()
                    .map(|c| (c.number, c.epochs, c.bytes, c.sha256));
                let starts = leased.starts.iter().map(|c| (c.number, c.epochs, c.bytes, c.sha256));
                let text = format!(
                    "{:?} {:?} {:?}",
                    leased.job,
                    checkpoints.collect::<Vec<_>>(),
                    // Their order is not promised.
                    starts.collect::<BTreeSet<_>>()
                );
                (text, leased.lease, leased.job.members.len() as u32, leased.job.epochs)
            })
            .collect();
        // The order within an answer is not promised.
        told.sort_by(|a, b| a.0.cmp(&b.0));
        self.leases.extend(
            told.iter()
                .map(|(_, claim, members, epochs)| (*claim, *members, epochs.clone())),
        );
        Ok(told.into_iter().map(|(text, ..)| text).collect::<Vec<_>>().join("\n"))
    }

    /// Each file differs from the others.
    fn fingerprint(&mut self) -> Fingerprint {
        self.files += 1;
        let number = self.files;
        Fingerprint {
            bytes: number,
            sha256: FileHash::of(&number.to_le_bytes()),
        }
    }

    fn noted_before(&self, ago: usize) -> Option<(Noted, String)> {
        Some(self.noted[self.noted.len().checked_sub(1 + ago)?].clone())
    }
}

/// Every epoch of a job whose members never diverge, in two reports.
fn all_epochs((claim, members, epochs): (LeaseClaim, u32, Range<u32>)) -> Vec<JobReport> {
    let first = epochs.start..epochs.start + 1;
    vec![
        job_report(claim, members, first, None, 0),
        job_report(claim, members, epochs, None, 0),
    ]
}

/// Some epochs of all members; one of them may diverge in the last one.
fn job_report(lease: LeaseClaim, members: u32, epochs: Range<u32>, diverged: Option<u32>, more: u8) -> JobReport {
    let loss = |member: u32, epoch: u32| f64::from(member) + f64::from(epoch) / 7.0 + f64::from(more) / 100.0;
    let of_member = |member: u32| {
        let diverged = Some(member) == diverged;
        let losses: Vec<f64> = epochs.clone().map(|epoch| loss(member, epoch)).collect();
        let losses = &losses[..losses.len() - usize::from(diverged)];
        MemberEpochs {
            member,
            train_loss: losses.iter().map(|loss| loss / 3.0).collect(),
            val: losses.iter().copied().map(Some).collect(),
            diverged,
        }
    };
    JobReport {
        lease,
        first_epoch: epochs.start,
        metrics: vec![Metric::ValLoss],
        members: (0..members).map(of_member).collect(),
    }
}

fn cause_of(number: usize) -> ReleaseReason<'static> {
    match number {
        0 => ReleaseReason::Failure(FailureCause::OutOfMemory, "too little"),
        1 => ReleaseReason::Failure(FailureCause::BadInput, "broken"),
        2 => ReleaseReason::Failure(FailureCause::Error, "failed"),
        _ => ReleaseReason::Drain,
    }
}

fn calling(worker: u8) -> CallingWorker {
    CallingWorker {
        worker_id: worker_id(worker),
        caller: Caller::Anybody,
    }
}

fn worker_id(worker: u8) -> WorkerId {
    WorkerId(Uuid::from_bytes([worker + 1; 16]))
}

fn new_worker(worker: u8) -> NewWorker {
    NewWorker {
        worker_id: worker_id(worker),
        host: "parity".to_owned(),
        device: "cpu".to_owned(),
        slots: 8,
        version: "0".to_owned(),
    }
}
