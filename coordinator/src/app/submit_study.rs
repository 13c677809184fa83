//! Submit: checks a study, all of it at once, keeps it with its dataset, and plans its first trials.

use tokio::task::block_in_place;
use tracing::info;
use trawl_domain::dataset::{FileHash, Part};
use trawl_domain::id::StudyId;
use trawl_domain::study::Study;
use trawl_proto::v1;

use super::read_dataset::{self, DatasetFiles, PartFiles};
use super::read_study::StudyView;
use super::register_dataset::register_file;
use super::{App, AppError, quotas};
use crate::store::dataset_files;
use crate::store::studies::{self, NewStudy, StudyRef, UNIQUE_NAME};

/// A study that was checked, with its files.
#[derive(Debug)]
pub struct CheckedStudy {
    study: Study,
    spec: serde_json::Value,
    files: DatasetFiles,
}

impl CheckedStudy {
    /// The study.
    pub fn study(&self) -> &Study {
        &self.study
    }
}

/// Checks a study and the files that it names.
///
/// # Errors
/// Every broken rule; nothing was stored.
pub async fn check_study(app: &App, wire: v1::Study) -> Result<CheckedStudy, AppError> {
    // A message of a megabyte may have half a million parts: other calls must not wait while they are turned over.
    let (spec, draft) = block_in_place(|| (trawl_proto::to_json(&wire), trawl_proto::study_draft(wire)));
    let read = match draft.source() {
        Some(source) => Some(read_dataset::read_dataset(app, &source, draft.target_kind()).await?),
        None => None,
    };
    let (files, shape) = match read {
        Some(Ok((files, shape))) => (Some(files), Some(Ok(shape))),
        Some(Err(violations)) => (None, Some(Err(violations))),
        None => (None, None),
    };
    let study = block_in_place(|| draft.check(shape))?;
    // The check names every number that is none, so that what passed it has a JSON form.
    let spec = spec.map_err(|error| AppError::invalid("study", error.reason))?;
    quotas::check_study(app, &study)?;
    // A study that passed its check names its files well, so they were read.
    let files = files.ok_or_else(|| AppError::Internal("a checked study without files".to_owned()))?;
    Ok(CheckedStudy { study, spec, files })
}

/// Checks and stores a study, and plans its first trials.
///
/// # Errors
/// Every broken rule, or another study of that name; nothing was stored.
pub async fn submit_study(app: &App, wire: v1::Study) -> Result<StudyView, AppError> {
    let checked = check_study(app, wire).await?;
    let study_id = StudyId(app.new_id());
    match store(app, study_id, &checked).await {
        Ok(()) => {
            info!(study.id = %study_id, study.name = checked.study.name, study.max_trials = checked.study.max_trials,
                "study submitted");
        }
        Err(AppError::Store(error)) if error.is_violation_of(UNIQUE_NAME) => same_again(app, &checked).await?,
        Err(error) => return Err(error),
    }
    app.signal_jobs();
    app.signal_studies();
    super::read_study::get_study(app, &checked.study.name).await
}

async fn store(app: &App, study_id: StudyId, checked: &CheckedStudy) -> Result<(), AppError> {
    let asked = quotas::asked(&checked.study);
    let mut conn = app.pool.acquire().await?;
    let is_new = studies::find(&mut conn, StudyRef::Name(&checked.study.name))
        .await?
        .is_none();
    if is_new {
        // Before anything of it is kept; what counts is the look under the lock.
        quotas::look(app, &mut conn, 1, asked).await?;
    }
    drop(conn);
    for file in checked.files.all() {
        if let Some(content) = file.open(app).await? {
            register_file(app, file.fingerprint, content).await?;
        }
    }
    let mut tx = app.begin().await?;
    let mut files: Vec<FileHash> = checked.files.all().map(|file| file.fingerprint.sha256).collect();
    files.sort_unstable();
    for file in files {
        // Locked: an old file that no study used until now is not removed meanwhile.
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
        train: hashes(&checked.files.train),
        test: checked.files.test.as_ref().map(hashes),
        test_is_labelled: checked.files.test_is_labelled,
        shape: study.shape,
        max_trials: study.max_trials,
        epochs_asked: asked,
    };
    studies::insert(&mut tx, &new).await?;
    super::plan_trials::plan_window(app, &mut tx, study_id).await?;
    quotas::hold(app, &mut tx).await?;
    tx.commit().await?;
    Ok(())
}

/// The same study under the same name is the same request come twice: its first answer was lost.
async fn same_again(app: &App, checked: &CheckedStudy) -> Result<(), AppError> {
    let name = &checked.study.name;
    let mut conn = app.pool.acquire().await?;
    let stored = studies::find(&mut conn, StudyRef::Name(name)).await?;
    let same = stored.is_some_and(|stored| {
        stored.spec == checked.spec
            && stored.train == hashes(&checked.files.train)
            && stored.test == checked.files.test.as_ref().map(hashes)
    });
    if same {
        Ok(())
    } else {
        Err(AppError::AlreadyExists(format!("there is another study '{name}'")))
    }
}

fn hashes(part: &PartFiles) -> Part<FileHash> {
    part.as_ref().map(|file| file.fingerprint.sha256)
}
