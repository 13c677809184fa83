//! `activation_profiles.json` and `activations.json`: every hidden neuron, over a range and for chosen inputs.

use std::collections::BTreeMap;

use serde::Serialize;
use trawl_dataset::{Features, FittedInputs, SampleShape, Targets};
use trawl_domain::layer::{Layer, last};
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use super::histograms::range;
use super::{Analysis, MEMBER, SkippedArtifact, check_finite, to_json};
use crate::{LayerOutput, Networks, Table};

/// Inputs of a profile.
const PROFILE_LEN: usize = 401;

#[derive(Serialize)]
struct Profiles<'a> {
    feature: &'a str,
    x: &'a [f32],
    layers: Vec<LayerProfiles>,
    output: Vec<Vec<f32>>,
}

#[derive(Serialize)]
struct LayerProfiles {
    index: usize,
    kind: &'static str,
    neurons: Vec<Vec<f32>>,
}

#[derive(Serialize)]
struct Activations {
    features: Vec<String>,
    inputs: Vec<Vec<f32>>,
    layers: Vec<LayerActivations>,
    outputs: Vec<Vec<f32>>,
}

#[derive(Serialize)]
struct LayerActivations {
    index: usize,
    kind: &'static str,
    values: Vec<Vec<f32>>,
}

/// Over the range of the training rows, widened by a tenth on either side, or by a half if it is a single number.
pub(super) fn profiles(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let features = analysis.features().unwrap_or_default();
    let [feature] = features.as_slice() else {
        return Ok(None);
    };
    let train = &analysis.subject.train;
    let rows: Vec<u32> = (0..train.rows()).collect();
    let (low, high) = range(&floats(train.features(&rows)?));
    let margin = if low < high { (high - low) / 10.0 } else { 0.5 };
    let (low, width) = (low - margin, high - low + 2.0 * margin);
    let x: Vec<f32> = (0..PROFILE_LEN)
        .map(|place| (low + width * place as f64 / (PROFILE_LEN - 1) as f64) as f32)
        .collect();
    let (layers, output) = neurons(analysis, &x)?;
    let profiles = Profiles {
        feature,
        x: &x,
        layers: layers
            .into_iter()
            .map(|(index, kind, output)| LayerProfiles {
                index,
                kind,
                neurons: columns(&output),
            })
            .collect(),
        output: columns(&output),
    };
    to_json(&profiles).map(Some)
}

/// For the inputs of the study, or for chosen training rows.
pub(super) fn activations(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let Some(features) = analysis.features() else {
        return Ok(None);
    };
    let inputs = if analysis.subject.inputs.is_empty() {
        let train = &analysis.subject.train;
        let rows = train
            .targets()?
            .map(|targets| chosen_rows(&first(targets, train.rows())))
            .unwrap_or_default();
        let flat = filled(analysis, floats(train.features(&rows)?))?;
        flat.chunks_exact(features.len()).map(<[f32]>::to_vec).collect()
    } else {
        analysis.subject.inputs.clone()
    };
    let (layers, output) = neurons(analysis, &inputs.concat())?;
    let activations = Activations {
        features,
        inputs,
        layers: layers
            .into_iter()
            .map(|(index, kind, output)| LayerActivations {
                index,
                kind,
                values: rows(&output),
            })
            .collect(),
        outputs: rows(&output),
    };
    to_json(&activations).map(Some)
}

/// The first of each row's targets.
fn first(targets: Targets, rows: u32) -> Targets {
    match targets {
        Targets::Numbers(numbers) => {
            let width = numbers.len() / rows.max(1) as usize;
            Targets::Numbers(numbers.into_iter().step_by(width.max(1)).collect())
        }
        Targets::Classes { .. } => targets,
    }
}

/// The rows with the lowest, the median (of two, the lower) and the highest target, the first among equals; for
/// classes, the first row of each of the first three.
pub(super) fn chosen_rows(targets: &Targets) -> Vec<u32> {
    match targets {
        Targets::Numbers(numbers) => {
            let mut order: Vec<u32> = (0..numbers.len() as u32).collect();
            order.sort_by(|a, b| numbers[*a as usize].total_cmp(&numbers[*b as usize]));
            let median = order.get(order.len().saturating_sub(1) / 2);
            // The sort is stable.
            let highest = order
                .iter()
                .find(|row| numbers.get(**row as usize) == order.last().map(|row| &numbers[*row as usize]));
            let mut rows = Vec::new();
            for row in [order.first(), median, highest].into_iter().flatten() {
                if !rows.contains(row) {
                    rows.push(*row);
                }
            }
            rows
        }
        Targets::Classes { labels, .. } => (0..3)
            .filter_map(|class| labels.iter().position(|label| *label == class))
            .map(|row| row as u32)
            .collect(),
    }
}

/// Index, kind and output of each activation layer, and the network's output, for rows of features.
type Neurons = (Vec<(usize, &'static str, LayerOutput)>, LayerOutput);

fn neurons(analysis: &Analysis<'_, impl Networks>, features: &[f32]) -> Result<Neurons, SkippedArtifact> {
    let layers = analysis.layers();
    let hidden: Vec<(usize, &'static str)> = layers
        .iter()
        .enumerate()
        .filter_map(|(index, layer)| match layer {
            Layer::Activation(kind) => Some((index, kind.as_str())),
            _ => None,
        })
        .collect();
    // The output of a residual comes before its layers'.
    let last = last(layers);
    let mut wanted: Vec<usize> = hidden.iter().map(|(index, _)| *index).chain([last]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let architecture = analysis.networks.architecture();
    let shapes = architecture.shapes().unwrap_or_default();
    let width: u64 = wanted
        .iter()
        .map(|layer| shapes.get(layer + 1).map_or(0, |shape| SampleShape::len(*shape)))
        .sum();
    // A number takes at least two bytes, with its comma: checked before memory for all of them is taken.
    if width * features.len() as u64 / architecture.input.len().max(1) * 2 > ARTIFACT_BYTES_MAX {
        return Err(SkippedArtifact::TooLarge);
    }
    check_finite(features)?;
    let features = Features::Floats(features.to_vec());
    let outputs = analysis.networks.layer_outputs(MEMBER, &features, &wanted)?;
    check_finite(outputs.iter().flat_map(|output| &output.values))?;
    let of_layer: BTreeMap<usize, LayerOutput> = wanted.into_iter().zip(outputs).collect();
    let found = |index: &usize| {
        let output = of_layer.get(index).cloned();
        output.ok_or_else(|| SkippedArtifact::Format(format!("the network has no layer {index}")))
    };
    let neurons = hidden
        .into_iter()
        .map(|(index, kind)| Ok((index, kind, found(&index)?)));
    Ok((neurons.collect::<Result<_, SkippedArtifact>>()?, found(&last)?))
}

/// A list of neurons for each row.
fn rows(output: &LayerOutput) -> Vec<Vec<f32>> {
    let width: usize = output.shape[1..].iter().product();
    output.values.chunks_exact(width.max(1)).map(<[f32]>::to_vec).collect()
}

/// A list over the rows for each neuron.
fn columns(output: &LayerOutput) -> Vec<Vec<f32>> {
    let width: usize = output.shape[1..].iter().product();
    let column = |neuron: usize| output.values.iter().skip(neuron).step_by(width).copied().collect();
    (0..width).map(column).collect()
}

/// Rows with fitted fill values in place of gaps, as inputs of the network.
fn filled(analysis: &Analysis<'_, impl Networks>, mut rows: Vec<f32>) -> Result<Vec<f32>, SkippedArtifact> {
    let fitted = analysis.networks.fitted(MEMBER)?;
    if let Some(FittedInputs(inputs)) = fitted.and_then(|fitted| fitted.inputs.as_ref()) {
        let fill = inputs.iter().map(|input| input.fill).cycle();
        let gaps = rows.iter_mut().zip(fill).filter(|(value, _)| value.is_nan());
        gaps.for_each(|(value, fill)| *value = fill);
    }
    Ok(rows)
}

/// A table's features; an array of bytes has small numbers.
fn floats(features: Features) -> Vec<f32> {
    match features {
        Features::Floats(values) => values,
        Features::Bytes(values) | Features::Whole(values) => values.into_iter().map(f32::from).collect(),
    }
}
