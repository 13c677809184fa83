//! Studies as they are read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use trawl_dataset::{DatasetShape, FileHash, Part, SampleShape, TargetShape};
use trawl_domain::fold::FoldSize;
use trawl_domain::id::StudyId;
use trawl_domain::metric::Goal;
use trawl_domain::state::StudyState;
use trawl_domain::study::Growth;
use uuid::Uuid;

use crate::store::{StoreError, bad_row, count, word};

/// A stored study.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyRecord {
    /// Its id.
    pub study_id: StudyId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: StudyState,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it is paused, if it paused by itself.
    pub pause_reason: Option<String>,
    /// As it was submitted, in the JSON form of `trawl.v1.Study`.
    pub spec: serde_json::Value,
    /// The direction in which its value is better.
    pub goal: Goal,
    /// Files of the training part.
    pub train: Part<FileHash>,
    /// Files of the validation part.
    pub validation: Option<Part<FileHash>>,
    /// Files of the test part.
    pub test: Option<Part<FileHash>>,
    /// False if its test rows have no targets.
    pub test_is_labelled: bool,
    /// Names of its files as its submitter wrote them, by the field that names the file.
    pub file_names: BTreeMap<String, String>,
    /// Sizes of its dataset.
    pub shape: DatasetShape,
    /// Sizes of its folds, where a column assigns rows to folds.
    pub fold_sizes: Option<Vec<FoldSize>>,
    /// Trials in all.
    pub max_trials: u32,
    /// The first trial that is not planned yet.
    pub next_trial: u32,
    /// How it was extended.
    pub growth: Growth,
    /// The bound that ended its search early.
    pub stop_reason: Option<String>,
    /// True if folds that go on from a rung wait for a job.
    pub folds_wait: bool,
    /// Trials that completed.
    pub trials_completed: u32,
    /// Trials that were pruned.
    pub trials_pruned: u32,
    /// Trials that failed.
    pub trials_failed: u32,
    /// Trials that were cancelled.
    pub trials_cancelled: u32,
    /// Epoch reports stored, refits included.
    pub epochs_reported: u64,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl StudyRecord {
    /// The files of its dataset, in this order: training part, validation part, test part.
    pub fn files(&self) -> impl Iterator<Item = &FileHash> {
        let further = self.validation.iter().chain(&self.test);
        self.train.files().chain(further.flat_map(Part::files))
    }

    /// True if there are test rows, and they have targets.
    pub fn measures_tests(&self) -> bool {
        self.test.is_some() && self.test_is_labelled
    }

    /// Trials that ended.
    pub fn trials_ended(&self) -> u32 {
        self.trials_completed + self.trials_pruned + self.trials_failed + self.trials_cancelled
    }
}

/// Its columns.
pub(super) struct StudyRow {
    pub(super) study_id: Uuid,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) error: Option<String>,
    pub(super) pause_reason: Option<String>,
    pub(super) spec: serde_json::Value,
    pub(super) goal: String,
    pub(super) train_file: Vec<u8>,
    pub(super) train_targets_file: Option<Vec<u8>>,
    pub(super) validation_file: Option<Vec<u8>>,
    pub(super) validation_targets_file: Option<Vec<u8>>,
    pub(super) test_file: Option<Vec<u8>>,
    pub(super) test_targets_file: Option<Vec<u8>>,
    pub(super) test_is_labelled: bool,
    pub(super) file_names: serde_json::Value,
    pub(super) train_rows: i32,
    pub(super) sample_shape: Vec<i32>,
    pub(super) sample_words: Vec<i32>,
    pub(super) class_count: Option<i32>,
    pub(super) target_count: i32,
    pub(super) fold_rows: Option<Vec<i32>>,
    pub(super) max_trials: i32,
    pub(super) next_trial: i32,
    pub(super) ends_before: Vec<i32>,
    pub(super) trials_enqueued: i32,
    pub(super) stop_reason: Option<String>,
    pub(super) folds_wait: bool,
    pub(super) trials_completed: i32,
    pub(super) trials_pruned: i32,
    pub(super) trials_failed: i32,
    pub(super) trials_cancelled: i32,
    pub(super) epochs_reported: i64,
    pub(super) created_at: DateTime<Utc>,
    pub(super) finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<StudyRow> for StudyRecord {
    type Error = StoreError;

    fn try_from(row: StudyRow) -> Result<Self, StoreError> {
        let id = row.study_id;
        let number = |column, value| count("studies", id, column, value);
        let hash = |column, bytes: Vec<u8>| {
            let len = bytes.len();
            bytes
                .try_into()
                .map(FileHash)
                .map_err(|_| bad_row("studies", id, column, format!("{len} bytes")))
        };
        let optional_hash = |column, bytes: Option<Vec<u8>>| bytes.map(|bytes| hash(column, bytes)).transpose();
        let numbers = |column, values: Vec<i32>| {
            let values = values.into_iter().map(|value| number(column, value));
            values.collect::<Result<Vec<u32>, StoreError>>()
        };
        let words = numbers("sample_words", row.sample_words)?;
        let sample = SampleShape::from_dims(&numbers("sample_shape", row.sample_shape)?);
        let sample = sample.and_then(|sample| sample.with_words(&words));
        let fold_rows = row.fold_rows.map(|rows| numbers("fold_rows", rows));
        let fold_sizes = fold_rows.transpose()?.map(|rows| {
            let (sizes, _) = rows.as_chunks();
            sizes
                .iter()
                .map(|[train, validate]| FoldSize {
                    train: *train,
                    validate: *validate,
                })
                .collect()
        });
        Ok(Self {
            study_id: StudyId(id),
            state: word("studies", id, "state", &row.state)?,
            goal: word("studies", id, "goal", &row.goal)?,
            train: Part {
                features: hash("train_file", row.train_file)?,
                targets: optional_hash("train_targets_file", row.train_targets_file)?,
            },
            validation: match row.validation_file {
                None => None,
                Some(bytes) => Some(Part {
                    features: hash("validation_file", bytes)?,
                    targets: optional_hash("validation_targets_file", row.validation_targets_file)?,
                }),
            },
            test: match row.test_file {
                None => None,
                Some(bytes) => Some(Part {
                    features: hash("test_file", bytes)?,
                    targets: optional_hash("test_targets_file", row.test_targets_file)?,
                }),
            },
            test_is_labelled: row.test_is_labelled,
            file_names: serde_json::from_value(row.file_names)
                .map_err(|error| bad_row("studies", id, "file_names", error))?,
            shape: DatasetShape {
                train_rows: number("train_rows", row.train_rows)?,
                sample: sample.ok_or_else(|| bad_row("studies", id, "sample_shape", "no shape"))?,
                target: match row.class_count {
                    None => TargetShape::Numbers(number("target_count", row.target_count)?),
                    Some(classes) => TargetShape::Classes(number("class_count", classes)?),
                },
            },
            fold_sizes,
            max_trials: number("max_trials", row.max_trials)?,
            next_trial: number("next_trial", row.next_trial)?,
            growth: Growth {
                ends_before: row
                    .ends_before
                    .into_iter()
                    .map(|end| number("ends_before", end))
                    .collect::<Result<_, _>>()?,
                enqueued: number("trials_enqueued", row.trials_enqueued)?,
            },
            folds_wait: row.folds_wait,
            trials_completed: number("trials_completed", row.trials_completed)?,
            trials_pruned: number("trials_pruned", row.trials_pruned)?,
            trials_failed: number("trials_failed", row.trials_failed)?,
            trials_cancelled: number("trials_cancelled", row.trials_cancelled)?,
            epochs_reported: u64::try_from(row.epochs_reported)
                .map_err(|error| bad_row("studies", id, "epochs_reported", error))?,
            name: row.name,
            error: row.error,
            pause_reason: row.pause_reason,
            stop_reason: row.stop_reason,
            spec: row.spec,
            created_at: row.created_at,
            finished_at: row.finished_at,
        })
    }
}
