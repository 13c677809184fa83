//! Figures from data: what is drawn where.

use trawl_proto::v1::EpochReport;

use super::*;
use crate::figure::{Body, Mark, Panel, Parallel, Stroke, Table};
use crate::sample::{self, file};
use crate::scale::Scale;

fn study() -> StudyData {
    let mut study = sample::study();
    study.trials.clear();
    study
}

fn trial(number: u32, value: Option<f64>, state: &str) -> trawl_proto::v1::Trial {
    let template = sample::study().trials.swap_remove(0);
    trawl_proto::v1::Trial {
        trial: number,
        value,
        state: state.into(),
        error: String::new(),
        ..template
    }
}

fn panels(figure: &Figure) -> &[Panel] {
    match &figure.body {
        Body::Panels { panels, .. } => panels,
        other => panic!("{other:?}"),
    }
}

fn parallel(figure: &Figure) -> &Parallel {
    match &figure.body {
        Body::Parallel(parallel) => parallel,
        other => panic!("{other:?}"),
    }
}

fn table(figure: &Figure) -> &Table {
    match &figure.body {
        Body::Table(table) => table,
        other => panic!("{other:?}"),
    }
}

fn line(mark: &Mark) -> (&[(f64, f64)], Stroke) {
    match mark {
        Mark::Line { points, stroke } => (points, *stroke),
        other => panic!("{other:?}"),
    }
}

fn titles(figures: &[Figure]) -> Vec<&str> {
    figures.iter().map(|figure| figure.title.as_str()).collect()
}

#[test]
fn the_best_value_so_far_goes_down_in_steps_and_on_to_the_last_trial() {
    let mut study = study();
    for (number, value) in [
        (0, Some(3.0)),
        (1, Some(4.0)),
        (2, None),
        (3, Some(1.0)),
        (5, Some(2.0)),
    ] {
        let state = if value.is_some() { "completed" } else { "failed" };
        study.trials.push(trial(number, value, state));
    }
    study.trials[2].error = "diverged".into();
    let figure = search::value_by_trial(&study).unwrap();
    let [points, best] = panels(&figure)[0].series.as_slice() else {
        panic!("two series")
    };
    assert_eq!(points.mark.extent().0, [0.0, 1.0, 3.0, 5.0]);
    assert_eq!(
        line(&best.mark),
        (&[(0.0, 3.0), (3.0, 1.0), (5.0, 1.0)][..], Stroke::Steps)
    );
    assert_eq!(figure.caption, "4 trials completed, 1 failed (1 of them diverged).");
    assert_eq!(panels(&figure)[0].y.scale, Scale::Linear);

    study.summary.goal = "maximize".into();
    let figure = search::value_by_trial(&study).unwrap();
    assert_eq!(
        line(&panels(&figure)[0].series[1].mark).0,
        [(0.0, 3.0), (1.0, 4.0), (5.0, 4.0)]
    );

    study.trials.push(trial(6, Some(500.0), "completed"));
    study.are_trials_cut = true;
    let figure = search::value_by_trial(&study).unwrap();
    assert_eq!(panels(&figure)[0].y.scale, Scale::Log);
    assert!(
        figure.caption.ends_with("Only the first 6 trials are drawn."),
        "{}",
        figure.caption
    );
}

#[test]
fn without_a_completed_trial_there_is_nothing_to_draw() {
    let mut study = study();
    study.trials.push(trial(0, None, "running"));
    study.ranking.clear();
    study.curves.clear();
    study.summary.importance.clear();
    assert_eq!(of_search(&study), []);
}

#[test]
fn a_bar_is_as_high_as_its_setting_matters() {
    let figure = settings::importance(&study()).unwrap();
    let Body::Panels { panels, .. } = &figure.body else {
        panic!("{figure:?}")
    };
    assert_eq!(
        panels[0].x.scale,
        Scale::Categories(vec!["learning_rate".into(), "activation".into()])
    );
    let Mark::Bars(bars) = &panels[0].series[0].mark else {
        panic!("{figure:?}")
    };
    assert_eq!(bars.iter().map(|bar| bar.height).collect::<Vec<_>>(), [80.0, 20.0]);
    assert!(figure.caption.contains("200 trials") && !figure.caption.contains("care"));
}

#[test]
fn lines_cross_every_axis_and_the_best_is_on_top() {
    let mut study = study();
    study.trials = vec![
        trial(0, Some(2.0), "completed"),
        trial(1, Some(1.0), "completed"),
        trial(2, Some(3.0), "completed"),
    ];
    let figure = settings::parallel_coordinates(&study).unwrap();
    let Parallel { axes, rows } = parallel(&figure);
    let names: Vec<&str> = axes.iter().map(|axis| axis.title.as_str()).collect();
    let want = [
        "activation",
        "dropout",
        "l2",
        "learning_rate",
        "units",
        "validation loss",
    ];
    assert_eq!(names, want);
    let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(labels, ["trial 2: 3", "trial 0: 2", "trial 1: 1"]);
    assert_eq!(rows.iter().map(|row| row.shade).collect::<Vec<_>>(), [1.0, 0.5, 0.0]);
    assert!(rows.iter().all(|row| row.at.len() == axes.len()));
    // The choice is in the middle of its quarter of the axis.
    assert_eq!(axes[0].ticks[1], (0.375, "leaky_relu".to_owned()));
}

#[test]
fn what_a_trial_lacks_is_a_gap_and_an_empty_cell() {
    let mut study = study();
    let mut without = trial(1, Some(1.0), "completed");
    without.params.as_mut().unwrap().fields.remove("dropout");
    study.trials = vec![trial(0, Some(2.0), "completed"), without.clone()];
    let figure = settings::parallel_coordinates(&study).unwrap();
    let at = |row: usize| parallel(&figure).rows[row].at[1];
    assert!(at(0).is_some() && at(1).is_none(), "dropout is the second axis");
    assert!(figure.caption.contains("a gap"), "{}", figure.caption);
    assert!(crate::png::draw(&figure).is_ok());
    let figure = settings::settings_and_value(&study).unwrap();
    let points = |panel: &Panel| match &panel.series[0].mark {
        Mark::Points(points) => points.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(panels(&figure)[1..3].iter().map(points).collect::<Vec<_>>(), [1, 2]);
    study.ranking = vec![without, trial(0, Some(2.0), "completed")];
    let figure = search::ranking(&study).unwrap();
    let Table { columns, rows, .. } = table(&figure);
    let dropout = columns.iter().position(|column| column.title == "dropout").unwrap();
    assert_eq!(rows[0][dropout], "");
    assert!(!rows[1][dropout].is_empty() && columns[dropout].is_numeric);
}

#[test]
fn choices_have_boxes_and_ranges_do_not() {
    let figure = settings::settings_and_value(&sample::study()).unwrap();
    let kinds: Vec<(&str, usize)> = panels(&figure)
        .iter()
        .map(|panel| (panel.title.as_str(), panel.series.len()))
        .collect();
    let want = [
        ("activation", 2),
        ("dropout", 1),
        ("l2", 1),
        ("learning_rate", 1),
        ("units", 1),
    ];
    assert_eq!(kinds, want);
    assert_eq!(panels(&figure)[2].x.scale, Scale::Log);
    assert_eq!(panels(&figure)[4].x.scale, Scale::Linear);
}

#[test]
fn quartiles_lie_between_the_sorted_values() {
    let found = settings::quartiles(1.0, vec![4.0, 1.0, 3.0, 2.0]).unwrap();
    let numbers = [found.min, found.lower, found.median, found.upper, found.max];
    assert_eq!(numbers, [1.0, 1.75, 2.5, 3.25, 4.0]);
    assert_eq!(settings::quartiles(0.0, Vec::new()), None);
}

#[test]
fn the_ranking_has_mean_and_deviation_and_every_setting() {
    let mut study = study();
    study.ranking.truncate(1);
    study.ranking[0].value = Some(0.304_906);
    study.ranking[0].value_std = None;
    let figure = search::ranking(&study).unwrap();
    let Table { columns, rows, .. } = table(&figure);
    assert_eq!(columns.len(), 8);
    assert_eq!(
        rows[0][..3],
        ["1".to_owned(), study.ranking[0].trial.to_string(), "0.3049".to_owned()]
    );
}

fn report(fold: Option<u32>, epoch: u32, train_loss: f64, val_loss: Option<f64>) -> EpochReport {
    EpochReport {
        fold,
        epoch,
        train_loss,
        val_loss,
        ..Default::default()
    }
}

#[test]
fn bands_reach_one_deviation_to_either_side_of_the_mean() {
    let refit = RefitData {
        reports: vec![
            report(Some(0), 0, 1.0, Some(2.0)),
            report(Some(1), 0, 1.0, Some(4.0)),
            report(None, 0, 0.9, None),
        ],
        ..Default::default()
    };
    let figure = curves::of_refit(&refit, Metric::Loss).unwrap();
    let series = &panels(&figure)[0].series;
    let deviation = 2.0_f64.sqrt();
    assert_eq!(series[0].mark, Mark::Band(vec![(0.0, 1.0, 1.0)]));
    assert_eq!(
        series[1].mark,
        Mark::Band(vec![(0.0, 3.0 - deviation, 3.0 + deviation)])
    );
    let lines: Vec<(&str, (f64, f64))> = series[2..]
        .iter()
        .map(|series| (series.name.as_str(), line(&series.mark).0[0]))
        .collect();
    let want = [
        ("training, folds", (0.0, 1.0)),
        ("validation, folds", (0.0, 3.0)),
        ("training, all rows", (0.0, 0.9)),
    ];
    assert_eq!(lines, want);
    assert_eq!(curves::of_refit(&RefitData::default(), Metric::Loss), None);
}

#[test]
fn the_title_of_curves_says_what_is_drawn() {
    let title = |metric, reports| {
        let refit = RefitData {
            reports,
            ..Default::default()
        };
        curves::of_refit(&refit, metric).map_or_else(String::new, |figure| figure.title)
    };
    let of_fold = report(Some(0), 0, 1.0, Some(2.0));
    let with_accuracy = EpochReport {
        val_accuracy: Some(0.5),
        ..of_fold.clone()
    };
    assert_eq!(
        title(Metric::Loss, vec![of_fold.clone()]),
        "Training and validation loss"
    );
    assert_eq!(title(Metric::Loss, vec![report(None, 0, 1.0, None)]), "Training loss");
    assert_eq!(title(Metric::Accuracy, vec![of_fold]), "");
    assert_eq!(title(Metric::Accuracy, vec![with_accuracy]), "Validation accuracy");
}

#[test]
fn a_refit_has_the_figures_of_its_artifacts() {
    let refits = sample::study().refits;
    let drawn: Vec<Vec<Figure>> = refits.iter().map(|refit| of_refit(refit).figures).collect();
    let regression = [
        "Training points",
        "Training and validation loss",
        "Fit",
        "Activation profiles of layer 1 (tanh)",
        "Activation profiles of layer 3 (tanh)",
        "Activation profiles of layer 5 (tanh)",
        "Weight histograms",
        "Activation strength",
    ];
    assert_eq!(titles(&drawn[0]), regression);
    assert_eq!(
        titles(&drawn[1]),
        ["Training and validation loss", "Prediction and target"]
    );
    let images = [
        "Training and validation loss",
        "Sample images",
        "Output of the first convolution: four filters",
        "Output of the first convolution: all filters",
        "Filters of the first convolution",
        "Confusion matrix",
        "Precision, recall and F1 by class",
        "Misclassified samples",
    ];
    assert_eq!(titles(&drawn[2]), images);
    assert_eq!(titles(&drawn[3]), [""; 0]);
    assert!(
        drawn[0][7].caption.contains("0.4 for input = 4.05"),
        "{}",
        drawn[0][7].caption
    );
}

#[test]
fn precision_recall_and_f1_follow_from_the_confusion_matrix() {
    let matrix = br#"{"classes": ["a", "b", "c"], "counts": [[90, 10, 0], [30, 70, 0], [0, 0, 0]]}"#;
    let refit = RefitData {
        files: vec![file("confusion_matrix", "confusion_matrix.json", matrix)],
        ..Default::default()
    };
    let figures = of_refit(&refit).figures;
    assert!(
        figures[0]
            .caption
            .starts_with("160 of 200 test rows are taken for their own class (80 %).")
    );
    // The first class is at the top.
    let want = Mark::Cells(vec![vec![0.0, 0.0, 0.0], vec![30.0, 70.0, 0.0], vec![90.0, 10.0, 0.0]]);
    assert_eq!(panels(&figures[0])[0].series[0].mark, want);
    let want = [
        ["a", "100", "0.750", "0.900", "0.818"],
        ["b", "100", "0.875", "0.700", "0.778"],
        ["c", "0", "–", "–", "–"],
    ];
    assert_eq!(table(&figures[1]).rows, want);
}

#[test]
fn thinning_keeps_the_last_point() {
    assert_eq!(thinned((0..10).collect(), 4), [0, 3, 6, 9]);
    assert_eq!(thinned((0..9).collect(), 4), [0, 3, 6, 8]);
    assert_eq!(thinned(vec![1, 2], 4), [1, 2]);
}
