//! A checked study: every configuration sampled from it can be trained.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::block::{Block, Resolved};
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
use trawl_dataset::{DatasetShape, Format};

/// A study. Only the check of its message makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    /// Unique name.
    pub name: String,
    /// The source of all its random numbers.
    pub seed: Seed,
    /// The format of the dataset's files.
    pub format: Format,
    /// Sizes of the dataset.
    pub shape: DatasetShape,
    /// The network.
    pub model: Vec<Block>,
    /// Training of one fold.
    pub training: TrainingSpec,
    /// Validation of a trial.
    pub validation: Validation,
    /// Sizes of its folds.
    pub fold_sizes: Vec<FoldSize>,
    /// The first or only objective, by which trials are compared.
    pub objective: Objective,
    /// The further objectives.
    pub further: Vec<Further>,
    /// The class whose F1 is [`Metric::ValF1`]; `None` for the mean over the classes.
    pub f1_class: Option<String>,
    /// The searched parameters.
    pub space: Space,
    /// The sampler.
    pub sampler: Sampler,
    /// The grouping of trials.
    pub generations: Generations,
    /// Racing of trials; `None` if each is trained to its end.
    pub racing: Option<Racing>,
    /// Trials in all.
    pub max_trials: u32,
    /// The first trials: configurations that a user chose. Missing values are drawn as in random search.
    pub chosen: Vec<Params>,
    /// Conditions that end the search early.
    pub stop: Option<Stop>,
    /// Its share of the workers relative to the priorities of other studies, at least 1.
    pub priority: u32,
    /// The refit of the best trial.
    pub refit: Option<RefitSpec>,
    /// True if the losses of single rows are kept.
    pub keeps_row_losses: bool,
    /// Its extensions since it was submitted.
    pub growth: Growth,
}

/// Extensions of a study.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// `max_trials` before each extension, ascending.
    pub ends_before: Vec<u32>,
    /// Trials with configurations that users added.
    pub enqueued: u32,
}

/// A plain value, or the name of a searched parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The same in every trial.
    Fixed(ParamValue),
    /// The value of a parameter.
    Param(String),
}

/// Training of one fold, with settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSpec {
    /// The engine.
    pub engine: EngineChoice,
    /// The loss.
    pub loss: Loss,
    /// Weights of the classes' rows in the loss; `None` if all weigh the same.
    pub class_weights: Option<ClassWeights>,
    /// The optimizer.
    pub optimizer: Setting,
    /// The schedule of the step size.
    pub schedule: Setting,
    /// The study's values for [`Hyperparameters::SETTINGS`], by name.
    pub hyperparameters: BTreeMap<&'static str, Setting>,
    /// Rows per step.
    pub batch_size: Setting,
    /// Passes over the training rows.
    pub epochs: Setting,
}

/// `training.optimizer`.
pub const OPTIMIZER: Rule = Rule::new("optimizer", Takes::Word(Optimizer::WORDS));
/// `training.schedule`; by default the first of the words, constant.
pub const SCHEDULE: Rule = Rule::new("schedule", Takes::Word(Schedule::WORDS)).or(0.0);
/// `training.batch_size`.
pub const BATCH_SIZE: Rule = Rule::new("batch_size", Takes::Whole(1, u32::MAX));
/// `training.epochs`.
pub const EPOCHS: Rule = Rule::new("epochs", Takes::Whole(1, EPOCHS_MAX));

/// Refit of the best trial.
#[derive(Clone, Debug, PartialEq)]
pub struct RefitSpec {
    /// Passes over the training rows.
    pub epochs: RefitEpochs,
    /// Values that replace the trial's.
    pub set: Params,
    /// Features for which activations are kept; if empty, the worker chooses.
    pub inputs: Vec<Vec<f32>>,
    /// True if the predictions of rows held out by the trial's folds calibrate the classes' probabilities.
    pub calibrates: bool,
}

/// Training time of a refit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefitEpochs {
    /// This number of passes over the training rows.
    Fixed(u32),
    /// As many steps as the trial's folds needed to be at their best.
    Best,
    /// None: the networks of the trial's folds are kept as an ensemble.
    OfFolds,
}

impl RefitSpec {
    /// True if nothing is trained: the networks of the trial's folds are kept.
    pub fn keeps_folds(&self) -> bool {
        self.epochs == RefitEpochs::OfFolds
    }
}

impl TrainingSpec {
    /// Further settings that the loss's values depend on: the weights of classes, and settings that only some losses have.
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

    /// Metrics on the validation rows: the usual ones for the study's targets, and the objective.
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
    /// A parameter without a default is missing, or has an invalid value: it did not come from this study.
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

    /// The parameters of a refit of a trial with these parameters; `None` if the study has no refit. Values in `set`
    /// may deactivate parameters of the trial, but are always kept themselves.
    pub fn refit_params(&self, trial: &Params) -> Option<Params> {
        let set = &self.refit.as_ref()?.set;
        let mut params = trial.clone();
        params.extend(set.clone());
        self.space.settle(&mut params);
        params.extend(set.clone());
        Some(params)
    }

    /// The configuration of a refit with parameters from [`Study::refit_params`] and this number of epochs.
    ///
    /// # Errors
    /// As [`Study::config`].
    pub fn refit_config(&self, params: &Params, epochs: u32) -> Result<TrialConfig, Violation> {
        let mut config = self.config(params)?;
        config.architecture.epochs = epochs;
        Ok(config)
    }

    /// Epochs of a refit on all training rows, given each fold's best number of epochs: the mean of the folds' steps,
    /// in epochs. At least 1.
    pub fn epochs_of_best(&self, best: &[(u32, u32)]) -> u32 {
        let of_all_rows = |(fold, epochs): &(u32, u32)| {
            let size = self.fold_sizes.get(*fold as usize).copied().unwrap_or_default();
            f64::from(*epochs) * f64::from(size.train) / f64::from(self.shape.train_rows)
        };
        let mean = best.iter().map(of_all_rows).sum::<f64>() / best.len().max(1) as f64;
        (mean.round() as u32).max(1)
    }

    /// A trial's rank keys of the further objectives, after these folds and seconds of workers. `None` if a fold lacks
    /// a metric.
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

    /// A trial's rank keys of all objectives.
    pub fn keys(&self, value: f64, further_keys: &[f64]) -> Vec<f64> {
        [&[self.objective.rank_key(value)], further_keys].concat()
    }

    /// The metric whose losses the validation rows of a whole fold leave: the objective's, if that is a mean over rows.
    /// `None` if none are kept, as with more than [`ROW_LOSSES_MAX`] rows.
    pub fn row_losses(&self) -> Option<Metric> {
        let metric = self.objective.metric;
        let rows = self.fold_sizes.iter().map(|size| size.validate).max().unwrap_or(0);
        (self.keeps_row_losses && self.is_mean_of_rows(metric) && rows <= ROW_LOSSES_MAX).then_some(metric)
    }

    /// True for a mean over rows. A loss with class weights is none.
    pub fn is_mean_of_rows(&self, metric: Metric) -> bool {
        metric.is_mean_of_rows() && (self.training.class_weights.is_none() || !metric.is_loss())
    }

    /// Folds whose rows leave losses, from fold 0 on: the first repeat's, because a repeated row would look like two.
    pub fn folds_with_row_losses(&self) -> u32 {
        self.validation.scheme.folds_of_repeat()
    }

    /// Validation rows of a fold for each training row.
    pub fn test_ratio(&self) -> f64 {
        match (self.validation.scheme, self.validation.by) {
            // As if all folds were equal.
            (Scheme::KFold { folds, .. }, By::Rows | By::Groups) => 1.0 / (f64::from(folds) - 1.0),
            (Scheme::Holdout(share), _) => share / (1.0 - share),
            (Scheme::KFold { .. } | Scheme::Given { .. }, _) => {
                let ratio = |size: &FoldSize| f64::from(size.validate) / f64::from(size.train);
                self.fold_sizes.iter().map(ratio).sum::<f64>() / self.fold_sizes.len() as f64
            }
        }
    }

    /// True if one trial's result affects others: with racing, or with a sampler that learns.
    pub fn compares_trials(&self) -> bool {
        self.racing.is_some() || self.sampler.generations().is_some()
    }

    /// Passes over the training rows of every trial; `None` if they are searched.
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

    /// Most epoch reports of the search; the limit, if epochs are searched.
    pub fn search_epoch_reports_max(&self) -> u64 {
        self.epoch_reports(self.epochs_max())
    }

    /// Most epochs of a trial.
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

    /// Epoch reports of the search if each trial has `epochs` epochs, and none fails.
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

    /// Groups of a generation's trials that are raced against each other: all, or, if an earlier end of the study cut
    /// the generation, the trials on each side of the cut.
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

    /// The generations whose results planning waits for: with a sampler that learns, or a search that results may end.
    /// `None` if planning does not depend on results.
    pub fn waits(&self) -> Option<Generations> {
        let stops = self.stops().is_some_and(|stop| stop.looks_at_results());
        self.sampler.generations().or(stops.then_some(self.generations))
    }

    /// Conditions that end the search early; `None` after an extension, because a user wanted more.
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

/// The number of a setting; for a flag, 0 or 1.
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
    // If its parameter is inactive, a setting has its default.
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
