//! Training without libtorch: its steps are waits, and its losses a chain of hashes in which no step can be left out or done
//! twice, so that a training that goes on from a wrong place ends with other losses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use tokio::time::sleep;
use trawl_agent::connection::Connection;
use trawl_agent::dataset::{self, DatasetError};
use trawl_agent::{JobError, Listener, Starts, Trained, Training};
use trawl_domain::baseline::Baseline;
use trawl_domain::id::JobId;
use trawl_domain::job::{Job, JobMember};
use trawl_domain::lease::LeaseClaim;
use trawl_domain::metric::{FoldMetrics, Metric, Metrics};
use trawl_domain::seed::FitOwner;
use trawl_engine::analysis::{Artifact, SkippedArtifact};
use trawl_engine::{Command, Control, EngineError, Event, MemberLosses, TestMetrics};

use crate::model::{Shared, share};

/// Steps of an epoch.
const STEPS: u64 = 3;
/// Numbers that a checkpoint has of each member.
const NUMBERS: usize = 5;

/// What trains the jobs of one worker.
#[derive(Debug)]
pub(crate) struct Script {
    /// Longest wait of a step.
    pub(crate) step_max: Duration,
    pub(crate) rng: Mutex<ChaCha8Rng>,
    /// Share of the jobs whose training fails once.
    pub(crate) failing: f64,
    /// Jobs whose training failed; of all workers.
    pub(crate) failed: Arc<Mutex<BTreeSet<JobId>>>,
    /// Who looks on.
    pub(crate) shared: Arc<Shared>,
}

/// Where the training of a job is.
#[derive(Debug)]
struct Progress {
    epoch: u64,
    step: u64,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    /// Whose fold it is.
    name: u64,
    /// The chain of hashes.
    chain: u64,
    last: f64,
    best: f64,
    /// The epoch in which its loss is not finite.
    diverges_at: u64,
}

impl Script {
    fn draw(&self) -> f64 {
        share(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fails, once a job: as training fails, or by a panic.
    fn fail_once(&self, job_id: JobId) -> Result<(), JobError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.draw() >= self.failing || !failed.insert(job_id) {
            return Ok(());
        }
        Err(JobError::Train(match failed.len() % 3 {
            0 => EngineError::OutOfMemory("as the script has it".to_owned()),
            1 => EngineError::Failed("as the script has it".to_owned()),
            _ => {
                drop(failed);
                panic!("as the script has it")
            }
        }))
    }

    async fn step(&self, listener: &Listener, control: &Control, progress: &Progress) -> Result<(), JobError> {
        let command = control.next_command();
        if matches!(command, Command::Checkpoint | Command::Drain) {
            let event = Event::Checkpoint {
                epochs: progress.epoch as u32,
                content: progress.to_bytes(),
            };
            listener.hear(event).await;
        }
        if matches!(command, Command::Drain | Command::Stop) {
            return Err(JobError::Interrupted);
        }
        let lease = listener.lease();
        let now = (self.shared.clock)();
        self.shared.observer().works(now, lease);
        sleep(self.step_max.mul_f64(self.draw())).await;
        Ok(())
    }
}

impl Training for Script {
    type Ready = Job;
    type Trained = ScriptTrained;

    /// Scripts do not hang, and are not analysed.
    fn progress_limit(&self) -> Duration {
        Duration::MAX
    }

    async fn prepare(&self, connection: &Connection, _: LeaseClaim, job: &Job) -> Result<Job, DatasetError> {
        dataset::fetch(connection, job.train.features, &mut tokio::io::sink()).await?;
        Ok(job.clone())
    }

    async fn train(
        &self,
        job: Job,
        starts: Starts,
        listener: Listener,
        control: Control,
    ) -> Result<Option<ScriptTrained>, JobError> {
        self.fail_once(listener.lease().job_id)?;
        let mut progress = match (starts.newest, &starts.before[..]) {
            (Some(content), _) => Progress::from_bytes(&content)?,
            (None, []) => Progress::new(&job),
            // One that cannot be had leaves all members at the beginning, as with an engine.
            (None, before) => Progress::repacked(&job, before).unwrap_or_else(|_| Progress::new(&job)),
        };
        while progress.epoch < u64::from(job.epochs.end) {
            while progress.step < STEPS {
                self.step(&listener, &control, &progress).await?;
                progress.take_step();
            }
            let (losses, diverged) = progress.end_epoch();
            let event = Event::Epoch {
                epoch: progress.epoch as u32 - 1,
                losses: &losses,
                diverged: &diverged,
            };
            listener.hear(event).await;
            if progress
                .members
                .iter()
                .all(|member| member.diverges_at < progress.epoch)
            {
                break;
            }
        }
        if job.epochs.end < job.architecture.epochs {
            let event = Event::Checkpoint {
                epochs: progress.epoch as u32,
                content: progress.to_bytes(),
            };
            listener.hear(event).await;
            return Ok(None);
        }
        Ok(Some(ScriptTrained::new(&progress)))
    }

    async fn baselines(
        &self,
        _: &Connection,
        _: LeaseClaim,
        _: &Job,
        _: Control,
    ) -> Result<Vec<(Baseline, Vec<f64>)>, JobError> {
        Ok(Vec::new())
    }
}

impl Progress {
    fn new(job: &Job) -> Self {
        let members = job.members.iter().map(|member| {
            let name = name(member);
            let chain = mix(mix(job.seed.0) ^ name);
            // Some diverge, one in sixteen folds.
            let epochs = u64::from(job.architecture.epochs);
            let diverges_at = if chain.is_multiple_of(16) {
                mix(chain) % epochs
            } else {
                u64::MAX
            };
            Member {
                name,
                chain,
                last: f64::MAX,
                best: f64::MAX,
                diverges_at,
            }
        });
        Self {
            epoch: 0,
            step: 0,
            members: members.collect(),
        }
    }

    /// Of the job's members, from the ends of other jobs, which may have had further ones.
    fn repacked(job: &Job, before: &[Vec<u8>]) -> Result<Self, EngineError> {
        let broken = |what: &str| EngineError::BadCheckpoint(what.to_owned());
        let before: Vec<Self> = before
            .iter()
            .map(|file| Self::from_bytes(file))
            .collect::<Result<_, _>>()?;
        let at_start = |progress: &Self| progress.epoch == u64::from(job.epochs.start) && progress.step == 0;
        if !before.iter().all(at_start) {
            return Err(broken("members are not at the job's first epoch"));
        }
        let find = |member: &JobMember| {
            let mut all = before.iter().flat_map(|progress| &progress.members);
            all.find(|found| found.name == name(member))
                .copied()
                .ok_or_else(|| broken("a member is not there"))
        };
        Ok(Self {
            epoch: u64::from(job.epochs.start),
            step: 0,
            members: job.members.iter().map(find).collect::<Result<_, _>>()?,
        })
    }

    fn take_step(&mut self) {
        for member in &mut self.members {
            member.chain = mix(member.chain ^ (self.epoch * STEPS + self.step));
        }
        self.step += 1;
    }

    fn end_epoch(&mut self) -> (Vec<MemberLosses>, Vec<usize>) {
        let epoch = self.epoch;
        let mut losses = Vec::new();
        let mut diverged = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            match member.diverges_at.cmp(&epoch) {
                std::cmp::Ordering::Less => continue,
                std::cmp::Ordering::Equal => diverged.push(index),
                std::cmp::Ordering::Greater => {
                    member.last = unit(member.chain);
                    member.best = member.best.min(member.last);
                    losses.push(MemberLosses {
                        member: index,
                        train_loss: unit(mix(member.chain)),
                        metrics: Metrics::from_iter([(Metric::ValLoss, member.last)]),
                    });
                }
            }
        }
        self.epoch += 1;
        self.step = 0;
        (losses, diverged)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let of_member = |m: &Member| [m.name, m.chain, m.last.to_bits(), m.best.to_bits(), m.diverges_at];
        let numbers = [self.epoch, self.step]
            .into_iter()
            .chain(self.members.iter().flat_map(of_member));
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    fn from_bytes(content: &[u8]) -> Result<Self, EngineError> {
        let broken = || EngineError::BadCheckpoint("as the script has it".to_owned());
        let (numbers, rest) = content.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        let ([epoch, step], members) = numbers.split_first_chunk().ok_or_else(broken)?;
        if !rest.is_empty() || !members.len().is_multiple_of(NUMBERS) {
            return Err(broken());
        }
        let member = |m: &[u64; NUMBERS]| Member {
            name: m[0],
            chain: m[1],
            last: f64::from_bits(m[2]),
            best: f64::from_bits(m[3]),
            diverges_at: m[4],
        };
        Ok(Self {
            epoch: *epoch,
            step: *step,
            members: members.as_chunks().0.iter().map(member).collect(),
        })
    }
}

/// What a script trained.
#[derive(Debug)]
pub(crate) struct ScriptTrained {
    metrics: Vec<Option<FoldMetrics>>,
    weights: Vec<Vec<u8>>,
}

impl ScriptTrained {
    fn new(progress: &Progress) -> Self {
        let metrics = progress.members.iter().map(|member| {
            (member.diverges_at >= progress.epoch).then(|| FoldMetrics {
                last: Metrics::from_iter([(Metric::ValLoss, member.last)]),
                best: Metrics::from_iter([(Metric::ValLoss, member.best)]),
            })
        });
        Self {
            metrics: metrics.collect(),
            weights: progress
                .members
                .iter()
                .map(|member| member.chain.to_le_bytes().repeat(40))
                .collect(),
        }
    }
}

impl Trained for ScriptTrained {
    fn test(&self) -> Option<TestMetrics> {
        None
    }

    fn metrics(&self) -> &[Option<FoldMetrics>] {
        &self.metrics
    }

    fn row_losses(&self) -> &[Vec<f32>] {
        &[]
    }

    fn weights(&self, member: usize) -> Result<Vec<u8>, EngineError> {
        Ok(self.weights[member].clone())
    }

    fn leaves_held_out(&self) -> bool {
        false
    }

    fn held_out(&self, _: usize, _: &Control) -> Result<Vec<u8>, SkippedArtifact> {
        Ok(Vec::new())
    }

    fn leaves_artifacts(&self) -> bool {
        false
    }

    fn analyse(&self, _: &Control, _: &mut dyn FnMut(Artifact) -> bool) -> Result<(), SkippedArtifact> {
        Ok(())
    }
}

/// Whose fold a member is, as a number.
fn name(member: &JobMember) -> u64 {
    let (FitOwner::Trial(number) | FitOwner::Refit(number)) = member.owner;
    (u64::from(number) << 32) ^ u64::from(member.fold)
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A number from 0 to 1, from the highest 53 bits.
fn unit(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}
