//! The inside of a refit's network: profiles and strengths of its neurons, and its weights.

use super::refit_id;
use crate::artifacts::{ActivationProfiles, Activations, Histogram, WeightHistograms};
use crate::figure::{Bar, Body, COLOURS, Figure, Mark, Panel, PanelSize, Series};
use crate::scale::{Axis, Scale};
use crate::words;

/// Neurons of a layer that are drawn, the first ones.
const NEURONS_MAX: usize = 64;
/// Inputs for which activations are drawn, the first ones: as many as there are colours.
const INPUTS_MAX: usize = COLOURS;
/// Layers that are drawn, the first ones.
const LAYERS_MAX: usize = 32;

/// Every neuron over the range of the only feature, a figure for each layer.
pub(super) fn activation_profiles(refit: u32, profiles: &ActivationProfiles) -> Vec<Figure> {
    let feature = &profiles.feature;
    let layers = profiles.layers.iter().filter(|layer| !layer.neurons.is_empty());
    let figures = layers.take(LAYERS_MAX).map(|layer| {
        let shown = &layer.neurons[..layer.neurons.len().min(NEURONS_MAX)];
        let ends = Scale::Linear.ends(shown.iter().flatten().copied());
        let panels = shown.iter().enumerate().map(|(neuron, activations)| {
            let points = profiles.x.iter().copied().zip(activations.iter().copied()).collect();
            let mut y = Axis::linear("activation");
            y.fixed = Some(ends);
            Panel {
                title: format!("neuron {neuron}"),
                x: Axis::linear(feature),
                y,
                series: vec![Series::line("", 0, points)],
            }
        });
        Figure {
            id: refit_id(refit, &format!("activation-profiles-layer-{}", layer.index)),
            title: format!("Activation profiles of layer {} ({})", layer.index, layer.kind),
            caption: format!(
                "The activation of every neuron over {feature}, all on one scale.{}",
                cut_text(layer.neurons.len())
            ),
            body: Body::Panels {
                size: PanelSize::Small,
                panels: panels.collect(),
            },
        }
    });
    figures.collect()
}

/// How the weights and the biases of each layer are distributed.
pub(super) fn weight_histograms(refit: u32, histograms: &WeightHistograms) -> Option<Figure> {
    let panels = histograms.layers.iter().take(LAYERS_MAX).flat_map(|layer| {
        let of = |what: &str, colour, histogram: &Histogram| Panel {
            title: format!("layer {} ({}): {what}", layer.index, layer.kind),
            x: Axis::linear("value"),
            y: Axis::whole("count"),
            series: vec![Series::new("", colour, Mark::Bars(bars(histogram)))],
        };
        let weight = of("weights", 0, &layer.weight);
        let bias = layer.bias.as_ref().map(|bias| of("biases", 1, bias));
        std::iter::once(weight).chain(bias)
    });
    let panels: Vec<Panel> = panels.collect();
    if panels.is_empty() {
        return None;
    }
    Some(Figure {
        id: refit_id(refit, "weight-histograms"),
        title: "Weight histograms".into(),
        caption: "How many of the weights and biases of each layer have which value, after training on all rows."
            .into(),
        body: Body::Panels {
            size: PanelSize::Medium,
            panels,
        },
    })
}

fn bars(histogram: &Histogram) -> Vec<Bar> {
    let edges = histogram.edges.windows(2);
    let bars = edges.zip(&histogram.counts).map(|(edges, count)| Bar {
        from: edges[0],
        to: edges[1],
        height: *count as f64,
    });
    bars.collect()
}

/// Every neuron for chosen inputs, a panel for each layer.
pub(super) fn activation_strength(refit: u32, activations: &Activations) -> Option<Figure> {
    let names: Vec<String> = activations
        .inputs
        .iter()
        .take(INPUTS_MAX)
        .map(|input| input_text(&activations.features, input))
        .collect();
    let layers = activations.layers.iter().take(LAYERS_MAX);
    let panels: Vec<Panel> = layers
        .map(|layer| {
            let series = names.iter().zip(&layer.values).enumerate();
            Panel {
                title: format!("layer {} ({})", layer.index, layer.kind),
                x: Axis::whole("neuron"),
                y: Axis::linear("activation"),
                series: series
                    .map(|(input, (name, values))| {
                        Series::new(name, input, Mark::Bars(grouped(values, input, names.len())))
                    })
                    .collect(),
            }
        })
        .collect();
    if panels.is_empty() {
        return None;
    }
    let neurons = activations
        .layers
        .iter()
        .filter_map(|layer| Some(layer.values.first()?.len()))
        .max();
    let outputs = activations.outputs.iter().zip(&names).map(|(output, name)| {
        let output = output.iter().take(INPUTS_MAX);
        let output: Vec<String> = output.map(|number| words::number(*number)).collect();
        format!("{} for {name}", output.join(", "))
    });
    let outputs: Vec<String> = outputs.collect();
    Some(Figure {
        id: refit_id(refit, "activation-strength"),
        title: "Activation strength".into(),
        caption: format!(
            "The activation of every hidden neuron for given inputs. The network answers {}.{}{}",
            outputs.join("; "),
            cut_text(neurons.unwrap_or(0)),
            if activations.inputs.len() > INPUTS_MAX {
                format!(
                    " Only the first {INPUTS_MAX} of {} inputs are drawn.",
                    activations.inputs.len()
                )
            } else {
                String::new()
            }
        ),
        body: Body::Panels {
            size: PanelSize::Medium,
            panels,
        },
    })
}

/// Bars of one of several inputs, side by side around the number of their neuron.
fn grouped(values: &[f64], input: usize, inputs: usize) -> Vec<Bar> {
    const GROUP_WIDTH: f64 = 0.8;
    let width = GROUP_WIDTH / inputs.max(1) as f64;
    let bars = values.iter().take(NEURONS_MAX).enumerate().map(|(neuron, value)| {
        let from = neuron as f64 - GROUP_WIDTH / 2.0 + input as f64 * width;
        Bar {
            from,
            to: from + width,
            height: *value,
        }
    });
    bars.collect()
}

/// `input = 4.05`; of many features, the first few.
fn input_text(features: &[String], input: &[f64]) -> String {
    const FEATURES_MAX: usize = 4;
    let pairs = features.iter().zip(input).take(FEATURES_MAX);
    let pairs: Vec<String> = pairs
        .map(|(feature, value)| format!("{feature} = {}", words::number(*value)))
        .collect();
    let more = if features.len() > FEATURES_MAX { ", …" } else { "" };
    format!("{}{more}", pairs.join(", "))
}

fn cut_text(neurons: usize) -> String {
    if neurons > NEURONS_MAX {
        format!(" Only the first {NEURONS_MAX} neurons of a layer are drawn.")
    } else {
        String::new()
    }
}
