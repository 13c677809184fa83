//! Where the training of a job is: its members in groups, and what has to be known between two steps to go on from there.

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::FoldMetrics;
use trawl_engine::checkpoint::EpochEnd;
use trawl_engine::{EngineError, FitJob, MemberLosses, Table as _};

use super::batches::Rows;
use super::criterion::Criterion;
use super::dropout::Dropout;
use super::optimizer::Optimizers;
use super::stack::Stack;
use super::{DeviceTable, trains_together};

/// Members that take every step together.
pub(super) struct Group {
    pub(super) stack: Stack,
    pub(super) optimizers: Optimizers,
    pub(super) rows: Rows,
    pub(super) criterion: Criterion,
    pub(super) dropout: Dropout,
    /// By place in the stack: false once the member diverged.
    pub(super) alive: Vec<bool>,
    /// Training rows of the epoch under way that the group has behind it.
    pub(super) row: i64,
    /// Sum of the losses of those rows, [stack].
    pub(super) sum: Tensor,
    /// True once the group has ended the epoch under way.
    pub(super) is_over: bool,
}

/// How far training is. With what the groups hold, it is all that has to be known to go on.
pub(super) struct Progress {
    /// Epoch under way.
    pub(super) epoch: u32,
    /// Losses of the groups that have ended the epoch.
    pub(super) losses: Vec<MemberLosses>,
    /// Members of those groups that diverged in the epoch.
    pub(super) diverged: Vec<usize>,
    /// What the validation rows said of each member so far.
    pub(super) metrics: Vec<Option<FoldMetrics>>,
}

/// The training of a job.
pub(super) struct Training<'a> {
    pub(super) job: &'a FitJob<DeviceTable>,
    pub(super) device: Device,
    pub(super) together: bool,
    pub(super) groups: Vec<Group>,
    pub(super) progress: Progress,
}

impl<'a> Training<'a> {
    pub(super) fn new(job: &'a FitJob<DeviceTable>, device: Device) -> Result<Self, EngineError> {
        if job.members.is_empty() {
            return Err(EngineError::BadJob("it has no members".to_owned()));
        }
        if !(1..=job.architecture.epochs).contains(&job.end_epoch) {
            return Err(EngineError::BadJob("it has no epochs, or too many".to_owned()));
        }
        let dropouts = job.architecture.dropout_layers();
        if job
            .members
            .iter()
            .any(|member| member.hyperparameters.dropout.len() != dropouts)
        {
            return Err(EngineError::BadJob(
                "a member's dropout does not fit the layers".to_owned(),
            ));
        }
        let fit = std::iter::once(&job.data)
            .chain(&job.test)
            .all(|table| table.fits(&job.architecture));
        if !fit || !job.data.is_labelled() {
            return Err(EngineError::BadJob("its rows do not fit its input and loss".to_owned()));
        }
        let together = trains_together(&job.architecture, device);
        let all: Vec<usize> = (0..job.members.len()).collect();
        let groups = all
            .chunks(if together { all.len() } else { 1 })
            .map(|members| Group::new(job, members, together, device))
            .collect::<Result<Vec<_>, _>>()?;
        let progress = Progress {
            epoch: 0,
            losses: Vec::new(),
            diverged: Vec::new(),
            metrics: vec![None; job.members.len()],
        };
        Ok(Self {
            job,
            device,
            together,
            groups,
            progress,
        })
    }

    /// True while a member has not diverged.
    pub(super) fn lives(&self) -> bool {
        self.groups.iter().any(Group::lives)
    }
}

impl Group {
    fn new(job: &FitJob<DeviceTable>, members: &[usize], together: bool, device: Device) -> Result<Self, EngineError> {
        let stack = Stack::new(job, members, together, device)?;
        let rows = Rows::new(job, &stack)?;
        Ok(Self {
            criterion: Criterion::new(job, &stack, &rows)?,
            rows,
            optimizers: Optimizers::new(&stack, job, device),
            dropout: Dropout::new(&stack, job, device),
            alive: vec![true; members.len()],
            row: 0,
            sum: no_losses(&stack),
            is_over: false,
            stack,
        })
    }

    /// True while a member has not diverged.
    pub(super) fn lives(&self) -> bool {
        self.alive.contains(&true)
    }

    pub(super) fn begin_epoch(&mut self) {
        self.row = 0;
        self.sum = no_losses(&self.stack);
        self.is_over = false;
    }
}

/// Losses before the first step of an epoch, [stack].
fn no_losses(stack: &Stack) -> Tensor {
    Tensor::zeros([stack.size()], (Kind::Float, stack.device()))
}

impl Progress {
    /// How the epoch under way ended for a member, if it did.
    pub(super) fn epoch_end(&self, member: usize) -> Option<EpochEnd> {
        if self.diverged.contains(&member) {
            return Some(EpochEnd::Diverged);
        }
        let losses = self.losses.iter().find(|losses| losses.member == member)?;
        Some(EpochEnd::Losses {
            train_loss: losses.train_loss,
            metrics: losses.metrics,
        })
    }
}
