//! Several objectives: the trials that no other one dominates, and how they came to be.

use trawl_domain::metric::{Goal, Metric};
use trawl_domain::pareto;
use trawl_proto::v1::Trial;

use crate::data::{StudyData, objective_name};
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Point, Series, Stroke};
use crate::scale::{Axis, Scale};
use crate::words::{number, percent};

/// Completed trials with their values of all objectives.
struct Measured<'a> {
    /// Names of the objectives.
    names: Vec<&'a str>,
    trials: Vec<&'a Trial>,
    /// Of each trial, by objective.
    values: Vec<Vec<f64>>,
    /// The same as they sort from best to worst.
    keys: Vec<Vec<f64>>,
}

impl<'a> Measured<'a> {
    /// `None` of a study with one objective, and where no trial completed.
    fn of(study: &'a StudyData) -> Option<Self> {
        let objectives = &study.spec.objectives;
        let names: Vec<&str> = objectives.iter().map(|objective| name(&objective.metric)).collect();
        // What is no metric is a cost.
        let goals = names
            .iter()
            .map(|name| name.parse().map_or(Goal::Minimize, Metric::goal));
        let goals: Vec<Goal> = goals.collect();
        let values_of = |trial: &Trial| -> Option<Vec<f64>> {
            names.iter().map(|name| trial.objectives.get(*name).copied()).collect()
        };
        let completed = study.trials.iter().filter(|trial| trial.state == "completed");
        let (trials, values): (Vec<&Trial>, Vec<Vec<f64>>) =
            completed.filter_map(|trial| Some((trial, values_of(trial)?))).unzip();
        let keys = |values: &Vec<f64>| goals.iter().zip(values).map(|(goal, value)| goal.key(*value)).collect();
        let keys = values.iter().map(keys).collect();
        (names.len() > 1 && !trials.is_empty()).then_some(Self {
            names,
            trials,
            values,
            keys,
        })
    }
}

/// The name under which trials have their value of it.
fn name(metric: &str) -> &str {
    if metric.is_empty() { "val_loss" } else { metric }
}

/// Trials by the first objective and each other one.
pub(super) fn front(study: &StudyData) -> Option<Figure> {
    let measured = Measured::of(study)?;
    let front = pareto::front(&measured.keys);
    let panels = (1..measured.names.len()).map(|further| {
        let points = |is_of_front: bool| {
            let of = |index: &usize| front.binary_search(index).is_ok() == is_of_front;
            let point = |index: usize| {
                let values = measured.names.iter().zip(&measured.values[index]);
                let values: Vec<String> = values
                    .map(|(name, value)| format!("{name} {}", number(*value)))
                    .collect();
                Point {
                    x: measured.values[index][further],
                    y: measured.values[index][0],
                    trial: Some(measured.trials[index].trial),
                    label: format!("trial {}: {}", measured.trials[index].trial, values.join(", ")),
                }
            };
            Mark::Points((0..measured.trials.len()).filter(of).map(point).collect())
        };
        let scale = |objective: usize| Scale::for_values(measured.values.iter().map(|values| values[objective]));
        Panel {
            title: String::new(),
            x: Axis::new(objective_name(measured.names[further]), scale(further)),
            y: Axis::new(objective_name(measured.names[0]), scale(0)),
            series: vec![
                Series::new("dominated", 0, points(false)),
                Series::new("front", 1, points(true)),
            ],
        }
    });
    Some(Figure {
        id: "front".into(),
        title: "Pareto front".into(),
        caption: format!(
            "{} of {} completed trials are dominated by no other one: none is nowhere worse in any of {}, and somewhere better.",
            front.len(),
            measured.trials.len(),
            measured.names.join(", ")
        ),
        body: Body::Panels {
            size: if measured.names.len() == 2 {
                PanelSize::Wide
            } else {
                PanelSize::Medium
            },
            panels: panels.collect(),
        },
    })
}

/// What trials up to each one dominate.
pub(super) fn hypervolume(study: &StudyData) -> Option<Figure> {
    let measured = Measured::of(study)?;
    let volumes = measured.trials.iter().zip(pareto::hypervolumes(&measured.keys));
    let points: Vec<(f64, f64)> = volumes
        .filter_map(|(trial, volume)| Some((f64::from(trial.trial), volume?)))
        .collect();
    let (_, last) = *points.last()?;
    Some(Figure {
        id: "hypervolume".into(),
        title: "Hypervolume by trial".into(),
        caption: format!(
            "What completed trials up to each one dominate: in the end {} of the box between the best and the worst of each objective.",
            percent(last)
        ),
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::whole("trial"),
                y: Axis::new("hypervolume", Scale::Linear),
                series: vec![Series::new(
                    "hypervolume",
                    1,
                    Mark::Line {
                        points,
                        stroke: Stroke::Steps,
                    },
                )],
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use trawl_proto::v1::{Objective, Study};

    use super::*;

    fn study() -> StudyData {
        let objective = |metric: &str| Objective {
            metric: metric.to_owned(),
            ..Default::default()
        };
        let trial = |trial, accuracy: f64, parameters: f64| Trial {
            trial,
            state: "completed".into(),
            objectives: [
                ("val_accuracy".to_owned(), accuracy),
                ("parameters".to_owned(), parameters),
            ]
            .into(),
            ..Default::default()
        };
        StudyData {
            spec: Study {
                objectives: vec![objective("val_accuracy"), objective("parameters")],
                ..Default::default()
            },
            trials: vec![
                trial(0, 0.5, 100.0),
                trial(1, 0.9, 300.0),
                trial(3, 0.7, 200.0),
                trial(4, 0.6, 250.0),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn a_front_has_what_nothing_dominates() {
        let figure = front(&study()).expect("two objectives");
        let Body::Panels { panels, .. } = &figure.body else {
            panic!("{figure:?}");
        };
        let points = |series: usize| match &panels[0].series[series].mark {
            Mark::Points(points) => points.iter().map(|point| (point.x, point.y)).collect(),
            _ => Vec::new(),
        };
        assert_eq!(points(0), [(250.0, 0.6)]);
        assert_eq!(points(1), [(100.0, 0.5), (300.0, 0.9), (200.0, 0.7)]);
        assert!(
            figure.caption.starts_with("3 of 4 completed trials"),
            "{}",
            figure.caption
        );
        assert_eq!(front(&StudyData::default()), None);
    }

    #[test]
    fn the_hypervolume_grows() {
        let figure = hypervolume(&study()).expect("two objectives");
        // The ends of the box dominate none of it; the third trial a half by a half; the fourth nothing more.
        assert!(figure.caption.contains("25.00 %"), "{}", figure.caption);
        assert_eq!(hypervolume(&StudyData::default()), None);
    }
}
