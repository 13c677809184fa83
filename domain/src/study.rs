//! A study that was checked: whatever can be sampled from it can be trained.

use std::ops::RangeInclusive;

use crate::dataset::{DatasetShape, Format};
use crate::fold::Validation;
use crate::limits;
use crate::metric::Objective;
use crate::network::{Activation, Architecture, Conv2d, Hyperparameters, Layer, Loss, Optimizer, TrialConfig};
use crate::sampler::Sampler;
use crate::seed::Seed;
use crate::space::{Distribution, ParamValue, Params, Space};
use crate::violation::Violation;

/// A study. Made by [`crate::study_draft::StudyDraft::check`] alone.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Study {
    /// Unique name.
    pub name: String,
    /// What everything random derives from.
    pub seed: Seed,
    /// How the dataset's files are read.
    pub format: Format,
    /// Sizes of the dataset.
    pub shape: DatasetShape,
    /// The network.
    pub model: Vec<LayerSpec>,
    /// How one fold is trained.
    pub training: TrainingSpec,
    /// How a trial is validated.
    pub validation: Validation,
    /// What makes one trial better than another.
    pub objective: Objective,
    /// The searched parameters.
    pub space: Space,
    /// How configurations are chosen.
    pub sampler: Sampler,
    /// Trials in all.
    pub max_trials: u32,
    /// How the best trial is trained again.
    pub refit: Option<RefitSpec>,
}

/// A plain value, or the name of the searched parameter that gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// The same in every trial.
    Fixed(ParamValue),
    /// Given by a parameter.
    Param(String),
}

/// A layer with settings.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerSpec {
    /// Fully connected.
    Linear {
        /// Number of outputs.
        units: Setting,
    },
    /// Activation function.
    Activation {
        /// Which one.
        kind: Setting,
    },
    /// Dropout.
    Dropout {
        /// Probability.
        p: Setting,
    },
    /// Convolution.
    Conv2d {
        /// Channels of the output.
        filters: Setting,
        /// Side of the kernel.
        kernel: Setting,
        /// Step between two places of the kernel.
        stride: Setting,
        /// Zeros added at each edge.
        padding: Setting,
    },
    /// The largest of each square.
    MaxPool2d {
        /// Side of a square.
        kernel: Setting,
    },
    /// An image as a vector.
    Flatten,
}

/// How one fold is trained, with settings.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingSpec {
    /// What is minimised.
    pub loss: Loss,
    /// How parameters follow gradients.
    pub optimizer: Setting,
    /// Step size.
    pub learning_rate: Setting,
    /// Rows per step.
    pub batch_size: Setting,
    /// Weight of the squared parameters in the loss.
    pub l2: Setting,
    /// Passes over the training rows.
    pub epochs: Setting,
    /// Momentum of SGD.
    pub momentum: Setting,
}

/// How the best trial is trained again.
#[derive(Clone, Debug, PartialEq)]
pub struct RefitSpec {
    /// Passes over the training rows.
    pub epochs: u32,
    /// Values that replace the trial's.
    pub set: Params,
    /// Features for which the activations are kept; empty lets the worker choose.
    pub inputs: Vec<Vec<f32>>,
}

impl Study {
    /// The configuration of a trial with these parameters.
    ///
    /// # Errors
    /// A parameter is missing or has a value that its setting does not take: it did not come from this study.
    pub fn config(&self, params: &Params) -> Result<TrialConfig, Violation> {
        let mut layers = Vec::with_capacity(self.model.len());
        let mut dropout = Vec::new();
        for (index, layer) in self.model.iter().enumerate() {
            let field = || format!("model[{index}]");
            layers.push(match layer {
                LayerSpec::Linear { units } => Layer::Linear {
                    units: read(units, params, field, units_value)?,
                },
                LayerSpec::Activation { kind } => Layer::Activation(read(kind, params, field, word::<Activation>)?),
                LayerSpec::Dropout { p } => {
                    dropout.push(read(p, params, field, share_value)?);
                    Layer::Dropout
                }
                LayerSpec::Conv2d {
                    filters,
                    kernel,
                    stride,
                    padding,
                } => Layer::Conv2d(Conv2d {
                    filters: read(filters, params, field, filters_value)?,
                    kernel: read(kernel, params, field, kernel_value)?,
                    stride: read(stride, params, field, kernel_value)?,
                    padding: read(padding, params, field, padding_value)?,
                }),
                LayerSpec::MaxPool2d { kernel } => Layer::MaxPool2d {
                    kernel: read(kernel, params, field, kernel_value)?,
                },
                LayerSpec::Flatten => Layer::Flatten,
            });
        }
        let training = &self.training;
        let field = |name: &'static str| move || format!("training.{name}");
        Ok(TrialConfig {
            architecture: Architecture {
                input: self.shape.sample,
                layers,
                loss: training.loss,
                batch_size: read(&training.batch_size, params, field("batch_size"), batch_size_value)?,
                epochs: read(&training.epochs, params, field("epochs"), epochs_value)?,
            },
            hyperparameters: Hyperparameters {
                optimizer: read(&training.optimizer, params, field("optimizer"), word::<Optimizer>)?,
                learning_rate: read(
                    &training.learning_rate,
                    params,
                    field("learning_rate"),
                    learning_rate_value,
                )?,
                l2: read(&training.l2, params, field("l2"), l2_value)?,
                momentum: read(&training.momentum, params, field("momentum"), share_value)?,
                dropout,
            },
        })
    }

    /// The parameters of a refit of a trial with these parameters; `None` if the study has no refit.
    pub fn refit_params(&self, trial: &Params) -> Option<Params> {
        let mut params = trial.clone();
        params.extend(self.refit.as_ref()?.set.clone());
        Some(params)
    }

    /// The configuration of a refit with these parameters, as [`Study::refit_params`] gives them.
    ///
    /// # Errors
    /// As [`Study::config`]; also if the study has no refit.
    pub fn refit_config(&self, params: &Params) -> Result<TrialConfig, Violation> {
        let refit = self.refit.as_ref().ok_or_else(|| Violation {
            field: "refit".to_owned(),
            description: "is missing: the study says nothing about refits".to_owned(),
        })?;
        let mut config = self.config(params)?;
        config.architecture.epochs = refit.epochs;
        Ok(config)
    }

    /// Epoch reports of the search if no trial fails; `None` where a searched number of epochs leaves it open.
    pub fn search_epoch_reports(&self) -> Option<u64> {
        match &self.training.epochs {
            Setting::Fixed(ParamValue::Int(epochs)) => {
                Some(u64::from(self.max_trials) * u64::from(self.validation.folds()) * (*epochs).unsigned_abs())
            }
            _ => None,
        }
    }

    /// Epoch reports that the search leaves at most: as many as it may, where epochs are searched.
    pub fn search_epoch_reports_max(&self) -> u64 {
        let whole = |value: &ParamValue| match value {
            ParamValue::Int(epochs) => epochs.unsigned_abs(),
            _ => 0,
        };
        let epochs = match &self.training.epochs {
            Setting::Fixed(value) => whole(value),
            Setting::Param(name) => {
                let extremes = self.space.get(name).map(Distribution::extremes).unwrap_or_default();
                extremes.iter().map(whole).max().unwrap_or(0)
            }
        };
        u64::from(self.max_trials) * u64::from(self.validation.folds()) * epochs
    }

    /// Epoch reports of one refit: its folds, and the fit on all training rows.
    pub fn refit_epoch_reports(&self) -> u64 {
        self.refit.as_ref().map_or(0, |refit| {
            u64::from(refit.epochs) * u64::from(self.validation.folds() + 1)
        })
    }
}

fn read<T>(
    setting: &Setting,
    params: &Params,
    field: impl Fn() -> String,
    take: impl FnOnce(&ParamValue) -> Result<T, String>,
) -> Result<T, Violation> {
    let value = match setting {
        Setting::Fixed(value) => Ok(value),
        Setting::Param(name) => params
            .get(name)
            .ok_or_else(|| format!("there is no value of the parameter '{name}'")),
    };
    value.and_then(take).map_err(|description| Violation {
        field: field(),
        description,
    })
}

// What each setting takes. Used twice: when a study is checked, and when a trial's configuration is read from it.

pub(crate) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(value: &ParamValue) -> Result<T, String> {
    let ParamValue::Text(text) = value else {
        return Err(format!("must be a word, and {value} is none"));
    };
    text.parse()
        .map_err(|error| format!("'{text}' is not known: it {error}"))
}

pub(crate) fn units_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 1..=limits::UNITS_MAX)
}

pub(crate) fn filters_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 1..=limits::FILTERS_MAX)
}

pub(crate) fn kernel_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 1..=limits::KERNEL_MAX)
}

pub(crate) fn padding_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 0..=limits::KERNEL_MAX)
}

pub(crate) fn batch_size_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 1..=i64::from(u32::MAX))
}

pub(crate) fn epochs_value(value: &ParamValue) -> Result<u32, String> {
    whole(value, 1..=limits::EPOCHS_MAX)
}

pub(crate) fn learning_rate_value(value: &ParamValue) -> Result<f64, String> {
    number(value, |x| x > 0.0 && x <= limits::RATE_MAX, "above 0 and at most 1000")
}

pub(crate) fn l2_value(value: &ParamValue) -> Result<f64, String> {
    number(
        value,
        |x| (0.0..=limits::RATE_MAX).contains(&x),
        "at least 0 and at most 1000",
    )
}

pub(crate) fn share_value(value: &ParamValue) -> Result<f64, String> {
    number(value, |x| (0.0..1.0).contains(&x), "at least 0 and below 1")
}

fn whole(value: &ParamValue, range: RangeInclusive<i64>) -> Result<u32, String> {
    match value {
        ParamValue::Int(n) if range.contains(n) => {
            u32::try_from(*n).map_err(|_| format!("must be at most {}", u32::MAX))
        }
        ParamValue::Int(n) => Err(format!(
            "must be from {} to {}, and {n} is not",
            range.start(),
            range.end()
        )),
        ParamValue::Float(x) => Err(format!("must be a whole number, and {x} is not")),
        other => Err(format!("must be a number, and '{other}' is not")),
    }
}

fn number(value: &ParamValue, holds: impl FnOnce(f64) -> bool, range: &str) -> Result<f64, String> {
    let x = match value {
        ParamValue::Int(n) => *n as f64,
        ParamValue::Float(x) => *x,
        other => return Err(format!("must be a number, and '{other}' is not")),
    };
    if holds(x) {
        Ok(x)
    } else {
        Err(format!("must be {range}, and {x} is not"))
    }
}
