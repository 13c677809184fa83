//! `trawl ls`: all studies.

use serde_json::Value;
use trawl_proto::to_json;
use trawl_proto::v1::{ListStudiesRequest, StudySummary};

use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::{Cell, Column, Format, Listing, Output, Page};
use crate::progress::trials_done;

/// Prints all studies, the newest first.
pub(super) async fn ls(client: &mut Client, format: Format, output: &mut Output) -> Result<(), Error> {
    let page = async |page_token: String| {
        let request = ListStudiesRequest {
            page_size: 100,
            page_token,
        };
        let answer = client.list_studies(unary(request)).await?.into_inner();
        Ok(Page {
            items: answer.studies,
            next_page_token: answer.next_page_token,
        })
    };
    listing().print_as(format, &json, output, page).await
}

/// The JSON form of one of many studies: without the artifacts of its refits, which `trawl artifacts` lists.
fn json(study: &StudySummary) -> Result<Value, Error> {
    let mut json = to_json(study)?;
    for refit in json["refits"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = refit.as_object_mut() {
            fields.remove("artifacts");
        }
    }
    Ok(json)
}

/// The columns of studies.
pub(super) fn listing() -> Listing<StudySummary> {
    let column = |name: &str, cell: fn(&StudySummary) -> Cell| Column::new(name, cell);
    let columns = vec![
        column("name", |study| Cell::text(&study.name)).titled("name"),
        column("study_id", |study| Cell::text(&study.study_id)),
        column("state", |study| Cell::text(&study.state)).titled("state"),
        column("trials", |study| {
            Cell::Text(format!("{}/{}", trials_done(study), study.trials_total))
        })
        .titled("trials")
        .not_in_csv(),
        column("trials_total", |study| Cell::count(study.trials_total)),
        column("trials_running", |study| Cell::count(study.trials_running)).titled("running"),
        column("trials_completed", |study| Cell::count(study.trials_completed)),
        column("trials_pruned", |study| Cell::count(study.trials_pruned)),
        column("trials_failed", |study| Cell::count(study.trials_failed)).titled("failed"),
        column("epochs_reported", |study| Cell::count(study.epochs_reported)),
        column("epochs_total", |study| Cell::count(study.epochs_total)),
        column("goal", |study| Cell::text(&study.goal)),
        column("best_trial", |study| study.best_trial.map_or(Cell::Absent, Cell::count)).titled("best trial"),
        column("best_value", |study| Cell::number(study.best_value)).titled("value"),
        column("created_at", |study| Cell::time(study.created_at)).titled("created (UTC)"),
        column("finished_at", |study| Cell::time(study.finished_at)),
        column("error", |study| Cell::text(&study.error))
            .titled("error")
            .where_there_is_one(),
        column("pause_reason", |study| Cell::text(&study.pause_reason))
            .titled("paused because")
            .where_there_is_one(),
        column("stop_reason", |study| Cell::text(&study.stop_reason)),
    ];
    Listing {
        plural: "studies",
        columns,
    }
}
