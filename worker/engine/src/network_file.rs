//! `network.json`: the form in which a refit writes its network, and in which a prediction reads it.

use serde::{Deserialize, Serialize};
use trawl_domain::dataset::{FittedInputs, FittedTable, FittedTarget, Inputs, Resize};
use trawl_domain::layer::WrittenLayer;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NetworkFile {
    pub(crate) input: Input,
    pub(crate) target: Target,
    /// What was fitted of each target, where they were standardised: what the layers put out, times the deviation, plus the mean, is the
    /// prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_fitted: Option<Vec<FittedTarget>>,
    /// Of networks that answer together by their mean: what was fitted for each, in the order in which the file of weights has them. `input` and
    /// `target_fitted` have nothing fitted then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) folds: Option<Vec<FoldFitted>>,
    /// Of classes: by what the outputs are divided before softmax, where they are calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// From the input on.
    pub(crate) layers: Vec<WrittenLayer>,
    pub(crate) loss: String,
    /// Rows per step of the training: rounding depends on it.
    pub(crate) batch_size: u32,
    /// Trainable numbers.
    pub(crate) parameters: u64,
}

/// What was fitted for one of several networks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FoldFitted {
    /// As [`Input::fitted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fitted: Option<FittedInputs>,
    /// As [`NetworkFile::target_fitted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_fitted: Option<Vec<FittedTarget>>,
}

impl From<FittedTable> for FoldFitted {
    fn from(fitted: FittedTable) -> Self {
        Self {
            fitted: fitted.inputs,
            target_fitted: fitted.targets,
        }
    }
}

/// What goes in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    /// [features], or [channels, height, width].
    pub(crate) shape: Vec<u32>,
    /// Of a table: a name for each input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<Vec<String>>,
    /// Of a table whose columns are more than plain numbers: which inputs each becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Inputs>,
    /// What was fitted for each input on the training rows, in the order of the inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fitted: Option<FittedInputs>,
    /// Of a table: whether its file had a header line, where the study said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<bool>,
    /// Of a table: what stands between cells, where the study said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<char>,
    /// Of a table: what stands around cells, where the study said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    /// Of a table: how its text is written in bytes, where that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    /// Of a table: what stands before decimals, where that is a comma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decimal: Option<char>,
    /// Of a table: texts of cells without a value, where the study said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<Vec<String>>,
    /// Of pictures: what becomes of one of another size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resize: Option<Resize>,
    /// Of images: the order of an array's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<String>,
}

/// What is predicted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    /// A number of this name.
    Name(String),
    /// Numbers of these names, in the order of the outputs.
    Names(Vec<String>),
    /// One of these classes, in the order of the outputs.
    Classes(Vec<String>),
}

impl Target {
    /// Numbers of these names.
    pub(crate) fn of_numbers(mut names: Vec<String>) -> Self {
        match names.pop() {
            Some(only) if names.is_empty() => Self::Name(only),
            last => {
                names.extend(last);
                Self::Names(names)
            }
        }
    }
}
