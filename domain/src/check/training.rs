//! Checks how folds are trained.

use super::settings::Settings;
use super::word;
use crate::dataset::DatasetShape;
use crate::fold::{Split, Validation};
use crate::limits::EPOCH_REPORTS_MAX;
use crate::network::{Loss, Optimizer};
use crate::space::ParamValue;
use crate::study::{self, Setting, TrainingSpec};
use crate::study_draft::{RawValue, TrainingDraft};
use crate::violation::Violations;

/// The settings of `training` with which nothing is wrong: some rules look at one of them alone.
pub(super) struct SoundTraining {
    pub(super) loss: Option<Loss>,
    optimizer: Option<Setting>,
    learning_rate: Option<Setting>,
    pub(super) batch_size: Option<Setting>,
    l2: Option<Setting>,
    pub(super) epochs: Option<Setting>,
    momentum: Option<Setting>,
}

impl SoundTraining {
    pub(super) fn spec(self) -> Option<TrainingSpec> {
        Some(TrainingSpec {
            loss: self.loss?,
            optimizer: self.optimizer?,
            learning_rate: self.learning_rate?,
            batch_size: self.batch_size?,
            l2: self.l2?,
            epochs: self.epochs?,
            momentum: self.momentum?,
        })
    }
}

pub(super) fn check(
    training: Option<&TrainingDraft>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> SoundTraining {
    let missing = TrainingDraft::default();
    if training.is_none() {
        v.add("training", "is missing");
    }
    let draft = training.unwrap_or(&missing);
    let or_zero = |given: &Option<RawValue>| given.clone().unwrap_or(RawValue::Scalar(ParamValue::Int(0)));
    let (l2, momentum) = (or_zero(&draft.l2), or_zero(&draft.momentum));
    SoundTraining {
        loss: word::<Loss>("training.loss", &draft.loss, None, v),
        optimizer: settings.read(
            "training.optimizer",
            draft.optimizer.as_ref(),
            study::word::<Optimizer>,
            v,
        ),
        learning_rate: settings.read(
            "training.learning_rate",
            draft.learning_rate.as_ref(),
            study::learning_rate_value,
            v,
        ),
        batch_size: settings.read(
            "training.batch_size",
            draft.batch_size.as_ref(),
            study::batch_size_value,
            v,
        ),
        l2: settings.read("training.l2", Some(&l2), study::l2_value, v),
        epochs: settings.read("training.epochs", draft.epochs.as_ref(), study::epochs_value, v),
        momentum: settings.read("training.momentum", Some(&momentum), study::share_value, v),
    }
}

/// A batch must not be larger than the training rows of any fold; where a parameter gives it, its own field is named.
pub(super) fn batch_size(
    size: &Setting,
    validation: Validation,
    shape: DatasetShape,
    settings: &Settings<'_>,
    v: &mut Violations,
) {
    let split = Split::Validation(validation);
    let rows = (0..validation.folds())
        .map(|fold| split.train_len(shape.train_rows, fold))
        .min()
        .unwrap_or(0);
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
