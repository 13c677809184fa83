//! Checks a study, all of it at once: each broken rule is noted under the path of its field.

mod settings;
mod space;

use std::collections::BTreeSet;

use crate::dataset::{Columns, DatasetShape};
use crate::fold::{Split, Validation};
use crate::limits::{
    EPOCH_REPORTS_MAX, EPOCHS_MAX, FEATURES_MAX, FOLDS_MAX, LAYERS_MAX, NETWORK_PARAMS_MAX, PATH_BYTES_MAX,
    STUDY_NAME_CHARS_MAX, TRIALS_MAX,
};
use crate::metric::{At, Goal, Metric, Objective};
use crate::network::{Activation, Loss, Optimizer};
use crate::sampler::Sampler;
use crate::seed::Seed;
use crate::space::ParamValue;
use crate::study::{self, LayerSpec, RefitSpec, Setting, Study, TrainingSpec};
use crate::study_draft::{
    CsvDraft, LayerDraft, ObjectiveDraft, RawValue, RefitDraft, StudyDraft, TrainingDraft, ValidationDraft,
};
use crate::violation::Violations;

use settings::Settings;

impl StudyDraft {
    /// The columns that the dataset's files are read by; `None` if they are not well-formed, which [`StudyDraft::check`] will
    /// say.
    pub fn columns(&self) -> Option<Columns> {
        columns(self.dataset.as_ref(), self.refit.is_some(), &mut Violations::new())
    }

    /// The study, if nothing is wrong with it. `shape` holds the sizes of its dataset, or what is wrong with the files; it is
    /// `None` where there was nothing to be read.
    ///
    /// # Errors
    /// Every broken rule.
    pub fn check(&self, shape: Option<Result<DatasetShape, Violations>>) -> Result<Study, Violations> {
        let mut violations = Violations::new();
        let v = &mut violations;

        name(&self.name, v);
        if i64::try_from(self.seed).is_err() {
            v.add("seed", format!("must be at most {}", i64::MAX));
        }
        let columns = columns(self.dataset.as_ref(), self.refit.is_some(), v);
        let shape = match shape {
            Some(Ok(shape)) => Some(shape),
            Some(Err(unreadable)) => {
                unreadable
                    .iter()
                    .for_each(|violation| v.add(&violation.field, &violation.description));
                None
            }
            None => None,
        };
        let space = space::check(&self.space, v);
        let refit = self.refit.as_ref().map(|refit| refit_spec(refit, &self.space, v));
        let mut settings = Settings::new(&self.space, &space, refit.as_ref().map(|refit| &refit.set));
        let model = model(&self.model, shape, &mut settings, v);
        let training = training(self.training.as_ref(), &mut settings, v);
        settings.note_unused(v);
        let validation = validation(self.validation, shape, v);
        if let (Some(shape), Some(validation), Some(size)) = (shape, validation, &training.batch_size) {
            batch_size(size, validation, shape, &settings, v);
        }
        let objective = objective(&self.objective, v);
        if !(1..=TRIALS_MAX).contains(&self.max_trials) {
            v.add(
                "max_trials",
                format!("must be from 1 to {TRIALS_MAX}, and {} is not", self.max_trials),
            );
        }
        if let (Some(validation), Some(epochs)) = (validation, &training.epochs) {
            epoch_reports(self.max_trials, validation, epochs, &settings, v);
        }

        let study = (|| {
            Some(Study {
                name: self.name.clone(),
                seed: Seed(self.seed),
                columns: columns?,
                shape: shape?,
                model: model?,
                training: training.spec()?,
                validation: validation?,
                objective: objective?,
                space,
                sampler: Sampler::Random,
                max_trials: self.max_trials,
                refit,
            })
        })();
        violations.into_result(study)
    }
}

fn name(name: &str, v: &mut Violations) {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.chars().count() > STUDY_NAME_CHARS_MAX || !name.chars().all(allowed) {
        v.add(
            "name",
            format!("must be 1 to {STUDY_NAME_CHARS_MAX} of the characters a to z, 0 to 9 and '-'"),
        );
    } else if name.parse::<uuid::Uuid>().is_ok() {
        v.add("name", "must not look like an id: commands take either");
    }
}

fn columns(dataset: Option<&CsvDraft>, has_refit: bool, v: &mut Violations) -> Option<Columns> {
    let Some(csv) = dataset else {
        v.add("dataset", "is missing: name one kind of dataset, such as csv");
        return None;
    };
    let before = v.iter().count();
    for (field, path, required) in [("train", &csv.train, true), ("test", &csv.test, has_refit)] {
        let field = format!("dataset.csv.{field}");
        if path.is_empty() && required {
            v.add(
                field,
                if has_refit {
                    "is missing: a refit is measured on it"
                } else {
                    "is missing"
                },
            );
        } else if path.len() > PATH_BYTES_MAX || path.contains('\0') {
            v.add(field, format!("must be a path of at most {PATH_BYTES_MAX} bytes"));
        }
    }
    if csv.features.is_empty() || csv.features.len() > FEATURES_MAX {
        v.add("dataset.csv.features", format!("must name 1 to {FEATURES_MAX} columns"));
    }
    let mut seen = BTreeSet::new();
    for (index, feature) in csv.features.iter().enumerate() {
        if feature.is_empty() {
            v.add(format!("dataset.csv.features[{index}]"), "is empty");
        } else if !seen.insert(feature) {
            v.add(
                format!("dataset.csv.features[{index}]"),
                format!("'{feature}' is named twice"),
            );
        }
    }
    if csv.target.is_empty() {
        v.add("dataset.csv.target", "is missing");
    } else if seen.contains(&csv.target) {
        v.add("dataset.csv.target", format!("'{}' is a feature too", csv.target));
    }
    let well_formed = v.iter().count() == before;
    well_formed.then(|| Columns {
        features: csv.features.clone(),
        target: csv.target.clone(),
    })
}

fn model(
    layers: &[Option<LayerDraft>],
    shape: Option<DatasetShape>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<Vec<LayerSpec>> {
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        v.add(
            "model",
            format!("must have 1 to {LAYERS_MAX} layers, and has {}", layers.len()),
        );
        return None;
    }
    let mut specs = Vec::new();
    let mut widest = shape.map(|shape| u64::from(shape.features));
    let mut params = 0_u64;
    let mut last_linear = None;
    for (index, layer) in layers.iter().enumerate() {
        let at = |kind: &str| format!("model[{index}].{kind}");
        let spec = match layer {
            None => {
                v.add(
                    format!("model[{index}]"),
                    "is empty: name one of linear, activation, dropout",
                );
                None
            }
            Some(LayerDraft::Linear(units)) => {
                let field = at("linear.units");
                let units = settings.read(&field, units.as_ref(), study::units_value, v);
                let most = units.as_ref().and_then(|units| settings.most(units));
                if let (Some(inputs), Some(outputs)) = (widest, most) {
                    params = params.saturating_add((inputs + 1).saturating_mul(outputs));
                }
                widest = most;
                last_linear = Some((field, units.clone()));
                units.map(|units| LayerSpec::Linear { units })
            }
            Some(LayerDraft::Activation(kind)) => settings
                .read(&at("activation.kind"), kind.as_ref(), study::word::<Activation>, v)
                .map(|kind| LayerSpec::Activation { kind }),
            Some(LayerDraft::Dropout(p)) => settings
                .read(&at("dropout.p"), p.as_ref(), study::share_value, v)
                .map(|p| LayerSpec::Dropout { p }),
        };
        specs.push(spec);
    }
    if params > NETWORK_PARAMS_MAX {
        v.add(
            "model",
            format!("has up to {params} trainable numbers; at most {NETWORK_PARAMS_MAX} are allowed"),
        );
    }
    match last_linear {
        None => v.add("model", "has nothing to train: it needs a linear layer"),
        Some((field, Some(units))) => {
            let targets = shape.map_or(1, |shape| shape.targets);
            if let Some(other) = settings
                .values(&units)
                .find(|value| **value != ParamValue::Int(i64::from(targets)))
            {
                v.add(
                    field,
                    format!("gives {other} outputs where the dataset has {targets} target: the last linear layer must have {targets}"),
                );
            }
        }
        Some((_, None)) => {}
    }
    specs.into_iter().collect()
}

/// The settings of `training` with which nothing is wrong: some rules look at one of them alone.
struct SoundTraining {
    loss: Option<Loss>,
    optimizer: Option<Setting>,
    learning_rate: Option<Setting>,
    batch_size: Option<Setting>,
    l2: Option<Setting>,
    epochs: Option<Setting>,
    momentum: Option<Setting>,
}

impl SoundTraining {
    fn spec(self) -> Option<TrainingSpec> {
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

fn training(training: Option<&TrainingDraft>, settings: &mut Settings<'_>, v: &mut Violations) -> SoundTraining {
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

fn validation(draft: Option<ValidationDraft>, shape: Option<DatasetShape>, v: &mut Violations) -> Option<Validation> {
    let rows = shape.map(|shape| shape.train_rows);
    match draft {
        None => {
            v.add("validation", "is missing: name k_fold or holdout");
            None
        }
        Some(ValidationDraft::KFold(k)) if !(2..=FOLDS_MAX).contains(&k) => {
            v.add(
                "validation.k_fold",
                format!("must be from 2 to {FOLDS_MAX}, and {k} is not"),
            );
            None
        }
        Some(ValidationDraft::KFold(k)) if rows.is_some_and(|rows| rows < k) => {
            v.add(
                "validation.k_fold",
                format!("is {k}, and there are only {} training rows", rows.unwrap_or(0)),
            );
            None
        }
        Some(ValidationDraft::KFold(k)) => Some(Validation::KFold(k)),
        Some(ValidationDraft::Holdout(share)) if !(share > 0.0 && share < 1.0) => {
            v.add(
                "validation.holdout",
                format!("must be above 0 and below 1, and {share} is not"),
            );
            None
        }
        Some(ValidationDraft::Holdout(_)) if rows.is_some_and(|rows| rows < 2) => {
            v.add("validation.holdout", "needs at least two training rows");
            None
        }
        Some(ValidationDraft::Holdout(share)) => Some(Validation::Holdout(share)),
    }
}

/// A batch must not be larger than the training rows of any fold; where a parameter gives it, its own field is named.
fn batch_size(
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

fn epoch_reports(
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

fn objective(draft: &ObjectiveDraft, v: &mut Violations) -> Option<Objective> {
    let metric = word("objective.metric", &draft.metric, Some(Metric::ValLoss), v);
    let goal = word("objective.goal", &draft.goal, Some(Goal::Minimize), v);
    let at = word("objective.at", &draft.at, Some(At::Last), v);
    if (metric, goal) == (Some(Metric::ValLoss), Some(Goal::Maximize)) {
        v.add(
            "objective.goal",
            "must be minimize: a val_loss is the better the lower it is",
        );
    }
    Some(Objective {
        metric: metric?,
        goal: goal?,
        at: at?,
    })
}

fn refit_spec(
    draft: &RefitDraft,
    space: &std::collections::BTreeMap<String, Option<crate::study_draft::DistributionDraft>>,
    v: &mut Violations,
) -> RefitSpec {
    if !(1..=EPOCHS_MAX).contains(&i64::from(draft.epochs)) {
        v.add(
            "refit.epochs",
            format!("must be from 1 to {EPOCHS_MAX}, and {} is not", draft.epochs),
        );
    }
    let mut set = crate::space::Params::new();
    for (name, value) in &draft.set {
        let field = format!("refit.set.{name}");
        if !space.contains_key(name) {
            v.add(field, format!("there is no parameter '{name}' in the space"));
        } else if let Some(value) = settings::scalar(&field, value, v) {
            set.insert(name.clone(), value);
        }
    }
    RefitSpec {
        epochs: draft.epochs,
        set,
    }
}

fn word<T: std::str::FromStr<Err = crate::network::UnknownWord>>(
    field: &str,
    text: &str,
    default: Option<T>,
    v: &mut Violations,
) -> Option<T> {
    match (text, default) {
        ("", Some(default)) => Some(default),
        ("", None) => {
            v.add(field, "is missing");
            None
        }
        (text, _) => text
            .parse()
            .map_err(|error| v.add(field, format!("'{text}' is not known: it {error}")))
            .ok(),
    }
}
