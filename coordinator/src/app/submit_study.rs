//! Submit: checks a study, all of it at once, keeps it with its dataset, and plans its first trials.

use std::path::Path;

use tracing::info;
use trawl_domain::dataset::{Columns, DatasetShape, FileHash, Table, TableError};
use trawl_domain::id::StudyId;
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_domain::study::Study;
use trawl_domain::study_draft::CsvDraft;
use trawl_domain::violation::Violations;
use trawl_proto::v1;

use super::read_study::StudyView;
use super::{App, AppError};
use crate::store::dataset_files;
use crate::store::studies::{self, NewStudy, StudyRef, UNIQUE_NAME};

/// A study that was checked, with its files.
#[derive(Debug)]
pub struct CheckedStudy {
    study: Study,
    spec: serde_json::Value,
    train: Vec<u8>,
    test: Option<Vec<u8>>,
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
    let spec = trawl_proto::to_json(&wire);
    let draft = trawl_proto::study_draft(wire);
    let files = match (draft.columns(), &draft.dataset) {
        (Some(columns), Some(csv)) => Some(read_files(&app.settings.dataset_dir, csv, &columns).await),
        _ => None,
    };
    let (files, shape) = match files {
        Some(Ok((files, shape))) => (Some(files), Some(Ok(shape))),
        Some(Err(violations)) => (None, Some(Err(violations))),
        None => (None, None),
    };
    let study = draft.check(shape)?;
    // A study that passed its check has well-formed columns, so its files were read.
    let (train, test) = files.ok_or_else(|| AppError::Internal("a checked study without files".to_owned()))?;
    Ok(CheckedStudy {
        study,
        spec,
        train,
        test,
    })
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
    let train_file = FileHash::of(&checked.train);
    let test_file = checked.test.as_deref().map(FileHash::of);
    let mut tx = app.begin().await?;
    dataset_files::put(&mut tx, train_file, &checked.train).await?;
    if let (Some(hash), Some(content)) = (test_file, &checked.test) {
        dataset_files::put(&mut tx, hash, content).await?;
    }
    let study = &checked.study;
    let new = NewStudy {
        study_id,
        name: &study.name,
        spec: &checked.spec,
        seed: study.seed.0,
        goal: study.objective.goal,
        train_file,
        test_file,
        shape: study.shape,
        max_trials: study.max_trials,
    };
    studies::insert(&mut tx, &new).await?;
    super::plan_trials::plan_window(app, &mut tx, study_id).await?;
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
            && stored.train_file == FileHash::of(&checked.train)
            && stored.test_file == checked.test.as_deref().map(FileHash::of)
    });
    if same {
        Ok(())
    } else {
        Err(AppError::AlreadyExists(format!("there is another study '{name}'")))
    }
}

type Files = (Vec<u8>, Option<Vec<u8>>);

async fn read_files(dir: &Path, csv: &CsvDraft, columns: &Columns) -> Result<(Files, DatasetShape), Violations> {
    let mut violations = Violations::new();
    let train = read_table(dir, "train", &csv.train, columns, &mut violations).await;
    let test = match csv.test.as_str() {
        "" => None,
        path => read_table(dir, "test", path, columns, &mut violations).await,
    };
    let read = train.map(|(train, rows)| {
        let shape = DatasetShape {
            train_rows: rows,
            features: columns.features.len() as u32,
            targets: 1,
        };
        ((train, test.map(|(test, _)| test)), shape)
    });
    violations.into_result(read)
}

async fn read_table(
    dir: &Path,
    which: &str,
    path: &str,
    columns: &Columns,
    v: &mut Violations,
) -> Option<(Vec<u8>, u32)> {
    let full = dir.join(path);
    let content = match read_bounded(&full).await {
        Ok(content) => content,
        Err(error) => {
            v.add(format!("dataset.csv.{which}"), format!("{}: {error}", full.display()));
            return None;
        }
    };
    match Table::from_csv(&content, columns) {
        Ok(table) => Some((content, table.rows)),
        Err(error) => {
            v.add(field_of(which, &error, columns), format!("{}: {error}", full.display()));
            None
        }
    }
}

/// A missing column is the mistake of the field that names it.
fn field_of(which: &str, error: &TableError, columns: &Columns) -> String {
    match error {
        TableError::MissingColumn { column, .. } | TableError::RepeatedColumn { column } => {
            match columns.features.iter().position(|feature| feature == column) {
                Some(index) => format!("dataset.csv.features[{index}]"),
                None => "dataset.csv.target".to_owned(),
            }
        }
        _ => format!("dataset.csv.{which}"),
    }
}

async fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let file = tokio::fs::File::open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(std::io::Error::other("is not a file"));
    }
    let mut content = Vec::new();
    // One byte more than allowed, so that a file that is too large shows.
    file.take(DATASET_BYTES_MAX + 1).read_to_end(&mut content).await?;
    Ok(content)
}
