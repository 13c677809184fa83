//! `trawl trials` and `trawl best`: a study's trials by number, and by rank.

use std::collections::BTreeSet;

use trawl_proto::v1::{GetStudyRequest, ListBestTrialsRequest, ListTrialsRequest, Trial};

use super::show::duration;
use crate::args::BestArgs;
use crate::client::{Client, patiently, unary};
use crate::error::Error;
use crate::output::{Cell, Column, Format, Listing, Output, Page};

/// Prints all trials of a study by number.
pub(super) async fn trials(client: &mut Client, study: &str, format: Format, output: &mut Output) -> Result<(), Error> {
    // The columns have to be known before the first of perhaps a million trials goes out.
    let listing = trial_listing(&param_names(client, study).await?);
    let page = async |page_token: String| {
        let request = ListTrialsRequest {
            study: study.to_owned(),
            page_size: 500,
            page_token,
        };
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), unary(request.clone()));
            async move { client.list_trials(request).await }
        })
        .await?;
        Ok(Page {
            items: answer.trials,
            next_page_token: answer.next_page_token,
        })
    };
    listing.print(format, output, page).await
}

/// Prints the head of a study's ranking.
pub(super) async fn best(client: &mut Client, args: &BestArgs, output: &mut Output) -> Result<(), Error> {
    let names = param_names(client, &args.study).await?;
    let request = ListBestTrialsRequest {
        study: args.study.clone(),
        limit: args.limit,
    };
    let trials = client.list_best_trials(unary(request)).await?.into_inner().trials;
    let order: Vec<u32> = trials.iter().map(|trial| trial.trial).collect();
    let once = async |_| {
        Ok(Page {
            items: trials.clone(),
            next_page_token: String::new(),
        })
    };
    best_listing(&names, order)
        .print(args.format.into(), output, once)
        .await
}

/// The searched parameters of a study, sorted.
async fn param_names(client: &mut Client, study: &str) -> Result<BTreeSet<String>, Error> {
    let answer = client
        .get_study(unary(GetStudyRequest {
            study: study.to_owned(),
        }))
        .await?
        .into_inner();
    let searched = trawl_proto::study::searched(&answer.spec.unwrap_or_default());
    Ok(searched.into_keys().collect())
}

fn trial_listing(names: &BTreeSet<String>) -> Listing<Trial> {
    let column = |name: &str, cell: fn(&Trial) -> Cell| Column::new(name, cell);
    let mut columns = vec![
        column("trial", |trial| Cell::count(trial.trial)).titled("trial"),
        column("state", |trial| Cell::text(&trial.state)).titled("state"),
        column("value", |trial| Cell::number(trial.value)).titled("value"),
        column("value_std", |trial| Cell::number(trial.value_std)).titled("std"),
    ];
    columns.extend(param_columns(names));
    columns.extend([
        column("epochs", |trial| Cell::count(trial.epochs)),
        column("generation", |trial| Cell::count(trial.generation)),
        column("rung", |trial| trial.rung.map_or(Cell::Absent, Cell::count)),
        column("rung_value", |trial| Cell::number(trial.rung_value)),
        column("rung_trials", |trial| {
            trial.rung_trials.map_or(Cell::Absent, Cell::count)
        }),
        column("attempts", |trial| Cell::count(trial.attempts)).titled("attempts"),
        column("worker_seconds", |trial| Cell::number(seconds(trial))),
        // A tenth of a second is plenty for a person.
        column("seconds", |trial| {
            Cell::number(seconds(trial).map(|s| (s * 10.0).round() / 10.0))
        })
        .titled("seconds")
        .not_in_csv(),
        column("error", |trial| Cell::text(&trial.error)).titled("error"),
        column("started_at", |trial| Cell::time(trial.started_at)),
        column("finished_at", |trial| Cell::time(trial.finished_at)),
        column("value_seed_std", |trial| Cell::number(trial.value_seed_std)),
        column("twin_of", |trial| trial.twin_of.map_or(Cell::Absent, Cell::count)),
    ]);
    Listing {
        plural: "trials yet",
        columns,
    }
}

fn best_listing(names: &BTreeSet<String>, order: Vec<u32>) -> Listing<Trial> {
    let column = |name: &str, cell: fn(&Trial) -> Cell| Column::new(name, cell);
    let rank = move |trial: &Trial| match order.iter().position(|number| *number == trial.trial) {
        Some(index) => Cell::count(index as u64 + 1),
        None => Cell::Absent,
    };
    let mut columns = vec![
        Column::new("rank", rank).titled("rank"),
        column("trial", |trial| Cell::count(trial.trial)).titled("trial"),
        column("value", |trial| Cell::number(trial.value)),
        column("value_std", |trial| Cell::number(trial.value_std)),
        column("spread", |trial| Cell::spread(trial.value, trial.value_std))
            .titled("value")
            .not_in_csv(),
    ];
    columns.extend(param_columns(names));
    Listing {
        plural: "completed trials yet",
        columns,
    }
}

fn param_columns(names: &BTreeSet<String>) -> impl Iterator<Item = Column<Trial>> {
    names.iter().cloned().map(|name| {
        let title = name.clone();
        Column::new(format!("params.{name}"), move |trial: &Trial| {
            Cell::param(trial.params.as_ref(), &name)
        })
        .titled(title)
    })
}

fn seconds(trial: &Trial) -> Option<f64> {
    duration(trial.worker_time).map(|time| time.as_secs_f64())
}
