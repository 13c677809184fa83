//! Submit: checks a study completely, stores it with its dataset, and plans its first trials.

use std::collections::{BTreeMap, HashMap};

use tokio::task::{block_in_place, spawn_blocking};
use tracing::info;
use trawl_dataset::{Cells, FileHash, FilePlace, Inputs, Part, Source};
use trawl_domain::fold::Scheme;
use trawl_domain::id::StudyId;
use trawl_domain::job::{self, Window};
use trawl_domain::objectives::{Cost, Further};
use trawl_domain::study::Study;
use trawl_proto::{study, v1};

use super::auth::Caller;
use super::differences::{Made, differences};
use super::outline::{Outline, outline};
use super::prior_results::{self, Prior};
use super::read_dataset::{self, DatasetFiles, PartFiles};
use super::read_study::StudyView;
use super::register_dataset::register_file;
use super::{App, AppError, plan_trials, quotas};
use crate::store::jobs::Turn;
use crate::store::proposals::History;
use crate::store::studies::{self, NewStudy, StudyRecord, StudyRef, UNIQUE_NAME};
use crate::store::{dataset_files, proposals, workers};

/// The field of a study that grows.
const MAX_TRIALS: &str = "max_trials";

/// Result of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// The study was started.
    Started(StudyView, Vec<String>),
    /// The same study is already stored.
    AlreadyThere(StudyView),
    /// A dry run: the study would be started.
    WouldStart {
        /// The study.
        study: Study,
        /// True if its test rows have no targets.
        has_unlabelled_test: bool,
        /// Its `max_trials`.
        asked_trials: Option<u64>,
        /// Notes on a new study, a sentence each.
        notes: Vec<String>,
        /// The study, as the coordinator understood it.
        outline: Outline,
    },
}

impl Submitted {
    /// Notes for the submitter, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let (has_unlabelled_test, trials, asked) = match self {
            Self::Started(view, _) | Self::AlreadyThere(view) => (
                view.record.test.is_some() && !view.record.test_is_labelled,
                view.record.max_trials,
                asked_trials(&view.record.spec),
            ),
            Self::WouldStart {
                has_unlabelled_test,
                study,
                asked_trials,
                ..
            } => (*has_unlabelled_test, study.max_trials, *asked_trials),
        };
        let mut notes = Vec::new();
        if has_unlabelled_test {
            notes
                .push("the test rows have no targets: a refit predicts them, and its test_loss stays empty".to_owned());
        }
        if matches!(self, Self::Started(..) | Self::WouldStart { .. })
            && asked.is_some_and(|asked| u64::from(trials) < asked)
        {
            notes.push(match trials {
                1 => "the space has one configuration: the study has one trial".to_owned(),
                _ => format!("the space has {trials} configurations: the study ends with the last of them"),
            });
        }
        if let Self::Started(_, further) | Self::WouldStart { notes: further, .. } = self {
            notes.extend(further.iter().cloned());
        }
        notes
    }
}

/// A checked study, with its files.
#[derive(Debug)]
struct CheckedStudy {
    study: Study,
    spec: serde_json::Value,
    source: Source,
    files: DatasetFiles,
    /// Names of the files, by their fields.
    file_names: BTreeMap<String, String>,
    /// Results of other studies that count as the study's own.
    prior: Prior,
}

/// Checks a study and its files. `names` has names for the files, by field.
///
/// # Errors
/// Every broken rule; nothing was stored.
async fn check_study(app: &App, wire: v1::Study, names: &HashMap<String, String>) -> Result<CheckedStudy, AppError> {
    // A message of a megabyte may have half a million parts: their conversion must not block other calls.
    let (spec, source) = block_in_place(|| (trawl_proto::to_json(&wire), study::source(&wire)));
    let read = match &source {
        Some(source) => Some(read_dataset::read_dataset(app, source, study::target_kind(&wire)).await?),
        None => None,
    };
    let (files, rows) = match &read {
        Some(Ok(files)) => (Some(files), Some(Ok(files.rows.known()))),
        Some(Err(violations)) => (None, Some(Err(violations.clone()))),
        None => (None, None),
    };
    let classes = files.and_then(|files| files.classes.as_deref());
    let study = block_in_place(|| study::check_with_classes(&wire, rows, classes))?;
    // The check refuses non-finite numbers, so a study that passes it has a JSON form.
    let spec = spec.map_err(|error| AppError::invalid("study", error.reason))?;
    quotas::check_study(app, &study)?;
    // A study that passes its check names its files correctly, so they were read.
    let (Some(source), Some(Ok(mut files))) = (source, read) else {
        return Err(AppError::Internal("a checked study without files".to_owned()));
    };
    files.rows.forget_keys();
    Ok(CheckedStudy {
        study,
        spec,
        file_names: file_names(&source, names),
        source,
        files,
        prior: Prior::default(),
    })
}

/// The names of a study's files by field: those that were given, or else their paths.
fn file_names(source: &Source, given: &HashMap<String, String>) -> BTreeMap<String, String> {
    let files = source.files().filter_map(|file| {
        let path = match &file.place {
            FilePlace::Named(path) if !path.starts_with("sha256:") => Some(path.clone()),
            FilePlace::Named(_) | FilePlace::FashionMnist { .. } => None,
        };
        let given = given.get(&file.field).filter(|name| !name.is_empty());
        Some((file.field.clone(), given.cloned().or(path)?))
    });
    files.collect()
}

/// Checks and stores a study, and plans its first trials; a dry run stores nothing. The same study under the same name
/// is a repeated request, because its first answer was lost. `file_names` are names of its files for people, by their fields.
///
/// # Errors
/// Every broken rule, or another study of that name; nothing was stored.
pub async fn submit_study(
    app: &App,
    wire: v1::Study,
    file_names: HashMap<String, String>,
    dry_run: bool,
    caller: Caller,
) -> Result<Submitted, AppError> {
    let from = wire.from.clone();
    let mut checked = check_study(app, wire, &file_names).await?;
    if is_there(app, &checked).await? {
        return Ok(Submitted::AlreadyThere(stored(app, &checked).await?));
    }
    checked.prior = prior_results::gather(app, &checked.study, &from).await?;
    // An early check, before anything is stored; the check under the lock decides.
    let asked = quotas::asked(&checked.study);
    quotas::look(app, &mut *app.pool.acquire().await?, 1, asked).await?;
    if dry_run {
        let window = first_window(&checked).await?;
        let slots = workers::slots(&mut *app.pool.acquire().await?).await?;
        return Ok(Submitted::WouldStart {
            outline: outline(&checked.study, &checked.files, window.as_ref(), slots)?,
            has_unlabelled_test: checked.files.test.is_some() && !checked.files.test_is_labelled,
            asked_trials: asked_trials(&checked.spec),
            notes: notes(&checked),
            study: checked.study,
        });
    }
    let study_id = StudyId(app.new_id());
    match store(app, study_id, &checked, asked, caller).await {
        Ok(()) => {
            info!(study.id = %study_id, study.name = checked.study.name, study.max_trials = checked.study.max_trials,
                "study submitted");
        }
        // The same request came twice at once.
        Err(AppError::Store(error)) if error.is_violation_of(UNIQUE_NAME) => {
            return if is_there(app, &checked).await? {
                Ok(Submitted::AlreadyThere(stored(app, &checked).await?))
            } else {
                Err(AppError::Unavailable(
                    "the study of that name was just deleted; submit again",
                ))
            };
        }
        Err(error) => return Err(error),
    }
    app.signal_jobs();
    app.signal_studies();
    Ok(Submitted::Started(stored(app, &checked).await?, notes(&checked)))
}

async fn stored(app: &App, checked: &CheckedStudy) -> Result<StudyView, AppError> {
    super::read_study::get_study(app, &checked.study.name).await
}

async fn store(
    app: &App,
    study_id: StudyId,
    checked: &CheckedStudy,
    asked: u64,
    caller: Caller,
) -> Result<(), AppError> {
    for file in checked.files.all() {
        if let Some(content) = file.open(app).await? {
            register_file(app, file.fingerprint, content).await?;
        }
    }
    let window = first_window(checked).await?;
    let mut tx = app.begin().await?;
    let mut files: Vec<FileHash> = checked.files.all().map(|file| file.fingerprint.sha256).collect();
    files.sort_unstable();
    for file in files {
        // Locked, so that an unused old file is not removed meanwhile.
        if !dataset_files::touch(&mut tx, file).await? {
            return Err(AppError::Unavailable("a dataset file was just removed; submit again"));
        }
    }
    let study = &checked.study;
    let new = NewStudy {
        study_id,
        name: &study.name,
        spec: &checked.spec,
        seed: study.seed.0,
        goal: study.objective.goal,
        objectives: objectives(study),
        train: hashes(&checked.files.train),
        validation: checked.files.validation.as_ref().map(hashes),
        test: checked.files.test.as_ref().map(hashes),
        test_is_labelled: checked.files.test_is_labelled,
        file_names: checked.file_names.clone(),
        shape: study.shape,
        fold_sizes: study.validation.column().map(|_| &study.fold_sizes[..]),
        max_trials: study.max_trials,
        generations: study.generations,
        waits: study.waits().is_some(),
        stop_hours: study.stop.and_then(|stop| stop.hours),
        priority: study.priority,
        submitted_by: caller.owner(),
        epoch_budget: asked,
    };
    studies::insert(&mut tx, &new).await?;
    proposals::insert_prior(&mut tx, study_id, &checked.prior.results).await?;
    if let Some(window) = &window {
        let record = studies::lock(&mut tx, study_id).await?;
        // Puts the study into the cache for the first lease.
        app.study_of(&record)?;
        plan_trials::store_window(app, &mut tx, study, &record, window, Turn::Last).await?;
    }
    quotas::hold(app, &mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// The first trials of a study. Results of other studies make the sampler learn now, which takes time.
async fn first_window(checked: &CheckedStudy) -> Result<Option<Window>, AppError> {
    let history = History::of_prior(&checked.prior.results).before(0);
    let study = checked.study.clone();
    let planning = spawn_blocking(move || job::plan_window(&study, 0, &history));
    let planned = planning.await.map_err(|error| AppError::Internal(error.to_string()))?;
    planned.map_err(|v| AppError::Internal(format!("a checked study cannot be planned: {v}")))
}

/// True if the same study is already stored.
///
/// # Errors
/// Another study has that name.
async fn is_there(app: &App, checked: &CheckedStudy) -> Result<bool, AppError> {
    let name = &checked.study.name;
    let mut conn = app.pool.acquire().await?;
    let Some(stored) = studies::find(&mut conn, StudyRef::Name(name)).await? else {
        return Ok(false);
    };
    drop(conn);
    let stored_source = study::source(&super::load_spec(&stored)?);
    let here = grown_alike(&stored, &checked.spec);
    let here = Made::new(&here, stored_source.as_ref(), stored.files().copied());
    let sent = checked.files.all().map(|file| file.fingerprint.sha256);
    let sent = Made::new(&checked.spec, Some(&checked.source), sent);
    let differences = block_in_place(|| differences(&here, &sent));
    if differences.is_empty() {
        return Ok(true);
    }
    Err(AppError::OtherStudy {
        name: name.clone(),
        state: stored.state,
        differences,
    })
}

/// Notes on a new study, a sentence each.
fn notes(checked: &CheckedStudy) -> Vec<String> {
    let study = &checked.study;
    let mut notes = checked.prior.notes.clone();
    notes.extend(checked.files.inputs.as_ref().and_then(kinds_of_columns));
    notes.extend(rare_classes(study, &checked.files.class_sizes));
    notes.extend(unmeasured_classes(&checked.files.validation_class_sizes));
    if study.further.contains(&Further::Cost(Cost::WorkerSeconds)) && study.sampler.generations().is_some() {
        notes.push(
            "worker_seconds depends on the workers, and the sampler learns from it: another run may go another way"
                .to_owned(),
        );
    }
    notes
}

/// The kinds of a table's columns, unless all are numbers: one misspelt cell may turn a column into words.
fn kinds_of_columns(inputs: &Inputs) -> Option<String> {
    let columns = inputs.columns();
    let count = |is: fn(&Cells) -> bool| columns.iter().filter(|column| is(&column.cells)).count();
    let numbers = count(|cells| matches!(cells, Cells::Number { .. }));
    let booleans = count(|cells| matches!(cells, Cells::Boolean { .. }));
    let dates = count(|cells| matches!(cells, Cells::Date { .. }));
    let words = columns.len() - numbers - booleans - dates;
    (numbers < columns.len()).then(|| {
        format!(
            "the features are {numbers} columns of numbers, {booleans} of true and false, {dates} of dates and {words} of words: {} inputs of the network",
            inputs.len()
        )
    })
}

/// A note on classes with fewer rows than there are folds. It does not name them: a file on the coordinator's machine is not the submitter's.
fn rare_classes(study: &Study, class_sizes: &[u32]) -> Option<String> {
    let (folds, than, but) = match study.validation.scheme {
        Scheme::Given { .. } => return None,
        Scheme::KFold { folds, .. } => (f64::from(folds), format!("the {folds} folds"), "some folds have"),
        Scheme::Holdout(share) => (1.0 / share, format!("a holdout of {share} needs"), "it may have"),
    };
    let rare = class_sizes.iter().copied().filter(|rows| f64::from(*rows) < folds);
    let fewest = rare.clone().min()?;
    Some(match rare.count() {
        1 => format!("a class has {fewest} rows, fewer than {than}: {but} none of it to validate"),
        count => {
            format!("{count} classes have fewer rows than {than}, down to {fewest}: {but} none of them to validate")
        }
    })
}

/// A note on classes without rows in the validation part.
fn unmeasured_classes(sizes: &[u32]) -> Option<String> {
    match sizes.iter().filter(|rows| **rows == 0).count() {
        0 => None,
        1 => Some("a class has no rows in the validation part: no trial is measured on it".to_owned()),
        count => Some(format!(
            "{count} classes have no rows in the validation part: no trial is measured on them"
        )),
    }
}

/// How many trials were asked for.
fn asked_trials(spec: &serde_json::Value) -> Option<u64> {
    spec.get(MAX_TRIALS)?.as_u64()
}

/// The submitted study, with the number of trials in `sent` if the study has grown to it: a file that asks for the
/// present number is the same study.
fn grown_alike(stored: &StudyRecord, sent: &serde_json::Value) -> serde_json::Value {
    let mut spec = stored.spec.clone();
    let sampled = stored.max_trials - stored.growth.enqueued;
    let sent = asked_trials(sent);
    if let Some(spec) = spec.get_mut(MAX_TRIALS)
        && sent.is_some_and(|sent| [stored.max_trials, sampled].map(u64::from).contains(&sent))
    {
        *spec = sent.into();
    }
    spec
}

/// Names and goals of the objectives of a study that has several.
fn objectives(study: &Study) -> Option<(Vec<String>, Vec<String>)> {
    let first = (study.objective.metric.to_string(), study.objective.goal.to_string());
    let further = study.further.iter();
    let further = further.map(|further| (further.name().to_owned(), further.goal().to_string()));
    let all = std::iter::once(first).chain(further).unzip();
    (!study.further.is_empty()).then_some(all)
}

fn hashes(part: &PartFiles) -> Part<FileHash> {
    part.as_ref().map(|file| file.fingerprint.sha256)
}
