//! `trawl pause`, `resume`, `cancel` and `delete`: steering a study.

use std::io::{self, IsTerminal, Write};

use trawl_proto::v1::{CancelStudyRequest, DeleteStudyRequest, PauseStudyRequest, ResumeStudyRequest, StudySummary};

use crate::args::DeleteArgs;
use crate::client::{Client, unary};
use crate::error::Error;
use crate::output::Output;

/// Stops granting jobs.
pub(super) async fn pause(client: &mut Client, study: &str, output: &mut Output) -> Result<(), Error> {
    let request = PauseStudyRequest {
        study: study.to_owned(),
    };
    print_state(client.pause_study(unary(request)).await?.into_inner().study, output)
}

/// Goes on with a paused study.
pub(super) async fn resume(client: &mut Client, study: &str, output: &mut Output) -> Result<(), Error> {
    let request = ResumeStudyRequest {
        study: study.to_owned(),
    };
    print_state(client.resume_study(unary(request)).await?.into_inner().study, output)
}

/// Ends a study.
pub(super) async fn cancel(client: &mut Client, study: &str, output: &mut Output) -> Result<(), Error> {
    let request = CancelStudyRequest {
        study: study.to_owned(),
    };
    print_state(client.cancel_study(unary(request)).await?.into_inner().study, output)
}

/// Deletes an ended study.
pub(super) async fn delete(client: &mut Client, args: &DeleteArgs, output: &mut Output) -> Result<(), Error> {
    if !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal() && !confirmed(&args.study) {
        return Err(Error::Failed("nothing was deleted".into()));
    }
    client
        .delete_study(unary(DeleteStudyRequest {
            study: args.study.clone(),
        }))
        .await?;
    output.line(&format!("study {} deleted", args.study))?;
    output.flush()
}

fn print_state(study: Option<StudySummary>, output: &mut Output) -> Result<(), Error> {
    let study = study.unwrap_or_default();
    output.line(&format!("study {} {}", study.name, study.state))?;
    output.flush()
}

/// Asks on the terminal; anything but a clear yes means no.
fn confirmed(study: &str) -> bool {
    let mut terminal = io::stderr().lock();
    let _ = write!(
        terminal,
        "delete study {study} with all of its trials and artifacts? [y/N] "
    );
    let _ = terminal.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
