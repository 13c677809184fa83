//! What the searched settings have to do with the value.

use trawl_domain::importance::TRIALS_FEW;
use trawl_domain::metric::Goal;
use trawl_domain::search::{GP_RESULTS_MAX, Past, Standing, partial_dependence};
use trawl_domain::space::ParamValue;
use trawl_proto::params_from_struct;
use trawl_proto::v1::Trial;
use trawl_proto::v1::distribution::Kind as Distribution;

use crate::data::StudyData;
use crate::figure::{
    Bar, Body, Figure, Mark, Panel, PanelSize, Parallel, ParallelAxis, ParallelRow, Point, Quartiles, Series, Stroke,
};
use crate::scale::{Axis, Scale};
use crate::words::{self, Parameter, parameter};

/// Points that a browser draws in no time, in each of several panels.
const POINTS_MAX: usize = 2_000;
/// Lines of parallel coordinates; more are one blot.
const LINES_MAX: usize = 2_000;

/// A searched parameter.
struct Setting {
    name: String,
    scale: Scale,
}

impl Setting {
    /// All that a study searches, by name.
    fn of_study(study: &StudyData) -> Vec<Self> {
        study
            .searched()
            .into_iter()
            .filter_map(|(name, distribution)| {
                let scale = match distribution.kind.as_ref()? {
                    Distribution::Choice(list) | Distribution::Ordered(list) => {
                        Scale::Categories(list.values.iter().map(value_text).collect())
                    }
                    Distribution::LogUniform(_) | Distribution::IntLogUniform(_) | Distribution::LogNormal(_) => {
                        Scale::Log
                    }
                    Distribution::Uniform(_) | Distribution::IntUniform(_) | Distribution::Normal(_) => Scale::Linear,
                };
                Some(Self { name, scale })
            })
            .collect()
    }

    /// Where a value is on the axis.
    fn of_value(&self, value: &ParamValue) -> Option<f64> {
        match &self.scale {
            Scale::Categories(names) => {
                let text = match value.as_number() {
                    Some(number) => words::number(number),
                    None => value.to_string(),
                };
                names.iter().position(|name| *name == text).map(|index| index as f64)
            }
            Scale::Linear | Scale::Whole | Scale::Log => value.as_number(),
        }
    }

    /// Where a trial is on the axis; none where it has no such parameter.
    fn of_trial(&self, trial: &Trial) -> Option<f64> {
        let value = trial.params.as_ref()?.fields.get(&self.name)?;
        match &self.scale {
            Scale::Categories(names) => {
                let text = value_text(value);
                names.iter().position(|name| *name == text).map(|index| index as f64)
            }
            Scale::Linear | Scale::Whole | Scale::Log => match parameter(trial.params.as_ref(), &self.name) {
                Some(Parameter::Number(number)) => Some(number),
                _ => None,
            },
        }
    }
}

/// All settings and the value, a line for each completed trial.
pub(super) fn parallel_coordinates(study: &StudyData) -> Option<Figure> {
    let settings = Setting::of_study(study);
    let mut trials = completed(study);
    if settings.is_empty() || trials.is_empty() {
        return None;
    }
    // The best is drawn last, on top.
    trials.sort_by(|(_, a), (_, b)| {
        if study.is_maximized() {
            a.total_cmp(b)
        } else {
            b.total_cmp(a)
        }
    });
    let all = trials.len();
    let trials = &trials[all.saturating_sub(LINES_MAX)..];
    let value_scale = Scale::for_values(trials.iter().map(|(_, value)| *value));
    let value_ends = value_scale.ends(trials.iter().map(|(_, value)| *value));

    let mut axes = Vec::new();
    let mut columns: Vec<Vec<Option<f64>>> = Vec::new();
    for setting in &settings {
        let values: Vec<Option<f64>> = trials.iter().map(|(trial, _)| setting.of_trial(trial)).collect();
        let ends = setting.scale.ends(values.iter().flatten().copied());
        axes.push(parallel_axis(&setting.name, &setting.scale, ends));
        let places = values.into_iter().map(|value| Some(setting.scale.place(value?, ends)));
        columns.push(places.collect());
    }
    axes.push(parallel_axis(study.value_name(), &value_scale, value_ends));
    let count = trials.len();
    let rows = trials.iter().enumerate().map(|(index, (trial, value))| {
        let settings = columns.iter().map(|column| column[index]);
        ParallelRow {
            trial: trial.trial,
            label: format!("trial {}: {}", trial.trial, words::number(*value)),
            at: settings.chain([Some(value_scale.place(*value, value_ends))]).collect(),
            // By rank: a single bad value would leave all others one colour.
            shade: (count - 1 - index) as f64 / (count.max(2) - 1) as f64,
        }
    });
    let rows: Vec<ParallelRow> = rows.collect();
    let gaps = if rows.iter().any(|row| row.at.contains(&None)) {
        " A line has a gap where its trial lacks a setting."
    } else {
        ""
    };
    let cut = if all > count {
        format!(" Only the best {count} of {all} are drawn.")
    } else {
        String::new()
    };
    Some(Figure {
        id: "parallel-coordinates".into(),
        title: "Parallel coordinates".into(),
        caption: format!(
            "Each line is a completed trial; the stronger its colour, the better its rank. Settings that were searched \
             by their logarithm have logarithmic axes.{gaps}{cut}"
        ),
        body: Body::Parallel(Parallel { axes, rows }),
    })
}

fn parallel_axis(title: &str, scale: &Scale, ends: (f64, f64)) -> ParallelAxis {
    let ticks = scale.ticks(ends, 5).into_iter();
    ParallelAxis {
        title: title.to_owned(),
        ticks: ticks.map(|(value, text)| (scale.place(value, ends), text)).collect(),
    }
}

/// How much each setting matters.
pub(super) fn importance(study: &StudyData) -> Option<Figure> {
    let found = &study.summary.importance;
    let first = found.first()?;
    let bars = found.iter().enumerate().map(|(place, one)| Bar {
        from: place as f64 - 0.4,
        to: place as f64 + 0.4,
        height: 100.0 * one.importance,
    });
    let at = first.rung.map_or_else(String::new, |rung| format!(" at rung {rung}"));
    let few = if first.trials < TRIALS_FEW {
        " These are few: read it with care."
    } else {
        ""
    };
    Some(Figure {
        id: "importance".into(),
        title: "Importance of settings".into(),
        caption: format!(
            "How much the values of a setting in the best tenth of {} trials{at} are distributed otherwise than in all of them, each \
             setting by itself.{few}",
            first.trials
        ),
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::new(
                    "setting",
                    Scale::Categories(found.iter().map(|one| one.parameter.clone()).collect()),
                ),
                y: Axis::linear("importance in %"),
                series: vec![Series::new("", 0, Mark::Bars(bars.collect()))],
            }],
        },
    })
}

/// Completed trials from which on partial dependence is drawn: the survivors of a race are few, and alike.
const DEPENDENCE_TRIALS_MIN: usize = 20;

/// What value a trial has on average, setting by setting.
pub(super) fn dependence(study: &StudyData) -> Option<Figure> {
    let space = trawl_proto::study::space(&study.spec)?;
    let goal = if study.is_maximized() {
        Goal::Maximize
    } else {
        Goal::Minimize
    };
    let history: Vec<Past> = completed(study)
        .into_iter()
        .filter_map(|(trial, value)| {
            Some(Past {
                trial: trial.trial,
                params: params_from_struct(trial.params.clone()?),
                standing: Standing::Completed { key: goal.key(value) },
            })
        })
        .collect();
    if history.len() < DEPENDENCE_TRIALS_MIN {
        return None;
    }
    let mut shown = partial_dependence(&space, &history);
    shown.retain(|_, values| values.len() > 1);
    let all = shown.values().flatten().map(|(_, key)| goal.key(*key));
    let scale = Scale::for_values(all);
    let panels: Vec<Panel> = Setting::of_study(study)
        .into_iter()
        .filter_map(|setting| {
            let values = shown.get(&setting.name)?;
            let at = values
                .iter()
                .filter_map(|(value, key)| Some((setting.of_value(value)?, goal.key(*key))));
            let series = match &setting.scale {
                Scale::Categories(_) => {
                    let point = |(x, y)| Point {
                        x,
                        y,
                        trial: None,
                        label: words::number(y),
                    };
                    Mark::Points(at.map(point).collect())
                }
                Scale::Linear | Scale::Whole | Scale::Log => Mark::Line {
                    points: at.collect(),
                    stroke: Stroke::Solid,
                },
            };
            Some(Panel {
                title: setting.name.clone(),
                series: vec![Series::new("", 1, series)],
                x: Axis::new("", setting.scale),
                y: Axis::new(study.value_name(), scale.clone()),
            })
        })
        .collect();
    (!panels.is_empty()).then(|| Figure {
        id: "partial-dependence".into(),
        title: "Partial dependence".into(),
        caption: format!(
            "What a Gaussian process, fitted to {} completed trials, expects of a trial where one setting changes and the others are as in those \
             trials.",
            history.len().min(GP_RESULTS_MAX)
        ),
        body: Body::Panels {
            size: PanelSize::Medium,
            panels,
        },
    })
}

/// Each setting against the value.
pub(super) fn settings_and_value(study: &StudyData) -> Option<Figure> {
    let mut trials = completed(study);
    let all = trials.len();
    if all > POINTS_MAX {
        trials = trials.into_iter().step_by(all.div_ceil(POINTS_MAX)).collect();
    }
    let scale = Scale::for_values(trials.iter().map(|(_, value)| *value));
    let panels: Vec<Panel> = Setting::of_study(study)
        .into_iter()
        .map(|setting| Panel {
            title: setting.name.clone(),
            series: match &setting.scale {
                Scale::Categories(names) => strips(&setting, names.len(), &trials),
                Scale::Linear | Scale::Whole | Scale::Log => {
                    vec![Series::new("", 0, Mark::Points(points(&setting, &trials, 0.0)))]
                }
            },
            x: Axis::new("", setting.scale),
            y: Axis::new(study.value_name(), scale.clone()),
        })
        .collect();
    if panels.is_empty() || trials.is_empty() {
        return None;
    }
    let cut = if all > trials.len() {
        format!(" Every {}th trial is drawn.", all.div_ceil(POINTS_MAX))
    } else {
        String::new()
    };
    Some(Figure {
        id: "settings-and-value".into(),
        title: "Settings and value".into(),
        caption: format!(
            "Each point is a completed trial. Boxes reach from the lower to the upper quartile of a choice, with a line \
             at the median; whiskers reach to the extremes.{cut}"
        ),
        body: Body::Panels {
            size: PanelSize::Medium,
            panels,
        },
    })
}

/// The points of each category, spread within it, over its quartiles.
fn strips(setting: &Setting, categories: usize, trials: &[(&Trial, f64)]) -> Vec<Series> {
    let boxes = (0..categories).filter_map(|category| {
        let place = category as f64;
        let of_category = trials
            .iter()
            .filter(|(trial, _)| setting.of_trial(trial) == Some(place));
        quartiles(place, of_category.map(|(_, value)| *value).collect())
    });
    vec![
        Series::new("", 1, Mark::Boxes(boxes.collect())),
        Series::new("", 0, Mark::Points(points(setting, trials, 0.5))),
    ]
}

/// A point for each trial that has the setting; those of one category are spread over a width.
fn points(setting: &Setting, trials: &[(&Trial, f64)], width: f64) -> Vec<Point> {
    // Multiples of the golden ratio fill the width evenly, and are the same every time.
    const GOLDEN: f64 = 0.618_033_988_749_895;
    trials
        .iter()
        .filter_map(|(trial, value)| {
            let spread = (f64::from(trial.trial) * GOLDEN).fract() - 0.5;
            Some(Point {
                x: setting.of_trial(trial)? + spread * width,
                y: *value,
                trial: Some(trial.trial),
                label: format!("trial {}: {}", trial.trial, words::number(*value)),
            })
        })
        .collect()
}

/// Quartiles by linear interpolation between the sorted values; none of nothing.
pub(super) fn quartiles(x: f64, mut values: Vec<f64>) -> Option<Quartiles> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    let at = |share: f64| {
        let place = share * (values.len() - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        values[below] + (values[above] - values[below]) * place.fract()
    };
    Some(Quartiles {
        x,
        min,
        lower: at(0.25),
        median: at(0.5),
        upper: at(0.75),
        max,
    })
}

fn completed(study: &StudyData) -> Vec<(&Trial, f64)> {
    let with_value = study.trials.iter().filter_map(|trial| Some((trial, trial.value?)));
    with_value.collect()
}

fn value_text(value: &prost_types::Value) -> String {
    use prost_types::value::Kind;
    match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::NumberValue(number)) => words::number(*number),
        Some(Kind::BoolValue(truth)) => truth.to_string(),
        // No parameter takes such a value.
        Some(Kind::NullValue(_) | Kind::ListValue(_) | Kind::StructValue(_)) | None => String::new(),
    }
}
