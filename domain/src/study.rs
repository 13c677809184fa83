//! A study that was checked: whatever can be sampled from it can be trained.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::block::{Block, Resolved};
use crate::dataset::{DatasetShape, Format};
use crate::engine::EngineChoice;
use crate::fold::{By, FoldSize, Scheme, Validation};
use crate::limits::{EPOCHS_MAX, ROW_LOSSES_MAX};
use crate::loss::{ClassWeights, Loss};
use crate::metric::{FoldMetrics, Metric, Objective};
use crate::network::{Architecture, TrialConfig};
use crate::objectives::{Cost, Further};
use crate::optimizer::{Hyperparameters, Optimizer};
use crate::racing::Racing;
use crate::rule::{Rule, Takes};
use crate::schedule::Schedule;
use crate::search::{Generations, Sampler};
use crate::seed::Seed;
use crate::space::{Distribution, ParamValue, Params, Space};
use crate::stop::Stop;
use crate::violation::Violation;

/// A study. Made by the check of its message alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Unique name.
    pub name: String,
    /// What everything random derives from.
    pub seed: Seed,
    /// How the dataset's files are read.
    pub format: Format,
    /// Sizes of the dataset.
    pub shape: DatasetShape,
    /// The network.
    pub model: Vec<Block>,
    /// How one fold is trained.
    pub training: TrainingSpec,
    /// How a trial is validated.
    pub validation: Validation,
    /// The sizes of its folds.
    pub fold_sizes: Vec<FoldSize>,
    /// What makes one trial better than another: the first objective, where there are several.
    pub objective: Objective,
    /// The others.
    pub further: Vec<Further>,
    /// The class whose F1 [`Metric::ValF1`] is; `None` for the mean over the classes.
    pub f1_class: Option<String>,
    /// The searched parameters.
    pub space: Space,
    /// How configurations are chosen.
    pub sampler: Sampler,
    /// Which trials belong together.
    pub generations: Generations,
    /// How trials are raced; `None` if each is trained to its end.
    pub racing: Option<Racing>,
    /// Trials in all.
    pub max_trials: u32,
    /// What its first trials are: configurations that a user chose. What one leaves out is drawn as random search draws it.
    pub chosen: Vec<Params>,
    /// When the search ends before its last trial.
    pub stop: Option<Stop>,
    /// Its share of the workers in relation to the priorities of other studies, at least 1.
    pub priority: u32,
    /// How the best trial is trained again.
    pub refit: Option<RefitSpec>,
    /// Whether the losses of single rows are kept.
    pub keeps_row_losses: bool,
    /// How it was made longer since it was submitted.
    pub growth: Growth,
}

/// How a study was made longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// What `max_trials` was before each extension, ascending.
    pub ends_before: Vec<u32>,
    /// Trials with configurations that users added.
    pub enqueued: u32,
}

/// A plain value, or the name of the searched parameter that gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The same in every trial.
    Fixed(ParamValue),
    /// Given by a parameter.
    Param(String),
}

/// How one fold is trained, with settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSpec {
    /// What computes it.
    pub engine: EngineChoice,
    /// What is minimised.
    pub loss: Loss,
    /// How much rows of each class weigh in the loss; `None` if all weigh the same.
    pub class_weights: Option<ClassWeights>,
    /// How parameters follow gradients.
    pub optimizer: Setting,
    /// How the step size goes on from the learning rate.
    pub schedule: Setting,
    /// Those of [`Hyperparameters::SETTINGS`] that the study gives, by name.
    pub hyperparameters: BTreeMap<&'static str, Setting>,
    /// Rows per step.
    pub batch_size: Setting,
    /// Passes over the training rows.
    pub epochs: Setting,
}

/// `training.optimizer`.
pub const OPTIMIZER: Rule = Rule::new("optimizer", Takes::Word(Optimizer::WORDS));
/// `training.schedule`: constant where left out, the first of the words.
pub const SCHEDULE: Rule = Rule::new("schedule", Takes::Word(Schedule::WORDS)).or(0.0);
/// `training.batch_size`.
pub const BATCH_SIZE: Rule = Rule::new("batch_size", Takes::Whole(1, u32::MAX));
/// `training.epochs`.
pub const EPOCHS: Rule = Rule::new("epochs", Takes::Whole(1, EPOCHS_MAX));

/// How the best trial is trained again.
#[derive(Clone, Debug, PartialEq)]
pub struct RefitSpec {
    /// Passes over the training rows.
    pub epochs: RefitEpochs,
    /// Values that replace the trial's.
    pub set: Params,
    /// Features for which the activations are kept; empty lets the worker choose.
    pub inputs: Vec<Vec<f32>>,
    /// Whether the probabilities of classes are calibrated by the predictions of the rows that the folds of the trial held out.
    pub calibrates: bool,
}

/// How long a refit trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefitEpochs {
    /// So many passes over the training rows.
    Fixed(u32),
    /// As many steps as the folds of its trial needed to be at their best.
    Best,
    /// None: the networks of its trial's folds are kept, and answer by their mean.
    OfFolds,
}

impl RefitSpec {
    /// True if nothing is trained: the networks of the trial's folds are kept.
    pub fn keeps_folds(&self) -> bool {
        self.epochs == RefitEpochs::OfFolds
    }
}

impl TrainingSpec {
    /// What else the values of the loss depend on: the weights of classes, and those of its settings that not every loss has.
    pub fn loss_settings(&self) -> (Option<&ClassWeights>, Vec<Setting>) {
        let of_loss = |rule: &&&Rule| Loss::ALL.iter().any(|loss| !loss.has(rule));
        let rules = Hyperparameters::SETTINGS.iter().filter(of_loss);
        let settings = rules.filter_map(|rule| {
            let given = self.hyperparameters.get(rule.name).cloned();
            given.or_else(|| rule.left_out().map(Setting::Fixed))
        });
        (self.class_weights.as_ref(), settings.collect())
    }
}

impl Study {
    /// True if the loss is among the objectives.
    pub fn ranks_by_loss(&self) -> bool {
        let is_loss = |further: &Further| matches!(further, Further::Metric(objective) if objective.metric.is_loss());
        self.objective.metric.is_loss() || self.further.iter().any(is_loss)
    }

    /// What is measured on the validation rows: what every study measures of its targets, and the objective.
    pub fn metrics(&self) -> Vec<Metric> {
        let targets = self.training.loss.target_kind();
        let further = |metric: &Metric| {
            let mut further = self.further.iter();
            further.any(|further| matches!(further, Further::Metric(objective) if objective.metric == *metric))
        };
        let is_wanted = |metric: &Metric| metric.is_usual() || *metric == self.objective.metric || further(metric);
        let all = Metric::ALL.iter().copied();
        all.filter(|metric| metric.is_for(targets) && is_wanted(metric))
            .collect()
    }

    /// The configuration of a trial with these parameters.
    ///
    /// # Errors
    /// A parameter is missing whose setting has no default, or has a value that its setting does not take: it did not come from this
    /// study.
    pub fn config(&self, params: &Params) -> Result<TrialConfig, Violation> {
        let mut model = Resolved::default();
        model.add("model", &self.model, params)?;
        let training = &self.training;
        let (optimizer, batch_size, epochs) = (&training.optimizer, &training.batch_size, &training.epochs);
        let field = "training";
        let optimizer = read(field, &OPTIMIZER, Some(optimizer), params, ParamValue::as_word)?;
        let schedule = &training.schedule;
        let schedule = read(field, &SCHEDULE, Some(schedule), params, ParamValue::as_word)?;
        let words = (optimizer, schedule, self.objective.metric);
        let hyperparameters = Hyperparameters::read(words, model.dropout, |rule| {
            let setting = training.hyperparameters.get(rule.name);
            read(field, rule, setting, params, number)
        })?;
        Ok(TrialConfig {
            architecture: Architecture {
                input: self.shape.sample,
                layers: model.layers,
                loss: training.loss,
                batch_size: read(field, &BATCH_SIZE, Some(batch_size), params, ParamValue::as_whole)?,
                epochs: read(field, &EPOCHS, Some(epochs), params, ParamValue::as_whole)?,
            },
            hyperparameters,
        })
    }

    /// The parameters of a refit of a trial with these parameters; `None` if the study has no refit. What is set may have parameters
    /// of the trial be active no more; but what is set itself stays.
    pub fn refit_params(&self, trial: &Params) -> Option<Params> {
        let set = &self.refit.as_ref()?.set;
        let mut params = trial.clone();
        params.extend(set.clone());
        self.space.settle(&mut params);
        params.extend(set.clone());
        Some(params)
    }

    /// The configuration of a refit with these parameters, as [`Study::refit_params`] gives them, and so many epochs.
    ///
    /// # Errors
    /// As [`Study::config`].
    pub fn refit_config(&self, params: &Params, epochs: u32) -> Result<TrialConfig, Violation> {
        let mut config = self.config(params)?;
        config.architecture.epochs = epochs;
        Ok(config)
    }

    /// How many epochs a refit on all training rows has if the folds of its trial were at their best after these many: the mean of their steps.
    /// At least 1.
    pub fn epochs_of_best(&self, best: &[(u32, u32)]) -> u32 {
        let of_all_rows = |(fold, epochs): &(u32, u32)| {
            let size = self.fold_sizes.get(*fold as usize).copied().unwrap_or_default();
            f64::from(*epochs) * f64::from(size.train) / f64::from(self.shape.train_rows)
        };
        let mean = best.iter().map(of_all_rows).sum::<f64>() / best.len().max(1) as f64;
        (mean.round() as u32).max(1)
    }

    /// What a trial with these parameters sorts by, of each objective beside the first: after these folds and so many seconds of workers.
    /// `None` if a fold lacks a metric.
    ///
    /// # Errors
    /// As [`Study::config`].
    pub fn further_keys(
        &self,
        params: &Params,
        folds: &[FoldMetrics],
        worker_seconds: f64,
    ) -> Result<Option<Vec<f64>>, Violation> {
        let mut keys = Vec::with_capacity(self.further.len());
        for further in &self.further {
            let value = match further {
                Further::Metric(objective) => objective.of_trial(folds, 1).map(|value| value.mean),
                Further::Cost(Cost::WorkerSeconds) => Some(worker_seconds),
                Further::Cost(Cost::Parameters) => Some(self.config(params)?.architecture.params() as f64),
            };
            keys.push(value.map(|value| further.goal().key(value)));
        }
        Ok(keys.into_iter().collect())
    }

    /// What a trial with this value sorts by of all objectives.
    pub fn keys(&self, value: f64, further_keys: &[f64]) -> Vec<f64> {
        [&[self.objective.rank_key(value)], further_keys].concat()
    }

    /// Of what each validation row of a whole fold leaves a loss: of what is optimised, if that is a mean over rows. `None` if none is kept,
    /// as where there are more than [`ROW_LOSSES_MAX`] rows.
    pub fn row_losses(&self) -> Option<Metric> {
        let metric = self.objective.metric;
        let rows = self.fold_sizes.iter().map(|size| size.validate).max().unwrap_or(0);
        (self.keeps_row_losses && self.is_mean_of_rows(metric) && rows <= ROW_LOSSES_MAX).then_some(metric)
    }

    /// True for the mean of something that each row has. A loss in which classes weigh differently is none.
    pub fn is_mean_of_rows(&self, metric: Metric) -> bool {
        metric.is_mean_of_rows() && (self.training.class_weights.is_none() || !metric.is_loss())
    }

    /// Folds whose rows leave a loss, from fold 0 on: those of the first repeat, as a row that counted twice would seem to be two.
    pub fn folds_with_row_losses(&self) -> u32 {
        self.validation.scheme.folds_of_repeat()
    }

    /// How many rows of a fold validate for each that trains.
    pub fn test_ratio(&self) -> f64 {
        match (self.validation.scheme, self.validation.by) {
            // As if its folds were equal.
            (Scheme::KFold { folds, .. }, By::Rows | By::Groups) => 1.0 / (f64::from(folds) - 1.0),
            (Scheme::Holdout(share), _) => share / (1.0 - share),
            (Scheme::KFold { .. } | Scheme::Given { .. }, _) => {
                let ratio = |size: &FoldSize| f64::from(size.validate) / f64::from(size.train);
                self.fold_sizes.iter().map(ratio).sum::<f64>() / self.fold_sizes.len() as f64
            }
        }
    }

    /// True if what becomes of one trial matters to others: as it is raced, or learned from.
    pub fn compares_trials(&self) -> bool {
        self.racing.is_some() || self.sampler.generations().is_some()
    }

    /// Passes over the training rows of every trial; `None` where they are searched.
    pub fn epochs(&self) -> Option<u32> {
        match &self.training.epochs {
            Setting::Fixed(value) => value.as_whole(),
            Setting::Param(_) => None,
        }
    }

    /// Epoch reports of the search if no trial fails; `None` where a searched number of epochs leaves it open.
    pub fn search_epoch_reports(&self) -> Option<u64> {
        Some(self.epoch_reports(self.epochs()?))
    }

    /// Epoch reports that the search leaves at most: as many as it may, where epochs are searched.
    pub fn search_epoch_reports_max(&self) -> u64 {
        self.epoch_reports(self.epochs_max())
    }

    /// Epochs that a trial can have.
    fn epochs_max(&self) -> u32 {
        let epochs = match &self.training.epochs {
            Setting::Fixed(value) => value.as_whole(),
            Setting::Param(name) => {
                let extremes = self.space.get(name).map(Distribution::extremes).unwrap_or_default();
                extremes.iter().filter_map(ParamValue::as_whole).max()
            }
        };
        epochs.unwrap_or(0)
    }

    /// The same if no trial is pruned.
    pub fn unraced_epoch_reports(&self) -> Option<u64> {
        Some(self.all_epoch_reports(self.max_trials, self.epochs()?))
    }

    /// Epoch reports of the search where each trial has so many epochs, and none fails.
    fn epoch_reports(&self, epochs: u32) -> u64 {
        let Some(racing) = &self.racing else {
            return self.all_epoch_reports(self.max_trials, epochs);
        };
        let whole = (self.chosen.len() as u32)
            .saturating_add(self.growth.enqueued)
            .min(self.max_trials);
        let raced = self
            .heats_of(0..self.max_trials - whole)
            .map(|heat| racing.epoch_reports(heat.len() as u32, epochs));
        raced.sum::<u64>() + self.all_epoch_reports(whole, epochs)
    }

    fn all_epoch_reports(&self, trials: u32, epochs: u32) -> u64 {
        u64::from(trials) * u64::from(self.validation.folds()) * u64::from(epochs)
    }

    /// Which trials of a generation are raced against each other: all of them, or, where an earlier end of the study cut the generation, those
    /// on each side of it.
    pub fn heats(&self, generation: u32) -> impl Iterator<Item = Range<u32>> {
        let first = generation.saturating_mul(self.generations.size);
        let end = first.saturating_add(self.generations.size).min(self.max_trials);
        self.heats_of(first..end)
    }

    fn heats_of(&self, trials: Range<u32>) -> impl Iterator<Item = Range<u32>> {
        let mut first = trials.start;
        std::iter::from_fn(move || {
            let cut = self.growth.ends_before.iter().copied().find(|end| *end > first);
            let of_generation = self.generations.end_of(self.generations.of(first));
            let end = of_generation.min(cut.unwrap_or(u32::MAX)).min(trials.end);
            let heat = first..end;
            first = end;
            (!heat.is_empty()).then_some(heat)
        })
    }

    /// The generations whose results planning waits for: those of a sampler that learns, or of a search that results may end. `None` if
    /// trials are planned whatever comes of others.
    pub fn waits(&self) -> Option<Generations> {
        let stops = self.stops().is_some_and(|stop| stop.looks_at_results());
        self.sampler.generations().or(stops.then_some(self.generations))
    }

    /// When the search ends early. One that was extended does not: somebody wanted more.
    pub fn stops(&self) -> Option<&Stop> {
        self.stop.as_ref().filter(|_| self.growth.ends_before.is_empty())
    }

    /// Epoch reports of one refit: its folds, and the fit on all training rows.
    pub fn refit_epoch_reports(&self) -> u64 {
        self.refit.as_ref().map_or(0, |refit| {
            let epochs = match refit.epochs {
                RefitEpochs::Fixed(epochs) => epochs,
                RefitEpochs::Best => self.epochs_max(),
                RefitEpochs::OfFolds => 0,
            };
            u64::from(epochs) * u64::from(self.validation.folds() + 1)
        })
    }
}

impl Setting {
    /// Its value in a trial with these parameters.
    pub(crate) fn value<'a>(&'a self, params: &'a Params) -> Option<&'a ParamValue> {
        match self {
            Self::Fixed(value) => Some(value),
            Self::Param(name) => params.get(name),
        }
    }
}

/// The number that a setting is, and of a flag 0 or 1.
fn number(value: &ParamValue) -> Option<f64> {
    match value {
        ParamValue::Bool(flag) => Some(f64::from(u8::from(*flag))),
        other => other.as_number(),
    }
}

/// The value of one of the settings in `field`.
pub(crate) fn read<T>(
    field: &str,
    rule: &Rule,
    setting: Option<&Setting>,
    params: &Params,
    value: impl FnOnce(&ParamValue) -> Option<T>,
) -> Result<T, Violation> {
    // Without its parameter, which is not active then, a setting has its default.
    let default = rule.left_out();
    let given = setting.and_then(|setting| setting.value(params)).or(default.as_ref());
    let checked = given.ok_or_else(|| "has no value".to_owned()).and_then(|given| {
        rule.takes.check(given)?;
        value(given).ok_or_else(|| format!("cannot be {given}"))
    });
    checked.map_err(|description| Violation {
        field: format!("{field}.{}", rule.name),
        description,
    })
}
