//! What ends a command early, how it is said, and the exit status that follows: 2 for wrong usage, a rejected study or
//! files that cannot be predicted, 1 for anything else.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use trawl_proto::JsonError;
use trawl_proto::dial::told;

use crate::output::{shown, shown_lines};

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is wrong, or a file that it names.
    #[error("{0}")]
    Usage(String),
    /// The coordinator rejected the request: a line, then one per broken rule.
    #[error("{0}")]
    Rejected(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// Nobody reads standard output any more, as in `trawl trials x | head`.
    #[error("standard output was closed")]
    OutputClosed,
}

impl Error {
    /// Standard output could not be written.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!("cannot write to standard output: {error}")),
        }
    }

    /// Says it on standard error, if there is anything to say.
    pub(crate) fn report(&self) -> ExitCode {
        let (said, status) = match self {
            Self::Usage(_) | Self::Rejected(_) => (true, 2),
            Self::Failed(_) => (true, 1),
            // The reader had enough; that is no failure of the command.
            Self::OutputClosed => (false, 0),
        };
        if said {
            say(&format!("error: {self}"));
        }
        ExitCode::from(status)
    }
}

/// Writes a line, or several, for people to standard error. A closed standard error must not end the command, as `eprintln!` would.
pub(crate) fn say(line: &str) {
    use io::Write as _;
    let _ = writeln!(io::stderr().lock(), "{}", shown_lines(line));
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let message = one_line(status.message());
        match status.code() {
            Code::InvalidArgument => Self::Rejected(rejection(&message, &status)),
            Code::Unauthenticated => Self::Failed(format!(
                "{message}; --token-file or TRAWL_TOKEN gives the credential, and that of a `trawl up --private` is found by its own user"
            )),
            Code::DeadlineExceeded => Self::Failed("the coordinator did not answer in time".into()),
            _ if is_transport(&status) => {
                let reason = one_line(&told(&status));
                Self::Failed(format!("the connection to the coordinator broke: {reason}"))
            }
            _ if message.is_empty() => Self::Failed(format!("the coordinator answered: {}", status.code())),
            _ => Self::Failed(message),
        }
    }
}

impl From<JsonError> for Error {
    fn from(error: JsonError) -> Self {
        Self::Failed(format!(
            "an answer of the coordinator has no JSON form: {}",
            error.reason
        ))
    }
}

/// True if the connection, not the coordinator's judgement, is the reason: asking again may help.
///
/// tonic gives a broken stream various codes; but only a status made on this side carries its cause.
pub(crate) fn is_transport(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

fn rejection(message: &str, status: &Status) -> String {
    let violations = status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default();
    let mut text = if message.is_empty() {
        "the request was rejected".to_owned()
    } else {
        message.to_owned()
    };
    for violation in violations {
        let _ = write!(
            text,
            "\n  {}: {}",
            shown(&violation.field),
            one_line(&violation.description)
        );
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn a_rejection_lists_every_violation_below_its_first_line() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("max_trials", "must be at least 1");
        details.add_bad_request_violation("model[2].activation.kind", "is none of relu, tanh");
        let status = Status::with_error_details(Code::InvalidArgument, "the study was rejected", details);
        let error = Error::from(status);
        assert!(matches!(error, Error::Rejected(_)));
        assert_eq!(
            error.to_string(),
            "the study was rejected\n  max_trials: must be at least 1\n  model[2].activation.kind: is none of relu, tanh"
        );
    }

    #[test]
    fn only_this_sides_statuses_count_as_transport() {
        assert!(is_transport(&Status::unavailable("away")));
        assert!(!is_transport(&Status::internal("a bug over there")));
        assert!(is_transport(&Status::from_error(Box::new(io::Error::other("reset")))));
    }
}
