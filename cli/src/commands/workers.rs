//! `trawl workers`: who trains, on what, and how busy they are.

use trawl_proto::v1::{ListWorkersRequest, Worker};

use crate::args::WorkersArgs;
use crate::client::{Client, unary};
use crate::error::{Error, say};
use crate::output::{Cell, Column, Format, Listing, Output, Page};

/// Prints the workers: those that live, or all that were seen lately.
pub(super) async fn workers(client: &mut Client, args: &WorkersArgs, output: &mut Output) -> Result<(), Error> {
    let mut workers = client
        .list_workers(unary(ListWorkersRequest {}))
        .await?
        .into_inner()
        .workers;
    let mut ended = Vec::new();
    if !args.all {
        ended.extend(workers.extract_if(.., |worker| ["stopped", "lost"].contains(&worker.state.as_str())));
    }
    let once = async |_| {
        Ok(Page {
            items: workers.clone(),
            next_page_token: String::new(),
        })
    };
    let format = args.format.into();
    listing().print(format, output, once).await?;
    if format == Format::Table && !ended.is_empty() {
        say(&hidden(&ended));
    }
    Ok(())
}

/// How many workers are not listed.
fn hidden(ended: &[Worker]) -> String {
    let noun = if ended.len() == 1 { "worker" } else { "workers" };
    let lost = match ended.iter().filter(|worker| worker.state == "lost").count() {
        0 => String::new(),
        lost => format!(", {lost} of them lost"),
    };
    format!("{} ended {noun}{lost}: --all lists them", ended.len())
}

fn listing() -> Listing<Worker> {
    let column = |name: &str, cell: fn(&Worker) -> Cell| Column::new(name, cell);
    let columns = vec![
        column("worker_id", |worker| Cell::text(&worker.worker_id)).titled("worker"),
        column("host", |worker| Cell::text(&worker.host)).titled("host"),
        column("device", |worker| Cell::text(&worker.device)).titled("device"),
        column("state", |worker| Cell::text(&worker.state)).titled("state"),
        column("jobs", |worker| Cell::count(worker.jobs)).titled("jobs"),
        column("slots", |worker| Cell::count(worker.slots)).titled("slots"),
        column("last_seen_at", |worker| Cell::time(worker.last_seen_at)).titled("last seen (UTC)"),
    ];
    Listing {
        plural: "workers",
        columns,
    }
}
