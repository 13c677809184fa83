//! Parameters as safetensors, named and shaped as in PyTorch's `nn.Sequential`; the layers of a residual are a nested
//! one, as in `3.0.weight`. Includes the state of batch norms.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, View};
use trawl_domain::layer::{Layer, WrittenLayer};
use trawl_domain::network::Architecture;
use trawl_domain::violation::Violation;

use crate::EngineError;

/// Longest header that is read: the largest network's names, shapes and layers take a tenth of it.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Suffix of a batch norm's number of batches, behind its running mean and variance. PyTorch stores it as an integer.
const BATCHES: &str = "num_batches_tracked";

/// Weight or bias of one layer, or state of a batch norm.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name in PyTorch's `nn.Sequential`: `0.weight` or `0.bias`, where 0 is the layer's [name](Architecture::names).
    pub name: String,
    /// For a weight, [outputs, inputs], [words, dim], [filters, channels, kernel] or [filters, channels, kernel, kernel]. For a bias, [outputs].
    /// For either of a norm, and for `running_mean` and `running_var`, [numbers]. For `num_batches_tracked`, [].
    pub shape: Vec<usize>,
    /// Row by row.
    pub values: Vec<f32>,
}

/// The type of a parameter of this name in a file.
fn dtype(name: &str) -> Dtype {
    if name.ends_with(BATCHES) {
        Dtype::I64
    } else {
        Dtype::F32
    }
}

impl View for &Parameter {
    fn dtype(&self) -> Dtype {
        dtype(&self.name)
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.values.iter();
        match dtype(&self.name) {
            Dtype::I64 => values.flat_map(|value| (*value as i64).to_le_bytes()).collect(),
            _ => values.flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.values.len() * dtype(&self.name).bitsize() / 8
    }
}

/// Why a file holds no weights of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// It is not a safetensors file, or only part of one.
    #[error("is no whole safetensors file: {0}")]
    Broken(String),
    /// A tensor of the network is missing.
    #[error("has no tensor '{0}'")]
    Missing(String),
    /// It belongs to another network, with more tensors.
    #[error("has {found} tensors, and the network has {expected}")]
    Tensors {
        /// In the file.
        found: usize,
        /// Of the network.
        expected: usize,
    },
    /// A tensor is of another type.
    #[error("tensor '{0}' is not of type {1:?}")]
    Dtype(String, Dtype),
    /// A tensor has another shape.
    #[error("tensor '{name}' has shape {found:?}, and the network's has {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// In the file.
        found: Vec<usize>,
        /// Of the network.
        expected: Vec<usize>,
    },
    /// A number that is not finite.
    #[error("tensor '{0}' has a number that is not finite")]
    NotFinite(String),
    /// The layers of the network do not fit together.
    #[error("the layers do not fit together: {0}")]
    Network(#[from] Violation),
}

/// A tensor's name and its sizes.
pub type NamedShape = (String, Vec<usize>);

/// Names and shapes of the parameters: for each layer with parameters its weight, its bias, if it has one, and for a batch norm its state.
///
/// # Errors
/// The layers do not fit together.
pub fn shapes(architecture: &Architecture) -> Result<Vec<NamedShape>, Violation> {
    let names = architecture.names();
    let named = architecture.weights()?.into_iter().flat_map(|(index, weight)| {
        let weight: Vec<usize> = weight.into_iter().map(|len| len as usize).collect();
        let outputs = vec![weight[0]];
        let mut parts = vec![("weight", weight)];
        if architecture.layers[index].kind().has_bias {
            parts.push(("bias", outputs.clone()));
        }
        if architecture.layers[index] == Layer::BatchNorm {
            parts.extend([
                ("running_mean", outputs.clone()),
                ("running_var", outputs),
                (BATCHES, Vec::new()),
            ]);
        }
        let name = &names[index];
        let parts = parts.into_iter();
        parts
            .map(|(part, shape)| (format!("{name}.{part}"), shape))
            .collect::<Vec<_>>()
    });
    Ok(named.collect())
}

/// The parameters in a file written by [`crate::Networks::weights`] or by another program.
///
/// # Errors
/// The file is broken or holds the weights of another network, or the layers do not fit together.
pub fn from_safetensors(architecture: &Architecture, file: &[u8]) -> Result<Vec<Parameter>, WeightsError> {
    let mut networks = of_networks(architecture, file, None)?;
    Ok(networks.pop().unwrap_or_default())
}

/// The parameters of several networks in one file; the names of each begin with its number, from 0.
///
/// # Errors
/// As [`from_safetensors`].
pub fn of_folds(architecture: &Architecture, file: &[u8], folds: usize) -> Result<Vec<Vec<Parameter>>, WeightsError> {
    of_networks(architecture, file, Some(folds))
}

fn of_networks(
    architecture: &Architecture,
    file: &[u8],
    folds: Option<usize>,
) -> Result<Vec<Vec<Parameter>>, WeightsError> {
    let header_len = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    if header_len > HEADER_BYTES_MAX {
        return Err(WeightsError::Broken(format!("a header of {header_len} bytes")));
    }
    let tensors = SafeTensors::deserialize(file).map_err(|error| WeightsError::Broken(error.to_string()))?;
    let shapes = shapes(architecture)?;
    let (found, expected) = (tensors.len(), shapes.len() * folds.unwrap_or(1));
    let prefixes = match folds {
        None => vec![String::new()],
        Some(folds) => (0..folds).map(|fold| format!("{fold}.")).collect(),
    };
    let mut networks = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        let parameters = shapes.iter().map(|(name, shape)| {
            let read = parameter(&tensors, format!("{prefix}{name}"), shape.clone())?;
            Ok(Parameter {
                name: name.clone(),
                ..read
            })
        });
        networks.push(parameters.collect::<Result<_, WeightsError>>()?);
    }
    if found != expected {
        return Err(WeightsError::Tensors { found, expected });
    }
    Ok(networks)
}

fn parameter(tensors: &SafeTensors<'_>, name: String, shape: Vec<usize>) -> Result<Parameter, WeightsError> {
    let Ok(tensor) = tensors.tensor(&name) else {
        return Err(WeightsError::Missing(name));
    };
    let dtype = dtype(&name);
    if tensor.dtype() != dtype {
        return Err(WeightsError::Dtype(name, dtype));
    }
    if tensor.shape() != shape {
        return Err(WeightsError::Shape {
            name,
            found: tensor.shape().to_vec(),
            expected: shape,
        });
    }
    let values: Vec<f32> = if dtype == Dtype::I64 {
        let values = tensor.data().as_chunks().0.iter();
        values.map(|value| i64::from_le_bytes(*value) as f32).collect()
    } else {
        let values = tensor.data().as_chunks().0.iter();
        values.map(|value| f32::from_le_bytes(*value)).collect()
    };
    if values.iter().any(|value| !value.is_finite()) {
        return Err(WeightsError::NotFinite(name));
    }
    Ok(Parameter { name, shape, values })
}

/// Writes the parameters of several networks of one architecture to one file; the names of each begin with its number, from 0.
///
/// # Errors
/// The file cannot be written.
pub fn folds_to_safetensors(architecture: &Architecture, folds: Vec<Vec<Parameter>>) -> Result<Vec<u8>, EngineError> {
    let numbered = folds.into_iter().enumerate().flat_map(|(fold, parameters)| {
        parameters.into_iter().map(move |parameter| Parameter {
            name: format!("{fold}.{}", parameter.name),
            ..parameter
        })
    });
    to_safetensors(architecture, &numbered.collect::<Vec<_>>())
}

/// See [`crate::Networks::weights`].
pub(crate) fn to_safetensors(architecture: &Architecture, parameters: &[Parameter]) -> Result<Vec<u8>, EngineError> {
    let failed = |error: &dyn std::fmt::Display| EngineError::Failed(format!("weights: {error}"));
    let layers = serde_json::to_string(&WrittenLayer::list(&architecture.layers, &[]));
    let metadata = HashMap::from([("architecture".to_owned(), layers.map_err(|error| failed(&error))?)]);
    let named = parameters.iter().map(|parameter| (&parameter.name, parameter));
    safetensors::serialize(named, Some(metadata)).map_err(|error| failed(&error))
}
