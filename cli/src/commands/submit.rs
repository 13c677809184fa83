//! `trawl submit`: a study file goes to the coordinator.

use trawl_proto::v1::CreateStudyRequest;

use super::watch;
use crate::args::SubmitArgs;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::Output;
use crate::study_file;

/// Submits the study in a file. The file is read first: its errors need no coordinator.
pub(super) async fn submit(
    connect: impl AsyncFnOnce() -> Result<Client, Error>,
    args: &SubmitArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let study = study_file::read(&args.file)?;
    let name = study.name.clone();
    let mut client = connect().await?;
    let request = CreateStudyRequest {
        study: Some(study),
        dry_run: args.dry_run,
    };
    let summary = client
        .create_study(unary(request))
        .await?
        .into_inner()
        .study
        .unwrap_or_default();
    if args.dry_run {
        output.line(&format!("study {name} is valid; nothing was stored"))?;
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
