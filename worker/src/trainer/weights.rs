//! Parameters as safetensors, named and shaped as PyTorch's `nn.Sequential` has them.

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use trawl_domain::network::{Architecture, Layer};

use super::stack::Stack;
use super::{TrainError, to_vec};

/// The parameters of the network at one place.
pub(super) fn to_safetensors(architecture: &Architecture, stack: &Stack, place: i64) -> Result<Vec<u8>, TrainError> {
    let mut tensors = Vec::new();
    let trained = architecture
        .layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| matches!(layer, Layer::Linear { .. } | Layer::Conv2d(_)));
    for (n, (index, layer)) in trained.enumerate() {
        let (weight, bias) = stack.parameters(n);
        let weight = weight.detach().select(0, place);
        let weight = match layer {
            // Kept as [inputs, outputs]; PyTorch has it the other way round.
            Layer::Linear { .. } => weight.transpose(0, 1).contiguous(),
            _ => weight.contiguous(),
        };
        let bias = bias.detach().select(0, place).reshape([-1]);
        for (name, tensor) in [("weight", weight), ("bias", bias)] {
            let shape: Vec<usize> = tensor.size().iter().map(|len| *len as usize).collect();
            let bytes: Vec<u8> = to_vec(&tensor).iter().flat_map(|value| value.to_le_bytes()).collect();
            tensors.push((format!("{index}.{name}"), shape, bytes));
        }
    }
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view)))
        .collect();
    let metadata = HashMap::from([("architecture".to_owned(), describe(architecture, None).to_string())]);
    views
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|error| TrainError::Failed(format!("weights: {error}")))
}

/// The layers in the words of a study file; without the dropout layers' probabilities if they are not given.
pub(crate) fn describe(architecture: &Architecture, dropout: Option<&[f64]>) -> serde_json::Value {
    let mut dropout = dropout.unwrap_or_default().iter();
    let layer = |layer: &Layer| match layer {
        Layer::Linear { units } => serde_json::json!({ "linear": { "units": units } }),
        Layer::Activation(kind) => serde_json::json!({ "activation": { "kind": kind.as_str() } }),
        Layer::Dropout => match dropout.next() {
            Some(p) => serde_json::json!({ "dropout": { "p": p } }),
            None => serde_json::json!({ "dropout": {} }),
        },
        Layer::Conv2d(conv) => serde_json::json!({ "conv2d": {
            "filters": conv.filters, "kernel": conv.kernel, "stride": conv.stride, "padding": conv.padding,
        } }),
        Layer::MaxPool2d { kernel } => serde_json::json!({ "max_pool2d": { "kernel": kernel } }),
        Layer::Flatten => serde_json::json!({ "flatten": {} }),
    };
    architecture.layers.iter().map(layer).collect()
}
