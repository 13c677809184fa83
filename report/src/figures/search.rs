//! The search as a whole: values by trial, and the ranking.

use crate::data::StudyData;
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Point, Series, Stroke, Table, TableColumn};
use crate::scale::{Axis, Scale};
use crate::words::{self, Parameter, parameter};

/// The value of every trial, and the best one so far.
pub(crate) fn value_by_trial(study: &StudyData) -> Option<Figure> {
    let points: Vec<Point> = study
        .trials
        .iter()
        .filter_map(|trial| {
            let value = trial.value?;
            Some(Point {
                x: f64::from(trial.trial),
                y: value,
                trial: Some(trial.trial),
                label: format!("trial {}: {}", trial.trial, words::number(value)),
            })
        })
        .collect();
    let last = points.last()?;
    let is_better = |value: f64, best: f64| {
        if study.is_maximized() {
            value > best
        } else {
            value < best
        }
    };
    let mut best_so_far: Vec<(f64, f64)> = Vec::new();
    for point in &points {
        if best_so_far.last().is_none_or(|(_, best)| is_better(point.y, *best)) {
            best_so_far.push((point.x, point.y));
        }
    }
    if let Some((x, best)) = best_so_far.last().copied()
        && x < last.x
    {
        best_so_far.push((last.x, best));
    }
    let scale = Scale::for_values(points.iter().map(|point| point.y));
    let caption = format!(
        "{}{}{}",
        outcome_text(study),
        if scale == Scale::Log {
            " The axis of values is logarithmic."
        } else {
            ""
        },
        if study.are_trials_cut {
            format!(" Only the first {} trials are drawn.", study.trials.len())
        } else {
            String::new()
        },
    );
    let best_line = Mark::Line {
        points: best_so_far,
        stroke: Stroke::Steps,
    };
    Some(Figure {
        id: "value-by-trial".into(),
        title: "Value by trial".into(),
        caption,
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::whole("trial"),
                y: Axis::new(study.value_name(), scale),
                series: vec![
                    Series::new("trial", 0, Mark::Points(points)),
                    Series::new("best so far", 1, best_line),
                ],
            }],
        },
    })
}

/// How the trials that are drawn ended.
fn outcome_text(study: &StudyData) -> String {
    let count = |state: &str| study.trials.iter().filter(|trial| trial.state == state).count();
    let diverged = study.trials.iter().filter(|trial| trial.error == "diverged").count();
    let failed = match count("failed") {
        failed if diverged > 0 => format!("{failed} failed ({diverged} of them diverged)"),
        failed => format!("{failed} failed"),
    };
    let mut text = format!("{} trials completed, {failed}", count("completed"));
    for (state, words) in [
        ("pruned", "pruned"),
        ("cancelled", "cancelled"),
        ("running", "running"),
        ("queued", "queued"),
    ] {
        match count(state) {
            0 => {}
            some => text.push_str(&format!(", {some} {words}")),
        }
    }
    text.push('.');
    text
}

/// The head of the ranking.
pub(super) fn ranking(study: &StudyData) -> Option<Figure> {
    if study.ranking.is_empty() {
        return None;
    }
    let searched = study.searched();
    let column = |title: &str, is_numeric| TableColumn {
        title: title.to_owned(),
        is_numeric,
    };
    let mut columns = vec![
        column("rank", true),
        column("trial", true),
        column("value, mean ± std", true),
    ];
    let values = study.ranking.iter().map(|trial| (trial.value, trial.value_std));
    let values = words::column(&values.collect::<Vec<_>>());
    let mut rows: Vec<Vec<String>> = (study.ranking.iter().zip(values).enumerate())
        .map(|(index, (trial, value))| vec![(index + 1).to_string(), trial.trial.to_string(), value])
        .collect();
    for name in searched.keys() {
        // A trial may lack a setting.
        let cells = study.ranking.iter().map(|trial| parameter(trial.params.as_ref(), name));
        let cells: Vec<Option<Parameter>> = cells.collect();
        let is_number = |cell: &Option<Parameter>| matches!(cell, Some(Parameter::Number(_)));
        columns.push(column(name, cells.iter().any(is_number)));
        for (row, text) in rows.iter_mut().zip(words::parameters(&cells)) {
            row.push(text);
        }
    }
    Some(Figure {
        id: "ranking".into(),
        title: "Ranking".into(),
        caption: format!(
            "The best {} completed trials: {}, mean and sample standard deviation over the folds, and their settings.",
            study.ranking.len(),
            study.value_name(),
        ),
        body: Body::Table(Table {
            columns,
            rows,
            trials: study.ranking.iter().map(|trial| trial.trial).collect(),
        }),
    })
}
