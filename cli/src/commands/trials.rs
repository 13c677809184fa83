//! `trawl trials` and `trawl best`: a study's trials by number, and by rank.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use trawl_proto::to_json;
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
    let json = |trial: &Trial| fields(trial).map(Value::Object);
    listing.print_as(format, &json, output, page).await
}

/// Prints the head of a study's ranking.
pub(super) async fn best(client: &mut Client, args: &BestArgs, output: &mut Output) -> Result<(), Error> {
    let names = param_names(client, &args.study).await?;
    let request = ListBestTrialsRequest {
        study: args.study.clone(),
        limit: args.limit,
    };
    let trials = client.list_best_trials(unary(request)).await?.into_inner().trials;
    let ranked: Vec<(u64, Trial)> = (1..).zip(trials).collect();
    let once = async |_| {
        Ok(Page {
            items: ranked.clone(),
            next_page_token: String::new(),
        })
    };
    let json = |(rank, trial): &(u64, Trial)| -> Result<Value, Error> {
        let mut fields = fields(trial)?;
        fields.insert("rank".to_owned(), (*rank).into());
        Ok(Value::Object(fields))
    };
    best_listing(&names)
        .print_as(args.format.into(), &json, output, once)
        .await
}

/// The JSON form of a trial, with the time of workers as in CSV, and without folds, which no list of trials has.
fn fields(trial: &Trial) -> Result<Map<String, Value>, Error> {
    let Value::Object(mut fields) = to_json(trial)? else {
        return Ok(Map::new());
    };
    fields.remove("folds");
    fields.remove("worker_time");
    fields.insert("worker_seconds".to_owned(), seconds(trial).into());
    Ok(fields)
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
        column("value", |trial| Cell::number(trial.value)),
        column("value_std", |trial| Cell::number(trial.value_std)),
        column("spread", |trial| Cell::spread(trial.value, trial.value_std))
            .titled("value")
            .not_in_csv(),
    ];
    columns.extend(param_columns::<Trial>(names, |trial| trial));
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

/// Of trials with their ranks.
fn best_listing(names: &BTreeSet<String>) -> Listing<(u64, Trial)> {
    let column = |name: &str, cell: fn(&(u64, Trial)) -> Cell| Column::new(name, cell);
    let mut columns = vec![
        column("rank", |(rank, _)| Cell::count(*rank)).titled("rank"),
        column("trial", |(_, trial)| Cell::count(trial.trial)).titled("trial"),
        column("value", |(_, trial)| Cell::number(trial.value)),
        column("value_std", |(_, trial)| Cell::number(trial.value_std)),
        column("spread", |(_, trial)| Cell::spread(trial.value, trial.value_std))
            .titled("value")
            .not_in_csv(),
    ];
    columns.extend(param_columns::<(u64, Trial)>(names, |(_, trial)| trial));
    Listing {
        plural: "completed trials yet",
        columns,
    }
}

fn param_columns<T: 'static>(names: &BTreeSet<String>, trial: fn(&T) -> &Trial) -> impl Iterator<Item = Column<T>> {
    names.iter().cloned().map(move |name| {
        let title = name.clone();
        Column::new(format!("params.{name}"), move |item: &T| {
            Cell::param(trial(item).params.as_ref(), &name)
        })
        .titled(title)
    })
}

fn seconds(trial: &Trial) -> Option<f64> {
    duration(trial.worker_time).map(|time| time.as_secs_f64())
}
