//! Artifacts in the safetensors format: images, filters and feature maps.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors};

use super::ArtifactError;

/// Test images with their classes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Samples {
    /// Names of the classes, to which labels and predictions are indices.
    pub(crate) classes: Vec<String>,
    /// Row of the test set, of each image.
    pub(crate) rows: Vec<usize>,
    pub(crate) labels: Vec<usize>,
    pub(crate) predictions: Vec<usize>,
    /// `[n, channels, height, width]`, from 0 to 255.
    pub(crate) images: Stack<u8>,
}

/// What the first convolution makes of some test images.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FeatureMaps {
    pub(crate) samples: Samples,
    /// Place of the convolution in the model, from 0.
    pub(crate) layer: usize,
    /// `[filters, channels, kernel, kernel]`.
    pub(crate) filters: Stack<f32>,
    /// `[n, filters, height, width]`.
    pub(crate) maps: Stack<f32>,
}

/// Test images that the model takes for another class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Misclassified {
    pub(crate) samples: Samples,
    /// Of the predicted class, for each image.
    pub(crate) probabilities: Vec<f32>,
}

/// A tensor of four dimensions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stack<T> {
    shape: [usize; 4],
    values: Vec<T>,
}

impl<T> Stack<T> {
    /// Lengths of its dimensions.
    pub(crate) fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// The values of one place in the first two dimensions, row by row; none where there is no such place.
    pub(crate) fn plane(&self, first: usize, second: usize) -> &[T] {
        let [_, seconds, height, width] = self.shape;
        let start = (first * seconds + second) * height * width;
        self.values.get(start..start + height * width).unwrap_or_default()
    }
}

impl FeatureMaps {
    /// # Errors
    /// No safetensors file with the documented tensors and metadata.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let file = File::open(name, bytes)?;
        let samples = file.samples()?;
        let filters = file.stack("filters", Dtype::F32, f32::from_le_bytes)?;
        let maps = file.stack("maps", Dtype::F32, f32::from_le_bytes)?;
        let (images, [filter_count, filter_channels, ..], [n, map_filters, ..]) =
            (samples.images.shape, filters.shape, maps.shape);
        if n != images[0] || map_filters != filter_count || filter_channels != images[1] {
            return Err(file.refuse("images, filters and maps do not fit together"));
        }
        let layer = file.metadata("layer")?;
        let layer = layer
            .parse()
            .map_err(|_| file.refuse(format!("layer {layer:?} in its metadata is no index")))?;
        Ok(Self {
            samples,
            layer,
            filters,
            maps,
        })
    }
}

impl Misclassified {
    /// # Errors
    /// No safetensors file with the documented tensors and metadata.
    pub(crate) fn parse(name: &str, bytes: &[u8]) -> Result<Self, ArtifactError> {
        let file = File::open(name, bytes)?;
        let samples = file.samples()?;
        let probabilities = file.list("probabilities", Dtype::F32, f32::from_le_bytes)?;
        if probabilities.len() != samples.rows.len() {
            return Err(file.refuse("probabilities are not one for each image"));
        }
        Ok(Self { samples, probabilities })
    }
}

/// A safetensors file that is being read.
struct File<'a> {
    name: &'a str,
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> File<'a> {
    fn open(name: &'a str, bytes: &'a [u8]) -> Result<Self, ArtifactError> {
        let refuse = |error: safetensors::SafeTensorError| ArtifactError::new(name, error.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(refuse)?;
        Ok(Self {
            name,
            tensors: SafeTensors::deserialize(bytes).map_err(refuse)?,
            metadata: header.metadata().clone().unwrap_or_default(),
        })
    }

    fn refuse(&self, reason: impl Into<String>) -> ArtifactError {
        ArtifactError::new(self.name, reason)
    }

    fn metadata(&self, key: &str) -> Result<&str, ArtifactError> {
        match self.metadata.get(key) {
            Some(value) => Ok(value),
            None => Err(self.refuse(format!("its metadata has no {key}"))),
        }
    }

    fn samples(&self) -> Result<Samples, ArtifactError> {
        let classes: Vec<String> = serde_json::from_str(self.metadata("classes")?)
            .map_err(|error| self.refuse(format!("classes in its metadata: {error}")))?;
        let samples = Samples {
            rows: self.indices("rows", usize::MAX)?,
            labels: self.indices("labels", classes.len())?,
            predictions: self.indices("predictions", classes.len())?,
            images: self.stack("images", Dtype::U8, |[byte]| byte)?,
            classes,
        };
        let [n, channels, ..] = samples.images.shape;
        let lengths = [&samples.rows, &samples.labels, &samples.predictions].map(Vec::len);
        if lengths != [n; 3] || channels == 0 {
            return Err(self.refuse("rows, labels and predictions are not one for each image"));
        }
        Ok(samples)
    }

    /// Numbers from 0 that are below `end`.
    fn indices(&self, tensor: &str, end: usize) -> Result<Vec<usize>, ArtifactError> {
        let numbers = self.list(tensor, Dtype::I64, i64::from_le_bytes)?;
        let index = |number: i64| match usize::try_from(number) {
            Ok(index) if index < end => Ok(index),
            _ => Err(self.refuse(format!("{number} in {tensor} is no index"))),
        };
        numbers.into_iter().map(index).collect()
    }

    fn list<T, const N: usize>(
        &self,
        tensor: &str,
        dtype: Dtype,
        value: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ArtifactError> {
        let (shape, values) = self.values(tensor, dtype, value)?;
        match shape.len() {
            1 => Ok(values),
            other => Err(self.refuse(format!("{tensor} has {other} dimensions instead of 1"))),
        }
    }

    fn stack<T, const N: usize>(
        &self,
        tensor: &str,
        dtype: Dtype,
        value: fn([u8; N]) -> T,
    ) -> Result<Stack<T>, ArtifactError> {
        let (shape, values) = self.values(tensor, dtype, value)?;
        match <[usize; 4]>::try_from(shape) {
            Ok([.., height, width]) if height == 0 || width == 0 => {
                Err(self.refuse(format!("{tensor} is {height} x {width}")))
            }
            Ok(shape) => Ok(Stack { shape, values }),
            Err(shape) => {
                let dimensions = shape.len();
                Err(self.refuse(format!("{tensor} has {dimensions} dimensions instead of 4")))
            }
        }
    }

    fn values<T, const N: usize>(
        &self,
        tensor: &str,
        dtype: Dtype,
        value: fn([u8; N]) -> T,
    ) -> Result<(Vec<usize>, Vec<T>), ArtifactError> {
        let view = self
            .tensors
            .tensor(tensor)
            .map_err(|_| self.refuse(format!("it has no tensor {tensor}")))?;
        if view.dtype() != dtype {
            return Err(self.refuse(format!("{tensor} is {:?} instead of {dtype:?}", view.dtype())));
        }
        let values = view.data().as_chunks().0.iter().map(|&bytes| value(bytes)).collect();
        Ok((view.shape().to_vec(), values))
    }
}

#[cfg(test)]
mod broken;
#[cfg(test)]
mod tests;
