//! `weight_histograms.json`: the distribution of each layer's parameters.

use serde::Serialize;

use super::{Analysis, SkippedArtifact, check_finite, to_json};
use crate::Networks;

/// Bins of a histogram.
const BINS: usize = 50;

#[derive(Serialize)]
struct WeightHistograms {
    layers: Vec<LayerHistograms>,
}

#[derive(Serialize)]
struct LayerHistograms {
    index: usize,
    kind: &'static str,
    weight: Histogram,
    /// `None` for a layer without a bias.
    #[serde(skip_serializing_if = "Option::is_none")]
    bias: Option<Histogram>,
}

/// Counts between edges; there is one edge more than counts.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Histogram {
    pub(super) edges: Vec<f32>,
    pub(super) counts: Vec<u64>,
}

pub(super) fn weight_histograms(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let mut layers = Vec::new();
    let architecture = analysis.networks.architecture();
    for (index, _) in architecture.weights().unwrap_or_default() {
        layers.push(LayerHistograms {
            index,
            kind: architecture.layers[index].kind().name,
            weight: Histogram::of(&analysis.parameter(index, "weight")?.values)?,
            bias: match architecture.layers[index].kind().has_bias {
                true => Some(Histogram::of(&analysis.parameter(index, "bias")?.values)?),
                false => None,
            },
        });
    }
    to_json(&WeightHistograms { layers }).map(Some)
}

impl Histogram {
    /// Bins of equal width from the smallest to the largest value; the last bin includes the largest. If all values are
    /// equal, the bins reach from a half below to a half above.
    pub(super) fn of(values: &[f32]) -> Result<Self, SkippedArtifact> {
        check_finite(values)?;
        let (low, high) = range(values);
        let (low, high) = if low < high {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        let mut counts = vec![0; BINS];
        for value in values {
            let bin = (f64::from(*value) - low) / (high - low) * BINS as f64;
            counts[(bin as usize).min(BINS - 1)] += 1;
        }
        let edge = |edge: usize| (low + (high - low) * edge as f64 / BINS as f64) as f32;
        let edges: Vec<f32> = (0..=BINS).map(edge).collect();
        check_finite(&edges)?;
        Ok(Self { edges, counts })
    }
}

/// Smallest and largest value; 0 and 0 without values.
pub(super) fn range(values: &[f32]) -> (f64, f64) {
    let least = values.iter().copied().reduce(f32::min).unwrap_or(0.0);
    let greatest = values.iter().copied().reduce(f32::max).unwrap_or(0.0);
    (f64::from(least), f64::from(greatest))
}
