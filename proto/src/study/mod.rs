//! Checks a submitted study completely: notes each broken rule under the path of its field.

pub mod chosen;
mod dataset;
mod model;
mod objectives;
mod racing;
mod sampler;
mod settings;
mod space;
mod stop;
mod training;
mod validation;

use std::collections::{BTreeMap, HashMap};

use prost_types::{ListValue, Value};
use trawl_dataset::word::UnknownWord;
use trawl_dataset::{DatasetShape, Format, Source, TargetKind};
use trawl_domain::fold::{FoldSize, RowKeys};
use trawl_domain::id::StudyId;
use trawl_domain::limits::{EPOCHS_MAX, LEARNING_TRIALS_MAX, REFIT_INPUTS_MAX, STUDY_NAME_CHARS_MAX, TRIALS_MAX};
use trawl_domain::loss::{ClassWeights, Loss};
use trawl_domain::search::Sampler;
use trawl_domain::seed::Seed;
use trawl_domain::space::{ParamValue, Params, Space};
use trawl_domain::stop::Stop;
use trawl_domain::study::{Growth, RefitEpochs, RefitSpec, Setting, Study};
use trawl_domain::violation::Violations;

use crate::{class_weights, v1};
use settings::Settings;
use space::Searched;

/// Default priority of a study, and the largest one.
const PRIORITY_USUAL: u32 = 10;
const PRIORITY_MAX: u32 = 100;
/// Most studies whose results a study takes.
const FROM_STUDIES_MAX: usize = 8;

/// Facts about the training rows, for the check.
#[derive(Clone, Copy, Debug)]
pub struct TrainingRows<'a> {
    /// Sizes of the dataset.
    pub shape: DatasetShape,
    /// Sizes of the folds.
    pub folds: Folds<'a>,
}

/// Source of the folds' sizes.
#[derive(Clone, Copy, Debug)]
pub enum Folds<'a> {
    /// Computed from the rows' keys.
    OfRows(RowKeys<'a>),
    /// As found earlier, by a column or in the files; for a validation part, the size of its only fold.
    Sizes(&'a [FoldSize]),
}

impl From<DatasetShape> for TrainingRows<'static> {
    /// For rows without a split column.
    fn from(shape: DatasetShape) -> Self {
        let keys = RowKeys {
            rows: shape.train_rows,
            ..RowKeys::default()
        };
        Self {
            shape,
            folds: Folds::OfRows(keys),
        }
    }
}

/// The files of a study's dataset; `None` if a name is invalid, which [`check`] reports.
pub fn source(study: &v1::Study) -> Option<Source> {
    dataset::check(
        study.dataset.as_ref(),
        study.validation.as_ref(),
        &mut Violations::new(),
    )
}

/// The space of a checked study; `None` if it is invalid.
pub fn space(study: &v1::Study) -> Option<Space> {
    let mut violations = Violations::new();
    let searched = Searched::new(&study.model, &study.space, &mut violations);
    let space = space::check(&searched, &study.constraints, &mut violations);
    violations.is_empty().then_some(space)
}

/// The parameters that a study searches, by their names in its trials. They are the parameters of its space, with `units_1`,
/// `units_2`, … in place of a parameter that each repetition of layers has of its own.
pub fn searched(study: &v1::Study) -> HashMap<String, v1::Distribution> {
    Searched::new(&study.model, &study.space, &mut Violations::new()).distributions
}

/// The kind of targets that a study needs; numbers if the loss is invalid.
pub fn target_kind(study: &v1::Study) -> TargetKind {
    let loss = study.training.as_ref().and_then(|training| training.loss.parse().ok());
    loss.map_or(TargetKind::Number, Loss::target_kind)
}

/// The study, if it is valid. `rows` has the facts about its training rows, or the faults of its files; it is `None` if
/// nothing could be read.
///
/// # Errors
/// Every broken rule.
pub fn check(study: &v1::Study, rows: Option<Result<TrainingRows<'_>, Violations>>) -> Result<Study, Violations> {
    let mut violations = Violations::new();
    let v = &mut violations;

    name(&study.name, v);
    if i64::try_from(study.seed).is_err() {
        v.add("seed", format!("must be at most {}", i64::MAX));
    }
    let source = dataset::check(study.dataset.as_ref(), study.validation.as_ref(), v);
    one_class_column(source.as_ref(), target_kind(study), v);
    let rows = read_rows(rows, v);
    let shape = rows.map(|rows| rows.shape);
    let searched = Searched::new(&study.model, &study.space, v);
    let space = space::check(&searched, &study.constraints, v);
    let refit = study
        .refit
        .as_ref()
        .map(|refit| refit_spec(refit, &searched.distributions, shape, target_kind(study), v));
    let mut settings = Settings::new(&searched, &space, refit.as_ref().map(|refit| &refit.set));
    let model = model::check(&study.model, shape, &mut settings, v);
    let training = training::check(study.training.as_ref(), &mut settings, v);
    settings.note_unused(v);
    let (validation, fold_sizes) = validation::check(study, training.loss.map(Loss::target_kind), rows, v);
    if let (Some(fold_sizes), Some(size)) = (&fold_sizes, &training.batch_size) {
        let norms = model.as_ref().is_some_and(|model| model::has_batch_norm(model));
        training::batch_size(size, fold_sizes, norms, &settings, v);
    }
    let objectives = objectives::check(study, training.loss, v);
    let objective = objectives.as_ref().map(|(first, _)| *first);
    let f1_class = objectives::f1_class(study, v);
    if let Some(hyperparameters) = &training.hyperparameters {
        training::note_searched_loss(hyperparameters, study, v);
        if let Some(shape) = shape {
            training::augment(study.training.as_ref(), hyperparameters, shape.sample, &settings, v);
        }
    }
    if !(1..=TRIALS_MAX).contains(&study.max_trials) {
        v.add(
            "max_trials",
            format!("must be from 1 to {TRIALS_MAX}, and {} is not", study.max_trials),
        );
    }
    let chosen = chosen::check(&study.trials, Seed(study.seed), &space, 0, v);
    let stop = stop::check(study.stop.as_ref(), objective, v);
    let priority = priority(study.priority, v);
    let (sampler, generations) = sampler::check(study.sampler.as_ref(), Seed(study.seed), &space, study.max_trials, v);
    from(&study.from, sampler, v);
    // A grid ends with its last configuration. So does a search that learns, because it learns nothing from repetitions.
    if let Some(sampler) = sampler {
        trials_and_stop(sampler, chosen.len(), stop, study.max_trials, v);
    }
    let most = sampler.and_then(|sampler| sampler.trials_max(&space));
    let most = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
    let max_trials = study.max_trials.min(most);
    let raced = match (validation, &training.epochs) {
        (Some(validation), Some(epochs)) => {
            let epochs = match epochs {
                Setting::Fixed(epochs) => epochs.as_whole(),
                Setting::Param(_) => None,
            };
            let size = generations.unwrap_or_default().size;
            let further = objectives.as_ref().map_or(&[][..], |(_, further)| further);
            racing::check(study.racing.as_ref(), max_trials, size, validation, epochs, further, v)
        }
        _ => None,
    };
    if let (Some(validation), Some(epochs)) = (validation, &training.epochs) {
        training::epoch_reports(max_trials, validation, epochs, &settings, v);
    }

    let checked = (|| {
        Some(Study {
            name: study.name.clone(),
            seed: Seed(study.seed),
            format: source?.format,
            shape: shape?,
            model: model?,
            training: training.spec()?,
            validation: validation?,
            fold_sizes: fold_sizes?,
            objective: objective?,
            further: objectives?.1,
            f1_class,
            max_trials,
            space,
            sampler: sampler?,
            generations: generations?,
            racing: raced?,
            chosen,
            stop,
            priority,
            refit,
            keeps_row_losses: study.row_losses.unwrap_or(true),
            growth: Growth::default(),
        })
    })();
    violations.into_result(checked)
}

/// Like [`check`]; also compares the classes that a study names with the training rows' classes, if they are known.
///
/// # Errors
/// Every broken rule.
pub fn check_with_classes(
    study: &v1::Study,
    rows: Option<Result<TrainingRows<'_>, Violations>>,
    classes: Option<&[String]>,
) -> Result<Study, Violations> {
    let checked = check(study, rows);
    let written = study
        .training
        .as_ref()
        .and_then(|training| training.class_weights.as_ref());
    // The check has reported other faults of the weights.
    let weights = class_weights::read("", written, &mut Violations::new());
    let Some(classes) = classes else {
        return checked;
    };
    let weighted = match weights {
        Some(Some(ClassWeights::Named(weights))) => weights.into_keys().collect(),
        _ => Vec::new(),
    };
    let weighted = weighted
        .into_iter()
        .map(|class| (format!("training.class_weights.{class}"), class));
    let measured = objectives::fields(study).filter(|(_, objective)| !objective.class.is_empty());
    let measured = measured.map(|(field, objective)| (format!("{field}.class"), objective.class.clone()));
    let (checked, mut violations) = match checked {
        Ok(checked) => (Some(checked), Violations::new()),
        Err(violations) => (None, violations),
    };
    for (field, _) in weighted.chain(measured).filter(|(_, class)| !classes.contains(class)) {
        violations.add(
            field,
            "is of no class that the training rows have: name one of theirs, or leave it out",
        );
    }
    violations.into_result(checked)
}

/// Several columns can be predicted only as numbers.
fn one_class_column(source: Option<&Source>, kind: TargetKind, v: &mut Violations) {
    let Some(Format::Csv(columns)) = source.map(|source| &source.format) else {
        return;
    };
    if kind == TargetKind::Class && !columns.more_targets.is_empty() {
        v.add(
            "dataset.csv.target",
            "names several columns, and classes are those of one: name one, or take a loss of numbers, or bce for what is yes or no",
        );
    }
}

/// The rows of a dataset that was read; notes faults of its files.
fn read_rows<'a>(rows: Option<Result<TrainingRows<'a>, Violations>>, v: &mut Violations) -> Option<TrainingRows<'a>> {
    let unreadable = |violations: Violations| {
        let each = violations.iter();
        each.for_each(|violation| v.add(&violation.field, &violation.description));
    };
    rows?.map_err(unreadable).ok()
}

/// Studies whose results count as this one's; their existence is checked later.
fn from(studies: &[String], sampler: Option<Sampler>, v: &mut Violations) {
    if studies.len() > FROM_STUDIES_MAX {
        v.add(
            "from",
            format!(
                "must be at most {FROM_STUDIES_MAX} studies, and {} are not",
                studies.len()
            ),
        );
    }
    for (place, study) in studies.iter().enumerate() {
        if studies[..place].contains(study) {
            v.add(format!("from[{place}]"), format!("is {study}, which is there already"));
        }
    }
    if !studies.is_empty() && sampler.is_some_and(|sampler| sampler.generations().is_none()) {
        v.add("from", "is for gp, tpe and auto alone, which learn: leave it out");
    }
}

fn priority(written: Option<u32>, v: &mut Violations) -> u32 {
    let priority = written.unwrap_or(PRIORITY_USUAL);
    if !(1..=PRIORITY_MAX).contains(&priority) {
        v.add(
            "priority",
            format!("must be from 1 to {PRIORITY_MAX}, and {priority} is not"),
        );
    }
    priority
}

/// Checks that a user's configurations and the stop conditions fit the sampler and the number of trials.
fn trials_and_stop(sampler: Sampler, chosen: usize, stop: Option<Stop>, max_trials: u32, v: &mut Violations) {
    if chosen > max_trials as usize {
        v.add(
            "max_trials",
            format!("must be at least the number of trials that are chosen, {chosen}"),
        );
    }
    if sampler == Sampler::Grid && chosen > 0 {
        v.add(
            "trials",
            "must be left out beside a grid, which trains every configuration by itself",
        );
    }
    let waits = sampler.generations().is_none() && stop.is_some_and(|stop| stop.looks_at_results());
    if waits && max_trials > LEARNING_TRIALS_MAX {
        v.add(
            "max_trials",
            format!("must be at most {LEARNING_TRIALS_MAX} where results may stop the search, and {max_trials} is not"),
        );
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
    } else if name.parse::<StudyId>().is_ok() {
        v.add("name", "must not look like an id: commands take either");
    }
}

fn refit_spec(
    refit: &v1::Refit,
    space: &HashMap<String, v1::Distribution>,
    shape: Option<DatasetShape>,
    kind: TargetKind,
    v: &mut Violations,
) -> RefitSpec {
    let keeps_folds = keeps_folds(refit, v);
    let epochs = match keeps_folds {
        true => RefitEpochs::OfFolds,
        false => refit_epochs(refit.epochs.as_ref(), v),
    };
    let mut set = Params::new();
    // A fixed order, so that the violations are always the same.
    let values: BTreeMap<_, _> = refit.set.iter().collect();
    for (name, value) in values {
        let field = format!("refit.set.{name}");
        if !space.contains_key(name) {
            v.add(field, format!("there is no parameter '{name}' in the space"));
        } else if let Some(value) = settings::scalar(&field, value, v) {
            set.insert(name.clone(), value);
        }
    }
    RefitSpec {
        epochs,
        set,
        inputs: inputs(&refit.inputs, shape, v),
        calibrates: calibrates(&refit.calibrate, kind, v),
    }
}

/// True if a refit keeps the networks of folds; then it has no settings of training.
fn keeps_folds(refit: &v1::Refit, v: &mut Violations) -> bool {
    match refit.ensemble.as_str() {
        "" => return false,
        "folds" => {}
        word => {
            v.add("refit.ensemble", format!("must be folds, and '{word}' is not"));
            return false;
        }
    }
    for (field, is_there) in [
        ("epochs", refit.epochs.is_some()),
        ("set", !refit.set.is_empty()),
        ("inputs", !refit.inputs.is_empty()),
    ] {
        if is_there {
            v.add(
                format!("refit.{field}"),
                "goes without ensemble: folds, which keeps the networks as the search trained them: leave out one of them",
            );
        }
    }
    true
}

/// True if a refit calibrates probabilities.
fn calibrates(word: &str, kind: TargetKind, v: &mut Violations) -> bool {
    let wrong = match (word, kind) {
        ("" | "none", _) => return false,
        ("temperature", TargetKind::Class) => return true,
        ("temperature", TargetKind::Number) => "is for classes, and numbers are predicted: leave it out".to_owned(),
        ("temperature", TargetKind::Binary) => "is for classes, and yes or no is predicted: leave it out".to_owned(),
        _ => format!("must be temperature or none, and '{word}' is not"),
    };
    v.add("refit.calibrate", wrong);
    false
}

/// Training time of a refit; any value if it is invalid.
fn refit_epochs(epochs: Option<&Value>, v: &mut Violations) -> RefitEpochs {
    const FIELD: &str = "refit.epochs";
    let Some(epochs) = epochs else {
        v.add(
            FIELD,
            format!("is missing: name a number from 1 to {EPOCHS_MAX}, or best"),
        );
        return RefitEpochs::Best;
    };
    match settings::scalar(FIELD, epochs, v) {
        None => RefitEpochs::Best,
        Some(ParamValue::Text(word)) if word == "best" => RefitEpochs::Best,
        Some(value) => match value.as_whole().filter(|epochs| (1..=EPOCHS_MAX).contains(epochs)) {
            Some(epochs) => RefitEpochs::Fixed(epochs),
            None => {
                v.add(
                    FIELD,
                    format!("must be from 1 to {EPOCHS_MAX}, or best, and {value} is not"),
                );
                RefitEpochs::Best
            }
        },
    }
}

fn inputs(rows: &[ListValue], shape: Option<DatasetShape>, v: &mut Violations) -> Vec<Vec<f32>> {
    if rows.len() > REFIT_INPUTS_MAX {
        v.add("refit.inputs", format!("must be at most {REFIT_INPUTS_MAX} rows"));
        return Vec::new();
    }
    let mut inputs = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let row: &[Value] = &row.values;
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

fn word<T: std::str::FromStr<Err = UnknownWord>>(
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
