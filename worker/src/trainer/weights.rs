//! Parameters as safetensors, named and shaped as PyTorch's `nn.Sequential` has them.

use std::collections::HashMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::Device;
use trawl_domain::layer::WrittenLayer;
use trawl_domain::network::Architecture;

use super::stack::Stack;
use super::{TrainError, Trained, fix_rounding, guarded, to_vec, trains_together};

/// Longest header that is read: names, shapes and layers of the largest network take a tenth of it.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// Why a file holds no weights of a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightsError {
    /// It is no such file, or only a part of one.
    #[error("is no whole safetensors file: {0}")]
    Broken(String),
    /// A tensor of the network is not there.
    #[error("has no tensor '{0}'")]
    Missing(String),
    /// It is of another network, with more tensors.
    #[error("has {found} tensors, and the network has {expected}")]
    Tensors {
        /// In the file.
        found: usize,
        /// Of the network.
        expected: usize,
    },
    /// A tensor is of another type.
    #[error("tensor '{0}' is not of type F32")]
    Dtype(String),
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
    /// A number with which nothing can be computed.
    #[error("tensor '{0}' has a number that is not finite")]
    NotFinite(String),
    /// The network does not fit together, or not onto the device.
    #[error(transparent)]
    Network(#[from] TrainError),
}

impl Trained {
    /// A single network, member 0, with the parameters that [`Self::weights`] wrote. On the device that it trained on, or one
    /// like it, its outputs are to the last bit those that it had then.
    ///
    /// # Errors
    /// The file is broken or holds the weights of another network, the layers do not fit together, or memory ran short.
    pub fn load(architecture: Architecture, weights: &[u8], device: Device) -> Result<Self, WeightsError> {
        fix_rounding();
        let together = trains_together(&architecture, device);
        let layers = from_safetensors(&architecture, weights)?;
        let layers = layers.into_iter().map(|(weight, bias)| {
            let values = weight.iter().chain(bias);
            values.map(|value| f32::from_le_bytes(*value))
        });
        let stack = guarded(|| tch::no_grad(|| Stack::of_one(&architecture, layers, together, device)))??;
        Ok(Self {
            architecture,
            together,
            stacks: vec![stack],
            metrics: vec![None],
            alive: vec![true],
            test: vec![None],
        })
    }
}

/// Weight and bias of one layer in PyTorch's order; numbers of `f32`, little-endian.
type Parameters<'a> = (&'a [[u8; 4]], &'a [[u8; 4]]);

/// The parameters of each layer that has any.
fn from_safetensors<'a>(architecture: &Architecture, file: &'a [u8]) -> Result<Vec<Parameters<'a>>, WeightsError> {
    let header_len = file.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    if header_len > HEADER_BYTES_MAX {
        return Err(WeightsError::Broken(format!("a header of {header_len} bytes")));
    }
    let tensors = SafeTensors::deserialize(file).map_err(|error| WeightsError::Broken(error.to_string()))?;
    let shapes = shapes(architecture)?;
    let values = |(name, expected): &NamedShape| -> Result<&'a [[u8; 4]], WeightsError> {
        let tensor = tensors.tensor(name).map_err(|_| WeightsError::Missing(name.clone()))?;
        if tensor.dtype() != Dtype::F32 {
            return Err(WeightsError::Dtype(name.clone()));
        }
        if tensor.shape() != expected {
            return Err(WeightsError::Shape {
                name: name.clone(),
                found: tensor.shape().to_vec(),
                expected: expected.clone(),
            });
        }
        let (values, _) = tensor.data().as_chunks();
        if values.iter().any(|value| !f32::from_le_bytes(*value).is_finite()) {
            return Err(WeightsError::NotFinite(name.clone()));
        }
        Ok(values)
    };
    let mut parameters = Vec::with_capacity(shapes.len());
    for [weight, bias] in &shapes {
        parameters.push((values(weight)?, values(bias)?));
    }
    if tensors.len() != 2 * shapes.len() {
        return Err(WeightsError::Tensors {
            found: tensors.len(),
            expected: 2 * shapes.len(),
        });
    }
    Ok(parameters)
}

/// A tensor's name and its sizes.
type NamedShape = (String, Vec<usize>);

/// Names and shapes of weight and bias of each layer that has any, as PyTorch's `nn.Sequential` has them.
pub(crate) fn shapes(architecture: &Architecture) -> Result<Vec<[NamedShape; 2]>, TrainError> {
    let weights = architecture
        .weights()
        .map_err(|misfit| TrainError::BadJob(misfit.to_string()))?;
    let named = weights.into_iter().map(|(index, weight)| {
        let weight: Vec<usize> = weight.into_iter().map(|len| len as usize).collect();
        let bias = vec![weight[0]];
        [(format!("{index}.weight"), weight), (format!("{index}.bias"), bias)]
    });
    Ok(named.collect())
}

/// The parameters of the network at one place.
pub(super) fn to_safetensors(architecture: &Architecture, stack: &Stack, place: i64) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::new();
    for (n, named) in shapes(architecture)?.into_iter().enumerate() {
        let (weight, bias) = stack.parameters(n);
        let weight = weight.detach().select(0, place);
        // A linear layer's is kept as [inputs, outputs]; PyTorch has it the other way round.
        let weight = match named[0].1.len() {
            2 => weight.transpose(0, 1).contiguous(),
            _ => weight.contiguous(),
        };
        let bias = bias.detach().select(0, place);
        for ((name, shape), tensor) in named.into_iter().zip([weight, bias]) {
            let bytes: Vec<u8> = to_vec(&tensor).iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((name, shape, bytes));
        }
    }
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view)))
        .collect();
    let layers = serde_json::to_string(&WrittenLayer::list(&architecture.layers, &[]));
    let layers = layers.map_err(|error| TrainError::Failed(format!("weights: {error}")))?;
    let metadata = HashMap::from([("architecture".to_owned(), layers)]);
    views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| TrainError::Failed(format!("weights: {error}")))
}
