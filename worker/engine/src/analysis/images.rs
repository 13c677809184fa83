//! `feature_maps.safetensors` and `misclassified.safetensors`: test images with the outputs of the first convolution,
//! and misclassified ones.

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use trawl_dataset::{Features, SampleShape};
use trawl_domain::layer::Layer;
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use super::answers::ClassAnswer;
use super::histograms::range;
use super::{Analysis, LabelledTest, MEMBER, SkippedArtifact, check_finite};
use crate::{Networks, Table};

/// Images of `feature_maps.safetensors`.
const SAMPLES_MAX: usize = 16;
/// Images of `misclassified.safetensors`.
const MISCLASSIFIED_MAX: usize = 25;

/// Chosen test images.
struct Samples<'a> {
    rows: &'a [u32],
    labels: Vec<u32>,
    answers: Vec<ClassAnswer>,
    classes: &'a [String],
    features: Features,
}

pub(super) fn feature_maps(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let is_convolution = |layer: &Layer| matches!(layer, Layer::Conv2d(_));
    let layer = analysis.layers().iter().position(is_convolution);
    let (Some(layer), Some(test)) = (layer, analysis.labelled_test()?) else {
        return Ok(None);
    };
    let rows = first_of_each_class(&test.labels, test.names.len());
    let shapes = analysis.networks.architecture().shapes().unwrap_or_default();
    let map_len = shapes.get(layer + 1).map_or(0, |shape| shape.len());
    if map_len * rows.len() as u64 * 4 > ARTIFACT_BYTES_MAX {
        return Err(SkippedArtifact::TooLarge);
    }
    let samples = Samples::new(&test, &rows)?;
    let outputs = analysis.networks.layer_outputs(MEMBER, &samples.features, &[layer])?;
    let filters = analysis.parameter(layer, "weight")?;
    let mut file = samples.file(analysis)?;
    check_finite(&filters.values)?;
    file.floats("filters", filters.shape.clone(), &filters.values);
    for maps in outputs {
        check_finite(&maps.values)?;
        file.floats("maps", maps.shape, &maps.values);
    }
    file.metadata.insert("layer".to_owned(), layer.to_string());
    file.serialize().map(Some)
}

pub(super) fn misclassified(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let (SampleShape::Image { .. }, Some(test)) = (analysis.input(), analysis.labelled_test()?) else {
        return Ok(None);
    };
    let rows = first_misclassified(&test.labels, test.answers);
    let samples = Samples::new(&test, &rows)?;
    let mut file = samples.file(analysis)?;
    let probabilities: Vec<f32> = samples.answers.iter().map(|answer| answer.probability).collect();
    file.floats("probabilities", vec![rows.len()], &probabilities);
    file.serialize().map(Some)
}

/// The first row of each class that has rows, in the order of the classes.
pub(super) fn first_of_each_class(labels: &[u32], classes: usize) -> Vec<u32> {
    let mut first = vec![None; classes];
    for (row, label) in (0..).zip(labels) {
        first[*label as usize].get_or_insert(row);
    }
    first.into_iter().flatten().take(SAMPLES_MAX).collect()
}

/// The first misclassified rows.
pub(super) fn first_misclassified(labels: &[u32], answers: &[ClassAnswer]) -> Vec<u32> {
    let rows = (0..).zip(labels.iter().zip(answers));
    rows.filter(|(_, (label, answer))| **label != answer.class)
        .map(|(row, _)| row)
        .take(MISCLASSIFIED_MAX)
        .collect()
}

/// Pixels as bytes. Numbers are scaled so that the smallest of all is 0 and the largest 255.
pub(super) fn pixels(features: &Features) -> Vec<u8> {
    match features {
        Features::Bytes(pixels) => pixels.clone(),
        Features::Floats(values) => stretched(values),
        // Only for tables of bytes: images have pixels.
        Features::Whole(values) => stretched(&values.iter().copied().map(f32::from).collect::<Vec<_>>()),
    }
}

fn stretched(values: &[f32]) -> Vec<u8> {
    let (low, high) = range(values);
    let scale = if low < high { 255.0 / (high - low) } else { 0.0 };
    let pixel = |value: &f32| ((f64::from(*value) - low) * scale).round() as u8;
    values.iter().map(pixel).collect()
}

impl<'a> Samples<'a> {
    fn new(test: &'a LabelledTest<'_, impl Table>, rows: &'a [u32]) -> Result<Self, SkippedArtifact> {
        Ok(Self {
            rows,
            labels: rows.iter().map(|row| test.labels[*row as usize]).collect(),
            answers: rows.iter().map(|row| test.answers[*row as usize]).collect(),
            classes: &test.names,
            features: test.table.features(rows)?,
        })
    }

    /// The tensors that both files have.
    fn file(&self, analysis: &Analysis<'_, impl Networks>) -> Result<File, SkippedArtifact> {
        let classes =
            serde_json::to_string(self.classes).map_err(|error| SkippedArtifact::Format(error.to_string()))?;
        let mut file = File {
            tensors: Vec::new(),
            metadata: HashMap::from([("classes".to_owned(), classes)]),
        };
        file.integers("rows", self.rows.iter().copied());
        file.integers("labels", self.labels.iter().copied());
        file.integers("predictions", self.answers.iter().map(|answer| answer.class));
        let dims = analysis.input().dims().into_iter().map(|dim| dim as usize);
        let shape = std::iter::once(self.rows.len()).chain(dims).collect();
        file.tensors.push(("images", Dtype::U8, shape, pixels(&self.features)));
        Ok(file)
    }
}

/// A safetensors file.
struct File {
    tensors: Vec<(&'static str, Dtype, Vec<usize>, Vec<u8>)>,
    metadata: HashMap<String, String>,
}

impl File {
    fn integers(&mut self, name: &'static str, values: impl ExactSizeIterator<Item = u32>) {
        let shape = vec![values.len()];
        let bytes = values.flat_map(|value| i64::from(value).to_le_bytes()).collect();
        self.tensors.push((name, Dtype::I64, shape, bytes));
    }

    fn floats(&mut self, name: &'static str, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name, Dtype::F32, shape, bytes));
    }

    fn serialize(self) -> Result<Vec<u8>, SkippedArtifact> {
        let mut views = Vec::new();
        for (name, dtype, shape, bytes) in &self.tensors {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            views.push((*name, view.map_err(|error| SkippedArtifact::Format(error.to_string()))?));
        }
        safetensors::serialize(views, Some(self.metadata)).map_err(|error| SkippedArtifact::Format(error.to_string()))
    }
}
