//! Images of a refit: samples, what the first convolution makes of one, its filters, and misclassified samples.

use super::refit_id;
use crate::artifacts::{FeatureMaps, Misclassified, Samples, Stack};
use crate::figure::{Body, Figure, Image, Tile, diverging, viridis};
use crate::scale::extremes;

/// Tiles of one figure.
const TILES_MAX: usize = 64;
/// Filters of the short version.
const FEW_FILTERS: usize = 4;

/// Sample images, the output of the first convolution for one of them, and its filters.
pub(super) fn of_feature_maps(refit: u32, maps: &FeatureMaps) -> Vec<Figure> {
    let samples = &maps.samples;
    if samples.rows.is_empty() {
        return Vec::new();
    }
    let tiles = (0..samples.rows.len().min(TILES_MAX)).map(|sample| Tile {
        title: class(samples, samples.labels[sample]),
        image: image(&samples.images, sample),
    });
    let sample_images = Figure {
        id: refit_id(refit, "sample-images"),
        title: "Sample images".into(),
        caption: "A test image of each class, with its label.".into(),
        body: Body::Tiles(tiles.collect()),
    };
    let filters = maps.filters.shape()[0];
    let mut figures = vec![sample_images];
    if filters > FEW_FILTERS {
        figures.push(convolution(
            refit,
            maps,
            FEW_FILTERS,
            "convolution-four-filters",
            "four filters",
        ));
    }
    figures.push(convolution(
        refit,
        maps,
        filters,
        "convolution-all-filters",
        "all filters",
    ));
    figures.push(first_filters(refit, maps));
    figures
}

/// What filters make of the first sample.
fn convolution(refit: u32, maps: &FeatureMaps, filters: usize, name: &str, which: &str) -> Figure {
    let shown = filters.min(TILES_MAX);
    let [_, _, height, width] = maps.maps.shape();
    // One scale for all filters, so that strong and weak answers can be told apart.
    let all = (0..maps.filters.shape()[0]).flat_map(|filter| maps.maps.plane(0, filter));
    let (low, high) = extremes(all.map(|value| f64::from(*value)));
    let sample = Tile {
        title: "input".into(),
        image: image(&maps.samples.images, 0),
    };
    let answers = (0..shown).map(|filter| {
        let values = maps.maps.plane(0, filter).iter();
        Tile {
            title: format!("filter {filter}"),
            image: Image {
                width,
                height,
                rgb: values
                    .map(|value| viridis((f64::from(*value) - low) / (high - low).max(f64::MIN_POSITIVE)))
                    .collect(),
            },
        }
    });
    let cut = if filters > shown {
        format!(" Only the first {shown} of {filters} are drawn.")
    } else {
        String::new()
    };
    Figure {
        id: refit_id(refit, name),
        title: format!("Output of the first convolution: {which}"),
        caption: format!(
            "What layer {} makes of a test image of the class {}, before its activation: dark is low, bright is high, on \
             one scale.{cut}",
            maps.layer,
            class(&maps.samples, maps.samples.labels[0]),
        ),
        body: Body::Tiles(std::iter::once(sample).chain(answers).collect()),
    }
}

/// The weights of the first convolution.
fn first_filters(refit: u32, maps: &FeatureMaps) -> Figure {
    let [filters, channels, height, width] = maps.filters.shape();
    let shown = filters.min(TILES_MAX);
    let all =
        (0..filters).flat_map(|filter| (0..channels).flat_map(move |channel| maps.filters.plane(filter, channel)));
    let strongest = all.fold(f64::MIN_POSITIVE, |most, weight| most.max(f64::from(weight.abs())));
    let weight = |weight: f32| f64::from(weight) / strongest;
    let tiles = (0..shown).map(|filter| {
        let plane = |channel| maps.filters.plane(filter, channel);
        let rgb = if channels == 3 {
            let byte = |value: f32| ((weight(value) + 1.0) * 127.5).round() as u8;
            let channels = plane(0).iter().zip(plane(1)).zip(plane(2));
            channels.map(|((r, g), b)| [byte(*r), byte(*g), byte(*b)]).collect()
        } else {
            plane(0).iter().map(|value| diverging(weight(*value))).collect()
        };
        Tile {
            title: format!("filter {filter}"),
            image: Image { width, height, rgb },
        }
    });
    let colours = match channels {
        1 => "Blue is negative, white is 0, red is positive.",
        3 => "The three input channels are drawn as red, green and blue.",
        _ => "The first input channel: blue is negative, white is 0, red is positive.",
    };
    Figure {
        id: refit_id(refit, "first-filters"),
        title: "Filters of the first convolution".into(),
        caption: format!("The weights of layer {}, all on one scale. {colours}", maps.layer),
        body: Body::Tiles(tiles.collect()),
    }
}

/// Samples that are taken for another class.
pub(super) fn misclassified(refit: u32, misclassified: &Misclassified) -> Option<Figure> {
    let samples = &misclassified.samples;
    let shown = samples.rows.len().min(TILES_MAX);
    let tiles = (0..shown).map(|sample| Tile {
        title: format!(
            "{}, not {} ({:.0} %)",
            class(samples, samples.labels[sample]),
            class(samples, samples.predictions[sample]),
            misclassified.probabilities[sample] * 100.0
        ),
        image: image(&samples.images, sample),
    });
    (shown > 0).then(|| Figure {
        id: refit_id(refit, "misclassified"),
        title: "Misclassified samples".into(),
        caption:
            "The first test images that are taken for another class: the label, then what the network took it for, and \
                  with which probability."
                .into(),
        body: Body::Tiles(tiles.collect()),
    })
}

fn class(samples: &Samples, index: usize) -> String {
    samples.classes.get(index).cloned().unwrap_or_else(|| index.to_string())
}

/// Grey, or red, green and blue; of other numbers of channels, the first one.
fn image(images: &Stack<u8>, index: usize) -> Image {
    let [_, channels, height, width] = images.shape();
    let plane = |channel| images.plane(index, channel);
    let rgb = if channels == 3 {
        let pixels = plane(0).iter().zip(plane(1)).zip(plane(2));
        pixels.map(|((r, g), b)| [*r, *g, *b]).collect()
    } else {
        plane(0).iter().map(|grey| [*grey; 3]).collect()
    };
    Image { width, height, rgb }
}
