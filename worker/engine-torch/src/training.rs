//! Training: the members of a job in groups, epoch by epoch, and what has to be known between two steps to go on from there.

use std::ops::ControlFlow;

use tch::{Device, Kind, Tensor};
use trawl_domain::metric::FoldMetrics;
use trawl_domain::network::Architecture;
use trawl_engine::checkpoint::EpochEnd;
use trawl_engine::{
    Command, Control, EngineError, Event, FitJob, Fitted, MemberLosses, Outcome, Table as _, TestMetrics,
};

use super::batches::Rows;
use super::dropout::Dropout;
use super::optimizer::Optimizers;
use super::stack::Stack;
use super::{DeviceNetworks, DeviceTable, checkpoint, network, to_vec, trains_together};

/// Members that take every step together.
pub(super) struct Group {
    pub(super) stack: Stack,
    pub(super) optimizers: Optimizers,
    pub(super) rows: Rows,
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

/// Mean losses by place in the stack, and how many rows were right where there are classes.
struct Measured {
    losses: Vec<f32>,
    accuracies: Option<Vec<f64>>,
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

/// Whether training goes on, or was told to end.
type Flow = Result<ControlFlow<()>, EngineError>;

pub(super) struct Training<'a> {
    pub(super) job: &'a FitJob<DeviceTable>,
    device: Device,
    pub(super) together: bool,
    pub(super) groups: Vec<Group>,
    pub(super) progress: Progress,
}

impl<'a> Training<'a> {
    pub(super) fn new(job: &'a FitJob<DeviceTable>, device: Device) -> Result<Self, EngineError> {
        if job.members.is_empty() {
            return Err(EngineError::BadJob("it has no members".to_owned()));
        }
        if job.epochs.is_empty() || job.epochs.end > job.architecture.epochs {
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

    pub(super) fn run(
        mut self,
        emit: &mut dyn FnMut(Event<'_>),
        control: &Control,
    ) -> Result<Outcome<DeviceNetworks>, EngineError> {
        while self.progress.epoch < self.job.epochs.end && self.lives() {
            if self.epoch(emit, control)?.is_break() {
                return Ok(Outcome::Interrupted);
            }
        }
        if self.progress.epoch < self.job.architecture.epochs && self.lives() {
            self.tell_checkpoint(emit)?;
            return Ok(Outcome::Paused);
        }
        let test = self.test(&control.without_commands());
        let mut alive = vec![false; self.job.members.len()];
        for group in &self.groups {
            for place in (0..group.alive.len()).filter(|place| group.alive[*place]) {
                alive[group.stack.member(place)] = true;
            }
        }
        Ok(Outcome::Finished(Fitted {
            alive,
            metrics: self.progress.metrics,
            test,
            networks: DeviceNetworks {
                architecture: self.job.architecture.clone(),
                together: self.together,
                stacks: self.groups.into_iter().map(|group| group.stack).collect(),
            },
        }))
    }

    /// True while a member has not diverged.
    fn lives(&self) -> bool {
        self.groups.iter().any(Group::lives)
    }

    /// What is left of the epoch under way.
    fn epoch(&mut self, emit: &mut dyn FnMut(Event<'_>), control: &Control) -> Flow {
        for group in 0..self.groups.len() {
            let is_left = !self.groups[group].is_over && self.groups[group].lives();
            if is_left && self.epoch_of_group(group, emit, control)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.groups[group].is_over = true;
        }
        let progress = &mut self.progress;
        progress.losses.sort_by_key(|losses: &MemberLosses| losses.member);
        progress.diverged.sort_unstable();
        emit(Event::Epoch {
            epoch: progress.epoch,
            losses: &progress.losses,
            diverged: &progress.diverged,
        });
        progress.losses.clear();
        progress.diverged.clear();
        progress.epoch += 1;
        self.groups.iter_mut().for_each(Group::begin_epoch);
        Ok(ControlFlow::Continue(()))
    }

    /// What is left of the epoch for a group: steps over its training rows, then validation.
    fn epoch_of_group(&mut self, group: usize, emit: &mut dyn FnMut(Event<'_>), control: &Control) -> Flow {
        if self.train_rows(group, emit, control)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let Some(validation) = self.validate(&self.groups[group], control) else {
            return self.obey(emit, control);
        };
        self.groups[group].judge(validation.as_ref(), &mut self.progress);
        Ok(ControlFlow::Continue(()))
    }

    fn train_rows(&mut self, group: usize, emit: &mut dyn FnMut(Event<'_>), control: &Control) -> Flow {
        let (job, epoch) = (self.job, self.progress.epoch);
        let of_group = &mut self.groups[group];
        let train_len = of_group.rows.train_len();
        let order = of_group.rows.epoch_order(job, &of_group.stack, epoch, self.device);
        if of_group.row == 0 {
            of_group.dropout.begin_epoch(job, epoch);
        }
        let batch_size = i64::from(job.architecture.batch_size);
        while self.groups[group].row < train_len {
            if self.obey(emit, control)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let group = &mut self.groups[group];
            let len = batch_size.min(train_len - group.row);
            let (features, targets) = job.data.gather(&order.piece(group.row, len));
            let losses = group.step(&job.architecture, &features, &targets);
            // Weighted by its rows: the last batch may be smaller.
            group.sum += losses * len as f64;
            group.row += len;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Does what training is told, between two steps.
    fn obey(&self, emit: &mut dyn FnMut(Event<'_>), control: &Control) -> Flow {
        let command = control.next_command();
        if matches!(command, Command::Checkpoint | Command::Drain) {
            self.tell_checkpoint(emit)?;
        }
        Ok(match command {
            Command::Continue | Command::Checkpoint => ControlFlow::Continue(()),
            Command::Drain | Command::Stop => ControlFlow::Break(()),
        })
    }

    fn tell_checkpoint(&self, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), EngineError> {
        emit(Event::Checkpoint {
            epochs: self.progress.epoch,
            content: checkpoint::write(self)?,
        });
        Ok(())
    }

    /// The validation losses of a group by place in its stack. `Some(None)` where no rows validate, `None` if interrupted.
    fn validate(&self, group: &Group, control: &Control) -> Option<Option<Measured>> {
        let Some(order) = group.rows.validation() else {
            return Some(None);
        };
        let piece = |start, len| order.piece(start, len);
        self.measure(&group.stack, &self.job.data, order.len(), &piece, control)
            .map(Some)
    }

    fn test(&self, control: &Control) -> Vec<Option<TestMetrics>> {
        let mut by_member = vec![None; self.job.members.len()];
        let Some(table) = self.job.test.as_ref().filter(|table| table.is_labelled()) else {
            return by_member;
        };
        for group in &self.groups {
            let order = table.all_rows(group.stack.size());
            let (rows, piece) = (i64::from(table.rows()), |start, len| order.narrow(1, start, len));
            let Some(measured) = self.measure(&group.stack, table, rows, &piece, control) else {
                continue;
            };
            for place in (0..group.alive.len()).filter(|place| group.alive[*place]) {
                by_member[group.stack.member(place)] = Some(TestMetrics {
                    loss: f64::from(measured.losses[place]),
                    accuracy: measured.accuracies.as_ref().map(|accuracies| accuracies[place]),
                });
            }
        }
        by_member
    }

    /// What so many rows say of a stack, without dropout, in pieces of bounded memory; `order` gives those of a piece,
    /// [stack, rows], by its first one and its length.
    fn measure(
        &self,
        stack: &Stack,
        table: &DeviceTable,
        rows: i64,
        order: &dyn Fn(i64, i64) -> Tensor,
        control: &Control,
    ) -> Option<Measured> {
        let architecture = &self.job.architecture;
        tch::no_grad(|| {
            let piece = network::rows_at_once(architecture, self.together);
            let mut sum = Tensor::zeros([stack.size()], (Kind::Float, self.device));
            let mut correct = table
                .classes()
                .map(|_| Tensor::zeros([stack.size()], (Kind::Int64, self.device)));
            let mut start = 0;
            while start < rows {
                if control.must_end() {
                    return None;
                }
                let len = piece.min(rows - start);
                let (features, targets) = table.gather(&order(start, len));
                let outputs = network::forward(architecture, stack, &features, None);
                sum += network::loss(architecture.loss, &outputs, &targets) * len as f64;
                if let Some(correct) = &mut correct {
                    *correct += network::correct(&outputs, &targets);
                }
                start += len;
            }
            Some(Measured {
                losses: to_vec(&(sum / rows as f64)),
                accuracies: correct.map(|correct| {
                    let counts = Vec::<i64>::try_from(correct.to_device(Device::Cpu)).unwrap_or_default();
                    counts.into_iter().map(|count| count as f64 / rows as f64).collect()
                }),
            })
        })
    }
}

impl Group {
    fn new(job: &FitJob<DeviceTable>, members: &[usize], together: bool, device: Device) -> Result<Self, EngineError> {
        let stack = Stack::new(job, members, together, device)?;
        Ok(Self {
            rows: Rows::new(job, &stack)?,
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
    fn lives(&self) -> bool {
        self.alive.contains(&true)
    }

    fn begin_epoch(&mut self) {
        self.row = 0;
        self.sum = no_losses(&self.stack);
        self.is_over = false;
    }

    /// One step of all optimizers. Returns the losses before it, [stack].
    fn step(&mut self, architecture: &Architecture, features: &Tensor, targets: &Tensor) -> Tensor {
        let outputs = network::forward(architecture, &self.stack, features, Some(&mut self.dropout));
        let losses = network::loss(architecture.loss, &outputs, targets);
        // The sum's gradient is each member's own: no member has a part in another's loss.
        let gradients = Tensor::run_backward(&[losses.sum(Kind::Float)], self.stack.leaves(), false, false);
        tch::no_grad(|| self.optimizers.step(&mut self.stack, &gradients));
        losses.detach()
    }

    /// Tells losses from divergence.
    fn judge(&mut self, validation: Option<&Measured>, progress: &mut Progress) {
        let train = to_vec(&(&self.sum / self.rows.train_len() as f64));
        for place in (0..self.alive.len())
            .filter(|place| self.alive[*place])
            .collect::<Vec<_>>()
        {
            let member = self.stack.member(place);
            let val_loss = validation.map(|validation| validation.losses[place]);
            if !train[place].is_finite() || val_loss.is_some_and(|loss| !loss.is_finite()) {
                self.alive[place] = false;
                progress.metrics[member] = None;
                progress.diverged.push(member);
                continue;
            }
            let accuracies = validation.and_then(|validation| validation.accuracies.as_ref());
            let losses = MemberLosses {
                member,
                train_loss: f64::from(train[place]),
                val_loss: val_loss.map(f64::from),
                val_accuracy: accuracies.map(|accuracies| accuracies[place]),
            };
            progress.note(&losses);
            progress.losses.push(losses);
        }
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
            val_loss: losses.val_loss,
            val_accuracy: losses.val_accuracy,
        })
    }

    /// Takes the metrics of a member's epoch.
    fn note(&mut self, losses: &MemberLosses) {
        let Some(val_loss) = losses.val_loss else { return };
        let metrics = &mut self.metrics[losses.member];
        let best = metrics.map_or(val_loss, |metrics| metrics.best_val_loss);
        let best_accuracy = metrics.and_then(|metrics| metrics.best_val_accuracy);
        *metrics = Some(FoldMetrics {
            val_loss,
            best_val_loss: best.min(val_loss),
            val_accuracy: losses.val_accuracy,
            best_val_accuracy: losses
                .val_accuracy
                .map(|accuracy| best_accuracy.map_or(accuracy, |best| best.max(accuracy))),
        });
    }
}
