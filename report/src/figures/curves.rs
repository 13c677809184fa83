//! Learning curves, of the best trials and of refits.

use std::collections::BTreeMap;

use trawl_proto::v1::EpochReport;

use super::{refit_id, thinned};
use crate::data::{EPOCH_REPORTS_MAX, RefitData, StudyData};
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Series};
use crate::metric::{Metric, Spread, over_folds};
use crate::scale::{Axis, Scale};
use crate::words;

/// Points of a curve; more would not be seen.
const POINTS_MAX: usize = 500;

/// The mean over folds by epoch, of the best trials.
pub(super) fn of_best_trials(study: &StudyData, metric: Metric) -> Option<Figure> {
    let curves = |number: fn(Metric, &EpochReport) -> Option<f64>| -> Vec<Series> {
        study
            .curves
            .iter()
            .enumerate()
            .map(|(rank, curves)| {
                let spreads = over_folds(&curves.reports, |report| number(metric, report));
                let value = curves.trial.value.map(words::number).unwrap_or_default();
                Series::line(format!("trial {} ({value})", curves.trial.trial), rank, means(&spreads))
            })
            .filter(|series| !series.mark.extent().0.is_empty())
            .collect()
    };
    let name = metric.name();
    let panels: Vec<Panel> = [
        (format!("validation {name}"), curves(Metric::validation)),
        (format!("training {name}"), curves(Metric::train)),
    ]
    .into_iter()
    .filter(|(_, series)| !series.is_empty())
    .map(|(title, series)| Panel {
        x: Axis::whole("epoch"),
        y: Axis::new(title.clone(), scale_of(metric, &series)),
        title,
        series,
    })
    .collect();
    if panels.is_empty() {
        return None;
    }
    let cut = cut_text(study.curves.iter().map(|curves| curves.reports.len()).max());
    Some(Figure {
        id: format!("learning-curves-{name}"),
        title: format!("Learning curves of the best trials: {name}"),
        caption: format!(
            "Mean {name} over the folds by epoch, of the {} best trials; their values are in brackets.{cut}",
            study.curves.len()
        ),
        body: Body::Panels {
            size: PanelSize::Medium,
            panels,
        },
    })
}

/// Mean and standard deviation over folds by epoch, and the fit on all training rows.
pub(super) fn of_refit(refit: &RefitData, metric: Metric) -> Option<Figure> {
    let train = over_folds(&refit.reports, |report| metric.train(report));
    let validation = over_folds(&refit.reports, |report| metric.validation(report));
    let on_all_rows: Vec<(f64, f64)> = refit
        .reports
        .iter()
        .filter(|report| report.fold.is_none())
        .filter_map(|report| Some((f64::from(report.epoch), metric.train(report)?)))
        .collect();
    let folds = validation
        .values()
        .chain(train.values())
        .map(|spread| spread.folds)
        .max();
    let is_trained = !(train.is_empty() && on_all_rows.is_empty());
    let mut series = Vec::new();
    for (name, colour, spreads) in [("training, folds", 0, &train), ("validation, folds", 1, &validation)] {
        if !spreads.is_empty() {
            series.push(Series::line(name, colour, means(spreads)));
        }
    }
    if !on_all_rows.is_empty() {
        series.push(Series::line("training, all rows", 2, thinned(on_all_rows, POINTS_MAX)));
    }
    let scale = scale_of(metric, &series);
    let mut bands = Vec::new();
    for (name, colour, spreads) in [("training, folds", 0, &train), ("validation, folds", 1, &validation)] {
        if spreads.values().any(|spread| spread.folds > 1) {
            bands.push(Series::new(name, colour, Mark::Band(band(spreads, &scale))));
        }
    }
    let name = metric.name();
    // Workers need not report all of them.
    let title = match (is_trained, !validation.is_empty()) {
        (true, true) => format!("Training and validation {name}"),
        (true, false) => format!("Training {name}"),
        (false, true) => format!("Validation {name}"),
        (false, false) => return None,
    };
    let has_bands = !bands.is_empty();
    bands.extend(series);
    let number = refit.summary.refit;
    let about_folds = match folds {
        Some(folds) if has_bands => {
            format!(" The bands reach one sample standard deviation over the {folds} folds to either side of the mean.")
        }
        _ => String::new(),
    };
    let cut = cut_text(Some(refit.reports.len()));
    Some(Figure {
        id: refit_id(number, name),
        title,
        caption: format!("{} by epoch.{about_folds}{cut}", capitalized(name)),
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::whole("epoch"),
                y: Axis::new(name, scale),
                series: bands,
            }],
        },
    })
}

fn means(spreads: &BTreeMap<u32, Spread>) -> Vec<(f64, f64)> {
    let points = spreads.iter().map(|(epoch, spread)| (f64::from(*epoch), spread.mean));
    thinned(points.collect(), POINTS_MAX)
}

/// From one standard deviation below the mean to one above it.
fn band(spreads: &BTreeMap<u32, Spread>, scale: &Scale) -> Vec<(f64, f64, f64)> {
    let edges = spreads.iter().map(|(epoch, spread)| {
        let low = spread.mean - spread.std;
        // What is not above 0 has no place on a logarithmic axis.
        let low = if *scale == Scale::Log {
            low.max(spread.mean / 10.0)
        } else {
            low
        };
        (f64::from(*epoch), low, spread.mean + spread.std)
    });
    thinned(edges.collect(), POINTS_MAX)
}

/// Losses fall fast and then slowly, which only a logarithmic axis shows both of.
fn scale_of(metric: Metric, series: &[Series]) -> Scale {
    match metric {
        Metric::Loss => Scale::for_values(series.iter().flat_map(|series| series.mark.extent().1)),
        Metric::Accuracy => Scale::Linear,
    }
}

fn cut_text(reports: Option<usize>) -> String {
    if reports.is_some_and(|reports| reports >= EPOCH_REPORTS_MAX) {
        format!(" Only the first {EPOCH_REPORTS_MAX} epoch reports are drawn.")
    } else {
        String::new()
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
