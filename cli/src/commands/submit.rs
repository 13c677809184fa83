//! `trawl submit`: a study file goes to the coordinator, after the dataset files that it names.

use trawl_proto::v1::CreateStudyRequest;

use super::watch;
use crate::args::SubmitArgs;
use crate::client::{Client, unary};
use crate::datasets;
use crate::error::Error;
use crate::output::Output;
use crate::study_file;

/// Submits the study in a file. The files are read first: their errors need no coordinator.
pub(super) async fn submit(
    connect: impl AsyncFnOnce() -> Result<Client, Error>,
    args: &SubmitArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let mut file = study_file::read(&args.file)?;
    let files = datasets::name_by_hash(&mut file).await;
    let name = file.study.name.clone();
    let mut client = connect().await?;
    files.register(&mut client).await?;
    let request = CreateStudyRequest {
        study: Some(file.study),
        dry_run: args.dry_run,
    };
    let created = client.create_study(unary(request)).await;
    let summary = created
        .map_err(|status| files.explain(status.into()))?
        .into_inner()
        .study
        .unwrap_or_default();
    files.say_what_was_left();
    if args.dry_run {
        output.line(&format!("study {name} is valid; no study was stored"))?;
    } else {
        output.line(&format!("study {name} {}", summary.study_id))?;
    }
    output.flush()?;
    if args.watch {
        // By id: a name could be another study's by the time a watch reconnects.
        watch::watch_study(&mut client, &summary.study_id, output).await?;
    }
    Ok(())
}
