//! `network.json`: the format that a refit writes and a prediction reads.

use serde::{Deserialize, Serialize};
use trawl_dataset::{FittedInputs, FittedTable, FittedTarget, Inputs, Resize};
use trawl_domain::layer::WrittenLayer;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NetworkFile {
    pub(crate) input: Input,
    pub(crate) target: Target,
    /// Fitted mean and deviation of each target, where targets were standardised: the prediction is the output times
    /// the deviation, plus the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_fitted: Option<Vec<FittedTarget>>,
    /// For an ensemble: the preparation fitted for each network, in the order of the file of weights. `input` and
    /// `target_fitted` then have nothing fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) folds: Option<Vec<FoldFitted>>,
    /// For classes: the divisor of outputs before softmax, where they are calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// From the input on.
    pub(crate) layers: Vec<WrittenLayer>,
    pub(crate) loss: String,
    /// Rows per step in training: rounding depends on it.
    pub(crate) batch_size: u32,
    /// Trainable numbers.
    pub(crate) parameters: u64,
}

/// Preparation fitted for one network of an ensemble.
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

/// The network's input.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    /// [features], or [channels, height, width].
    pub(crate) shape: Vec<u32>,
    /// For a table: a name for each input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) features: Option<Vec<String>>,
    /// For a table whose columns are more than plain numbers: the inputs of each column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Inputs>,
    /// Preparation fitted for each input on the training rows, in the order of the inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fitted: Option<FittedInputs>,
    /// For a table: whether its file had a header line, where the study set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<bool>,
    /// For a table: the delimiter, where the study set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<char>,
    /// For a table: the quote character, where the study set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    /// For a table: the text encoding, where that is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    /// For a table: the decimal separator, where that is a comma.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decimal: Option<char>,
    /// For a table: texts of cells without a value, where the study set them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) missing: Option<Vec<String>>,
    /// For pictures: how one of another size is resized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resize: Option<Resize>,
    /// For images: the order of an array's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layout: Option<String>,
}

/// The predicted targets.
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
