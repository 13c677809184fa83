//! Checks how folds are trained.

use std::collections::BTreeMap;

use trawl_domain::engine::EngineChoice;
use trawl_domain::fold::{FoldSize, Validation};
use trawl_domain::limits::EPOCH_REPORTS_MAX;
use trawl_domain::loss::Loss;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::space::ParamValue;
use trawl_domain::study::{BATCH_SIZE, EPOCHS, OPTIMIZER, Setting, TrainingSpec};
use trawl_domain::violation::Violations;

use super::settings::Settings;
use super::word;
use crate::{layers, v1};

/// The settings of `training` with which nothing is wrong: some rules look at one of them alone.
pub(super) struct SoundTraining {
    engine: Option<EngineChoice>,
    pub(super) loss: Option<Loss>,
    optimizer: Option<Setting>,
    hyperparameters: Option<BTreeMap<&'static str, Setting>>,
    pub(super) batch_size: Option<Setting>,
    pub(super) epochs: Option<Setting>,
}

impl SoundTraining {
    pub(super) fn spec(self) -> Option<TrainingSpec> {
        Some(TrainingSpec {
            engine: self.engine?,
            loss: self.loss?,
            optimizer: self.optimizer?,
            hyperparameters: self.hyperparameters?,
            batch_size: self.batch_size?,
            epochs: self.epochs?,
        })
    }
}

pub(super) fn check(training: Option<&v1::Training>, settings: &mut Settings<'_>, v: &mut Violations) -> SoundTraining {
    let missing = v1::Training::default();
    if training.is_none() {
        v.add("training", "is missing");
    }
    let training = training.unwrap_or(&missing);
    let written = layers::settings(training);
    let engine = word("training.engine", &training.engine, Some(EngineChoice::Auto), v);
    let loss = word::<Loss>("training.loss", &training.loss, None, v);
    let mut read = |rule| settings.read("training", rule, &written, v);
    let optimizer = read(&OPTIMIZER);
    let (batch_size, epochs) = (read(&BATCH_SIZE), read(&EPOCHS));
    // All of them are read, so that whatever is wrong is told at once.
    let hyperparameters = Hyperparameters::SETTINGS.map(|rule| Some((rule.name, read(rule)?)));
    if let Some(optimizer) = &optimizer {
        note_foreign_settings(optimizer, &written, settings, v);
    }
    SoundTraining {
        engine,
        loss,
        optimizer,
        hyperparameters: hyperparameters.into_iter().collect(),
        batch_size,
        epochs,
    }
}

/// A setting that no optimizer of the study has would be given in vain.
fn note_foreign_settings(optimizer: &Setting, written: &layers::Settings, settings: &Settings<'_>, v: &mut Violations) {
    let optimizers: Vec<Optimizer> = settings.values(optimizer).filter_map(ParamValue::as_word).collect();
    for rule in Hyperparameters::SETTINGS {
        let is_had = |optimizer: &&Optimizer| optimizer.has(rule);
        if written.contains_key(rule.name) && !optimizers.iter().any(|optimizer| is_had(&optimizer)) {
            let owners: Vec<&str> = Optimizer::ALL
                .iter()
                .filter(is_had)
                .map(|optimizer| optimizer.as_str())
                .collect();
            v.add(
                format!("training.{}", rule.name),
                format!(
                    "is a setting of {} alone, which the optimizer never is: leave it out",
                    owners.join(", ")
                ),
            );
        }
    }
}

/// A batch must not be larger than the training rows of any fold; where a parameter gives it, its own field is named.
pub(super) fn batch_size(size: &Setting, fold_sizes: &[FoldSize], settings: &Settings<'_>, v: &mut Violations) {
    let rows = fold_sizes.iter().map(|fold| fold.train).min().unwrap_or(0);
    for (field, value) in settings.origins("training.batch_size", size) {
        if matches!(value, ParamValue::Int(size) if *size > i64::from(rows)) {
            v.add(
                field,
                format!("is a batch of {value} rows, and the smallest training fold has {rows}"),
            );
        }
    }
}

pub(super) fn epoch_reports(
    max_trials: u32,
    validation: Validation,
    epochs: &Setting,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let Some(epochs) = settings.most(epochs) else {
        return;
    };
    let reports = u64::from(max_trials)
        .saturating_mul(u64::from(validation.folds()))
        .saturating_mul(epochs);
    if reports > EPOCH_REPORTS_MAX {
        v.add(
            "max_trials",
            format!("trials x folds x epochs make {reports} epoch reports; at most {EPOCH_REPORTS_MAX} are kept"),
        );
    }
}
