//! A study as somebody wrote it down, before anything about it was checked. [`StudyDraft::check`] finds all that is wrong.

use std::collections::BTreeMap;

use crate::space::ParamValue;

/// A study as it was written down. `None` stands for what was left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StudyDraft {
    /// `name`.
    pub name: String,
    /// `seed`.
    pub seed: u64,
    /// `dataset`, its kind.
    pub dataset: Option<DatasetDraft>,
    /// `dataset.test_is_train`.
    pub test_is_train: bool,
    /// `model`.
    pub model: Vec<LayerDraft>,
    /// `training`.
    pub training: Option<TrainingDraft>,
    /// `validation`.
    pub validation: Option<ValidationDraft>,
    /// `objective`.
    pub objective: ObjectiveDraft,
    /// `space`; a parameter without a kind of distribution is `None`.
    pub space: BTreeMap<String, Option<DistributionDraft>>,
    /// `max_trials`.
    pub max_trials: u32,
    /// `refit`.
    pub refit: Option<RefitDraft>,
}

/// A setting or a value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum RawValue {
    /// A boolean, a number or a word.
    Scalar(ParamValue),
    /// Anything else, named for the message: `null`, `a list`, `an object`.
    Other(&'static str),
}

/// `dataset`.
#[derive(Clone, Debug, PartialEq)]
pub enum DatasetDraft {
    /// `csv`.
    Csv(CsvDraft),
    /// `idx`.
    Idx(IdxDraft),
    /// `fashion_mnist`.
    FashionMnist,
    /// `npy`.
    Npy(NpyDraft),
    /// `npz`.
    Npz(NpzDraft),
}

/// `dataset.idx`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdxDraft {
    /// `train_images`.
    pub train_images: String,
    /// `train_labels`.
    pub train_labels: String,
    /// `test_images`.
    pub test_images: String,
    /// `test_labels`.
    pub test_labels: String,
    /// `layout`.
    pub layout: String,
}

/// `dataset.npy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NpyDraft {
    /// `train_features`.
    pub train_features: String,
    /// `train_targets`.
    pub train_targets: String,
    /// `test_features`.
    pub test_features: String,
    /// `test_targets`.
    pub test_targets: String,
    /// `layout`.
    pub layout: String,
}

/// `dataset.npz`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NpzDraft {
    /// `train`.
    pub train: String,
    /// `test`.
    pub test: String,
    /// `features`.
    pub features: String,
    /// `target`.
    pub target: String,
    /// `test_features`.
    pub test_features: String,
    /// `test_target`.
    pub test_target: String,
    /// `layout`.
    pub layout: String,
}

/// `dataset.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CsvDraft {
    /// `train`.
    pub train: String,
    /// `test`.
    pub test: String,
    /// `features`.
    pub features: Option<ColumnsDraft>,
    /// `target`.
    pub target: Option<RawValue>,
    /// `header`.
    pub header: Option<bool>,
}

/// `dataset.csv.features`.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnsDraft {
    /// A list of columns, by name or by number.
    List(Vec<RawValue>),
    /// Anything else.
    Other(RawValue),
}

/// Settings as they were written down, by name.
pub type SettingDrafts = BTreeMap<String, RawValue>;

/// An element of `model`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerDraft {
    /// The kind's name; empty where none was named.
    pub kind: String,
    /// Its settings.
    pub settings: SettingDrafts,
}

/// `training`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingDraft {
    /// `loss`.
    pub loss: String,
    /// The others.
    pub settings: SettingDrafts,
}

/// `validation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValidationDraft {
    /// `k_fold`.
    KFold(u32),
    /// `holdout`.
    Holdout(f64),
}

/// `objective`; empty words stand for what was left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectiveDraft {
    /// `metric`.
    pub metric: String,
    /// `goal`.
    pub goal: String,
    /// `at`.
    pub at: String,
}

/// An entry of `space`.
#[derive(Clone, Debug, PartialEq)]
pub enum DistributionDraft {
    /// `choice`.
    Choice(Vec<RawValue>),
    /// `uniform`.
    Uniform(RangeDraft<f64>),
    /// `log_uniform`.
    LogUniform(RangeDraft<f64>),
    /// `int_uniform` and its `step`.
    IntUniform(RangeDraft<i64>, Option<i64>),
    /// `int_log_uniform`.
    IntLogUniform(RangeDraft<i64>),
}

/// Both ends of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RangeDraft<T> {
    /// `low`.
    pub low: Option<T>,
    /// `high`.
    pub high: Option<T>,
}

/// `refit`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RefitDraft {
    /// `epochs`.
    pub epochs: u32,
    /// `set`.
    pub set: BTreeMap<String, RawValue>,
    /// `inputs`: rows of values.
    pub inputs: Vec<Vec<RawValue>>,
}
