//! Checkpoints: all that is needed between two steps to go on training members.
//!
//! A checkpoint belongs to a member. A safetensors file has a section for each of several members; a job takes the
//! sections that it needs, from one or more files. The metadata has JSON under `checkpoint`: the version of the format,
//! and a [`MemberState`] for each section. The numbers of section n are tensors named `n.NAME`; the engine defines the
//! names and the order of numbers in a tensor.
//!
//! The coordinator keeps the hash of the bytes, which reveals damage. An [`identity`] identifies the member.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use trawl_dataset::{FileHash, SampleShape};
use trawl_domain::engine::EngineName;
use trawl_domain::fold::{By, Scheme, Split};
use trawl_domain::job::JobMember;
use trawl_domain::layer::WrittenLayer;
use trawl_domain::loss::ClassWeights;
use trawl_domain::metric::FoldMetrics;
use trawl_domain::schedule::Plateau;
use trawl_domain::seed::FitOwner;

use crate::early_stopping::{EpochLosses, Standing};
use crate::{EngineError, FitJob, Table};

/// Increases with every change of a file's content or meaning.
const VERSION: u32 = 3;
/// Key of the JSON in the metadata.
const HEAD: &str = "checkpoint";

/// The state of a member's training, except for its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberState {
    /// The member, as [`identity`] computes it.
    pub identity: String,
    /// Current epoch.
    pub epoch: u32,
    /// Training rows of the epoch that the member has processed.
    pub rows: u64,
    /// Sum of these rows' losses; `None` once it is not finite.
    pub loss_sum: Option<f64>,
    /// How the current epoch ended for the member, if it did before other members of its job ended it.
    pub epoch_end: Option<EpochEnd>,
    /// False once the member diverged.
    pub alive: bool,
    /// Validation metrics so far.
    pub metrics: Option<FoldMetrics>,
    /// Position in the epoch's stream of dropout masks.
    pub dropout: u64,
    /// State of the plateau, whatever the schedule.
    pub plateau: Plateau,
    /// State of its patience; the initial one for a member without a patience.
    pub stopping: Standing,
}

/// How an epoch ended for a member.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a member has one, and most have losses; a box would not be `Copy`"
)]
pub enum EpochEnd {
    /// With these losses, as they were reported.
    Losses(EpochLosses),
    /// With a non-finite loss.
    Diverged,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    members: Vec<MemberState>,
}

/// The checkpoint of one member, in a file.
#[derive(Clone, Debug)]
pub struct MemberCheckpoint<'a> {
    /// The member's state.
    pub state: MemberState,
    numbers: BTreeMap<String, &'a [u8]>,
}

impl<'a> MemberCheckpoint<'a> {
    /// The numbers of this name; each is a little-endian `f32`.
    pub fn numbers(&self, name: &str) -> Option<&'a [[u8; 4]]> {
        self.numbers.get(name).map(|bytes| bytes.as_chunks().0)
    }
}

/// Writes the checkpoints of a job's members, in the order of the job, each with its numbers by name. Tensors are
/// requested one at a time, so that only the file is in memory.
///
/// # Errors
/// [`EngineError::Failed`] if they cannot be written.
pub fn write<N: View>(
    members: impl Iterator<Item = (MemberState, Vec<(&'static str, N)>)>,
) -> Result<Vec<u8>, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::Failed(format!("checkpoint: {error}"));
    let (states, numbers): (Vec<_>, Vec<_>) = members.unzip();
    let head = Head {
        version: VERSION,
        members: states,
    };
    let head = serde_json::to_string(&head).map_err(|error| failed(&error))?;
    let sections = numbers.into_iter().enumerate();
    let tensors = sections.flat_map(|(section, numbers)| {
        let named = numbers.into_iter();
        named.map(move |(name, values)| (format!("{section}.{name}"), values))
    });
    safetensors::serialize(tensors, Some(HashMap::from([(HEAD.to_owned(), head)]))).map_err(|error| failed(&error))
}

/// The checkpoints in a file from [`write`].
///
/// # Errors
/// [`EngineError::BadCheckpoint`] if it is no such file, or of another version.
pub fn read(file: &[u8]) -> Result<Vec<MemberCheckpoint<'_>>, EngineError> {
    sections(file).map_err(EngineError::BadCheckpoint)
}

fn sections(file: &[u8]) -> Result<Vec<MemberCheckpoint<'_>>, String> {
    let tensors = SafeTensors::deserialize(file).map_err(|error| error.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(file).map_err(|error| error.to_string())?;
    let head = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEAD));
    let head: Head =
        serde_json::from_str(head.ok_or("it has no head")?).map_err(|error| format!("its head: {error}"))?;
    if head.version != VERSION {
        return Err(format!("it is of version {}, not {VERSION}", head.version));
    }
    let sections = head.members.into_iter().map(|state| MemberCheckpoint {
        state,
        numbers: BTreeMap::new(),
    });
    let mut sections: Vec<_> = sections.collect();
    for (full_name, tensor) in tensors.iter() {
        let (section, name) = full_name.split_once('.').unwrap_or_default();
        let section = section
            .parse()
            .ok()
            .and_then(|section: usize| sections.get_mut(section));
        let section = section.ok_or_else(|| format!("tensor '{full_name}' is of no section"))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(format!("tensor '{full_name}' is not of type F32"));
        }
        section.numbers.insert(name.to_owned(), tensor.data());
    }
    Ok(sections)
}

/// All that a member's numbers depend on, except its position.
#[derive(Serialize)]
struct Identity<'a> {
    /// The version of this structure.
    version: u32,
    engine: &'static str,
    engine_version: u32,
    fused: bool,
    seed: u64,
    rows: u32,
    input: Vec<u32>,
    layers: Vec<WrittenLayer>,
    loss: &'static str,
    class_weights: Option<WrittenWeights<'a>>,
    batch_size: u32,
    epochs: u32,
    split: WrittenSplit,
    owner: WrittenOwner,
    fold: u32,
    optimizer: &'static str,
    schedule: &'static str,
    stops_by: Option<&'static str>,
    settings: &'a [(&'static str, f64)],
}

#[derive(Serialize)]
struct WrittenSplit {
    scheme: WrittenScheme,
    shuffle: bool,
    stratify: bool,
    by: &'static str,
    seeds: u32,
}

#[derive(Serialize)]
enum WrittenScheme {
    KFold { folds: u32, repeats: u32 },
    Holdout(f64),
    Given { folds: u32 },
    All,
}

impl From<Split> for WrittenSplit {
    fn from(split: Split) -> Self {
        match split {
            Split::Validation(validation) => Self {
                scheme: match validation.scheme {
                    Scheme::KFold { folds, repeats } => WrittenScheme::KFold { folds, repeats },
                    Scheme::Holdout(share) => WrittenScheme::Holdout(share),
                    Scheme::Given { folds } => WrittenScheme::Given { folds },
                },
                shuffle: validation.shuffle,
                stratify: validation.stratify,
                by: validation.by.as_str(),
                seeds: validation.seeds,
            },
            Split::All => Self {
                scheme: WrittenScheme::All,
                shuffle: false,
                stratify: false,
                by: By::Rows.as_str(),
                seeds: 1,
            },
        }
    }
}

#[derive(Serialize)]
enum WrittenWeights<'a> {
    Balanced,
    Named(&'a BTreeMap<String, f64>),
}

#[derive(Serialize)]
enum WrittenOwner {
    Trial(u32),
    Refit(u32),
}

/// Distinguishes a member's checkpoints from all others: a hash of everything that its numbers depend on. That is the engine with the
/// version of its computation, whether members are `fused`, and the job with this member's settings, but not the other members.
///
/// # Errors
/// [`EngineError::Failed`] if it cannot be written.
pub fn identity<T: Table>(
    engine: EngineName,
    engine_version: u32,
    fused: bool,
    job: &FitJob<T>,
    member: &JobMember,
) -> Result<String, EngineError> {
    let (architecture, hyperparameters) = (&job.architecture, &member.hyperparameters);
    let written = serde_json::to_vec(&Identity {
        version: VERSION,
        engine: engine.as_str(),
        engine_version,
        fused,
        seed: job.seed.0,
        rows: job.data.rows(),
        input: SampleShape::dims(architecture.input),
        layers: WrittenLayer::list(&architecture.layers, &hyperparameters.dropout),
        loss: architecture.loss.as_str(),
        class_weights: job.class_weights.as_ref().map(|weights| match weights {
            ClassWeights::Balanced => WrittenWeights::Balanced,
            ClassWeights::Named(weights) => WrittenWeights::Named(weights),
        }),
        batch_size: architecture.batch_size,
        epochs: architecture.epochs,
        split: job.split.into(),
        owner: match member.owner {
            FitOwner::Trial(trial) => WrittenOwner::Trial(trial),
            FitOwner::Refit(refit) => WrittenOwner::Refit(refit),
        },
        fold: member.fold,
        optimizer: hyperparameters.optimizer.as_str(),
        schedule: hyperparameters.schedule.as_str(),
        stops_by: hyperparameters.early_stopping.map(|stopping| stopping.metric.as_str()),
        settings: &hyperparameters.settings(),
    });
    let written = written.map_err(|error| EngineError::Failed(format!("identity of a member: {error}")))?;
    Ok(FileHash::of(&written).to_string())
}
