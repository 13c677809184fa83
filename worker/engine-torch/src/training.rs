//! Training: epoch by epoch, group by group, with events.

use std::ops::ControlFlow;

use tch::{Kind, Tensor};
use trawl_dataset::SampleShape;
use trawl_domain::metric::{Metric, Metrics};
use trawl_domain::network::Architecture;
use trawl_engine::early_stopping::EpochLosses;
use trawl_engine::{
    Command, Control, EngineError, Event, FitJob, Fitted, MemberLosses, Outcome, Table as _, TestMetrics,
};

use super::measure::{Measured, Sums, row_losses};
use super::stack::Stack;
use super::state::{Group, Progress, Training};
use super::{DeviceNetworks, DeviceTable, checkpoint, network, to_vec};

/// The test metrics.
const TEST_METRICS: [Metric; 2] = [Metric::ValLoss, Metric::ValAccuracy];

/// Whether training goes on, or was stopped.
type Flow = Result<ControlFlow<()>, EngineError>;

impl Training<'_> {
    pub(super) fn run(
        mut self,
        emit: &mut dyn FnMut(Event<'_>),
        control: &Control,
    ) -> Result<Outcome<DeviceNetworks>, EngineError> {
        while self.progress.epoch < self.job.end_epoch && self.lives() {
            if self.epoch(emit, control)?.is_break() {
                return Ok(Outcome::Interrupted);
            }
        }
        if self.progress.epoch < self.job.architecture.epochs && self.lives() {
            self.tell_checkpoint(emit)?;
            return Ok(Outcome::Paused);
        }
        self.groups.iter_mut().for_each(Group::settle);
        let control = control.without_commands();
        let (test, row_losses) = (self.test(&control), self.row_losses(&control));
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
            row_losses,
            networks: DeviceNetworks {
                architecture: self.job.architecture.clone(),
                fused: self.fused,
                stacks: self.groups.into_iter().map(|group| group.stack).collect(),
            },
        }))
    }

    /// Trains the rest of the current epoch.
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

    /// Trains the rest of the epoch for a group: steps over its training rows, then validation; nothing, if all of its
    /// members have stopped.
    fn epoch_of_group(&mut self, group: usize, emit: &mut dyn FnMut(Event<'_>), control: &Control) -> Flow {
        if !self.groups[group].trains() {
            let flow = self.obey(emit, control)?;
            if flow.is_continue() {
                self.groups[group].tell_stopped(&mut self.progress);
            }
            return Ok(flow);
        }
        if self.train_rows(group, emit, control)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.groups[group].show_averages();
        let validation = self.validate(&self.groups[group], control);
        self.groups[group].hide_averages();
        let Some(validation) = validation else {
            return self.obey(emit, control);
        };
        self.groups[group].judge(self.job, validation.as_deref(), &mut self.progress);
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
            let step = (group.row / batch_size) as u64;
            let losses = group.step(&job.architecture, features, &targets, (epoch, step));
            // Weighted by its rows: the last batch may be smaller.
            group.sum += losses * len as f64;
            group.row += len;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Obeys commands, between two steps.
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

    /// Validation metrics of a group, by place in its stack. `Some(None)` where no rows validate, `None` if interrupted.
    pub(super) fn validate(&self, group: &Group, control: &Control) -> Option<Option<Vec<Metrics>>> {
        let Some(order) = group.rows.validation() else {
            return Some(None);
        };
        let piece = |start, len| order.piece(start, len);
        let metrics = &self.job.metrics;
        self.measure(metrics, group, &self.job.data, order.len(), &piece, control)
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
            let Some(measured) = self.measure(&TEST_METRICS, group, table, rows, &piece, control) else {
                continue;
            };
            for place in (0..group.alive.len()).filter(|place| group.alive[*place]) {
                by_member[group.stack.member(place)] = Some(TestMetrics {
                    loss: measured[place].get(Metric::ValLoss).unwrap_or(f64::NAN),
                    accuracy: measured[place].get(Metric::ValAccuracy),
                });
            }
        }
        by_member
    }

    /// Test metrics and row losses of given outputs for the test rows, [rows, outputs], by the first member's criterion. `None` without test targets.
    pub(super) fn measure_outputs(&self, outputs: &[f32]) -> Result<Option<(TestMetrics, Vec<f32>)>, EngineError> {
        let Some(table) = self.job.test.as_ref().filter(|table| table.is_labelled()) else {
            return Ok(None);
        };
        let (group, rows) = (&self.groups[0], i64::from(table.rows()));
        if rows == 0 || outputs.len() as i64 % rows != 0 {
            return Err(EngineError::BadJob("the outputs are not those of the rows".to_owned()));
        }
        let size = group.stack.size();
        let outputs = Tensor::from_slice(outputs).view([1, rows, -1]).to_device(self.device);
        let measured = Measured {
            criterion: &group.criterion,
            metrics: &TEST_METRICS,
            outputs: self.outputs(),
            f1_class: None,
            rows,
        };
        let mut sums = Sums::new(measured, group.stack.places().len(), size, self.device);
        let order = table.all_rows(size);
        let mut losses = Vec::new();
        tch::no_grad(|| {
            let piece = network::rows_at_once(&self.job.architecture, self.fused);
            for start in (0..rows).step_by(piece.max(1) as usize) {
                let len = piece.min(rows - start);
                let (_, targets) = table.gather(&order.narrow(1, start, len));
                let outputs = outputs.narrow(1, start, len).expand([size, -1, -1], false);
                sums.add(&outputs, &targets);
                if let Some(metric) = self.job.row_losses {
                    let of_rows = row_losses(metric, &group.criterion, &outputs, &targets);
                    losses.extend(to_vec(&of_rows.select(0, 0)));
                }
            }
        });
        let metrics = sums.metrics();
        let test = TestMetrics {
            loss: metrics[0].get(Metric::ValLoss).unwrap_or(f64::NAN),
            accuracy: metrics[0].get(Metric::ValAccuracy),
        };
        Ok(Some((test, losses)))
    }

    /// The loss of each row, by member.
    fn row_losses(&self, control: &Control) -> Vec<Vec<f32>> {
        let mut by_member = vec![Vec::new(); self.job.members.len()];
        let Some(metric) = self.job.row_losses else {
            return by_member;
        };
        let test = self.job.test.as_ref().filter(|table| table.is_labelled());
        for group in &self.groups {
            let size = group.stack.size();
            let mut by_place = vec![Vec::new(); size as usize];
            let mut add = |outputs: &Tensor, targets: &Tensor| {
                let losses = row_losses(metric, &group.criterion, outputs, targets);
                for (place, found) in by_place.iter_mut().enumerate() {
                    found.extend(to_vec(&losses.select(0, place as i64)));
                }
            };
            let is_done = match (group.rows.validation(), test) {
                (Some(order), _) => {
                    let piece = |start, len| order.piece(start, len);
                    self.in_pieces(&group.stack, &self.job.data, order.len(), &piece, control, &mut add)
                }
                (None, Some(table)) => {
                    let order = table.all_rows(size);
                    let (rows, piece) = (i64::from(table.rows()), |start, len| order.narrow(1, start, len));
                    self.in_pieces(&group.stack, table, rows, &piece, control, &mut add)
                }
                (None, None) => None,
            };
            if is_done.is_none() {
                continue;
            }
            for place in (0..group.alive.len()).filter(|place| group.alive[*place]) {
                by_member[group.stack.member(place)] = std::mem::take(&mut by_place[place]);
            }
        }
        by_member
    }

    /// Outputs of a network for a row.
    fn outputs(&self) -> usize {
        let output = self.job.architecture.output();
        output.map_or(0, SampleShape::len) as usize
    }

    /// The metrics of a group on `rows` rows; `order` returns the rows of a piece, [stack, rows], for its start and length.
    fn measure(
        &self,
        metrics: &[Metric],
        group: &Group,
        table: &DeviceTable,
        rows: i64,
        order: &dyn Fn(i64, i64) -> Tensor,
        control: &Control,
    ) -> Option<Vec<Metrics>> {
        let stack = &group.stack;
        let measured = Measured {
            criterion: &group.criterion,
            metrics,
            outputs: self.outputs(),
            f1_class: self.f1_class,
            rows,
        };
        let mut sums = Sums::new(measured, stack.places().len(), stack.size(), self.device);
        loop {
            let add = &mut |outputs: &Tensor, targets: &Tensor| sums.add(outputs, targets);
            self.in_pieces(stack, table, rows, order, control, add)?;
            if !sums.want_rows_again() {
                return Some(sums.metrics());
            }
        }
    }

    /// Passes the outputs for `rows` rows, without dropout, and their targets to `take`, in pieces of bounded memory. `None` if interrupted.
    fn in_pieces(
        &self,
        stack: &Stack,
        table: &DeviceTable,
        rows: i64,
        order: &dyn Fn(i64, i64) -> Tensor,
        control: &Control,
        take: &mut dyn FnMut(&Tensor, &Tensor),
    ) -> Option<()> {
        let architecture = &self.job.architecture;
        tch::no_grad(|| {
            let piece = network::rows_at_once(architecture, self.fused);
            let mut start = 0;
            while start < rows {
                if control.must_end() {
                    return None;
                }
                let len = piece.min(rows - start);
                let (features, targets) = table.gather(&order(start, len));
                take(&network::forward(architecture, stack, &features, None), &targets);
                start += len;
            }
            Some(())
        })
    }
}

impl Group {
    /// One step of all optimizers: `at` is the epoch, and the step in it. Returns the losses before it, [stack].
    fn step(
        &mut self,
        architecture: &Architecture,
        features: Tensor,
        targets: &Tensor,
        (epoch, step): (u32, u64),
    ) -> Tensor {
        let (features, mix) = match &self.augmentation {
            None => (features, None),
            Some(augmentation) => {
                let augmented = augmentation.apply(features, epoch, step);
                (augmented.features, augmented.mix)
            }
        };
        let outputs = network::forward(architecture, &self.stack, &features, Some(&mut self.dropout));
        let (mut losses, mut minimised) = self.criterion.mean_and_minimised(&outputs, targets);
        if let Some(mix) = mix {
            let (of_others, minimised_of_others) = self.criterion.mean_and_minimised(&outputs, &targets.flip([1]));
            losses = mix.of(&losses, &of_others);
            minimised = mix.of(&minimised, &minimised_of_others);
        }
        // The sum's gradient is each member's own: no loss depends on another member.
        let gradients = Tensor::run_backward(&[minimised.sum(Kind::Float)], self.stack.leaves(), false, false);
        tch::no_grad(|| {
            self.optimizers.step(&mut self.stack, &gradients, &self.plateaus);
            if let Some(averages) = &mut self.averages {
                averages.note(&self.stack, self.optimizers.steps());
            }
        });
        losses.detach()
    }

    /// Measurements use averages of weights, where there are any.
    fn show_averages(&mut self) {
        if let Some(averages) = &mut self.averages {
            tch::no_grad(|| averages.show(&self.stack));
        }
    }

    fn hide_averages(&mut self) {
        if let Some(averages) = &mut self.averages {
            tch::no_grad(|| averages.hide(&self.stack));
        }
    }

    /// The measured weights, [stack, parameters].
    fn measured(&self) -> Tensor {
        let averages = self.averages.as_ref();
        averages.map_or_else(
            || self.stack.slice(0, self.stack.size()),
            |averages| averages.shown(&self.stack),
        )
    }

    /// Records losses and divergence, and decides which members stop.
    fn judge(&mut self, job: &FitJob<DeviceTable>, validation: Option<&[Metrics]>, progress: &mut Progress) {
        let train = to_vec(&(&self.sum / self.rows.train_len() as f64));
        self.tell_stopped(progress);
        let measured = tch::no_grad(|| {
            self.stopping
                .stops()
                .then(|| self.stack.with_statistics(self.measured()))
        });
        let trains = |place: &usize| self.alive[*place] && self.stopping.stopped(*place).is_none();
        for place in (0..self.alive.len()).filter(trains).collect::<Vec<_>>() {
            let member = self.stack.member(place);
            let metrics = validation.map_or_else(Metrics::default, |validation| validation[place]);
            let val_loss = metrics.get(Metric::ValLoss);
            if !train[place].is_finite() || val_loss.is_some_and(|loss| !loss.is_finite()) {
                self.alive[place] = false;
                progress.metrics[member] = None;
                progress.diverged.push(member);
                continue;
            }
            let train_loss = f64::from(train[place]);
            let own = &job.members[member].hyperparameters;
            self.plateaus[place].note(val_loss.unwrap_or(train_loss), own.plateau_epochs);
            let losses = EpochLosses { train_loss, metrics };
            if validation.is_some() {
                let told = tch::no_grad(|| self.stopping.note(place, losses, measured.as_ref()));
                progress.tell(member, told);
            } else {
                progress.losses.push(MemberLosses {
                    member,
                    train_loss,
                    metrics,
                });
            }
        }
    }

    /// Reports the best epoch of stopped members again.
    fn tell_stopped(&self, progress: &mut Progress) {
        for place in (0..self.alive.len()).filter(|place| self.alive[*place]) {
            if let Some(best) = self.stopping.stopped(place) {
                progress.tell(self.stack.member(place), best);
            }
        }
    }
}
