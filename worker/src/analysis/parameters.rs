//! The parameters, read from the file that is kept of them.

use safetensors::SafeTensors;

use super::LeftOut;

/// Parameters by layer.
pub(super) struct Parameters<'a>(SafeTensors<'a>);

/// One of them.
pub(super) struct Parameter {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

impl<'a> Parameters<'a> {
    pub(super) fn read(weights: &'a [u8]) -> Result<Self, LeftOut> {
        let tensors = SafeTensors::deserialize(weights);
        tensors.map(Self).map_err(|error| LeftOut::Format(error.to_string()))
    }

    /// `weight` or `bias` of the layer with this index.
    pub(super) fn get(&self, layer: usize, which: &str) -> Result<Parameter, LeftOut> {
        let tensor = self
            .0
            .tensor(&format!("{layer}.{which}"))
            .map_err(|error| LeftOut::Format(error.to_string()))?;
        let values = tensor.data().as_chunks().0.iter();
        Ok(Parameter {
            shape: tensor.shape().to_vec(),
            values: values.map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        })
    }
}
