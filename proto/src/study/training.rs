//! Checks the training of folds.

use std::collections::BTreeMap;

use trawl_dataset::{SampleShape, TargetKind};
use trawl_domain::engine::EngineChoice;
use trawl_domain::fold::{FoldSize, Validation};
use trawl_domain::limits::EPOCH_REPORTS_MAX;
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::{Hyperparameters, Optimizer};
use trawl_domain::rule::Rule;
use trawl_domain::schedule::Schedule;
use trawl_domain::space::ParamValue;
use trawl_domain::study::{BATCH_SIZE, EPOCHS, OPTIMIZER, SCHEDULE, Setting, TrainingSpec};
use trawl_domain::violation::Violations;

use super::settings::Settings;
use super::word;
use crate::{class_weights, layers, v1};

const AUGMENT: &str = "training.augment";
const CLASS_WEIGHTS: &str = "training.class_weights";

/// The valid settings of `training`: some rules use only one of them.
pub(super) struct SoundTraining {
    engine: Option<EngineChoice>,
    pub(super) loss: Option<Loss>,
    class_weights: Option<Option<ClassWeights>>,
    optimizer: Option<Setting>,
    schedule: Option<Setting>,
    pub(super) hyperparameters: Option<BTreeMap<&'static str, Setting>>,
    pub(super) batch_size: Option<Setting>,
    pub(super) epochs: Option<Setting>,
}

impl SoundTraining {
    pub(super) fn spec(self) -> Option<TrainingSpec> {
        Some(TrainingSpec {
            engine: self.engine?,
            loss: self.loss?,
            class_weights: self.class_weights?,
            optimizer: self.optimizer?,
            schedule: self.schedule?,
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
    let (optimizer, schedule) = (read(&OPTIMIZER), read(&SCHEDULE));
    let (batch_size, epochs) = (read(&BATCH_SIZE), read(&EPOCHS));
    let groups = [
        (
            "training.early_stopping",
            &Hyperparameters::EARLY_STOPPING[..],
            training.early_stopping.as_ref().map(layers::settings),
        ),
        (
            AUGMENT,
            &Hyperparameters::AUGMENT[..],
            training.augment.as_ref().map(layers::settings),
        ),
    ];
    let hyperparameters = hyperparameters(&written, &groups, settings, v);
    if let Some(optimizer) = &optimizer {
        note_foreign_settings(optimizer, &written, settings, v);
    }
    if let Some(schedule) = &schedule {
        note_settings_of_other_schedules(schedule, &written, settings, v);
    }
    if let (Some(optimizer), Some(hyperparameters)) = (&optimizer, &hyperparameters) {
        note_nesterov_without_momentum(optimizer, hyperparameters, settings, v);
    }
    let class_weights = class_weights::read(CLASS_WEIGHTS, training.class_weights.as_ref(), v);
    if let Some(loss) = loss {
        note_settings_of_other_losses(loss, &written, v);
    }
    SoundTraining {
        engine,
        loss,
        class_weights,
        optimizer,
        schedule,
        hyperparameters,
        batch_size,
        epochs,
    }
}

/// The given settings by name; a given nested message counts with all of its settings, because defaults may depend on optimizer or schedule.
fn hyperparameters(
    written: &layers::Settings,
    groups: &[(&str, &[Rule], Option<layers::Settings>)],
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<BTreeMap<&'static str, Setting>> {
    let is_of_a_group = |rule: &&&Rule| {
        let mut of_groups = groups.iter().flat_map(|(_, rules, _)| *rules);
        of_groups.any(|other| other.name == rule.name)
    };
    let of_training = Hyperparameters::SETTINGS.iter().filter(|rule| !is_of_a_group(rule));
    // Reads all settings, so that all faults are reported at once.
    let mut read: Vec<Option<(&'static str, Setting)>> = of_training
        .map(|rule| Some((rule.name, settings.read("training", rule, written, v)?)))
        .collect();
    read.retain(|setting| setting.as_ref().is_none_or(|(name, _)| written.contains_key(*name)));
    for (field, rules, given) in groups {
        let each = given
            .iter()
            .flat_map(|given| rules.iter().map(move |rule| (rule, given)));
        read.extend(each.map(|(rule, given)| Some((rule.name, settings.read(field, rule, given, v)?))));
    }
    read.into_iter().collect()
}

/// A setting that no optimizer of the study uses would have no effect.
fn note_foreign_settings(optimizer: &Setting, written: &layers::Settings, settings: &Settings<'_>, v: &mut Violations) {
    let optimizers: Vec<Optimizer> = settings.values(optimizer).filter_map(ParamValue::as_word).collect();
    for rule in Hyperparameters::SETTINGS {
        let owners = Optimizer::ALL.iter().filter(|optimizer| optimizer.has(rule));
        if written.contains_key(rule.name) && !optimizers.iter().any(|optimizer| optimizer.has(rule)) {
            v.add(
                format!("training.{}", rule.name),
                vain("optimizer", owners.map(|optimizer| optimizer.as_str())),
            );
        }
    }
}

/// The same for schedules.
fn note_settings_of_other_schedules(
    schedule: &Setting,
    written: &layers::Settings,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let schedules: Vec<Schedule> = settings.values(schedule).filter_map(ParamValue::as_word).collect();
    for rule in Hyperparameters::SETTINGS {
        let owners = Schedule::ALL.iter().filter(|schedule| schedule.has(rule));
        if written.contains_key(rule.name) && !schedules.iter().any(|schedule| schedule.has(rule)) {
            v.add(
                format!("training.{}", rule.name),
                vain("schedule", owners.map(|schedule| schedule.as_str())),
            );
        }
    }
}

/// The message for a setting that nothing in the study uses.
fn vain<'a>(what: &str, owners: impl Iterator<Item = &'a str>) -> String {
    let owners = owners.collect::<Vec<_>>().join(", ");
    format!("is a setting of {owners} alone, which the {what} never is: leave it out")
}

/// Nesterov's step needs momentum.
fn note_nesterov_without_momentum(
    optimizer: &Setting,
    hyperparameters: &BTreeMap<&'static str, Setting>,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let can = |setting: Option<&Setting>, is: fn(&ParamValue) -> bool| {
        setting.is_some_and(|setting| settings.values(setting).any(is))
    };
    let nesterov = can(hyperparameters.get("nesterov"), |value| {
        *value == ParamValue::Bool(true)
    });
    let is_sgd = can(Some(optimizer), |value| value.as_word() == Some(Optimizer::Sgd));
    let momentum = hyperparameters.get("momentum");
    let sgd = ParamValue::Text(Optimizer::Sgd.to_string());
    let may_lack = momentum.is_none_or(|momentum| settings.may_lack_beside(momentum, optimizer, &sgd));
    if nesterov && is_sgd && (may_lack || can(momentum, |value| value.as_number() == Some(0.0))) {
        v.add(
            "training.nesterov",
            "needs momentum, and training.momentum can be 0: let it be above 0 alone",
        );
    }
}

/// The same for losses.
fn note_settings_of_other_losses(loss: Loss, written: &layers::Settings, v: &mut Violations) {
    let is_given = |rule: &&&Rule| written.contains_key(rule.name) && !loss.has(rule);
    for rule in Hyperparameters::SETTINGS.iter().filter(is_given) {
        let owners = Loss::ALL.iter().filter(|loss| loss.has(rule));
        let owners: Vec<&str> = owners.map(|loss| loss.as_str()).collect();
        v.add(
            format!("training.{}", rule.name),
            format!(
                "is a setting of {} alone, and the loss is {loss}: leave it out",
                owners.join(", ")
            ),
        );
    }
    if loss.target_kind() != TargetKind::Class && written.contains_key("class_weights") {
        v.add(
            CLASS_WEIGHTS,
            format!(
                "are for {}, which predict classes, and the loss is {loss}: leave it out",
                Loss::all_for(TargetKind::Class)
            ),
        );
    }
}

/// Another setting makes another loss: among equally good networks, such a search prefers a setting with lower losses.
pub(super) fn note_searched_loss(
    hyperparameters: &BTreeMap<&'static str, Setting>,
    study: &v1::Study,
    v: &mut Violations,
) {
    let is_searched = |rule: &&&Rule| {
        let of_loss = Loss::ALL.iter().any(|loss| !loss.has(rule));
        of_loss && matches!(hyperparameters.get(rule.name), Some(Setting::Param(_)))
    };
    let Some(rule) = Hyperparameters::SETTINGS.iter().find(is_searched) else {
        return;
    };
    let single = study.objective.clone().unwrap_or_default();
    let objectives: Vec<(String, &str)> = match &study.objectives[..] {
        [] => vec![("objective.metric".to_owned(), single.metric.as_str())],
        several => (0..)
            .zip(several)
            .map(|(place, objective)| (format!("objectives[{place}].metric"), objective.metric.as_str()))
            .collect(),
    };
    let of_loss = objectives
        .into_iter()
        .filter(|(_, metric)| ["", Metric::ValLoss.as_str()].contains(metric));
    for (field, _) in of_loss {
        v.add(
            field,
            format!(
                "val_loss has another scale in each trial, as training.{} is searched: name a metric that has one, such as {}",
                rule.name,
                Metric::ValLogLoss
            ),
        );
    }
}

/// Only images can be augmented, and a crop must leave part of the image.
pub(super) fn augment(
    training: Option<&v1::Training>,
    hyperparameters: &BTreeMap<&'static str, Setting>,
    sample: SampleShape,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    if training.is_none_or(|training| training.augment.is_none()) {
        return;
    }
    let SampleShape::Image { height, width, .. } = sample else {
        v.add(
            AUGMENT,
            format!("is for images, and a row has {sample} numbers: leave it out"),
        );
        return;
    };
    let side = height.min(width);
    let Some(crop) = hyperparameters.get("crop") else {
        return;
    };
    for (field, value) in settings.origins("training.augment.crop", crop) {
        if value.as_whole().is_some_and(|crop| crop >= side) {
            v.add(
                field,
                format!("may leave nothing of an image: must be below its smaller side, {side}, and {value} is not"),
            );
        }
    }
}

/// A batch must not be larger than the training rows of any fold, and batch norms need two rows. If a parameter gives
/// the size, the violation names the parameter's own field.
pub(super) fn batch_size(
    size: &Setting,
    fold_sizes: &[FoldSize],
    has_batch_norm: bool,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let rows = fold_sizes.iter().map(|fold| fold.train).min().unwrap_or(0);
    for (field, value) in settings.origins("training.batch_size", size) {
        if matches!(value, ParamValue::Int(size) if *size > i64::from(rows)) {
            v.add(
                field,
                format!("is a batch of {value} rows, and the smallest training fold has {rows}"),
            );
        }
        if has_batch_norm && *value == ParamValue::Int(1) {
            v.add(
                field,
                "is a batch of one row, which has no variance for batch_norm: take 2 rows or more",
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
