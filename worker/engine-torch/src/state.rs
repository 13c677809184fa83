//! The state of a job's training: its members in groups, and all that is needed between two steps to go on.

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::FoldMetrics;
use trawl_domain::schedule::Plateau;
use trawl_engine::checkpoint::EpochEnd;
use trawl_engine::early_stopping::EpochLosses;
use trawl_engine::{EngineError, FitJob, MemberLosses, Table as _};

use super::augment::Augmentation;
use super::averages::Averages;
use super::batches::Rows;
use super::criterion::Criterion;
use super::dropout::Dropout;
use super::optimizer::Optimizers;
use super::stack::Stack;
use super::stopping::Stopping;
use super::{DeviceTable, is_fused};

/// Members that take every step together.
pub(super) struct Group {
    pub(super) stack: Stack,
    pub(super) optimizers: Optimizers,
    /// Averages of the weights; `None` if no member has any.
    pub(super) averages: Option<Averages>,
    /// By place in the stack, whatever the member's schedule.
    pub(super) plateaus: Vec<Plateau>,
    pub(super) stopping: Stopping,
    pub(super) rows: Rows,
    pub(super) criterion: Criterion,
    pub(super) dropout: Dropout,
    /// `None` if no member changes its rows.
    pub(super) augmentation: Option<Augmentation>,
    /// By place in the stack: false once the member diverged.
    pub(super) alive: Vec<bool>,
    /// Training rows of the current epoch that the group has processed.
    pub(super) row: i64,
    /// Sum of these rows' losses, [stack].
    pub(super) sum: Tensor,
    /// True once the group has ended the current epoch.
    pub(super) is_over: bool,
}

/// How far training is. Together with the groups' state, this suffices to go on.
pub(super) struct Progress {
    /// Current epoch.
    pub(super) epoch: u32,
    /// Losses of the groups that have ended the epoch.
    pub(super) losses: Vec<MemberLosses>,
    /// Members of those groups that diverged in the epoch.
    pub(super) diverged: Vec<usize>,
    /// Validation metrics of each member so far.
    pub(super) metrics: Vec<Option<FoldMetrics>>,
}

/// The training of a job.
pub(super) struct Training<'a> {
    pub(super) job: &'a FitJob<DeviceTable>,
    pub(super) device: Device,
    pub(super) fused: bool,
    pub(super) groups: Vec<Group>,
    pub(super) progress: Progress,
    /// The index of the class whose F1 is measured.
    pub(super) f1_class: Option<usize>,
}

impl<'a> Training<'a> {
    pub(super) fn new(job: &'a FitJob<DeviceTable>, device: Device) -> Result<Self, EngineError> {
        Self::with_stacks(job, is_fused(&job.architecture, device), device)
    }

    /// All members in one stack, or each in one of its own.
    pub(super) fn with_stacks(job: &'a FitJob<DeviceTable>, fused: bool, device: Device) -> Result<Self, EngineError> {
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
        let f1_class = job.f1_class.as_ref().map(|class| {
            let place = job
                .data
                .classes()
                .and_then(|all| all.iter().position(|name| name == class));
            place.ok_or_else(|| {
                EngineError::BadJob(format!("it measures the F1 of '{class}', which is none of its classes"))
            })
        });
        let f1_class = f1_class.transpose()?;
        let all: Vec<usize> = (0..job.members.len()).collect();
        let groups = all
            .chunks(if fused { all.len() } else { 1 })
            .map(|members| Group::new(job, members, fused, device))
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
            fused,
            groups,
            progress,
            f1_class,
        })
    }

    /// True while some member has not diverged.
    pub(super) fn lives(&self) -> bool {
        self.groups.iter().any(Group::lives)
    }
}

impl Group {
    fn new(job: &FitJob<DeviceTable>, members: &[usize], fused: bool, device: Device) -> Result<Self, EngineError> {
        let stack = Stack::new(job, members, fused, device)?;
        let rows = Rows::new(job, &stack)?;
        let steps = rows.steps_in_epoch(job.architecture.batch_size);
        Ok(Self {
            criterion: Criterion::new(job, &stack, &rows)?,
            rows,
            optimizers: Optimizers::new(&stack, job, steps, device),
            averages: Averages::new(&stack, job),
            plateaus: vec![Plateau::default(); members.len()],
            stopping: Stopping::new(&stack, job),
            dropout: Dropout::new(&stack, job, device),
            augmentation: Augmentation::new(&stack, job)?,
            alive: vec![true; members.len()],
            row: 0,
            sum: zero_losses(&stack),
            is_over: false,
            stack,
        })
    }

    /// True while some member has not diverged.
    pub(super) fn lives(&self) -> bool {
        self.alive.contains(&true)
    }

    /// True while some member has neither diverged nor stopped.
    pub(super) fn trains(&self) -> bool {
        let mut places = self.alive.iter().enumerate();
        places.any(|(place, is_alive)| *is_alive && self.stopping.stopped(place).is_none())
    }

    /// Puts final weights into place: averages, and the best weights of members that have stopped.
    pub(super) fn settle(&mut self) {
        tch::no_grad(|| {
            if let Some(averages) = &mut self.averages {
                averages.show(&self.stack);
            }
            self.stopping.settle(&self.stack);
        });
    }

    pub(super) fn begin_epoch(&mut self) {
        self.row = 0;
        self.sum = zero_losses(&self.stack);
        self.is_over = false;
    }
}

/// Loss sums before the first step of an epoch, [stack].
fn zero_losses(stack: &Stack) -> Tensor {
    Tensor::zeros([stack.size()], (Kind::Float, stack.device()))
}

impl Progress {
    /// Records an epoch of a member with validation rows: its training loss and metrics.
    pub(super) fn tell(&mut self, member: usize, losses: EpochLosses) {
        let EpochLosses { train_loss, metrics } = losses;
        self.metrics[member].get_or_insert_default().note(metrics);
        self.losses.push(MemberLosses {
            member,
            train_loss,
            metrics,
        });
    }

    /// How the current epoch ended for a member, if it did.
    pub(super) fn epoch_end(&self, member: usize) -> Option<EpochEnd> {
        if self.diverged.contains(&member) {
            return Some(EpochEnd::Diverged);
        }
        let losses = self.losses.iter().find(|losses| losses.member == member)?;
        Some(EpochEnd::Losses(EpochLosses {
            train_loss: losses.train_loss,
            metrics: losses.metrics,
        }))
    }
}
