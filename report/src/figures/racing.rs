//! The race of a study: who came to which rung, and what the best value cost.

use trawl_domain::fold::Validation;
use trawl_domain::racing::{Racing, Rung};
use trawl_proto::v1::{Race, Trial};

use crate::data::StudyData;
use crate::figure::{Body, Figure, Mark, Panel, PanelSize, Series, Stroke, Table, TableColumn};
use crate::scale::{Axis, Scale};
use crate::words::percent;

/// The ladder of a race, as trials are trained on it.
struct Ladder {
    racing: Racing,
    validation: Validation,
}

impl Ladder {
    fn of(race: &Race) -> Option<Self> {
        let validation = match race.rungs.last()?.folds {
            1 => Validation::holdout(0.5),
            folds => Validation::k_fold(folds),
        };
        let rungs = race.rungs.iter().map(|rung| Rung {
            folds: rung.folds,
            share: rung.share,
        });
        let racing = Racing::new(rungs.collect(), race.keep, validation, None)?;
        Some(Self { racing, validation })
    }

    /// Epochs of folds that a trial was trained for that came through a rung.
    fn epochs_at(&self, rung: u32, of: u32) -> u64 {
        if of == 0 || rung > self.racing.last_rung() {
            return 0;
        }
        let (folds, end) = self.racing.folds(0, rung, self.validation, of);
        folds.len() as u64 * u64::from(end)
    }

    /// The same of a trial that ended with a result, and what it would have been without racing; `None` for any other.
    fn spent(&self, trial: &Trial) -> Option<(u64, u64)> {
        let whole = self.epochs_at(self.racing.last_rung(), trial.epochs);
        match (trial.state.as_str(), trial.rung) {
            ("completed", _) => Some((whole, whole)),
            ("pruned", Some(rung)) => Some((self.epochs_at(rung, trial.epochs), whole)),
            _ => None,
        }
    }
}

/// The best value so far against the epochs that were trained for it, in the order of the trials.
pub(super) fn best_by_epochs(study: &StudyData) -> Option<Figure> {
    let ladder = Ladder::of(study.summary.race.as_ref()?)?;
    let is_better = |value: f64, best: f64| (value < best) != study.is_maximized() && value != best;
    let (mut epochs, mut without, mut best_so_far): (u64, u64, Vec<(f64, f64)>) = (0, 0, Vec::new());
    for trial in &study.trials {
        let Some((spent, whole)) = ladder.spent(trial) else {
            continue;
        };
        epochs += spent;
        without += whole;
        if let Some(value) = trial.value
            && best_so_far.last().is_none_or(|(_, best)| is_better(value, *best))
        {
            best_so_far.push((epochs as f64, value));
        }
    }
    let (_, best) = *best_so_far.last()?;
    best_so_far.push((epochs as f64, best));
    let saved = 1.0 - epochs as f64 / (without as f64).max(1.0);
    let scale = Scale::for_values(best_so_far.iter().map(|(_, value)| *value));
    Some(Figure {
        id: "best-by-epochs".into(),
        title: "Best value by epochs".into(),
        caption: format!(
            "{epochs} epochs of folds were trained for the trials that completed or were pruned, in the order of their numbers. Without racing they \
             would have been {without}: it saved {}.",
            percent(saved.max(0.0))
        ),
        body: Body::Panels {
            size: PanelSize::Wide,
            panels: vec![Panel {
                title: String::new(),
                x: Axis::whole("epochs of folds"),
                y: Axis::new(study.value_name(), scale),
                series: vec![Series::new(
                    "best so far",
                    1,
                    Mark::Line {
                        points: best_so_far,
                        stroke: Stroke::Steps,
                    },
                )],
            }],
        },
    })
}

/// How many trials came to each rung, and what became of them there.
pub(super) fn rungs(study: &StudyData) -> Option<Figure> {
    let race = study.summary.race.as_ref()?;
    let titles = [
        "rung",
        "folds",
        "epochs",
        "came",
        "went on",
        "pruned",
        "completed",
        "failed",
    ];
    let columns = titles.map(|title| TableColumn {
        title: title.to_owned(),
        is_numeric: true,
    });
    let rows = (0_u32..).zip(&race.rungs).map(|(number, rung)| {
        let at = |trial: &&Trial| trial.rung == Some(number);
        let ended = |state: &str| {
            study
                .trials
                .iter()
                .filter(at)
                .filter(|trial| trial.state == state)
                .count()
        };
        let came = study.trials.iter().filter(|trial| trial.rung >= Some(number)).count();
        let beyond = study.trials.iter().filter(|trial| trial.rung > Some(number)).count();
        let counts = [came, beyond, ended("pruned"), ended("completed"), ended("failed")];
        let mut row = vec![number.to_string(), rung.folds.to_string(), percent(rung.share)];
        row.extend(counts.map(|count| count.to_string()));
        row
    });
    Some(Figure {
        id: "rungs".into(),
        title: "Rungs".into(),
        caption: format!(
            "Of each generation, {} of those that came to a rung went on. They are compared on the same folds after as many epochs.",
            percent(race.keep)
        ),
        body: Body::Table(Table {
            trials: Vec::new(),
            rows: rows.collect(),
            columns: columns.into(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use trawl_proto::v1::{self, StudySummary};

    use super::*;

    fn raced() -> StudyData {
        let rung = |folds, share| v1::Rung { folds, share };
        let trial = |trial, rung, state: &str, value| Trial {
            trial,
            rung,
            state: state.to_owned(),
            value,
            epochs: 9,
            ..Default::default()
        };
        StudyData {
            summary: StudySummary {
                race: Some(Race {
                    rungs: vec![rung(1, 1.0 / 9.0), rung(1, 1.0), rung(5, 1.0)],
                    keep: 0.5,
                    epochs_without: 0,
                }),
                ..Default::default()
            },
            trials: vec![
                trial(0, None, "completed", Some(3.0)),
                trial(1, Some(0), "pruned", None),
                trial(2, Some(1), "pruned", None),
                trial(3, Some(2), "completed", Some(1.0)),
                trial(4, Some(0), "failed", None),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn epochs_are_those_that_were_trained() {
        let figure = best_by_epochs(&raced()).expect("trials completed");
        let Body::Panels { panels, .. } = &figure.body else {
            panic!("{figure:?}");
        };
        let Mark::Line { points, .. } = &panels[0].series[0].mark else {
            panic!("{figure:?}");
        };
        // A chosen one is trained whole: 5 x 9. Then 1, 9 and 45; what failed counts on neither side.
        assert_eq!(points[..], [(45.0, 3.0), (100.0, 1.0), (100.0, 1.0)]);
        assert!(
            figure.caption.contains("100 epochs of folds") && figure.caption.contains("180"),
            "{}",
            figure.caption
        );
        assert_eq!(best_by_epochs(&StudyData::default()), None);
    }

    #[test]
    fn rungs_count_who_came_and_who_went_on() {
        let figure = rungs(&raced()).expect("it is raced");
        let Body::Table(table) = &figure.body else {
            panic!("{figure:?}");
        };
        assert_eq!(
            table.rows,
            [
                ["0", "1", "11.11 %", "4", "2", "1", "0", "1"],
                ["1", "1", "100.00 %", "2", "1", "1", "0", "0"],
                ["2", "5", "100.00 %", "1", "0", "0", "1", "0"],
            ]
        );
        assert_eq!(rungs(&StudyData::default()), None);
    }
}
