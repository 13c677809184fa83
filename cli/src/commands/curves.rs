//! `trawl curves`: losses by fold and epoch.

use trawl_domain::metric::Metric;
use trawl_proto::v1::list_epoch_reports_request::Of;
use trawl_proto::v1::{EpochReport, ListEpochReportsRequest};

use crate::args::CurvesArgs;
use crate::client::{Client, patiently, unary};
use crate::error::Error;
use crate::output::{Cell, Column, Listing, Output, Page};

/// Prints the epoch reports of one trial or one refit.
pub(super) async fn curves(client: &mut Client, args: &CurvesArgs, output: &mut Output) -> Result<(), Error> {
    let of = match (args.trial, args.refit) {
        (_, Some(refit)) => Of::Refit(refit),
        (Some(trial), None) => Of::Trial(trial),
        (None, None) => {
            return Err(Error::Usage(
                "give the number of a trial, or --refit and that of a refit".into(),
            ));
        }
    };
    let page = async |page_token: String| {
        let request = ListEpochReportsRequest {
            study: args.study.clone(),
            of: Some(of),
            page_size: 10_000,
            page_token,
        };
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), unary(request.clone()));
            async move { client.list_epoch_reports(request).await }
        })
        .await?;
        Ok(Page {
            items: answer.reports,
            next_page_token: answer.next_page_token,
        })
    };
    listing().print(args.format.into(), output, page).await
}

fn listing() -> Listing<EpochReport> {
    let column = |name: &str, cell: fn(&EpochReport) -> Cell| Column::new(name, cell);
    let mut columns = vec![
        column("fold", |report| report.fold.map_or(Cell::Absent, Cell::count)),
        // A refit's fit on all training rows belongs to no fold.
        column("fold", |report| {
            report.fold.map_or_else(|| Cell::text("all rows"), Cell::count)
        })
        .titled("fold")
        .not_in_csv(),
        column("epoch", |report| Cell::count(report.epoch)).titled("epoch"),
        column("train_loss", |report| Cell::Number(report.train_loss)).titled("train loss"),
        column("val_loss", |report| Cell::number(report.val_loss)).titled("val loss"),
        column("val_accuracy", |report| Cell::number(report.val_accuracy))
            .titled("val accuracy")
            .where_there_is_one(),
    ];
    let others = Metric::ALL.iter().filter(|metric| !metric.is_usual());
    columns.extend(others.map(|metric| {
        let name = metric.as_str();
        Column::new(name, move |report: &EpochReport| {
            Cell::number(report.metrics.get(name).copied())
        })
        .titled(title(*metric))
        .where_there_is_one()
    }));
    columns.push(column("reported_at", |report| Cell::time(report.reported_at)).titled("reported (UTC)"));
    Listing {
        plural: "epoch reports yet",
        columns,
    }
}

/// A metric as a table's head has it: abbreviations in capitals.
fn title(metric: Metric) -> String {
    match metric {
        Metric::ValR2 => "val R²".to_owned(),
        Metric::ValMae | Metric::ValRmse | Metric::ValMape | Metric::ValAuc => {
            let abbreviation = metric.as_str().trim_start_matches("val_").to_uppercase();
            format!("val {abbreviation}")
        }
        _ => metric.as_str().replace('_', " "),
    }
}
