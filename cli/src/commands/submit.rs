//! `trawl submit`: a study file goes to the coordinator, after the dataset files that it names.

use trawl_proto::v1::{CreateStudyRequest, StudySummary};

use super::{outline, watch};
use crate::args::SubmitArgs;
use crate::client::{Client, unary};
use crate::datasets;
use crate::error::{Error, say};
use crate::examples::{self, Unpacked};
use crate::output::Output;
use crate::parquet_table;
use crate::pictures;
use crate::study_file;

/// Submits the study in a file. The files are read first: their errors need no coordinator.
pub(super) async fn submit(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    args: &SubmitArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let example = examples::unpack(&args.file)?;
    let path = example.as_ref().map_or_else(|| args.file.clone(), Unpacked::study_file);
    let mut file = study_file::read(&path)?;
    let _packed = (pictures::pack(&mut file)?, parquet_table::pack(&mut file)?);
    let files = datasets::name_by_hash(&mut file).await;
    let mut client = connect().await?;
    files.register(&mut client).await?;
    let request = CreateStudyRequest {
        study: Some(std::mem::take(&mut file.study)),
        dry_run: args.dry_run,
        file_names: files.names(),
    };
    let created = client.create_study(unary(request)).await;
    let created = created.map_err(|status| match files.explain(status.into()) {
        Error::Rejected(rejection) if !rejection.findings.is_empty() => file.refused(&rejection.findings),
        other => other,
    })?;
    let created = created.into_inner();
    let study = created.study.unwrap_or_default();
    files.say_what_was_left();
    for note in &created.notes {
        say(&format!("note: {note}"));
    }
    if created.already_there {
        already_there(&study)?;
    }
    if study.study_id.is_empty() {
        output.line(&format!("study {} is valid; no study was stored", study.name))?;
        if let Some(outline) = &created.outline {
            outline::print(outline, output)?;
        }
    } else {
        output.line(&format!("study {} {}", study.name, study.study_id))?;
    }
    output.flush()?;
    if args.watch {
        // By id: a name could be another study's by the time a watch reconnects.
        watch::watch_study(connect, &mut client, (&study.study_id, &study.name), output).await?;
    }
    Ok(())
}

/// Says that nothing was started, and what would help.
///
/// # Errors
/// The study that is there was cancelled or has failed.
fn already_there(study: &StudySummary) -> Result<(), Error> {
    let (name, state) = (&study.name, &study.state);
    let mut here = format!("study {name} is already here: {state}");
    let anew = format!("`trawl delete {name}` makes room for it; under another name it is another study");
    let help = match state.as_str() {
        "running" | "refitting" => None,
        "paused" => Some(format!("`trawl resume {name}` lets it go on")),
        "completed" => Some(format!("to run it anew, {anew}")),
        _ => {
            if !study.error.is_empty() {
                here = format!("{here}: {}", study.error);
            }
            return Err(Error::Failed(format!("{here}\nhelp: {anew}")));
        }
    };
    say(&format!("note: {here}; nothing was started"));
    if let Some(help) = help {
        say(&format!("help: {help}"));
    }
    Ok(())
}
