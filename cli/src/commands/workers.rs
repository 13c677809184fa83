//! `trawl workers`: who trains, on what, and how busy they are.

use trawl_proto::v1::{ListWorkersRequest, Worker};

use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::{Cell, Column, Format, Listing, Output, Page};

/// Prints the workers that were seen lately.
pub(super) async fn workers(client: &mut Client, format: Format, output: &mut Output) -> Result<(), Error> {
    let workers = client
        .list_workers(unary(ListWorkersRequest {}))
        .await?
        .into_inner()
        .workers;
    let once = async |_| {
        Ok(Page {
            items: workers.clone(),
            next_page_token: String::new(),
        })
    };
    listing().print(format, output, once).await
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
