//! Checks a study, all of it at once: each broken rule is noted under the path of its field.

mod dataset;
mod model;
mod settings;
mod space;
mod training;

pub use dataset::{FilePlace, FileRef, Source};

use crate::dataset::{DatasetShape, TargetKind};
use crate::fold::Validation;
use crate::limits::{EPOCHS_MAX, FOLDS_MAX, REFIT_INPUTS_MAX, STUDY_NAME_CHARS_MAX, TRIALS_MAX};
use crate::loss::Loss;
use crate::metric::{At, Goal, Metric, Objective};
use crate::sampler::Sampler;
use crate::seed::Seed;
use crate::space::{ParamValue, Params};
use crate::study::{RefitSpec, Study};
use crate::study_draft::{ObjectiveDraft, RawValue, RefitDraft, StudyDraft, ValidationDraft};
use crate::violation::Violations;

use settings::Settings;

impl StudyDraft {
    /// The files of the dataset; `None` if they are not named well, which [`StudyDraft::check`] will say.
    pub fn source(&self) -> Option<Source> {
        dataset::check(self.dataset.as_ref(), self.test_is_train, &mut Violations::new())
    }

    /// What the targets have to be; numbers if the loss does not say.
    pub fn target_kind(&self) -> TargetKind {
        let loss = self.training.as_ref().and_then(|training| training.loss.parse().ok());
        loss.map_or(TargetKind::Number, Loss::target_kind)
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
        let source = dataset::check(self.dataset.as_ref(), self.test_is_train, v);
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
        let refit = self
            .refit
            .as_ref()
            .map(|refit| refit_spec(refit, &self.space, shape, v));
        let mut settings = Settings::new(&self.space, &space, refit.as_ref().map(|refit| &refit.set));
        let model = model::check(&self.model, shape, &mut settings, v);
        let training = training::check(self.training.as_ref(), &mut settings, v);
        settings.note_unused(v);
        let validation = validation(self.validation, shape, v);
        if let (Some(shape), Some(validation), Some(size)) = (shape, validation, &training.batch_size) {
            training::batch_size(size, validation, shape, &settings, v);
        }
        let objective = objective(&self.objective, training.loss, v);
        if !(1..=TRIALS_MAX).contains(&self.max_trials) {
            v.add(
                "max_trials",
                format!("must be from 1 to {TRIALS_MAX}, and {} is not", self.max_trials),
            );
        }
        if let (Some(validation), Some(epochs)) = (validation, &training.epochs) {
            training::epoch_reports(self.max_trials, validation, epochs, &settings, v);
        }

        let study = (|| {
            Some(Study {
                name: self.name.clone(),
                seed: Seed(self.seed),
                format: source?.format,
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
    let (first, further) = (
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit(),
        |c: char| matches!(c, '_' | '-'),
    );
    if !name.starts_with(first)
        || name.chars().count() > STUDY_NAME_CHARS_MAX
        || !name.chars().all(|c| first(c) || further(c))
    {
        v.add(
            "name",
            format!(
                "must begin with a letter a to z or a digit, go on with these, '_' and '-', and have at most {STUDY_NAME_CHARS_MAX} \
                 characters"
            ),
        );
    } else if name.parse::<uuid::Uuid>().is_ok() {
        v.add("name", "must not look like an id: commands take either");
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

fn objective(draft: &ObjectiveDraft, loss: Option<Loss>, v: &mut Violations) -> Option<Objective> {
    let metric = word("objective.metric", &draft.metric, Some(Metric::ValLoss), v);
    let goal = word("objective.goal", &draft.goal, metric.map(Metric::goal), v);
    let at = word("objective.at", &draft.at, Some(At::Last), v);
    match (metric, goal) {
        (Some(Metric::ValLoss), Some(Goal::Maximize)) => v.add(
            "objective.goal",
            "must be minimize: a val_loss is the better the lower it is",
        ),
        (Some(Metric::ValAccuracy), Some(Goal::Minimize)) => v.add(
            "objective.goal",
            "must be maximize: a val_accuracy is the better the higher it is",
        ),
        _ => {}
    }
    if metric == Some(Metric::ValAccuracy) && loss.is_some_and(|loss| loss.target_kind() != TargetKind::Class) {
        v.add(
            "objective.metric",
            "val_accuracy needs classes, which training.loss cross_entropy predicts",
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
    shape: Option<DatasetShape>,
    v: &mut Violations,
) -> RefitSpec {
    if !(1..=EPOCHS_MAX).contains(&draft.epochs) {
        v.add(
            "refit.epochs",
            format!("must be from 1 to {EPOCHS_MAX}, and {} is not", draft.epochs),
        );
    }
    let mut set = Params::new();
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
        inputs: inputs(&draft.inputs, shape, v),
    }
}

fn inputs(rows: &[Vec<RawValue>], shape: Option<DatasetShape>, v: &mut Violations) -> Vec<Vec<f32>> {
    if rows.len() > REFIT_INPUTS_MAX {
        v.add("refit.inputs", format!("must be at most {REFIT_INPUTS_MAX} rows"));
        return Vec::new();
    }
    let mut inputs = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let field = format!("refit.inputs[{index}]");
        if let Some(shape) = shape.filter(|shape| shape.sample.len() != row.len() as u64) {
            v.add(
                field,
                format!(
                    "has {} values where a row has {} features",
                    row.len(),
                    shape.sample.len()
                ),
            );
            continue;
        }
        let mut values = Vec::with_capacity(row.len());
        for (column, value) in row.iter().enumerate() {
            let field = format!("{field}[{column}]");
            match settings::scalar(&field, value, v) {
                Some(ParamValue::Int(number)) => values.push(number as f32),
                Some(ParamValue::Float(number)) if (number as f32).is_finite() => values.push(number as f32),
                Some(other) => v.add(field, format!("must be a number, and '{other}' is not")),
                None => {}
            }
        }
        inputs.push(values);
    }
    inputs
}

fn word<T: std::str::FromStr<Err = crate::word::UnknownWord>>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_a_letter_or_a_digit() {
        let is_name = |text: &str| {
            let mut violations = Violations::new();
            name(text, &mut violations);
            violations.is_empty()
        };
        let longest = "a".repeat(STUDY_NAME_CHARS_MAX);
        for text in ["a", "7", "a_b-c", "0-", "z__", &longest] {
            assert!(is_name(text), "{text}");
        }
        let longer = format!("{longest}a");
        for text in ["", "-a", "--help", "_a", "A", "aB", "a b", "ä", "a.b", "a/b", &longer] {
            assert!(!is_name(text), "{text}");
        }
        assert!(!is_name("57362ccc-9322-400a-af31-e9b73fb49a14"), "an id");
    }
}
