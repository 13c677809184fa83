//! `trawl extend`, `enqueue` and `retry`: more trials for a study.

use trawl_proto::v1::{EnqueueTrialsRequest, ExtendStudyRequest, RetryTrialsRequest};

use super::watch;
use crate::args::{EnqueueArgs, ExtendArgs};
use crate::client::{Client, unary};
use crate::error::{Error, say};
use crate::output::Output;
use crate::study_file;

/// Raises a study's number of trials.
pub(super) async fn extend(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    args: &ExtendArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let mut client = connect().await?;
    let request = ExtendStudyRequest {
        study: args.study.clone(),
        max_trials: args.max_trials,
    };
    let study = client
        .extend_study(unary(request))
        .await?
        .into_inner()
        .study
        .unwrap_or_default();
    output.line(&format!(
        "study {} {}: {} trials",
        study.name, study.state, study.trials_total
    ))?;
    if study.trials_total < args.max_trials {
        say(&format!(
            "note: the space has {} configurations and no more",
            study.trials_total
        ));
    }
    output.flush()?;
    if args.watch {
        watch::watch_study(connect, &mut client, (&study.study_id, &study.name), output).await?;
    }
    Ok(())
}

/// Adds the trials of a file. It is read first: its errors need no coordinator.
pub(super) async fn enqueue(
    connect: &impl AsyncFn() -> Result<Client, Error>,
    args: &EnqueueArgs,
    output: &mut Output,
) -> Result<(), Error> {
    let file = study_file::read_trials(&args.file)?;
    let mut client = connect().await?;
    let request = EnqueueTrialsRequest {
        study: args.study.clone(),
        trials: file.trials.clone(),
    };
    let enqueued = client.enqueue_trials(unary(request)).await;
    let enqueued = enqueued.map_err(|status| match status.into() {
        Error::Rejected(rejection) if !rejection.findings.is_empty() => file.refused(&rejection.findings),
        other => other,
    })?;
    let enqueued = enqueued.into_inner();
    for trial in &enqueued.trials {
        output.line(&format!("trial {trial}"))?;
    }
    output.flush()?;
    if args.watch {
        let study = enqueued.study.unwrap_or_default();
        watch::watch_study(connect, &mut client, (&study.study_id, &study.name), output).await?;
    }
    Ok(())
}

/// Trains failed trials again.
pub(super) async fn retry(client: &mut Client, study: &str, output: &mut Output) -> Result<(), Error> {
    let request = RetryTrialsRequest {
        study: study.to_owned(),
    };
    let retried = client.retry_trials(unary(request)).await?.into_inner();
    for note in &retried.notes {
        say(&format!("note: {note}"));
    }
    if retried.trials.is_empty() {
        say("note: no failed trial is trained again; those that diverged would diverge again");
    }
    let study = retried.study.unwrap_or_default();
    if study.state == "paused" && !retried.trials.is_empty() {
        say(&format!(
            "help: study {0} is paused; `trawl resume {0}` lets it go on",
            study.name
        ));
    }
    for trial in &retried.trials {
        output.line(&format!("trial {trial}"))?;
    }
    output.flush()
}
