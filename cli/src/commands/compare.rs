//! `trawl compare`: studies side by side.

use std::collections::BTreeSet;

use serde_json::Value;
use trawl_proto::to_json;
use trawl_proto::v1::{GetStudyRequest, GetStudyResponse, RefitSummary, StudySummary, Trial, Winner};

use super::show::{best_trial, objective};
use crate::args::CompareArgs;
use crate::client::{Client, unary};
use crate::error::{Error, say};
use crate::output::{
    Cell, Column, Format, Listing, Output, Page, baselines_text, draw, elapsed_text, line_up, percent, trials_text,
};

/// A study and its best trial.
#[derive(Clone, Debug, Default)]
struct Compared {
    answer: GetStudyResponse,
    study: StudySummary,
    best: Trial,
}

/// What the studies have, a line for each: its name, and how it is found.
type Row = (&'static str, fn(&Compared) -> Cell);

const ROWS: [Row; 14] = [
    ("state", |of| Cell::text(&of.study.state)),
    ("trials", |of| Cell::text(&trials_text(&of.study))),
    ("epochs", |of| Cell::count(of.study.epochs_reported)),
    ("took", |of| Cell::text(&elapsed_text(&of.study).unwrap_or_default())),
    ("objective", |of| Cell::text(&objective(&of.answer))),
    ("best trial", |of| of.study.best_trial.map_or(Cell::Absent, Cell::count)),
    ("value", |of| Cell::spread(of.best.value, of.best.value_std)),
    ("baselines", |of| Cell::text(&baselines_text(&of.study))),
    ("corrected value", |of| {
        Cell::number(winner(of, |one| one.corrected_value))
    }),
    ("  from", |of| Cell::number(winner(of, |one| one.corrected_low))),
    ("  to", |of| Cell::number(winner(of, |one| one.corrected_high))),
    ("P(better than the second)", |of| {
        winner(of, |one| one.p_better).map_or(Cell::Absent, |p| Cell::text(&percent(p)))
    }),
    ("refit's test loss", |of| {
        Cell::number(refit(of).and_then(|refit| refit.test_loss))
    }),
    ("refit's test accuracy", |of| {
        Cell::number(refit(of).and_then(|refit| refit.test_accuracy))
    }),
];

/// Prints studies side by side.
pub(super) async fn compare(client: &mut Client, args: &CompareArgs, output: &mut Output) -> Result<(), Error> {
    let mut compared = Vec::new();
    for study in &args.studies {
        let request = GetStudyRequest { study: study.clone() };
        let answer = client.get_study(unary(request)).await?.into_inner();
        let study = answer.study.clone().unwrap_or_default();
        let best = best_trial(client, &study).await?;
        compared.push(Compared {
            answer,
            study,
            best: best.unwrap_or_default(),
        });
    }
    match args.format.into() {
        Format::Json => {
            let studies: Result<Vec<_>, _> = compared.iter().map(|of| to_json(&of.answer)).collect();
            output.json(&Value::Array(studies?))?;
        }
        format @ Format::Csv { .. } => csv(&compared, format, output).await?,
        Format::Table => table(&compared, output)?,
    }
    output.flush()?;
    // A value of another metric, or of other rows, is no better and no worse.
    let data = |of: &Compared| {
        of.answer
            .spec
            .as_ref()
            .map(|spec| (spec.dataset.clone(), spec.validation.clone()))
    };
    if compared
        .iter()
        .any(|of| objective(&of.answer) != objective(&compared[0].answer))
    {
        say("note: the objectives differ, so the values cannot be compared");
    } else if compared.iter().any(|of| data(of) != data(&compared[0])) {
        say("note: dataset or validation differ, so the values are of other rows");
    }
    Ok(())
}

fn table(compared: &[Compared], output: &mut Output) -> Result<(), Error> {
    let titles: Vec<String> = [String::new()]
        .into_iter()
        .chain(compared.iter().map(|of| of.study.name.clone()))
        .collect();
    let mut rows: Vec<Vec<Cell>> = ROWS
        .iter()
        .map(|(name, cell)| {
            [Cell::text(name)]
                .into_iter()
                .chain(compared.iter().map(cell))
                .collect()
        })
        .collect();
    rows.extend(param_names(compared).into_iter().map(|name| {
        let cells = compared.iter().map(|of| Cell::param(of.best.params.as_ref(), name));
        [Cell::text(name)].into_iter().chain(cells).collect()
    }));
    // Nobody wants lines without a value.
    rows.retain(|row| row[1..].iter().any(|cell| *cell != Cell::Absent));
    // Numbers of one kind stand beside each other here.
    for row in &mut rows {
        line_up(row);
    }
    let terminal = output.is_terminal();
    output.text(&draw(&titles, rows, terminal))
}

/// The same for programs: a line for each study.
async fn csv(compared: &[Compared], format: Format, output: &mut Output) -> Result<(), Error> {
    let column = |name: &str, cell: fn(&Compared) -> Cell| Column::new(name, cell);
    let mut columns = vec![
        column("name", |of| Cell::text(&of.study.name)),
        column("study_id", |of| Cell::text(&of.study.study_id)),
        column("state", |of| Cell::text(&of.study.state)),
        column("trials_total", |of| Cell::count(of.study.trials_total)),
        column("trials_completed", |of| Cell::count(of.study.trials_completed)),
        column("trials_pruned", |of| Cell::count(of.study.trials_pruned)),
        column("trials_failed", |of| Cell::count(of.study.trials_failed)),
        column("epochs_reported", |of| Cell::count(of.study.epochs_reported)),
        column("created_at", |of| Cell::time(of.study.created_at)),
        column("finished_at", |of| Cell::time(of.study.finished_at)),
        column("objective", |of| Cell::text(&objective(&of.answer))),
        column("best_trial", |of| of.study.best_trial.map_or(Cell::Absent, Cell::count)),
        column("best_value", |of| Cell::number(of.best.value)),
        column("best_value_std", |of| Cell::number(of.best.value_std)),
    ];
    let baselines = compared.iter().flat_map(|of| &of.study.baselines);
    let baselines: BTreeSet<String> = baselines.map(|one| one.baseline.clone()).collect();
    columns.extend(baselines.into_iter().map(|name| {
        Column::new(format!("baselines.{name}"), move |of: &Compared| {
            let found = of.study.baselines.iter().find(|one| one.baseline == name);
            Cell::number(found.map(|one| one.value))
        })
    }));
    columns.extend([
        column("corrected_value", |of| {
            Cell::number(winner(of, |one| one.corrected_value))
        }),
        column("corrected_low", |of| Cell::number(winner(of, |one| one.corrected_low))),
        column("corrected_high", |of| {
            Cell::number(winner(of, |one| one.corrected_high))
        }),
        column("p_better", |of| Cell::number(winner(of, |one| one.p_better))),
        column("refit_test_loss", |of| {
            Cell::number(refit(of).and_then(|refit| refit.test_loss))
        }),
        column("refit_test_accuracy", |of| {
            Cell::number(refit(of).and_then(|refit| refit.test_accuracy))
        }),
    ]);
    columns.extend(param_names(compared).into_iter().cloned().map(|name| {
        Column::new(format!("params.{name}"), move |of: &Compared| {
            Cell::param(of.best.params.as_ref(), &name)
        })
    }));
    let listing = Listing {
        plural: "studies",
        columns,
    };
    let all = async |_| {
        Ok(Page {
            items: compared.to_vec(),
            next_page_token: String::new(),
        })
    };
    let json = |of: &Compared| -> Result<Value, Error> { Ok(to_json(&of.answer)?) };
    listing.print_as(format, &json, output, all).await
}

/// The parameters of any of the best trials.
fn param_names(compared: &[Compared]) -> BTreeSet<&String> {
    let params = compared.iter().filter_map(|of| of.best.params.as_ref());
    params.flat_map(|params| params.fields.keys()).collect()
}

/// A number of what the best trial is worth.
fn winner(of: &Compared, number: fn(&Winner) -> Option<f64>) -> Option<f64> {
    of.study.winner.as_ref().and_then(number)
}

/// The last refit that was measured.
fn refit(of: &Compared) -> Option<&RefitSummary> {
    of.study.refits.iter().rev().find(|refit| refit.test_loss.is_some())
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;
    use prost_types::{Struct, Value};
    use trawl_proto::v1::Baseline;

    use super::*;

    fn compared(name: &str, param: &str) -> Compared {
        let value = Value {
            kind: Some(Kind::NumberValue(0.5)),
        };
        Compared {
            study: StudySummary {
                name: name.to_owned(),
                trials_total: 3,
                best_trial: Some(1),
                winner: Some(Winner {
                    corrected_value: Some(0.1 + 0.2),
                    ..Default::default()
                }),
                ..Default::default()
            },
            best: Trial {
                value: Some(0.25),
                params: Some(Struct {
                    fields: [(param.to_owned(), value)].into(),
                }),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn csv_has_what_is_compared_and_every_digit() {
        let (one, mut other) = (compared("one", "l2"), compared("other", "dropout"));
        other.study.baselines = vec![Baseline {
            baseline: "linear".into(),
            value: 0.75,
            ..Default::default()
        }];
        let (mut output, bytes) = Output::to_memory();
        let format = Format::Csv { for_spreadsheet: false };
        csv(&[one, other], format, &mut output).await.unwrap();
        let text = String::from_utf8(bytes.borrow().clone()).unwrap();
        let want = "\
name,study_id,state,trials_total,trials_completed,trials_pruned,trials_failed,epochs_reported,created_at,finished_at,objective,best_trial,\
best_value,best_value_std,baselines.linear,corrected_value,corrected_low,corrected_high,p_better,refit_test_loss,refit_test_accuracy,\
params.dropout,params.l2
one,,,3,0,0,0,0,,,,1,0.25,,,0.30000000000000004,,,,,,,0.5
other,,,3,0,0,0,0,,,,1,0.25,,0.75,0.30000000000000004,,,,,,0.5,
";
        assert_eq!(text, want);
    }
}
