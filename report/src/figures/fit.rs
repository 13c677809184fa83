//! The model of a refit against the rows that it was trained on and tested with.

use super::{refit_id, thinned};
use crate::artifacts::{ActivationProfiles, Outcome, Predictions, Split};
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Point, Series, Stroke};
use crate::scale::{Axis, extremes};
use crate::words::number;

/// Points of one series.
const POINTS_MAX: usize = 5_000;

/// Target over feature of the training rows, where there is one feature and a number to predict.
pub(super) fn training_points(refit: u32, predictions: &Predictions) -> Option<Figure> {
    let feature = only_feature(predictions)?;
    let points = points(predictions, Split::Train, |x, target, _| (x, target));
    if points.is_empty() {
        return None;
    }
    let caption = format!(
        "{} training rows: the target over {feature}.",
        count(predictions, Split::Train)
    );
    let series = vec![Series::new("", 0, Mark::Points(points))];
    Some(figure(
        refit,
        "training-points",
        "Training points",
        caption,
        (feature, "target"),
        series,
    ))
}

/// The output of the network over the only feature, through the rows; with several features, prediction over target.
pub(super) fn fit(refit: u32, predictions: &Predictions, profiles: Option<&ActivationProfiles>) -> Option<Figure> {
    if !predictions.is_regression() || predictions.features.is_empty() || predictions.rows.is_empty() {
        return None;
    }
    match (only_feature(predictions), profiles) {
        (Some(feature), Some(profiles)) => {
            let rows = |split| Mark::Points(points(predictions, split, |x, target, _| (x, target)));
            let output = profiles.output.first()?;
            let curve = profiles.x.iter().copied().zip(output.iter().copied()).collect();
            let series = vec![
                Series::new("training rows", 0, rows(Split::Train)),
                Series::new("test rows", 1, rows(Split::Test)),
                Series::line("network", 2, curve),
            ];
            let caption = format!(
                "The output of the network over {feature}, with {} training rows and {} test rows.",
                count(predictions, Split::Train),
                count(predictions, Split::Test)
            );
            Some(figure(refit, "fit", "Fit", caption, (feature, "target"), series))
        }
        _ => Some(predicted_against_target(refit, predictions)),
    }
}

fn predicted_against_target(refit: u32, predictions: &Predictions) -> Figure {
    let rows = |split| points(predictions, split, |_, target, prediction| (target, prediction));
    let (train, test) = (rows(Split::Train), rows(Split::Test));
    let (low, high) = extremes(train.iter().chain(&test).flat_map(|point| [point.x, point.y]));
    let diagonal = Mark::Line {
        points: vec![(low, low), (high, high)],
        stroke: Stroke::Dashed,
    };
    let series = vec![
        Series::new("training rows", 0, Mark::Points(train)),
        Series::new("test rows", 1, Mark::Points(test)),
        Series::new("prediction = target", 2, diagonal),
    ];
    let caption = format!(
        "{} training rows and {} test rows; on the dashed line, the prediction is the target.",
        count(predictions, Split::Train),
        count(predictions, Split::Test)
    );
    figure(
        refit,
        "prediction-and-target",
        "Prediction and target",
        caption,
        ("target", "prediction"),
        series,
    )
}

fn figure(refit: u32, name: &str, title: &str, caption: String, (x, y): (&str, &str), series: Vec<Series>) -> Figure {
    Figure {
        id: refit_id(refit, name),
        title: title.to_owned(),
        caption,
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::linear(x),
                y: Axis::linear(y),
                series,
            }],
        },
    }
}

fn only_feature(predictions: &Predictions) -> Option<&str> {
    match predictions.features.as_slice() {
        [feature] if predictions.is_regression() => Some(feature),
        _ => None,
    }
}

/// A point for each row of a split, from its first feature, its target and its prediction.
fn points(predictions: &Predictions, split: Split, place: impl Fn(f64, f64, f64) -> (f64, f64)) -> Vec<Point> {
    let places = predictions
        .rows
        .iter()
        .filter(|row| row.split == split)
        .filter_map(|row| {
            let Outcome::Number { target, prediction } = row.outcome else {
                return None;
            };
            // A row without a value has no place over its feature.
            let (x, y) = place(row.features.first()?.unwrap_or(f64::NAN), target, prediction);
            (x.is_finite() && y.is_finite()).then_some((x, y))
        });
    let points = thinned(places.collect(), POINTS_MAX).into_iter();
    points
        .map(|(x, y)| Point {
            x,
            y,
            trial: None,
            label: format!("({}, {})", number(x), number(y)),
        })
        .collect()
}

fn count(predictions: &Predictions, split: Split) -> usize {
    predictions.rows.iter().filter(|row| row.split == split).count()
}
