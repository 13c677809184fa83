//! `trawl compare`: studies side by side.

use std::collections::BTreeSet;

use trawl_proto::to_json;
use trawl_proto::v1::{GetStudyRequest, GetStudyResponse, RefitSummary, StudySummary, Trial};

use super::show::{best_trial, objective};
use super::studies;
use crate::args::CompareArgs;
use crate::client::{Client, unary};
use crate::error::{Error, say};
use crate::output::{Cell, Format, Output, Page, baselines_text, draw, elapsed_text, line_up, percent, trials_text};

/// A study and its best trial.
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
        Cell::number(of.study.winner.as_ref().and_then(|winner| winner.corrected_value))
    }),
    ("  from", |of| {
        Cell::number(of.study.winner.as_ref().and_then(|winner| winner.corrected_low))
    }),
    ("  to", |of| {
        Cell::number(of.study.winner.as_ref().and_then(|winner| winner.corrected_high))
    }),
    ("P(better than the second)", |of| {
        let p_better = of.study.winner.as_ref().and_then(|winner| winner.p_better);
        p_better.map_or(Cell::Absent, |p| Cell::text(&percent(p)))
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
            output.json(&serde_json::Value::Array(studies?))?;
        }
        format @ Format::Csv { .. } => {
            let all = async |_| {
                Ok(Page {
                    items: compared.iter().map(|of| of.study.clone()).collect(),
                    next_page_token: String::new(),
                })
            };
            studies::listing().print(format, output, all).await?;
        }
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
    let params = compared.iter().filter_map(|of| of.best.params.as_ref());
    let names: BTreeSet<&String> = params.flat_map(|params| params.fields.keys()).collect();
    rows.extend(names.into_iter().map(|name| {
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

/// The last refit that was measured.
fn refit(of: &Compared) -> Option<&RefitSummary> {
    of.study.refits.iter().rev().find(|refit| refit.test_loss.is_some())
}
