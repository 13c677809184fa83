//! Which classes a refit's model takes for which.

use super::refit_id;
use crate::artifacts::ConfusionMatrix;
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Series, Table, TableColumn};
use crate::scale::{Axis, Scale};
use crate::words::number;

/// Classes that are drawn, the first ones.
const CLASSES_MAX: usize = 100;

/// The confusion matrix, and what follows from it for each class.
pub(super) fn confusion(refit: u32, confusion: &ConfusionMatrix) -> Vec<Figure> {
    let all: u64 = confusion.counts.iter().flatten().sum();
    let right: u64 = (0..confusion.classes.len())
        .map(|class| confusion.counts[class][class])
        .sum();
    // The first class is at the top, as it is in a table.
    let counts = confusion.counts.iter().take(CLASSES_MAX).rev();
    let cells = counts
        .map(|row| row.iter().take(CLASSES_MAX).map(|count| *count as f64).collect())
        .collect();
    let classes: Vec<String> = confusion.classes.iter().take(CLASSES_MAX).cloned().collect();
    let matrix = Figure {
        id: refit_id(refit, "confusion-matrix"),
        title: "Confusion matrix".into(),
        caption: format!(
            "{right} of {all} test rows are taken for their own class ({}). Rows are true classes, columns predicted ones.{}",
            share(right, all).map_or_else(|| "none".into(), |share| format!("{} %", number(share * 100.0))),
            cut_text(confusion)
        ),
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::new("predicted class", Scale::Categories(classes.clone())),
                y: Axis::new("true class", Scale::Categories(classes.into_iter().rev().collect())),
                series: vec![Series::new("", 0, Mark::Cells(cells))],
            }],
        },
    };
    vec![matrix, by_class(refit, confusion)]
}

fn by_class(refit: u32, confusion: &ConfusionMatrix) -> Figure {
    let column = |title: &str, is_numeric| TableColumn {
        title: title.to_owned(),
        is_numeric,
    };
    let classes = confusion.classes.iter().take(CLASSES_MAX).enumerate();
    let rows = classes.map(|(class, name)| {
        let right = confusion.counts[class][class];
        let of_class: u64 = confusion.counts[class].iter().sum();
        let taken_for_it: u64 = confusion.counts.iter().map(|row| row[class]).sum();
        let text = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3}"));
        vec![
            name.clone(),
            of_class.to_string(),
            text(share(right, taken_for_it)),
            text(share(right, of_class)),
            text(share(2 * right, of_class + taken_for_it)),
        ]
    });
    Figure {
        id: refit_id(refit, "precision-and-recall"),
        title: "Precision, recall and F1 by class".into(),
        caption: format!(
            "Precision: the share of what is taken for a class that is of it. Recall: the share of a class that is taken \
             for it. F1: the harmonic mean of both.{}",
            cut_text(confusion)
        ),
        body: Body::Table(Table {
            trials: Vec::new(),
            columns: vec![
                column("class", false),
                column("test rows", true),
                column("precision", true),
                column("recall", true),
                column("F1", true),
            ],
            rows: rows.collect(),
        }),
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn cut_text(confusion: &ConfusionMatrix) -> String {
    match confusion.classes.len() {
        classes if classes > CLASSES_MAX => format!(" Only the first {CLASSES_MAX} of {classes} classes are drawn."),
        _ => String::new(),
    }
}
