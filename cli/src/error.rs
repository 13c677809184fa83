//! Errors that end a command early, their texts, and the exit status that follows: 2 for wrong usage, a rejected study or
//! files that cannot be predicted, 1 for anything else.

use std::fmt;
use std::io;
use std::process::ExitCode;

use tonic::{Code, Status};
use tonic_types::StatusExt;
use trawl_proto::JsonError;
use trawl_proto::dial::status_message;

use crate::output::{shown, shown_lines};

/// Exit status of a program that SIGINT ends, as in shells.
const INTERRUPTED_STATUS: u8 = 130;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line is wrong, or a file that it names.
    #[error("{0}")]
    Usage(String),
    /// The coordinator rejected the request.
    #[error("{0}")]
    Rejected(Rejection),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// The user ended it, and what it watched goes on.
    #[error("{0}")]
    Interrupted(String),
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
        let status = match self {
            Self::Usage(_) | Self::Rejected(_) => 2,
            Self::Failed(_) => 1,
            Self::Interrupted(news) => {
                say(news);
                return ExitCode::from(INTERRUPTED_STATUS);
            }
            // The reader had enough; that is no failure of the command.
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        say(&format!("error: {self}"));
        ExitCode::from(status)
    }
}

/// A coordinator's objections to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Its message, where it names no field.
    message: String,
    /// Every broken rule.
    pub(crate) findings: Vec<Finding>,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path of the field; empty for the whole.
    pub(crate) field: String,
    /// What is wrong with it.
    pub(crate) reason: String,
    /// What would be right, where that is known.
    pub(crate) help: Option<String>,
    /// True if the field's name is wrong, and not its value.
    pub(crate) is_name: bool,
}

impl Finding {
    /// That a field's value is wrong.
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
            help: None,
            is_name: false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", shown(&self.field))?;
        }
        f.write_str(&one_line(&self.reason))
    }
}

impl From<JsonError> for Finding {
    fn from(error: JsonError) -> Self {
        Self {
            field: error.field,
            reason: error.reason,
            help: error.help,
            is_name: error.is_name,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.findings[..] {
            [] if self.message.is_empty() => f.write_str("the request was rejected"),
            [] => f.write_str(&self.message),
            [one] => one.fmt(f),
            several => {
                write!(f, "the request was rejected: {} fields are wrong", several.len())?;
                several.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
            }
        }
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
            Code::InvalidArgument => Self::Rejected(Rejection {
                message,
                findings: findings(&status),
            }),
            // The fields in which the existing study differs.
            Code::AlreadyExists => Self::Failed(match &findings(&status)[..] {
                [] => message,
                differences => {
                    let lines: Vec<String> = differences.iter().map(|finding| format!("  {finding}\n")).collect();
                    let longer = match differences {
                        [one] if one.field == "max_trials" => {
                            "`trawl extend STUDY --max-trials N` lets it run more trials, unless it was cancelled; "
                        }
                        _ => "",
                    };
                    format!(
                        "{message}\n{}help: {longer}under another `name` it is a study of its own",
                        lines.concat()
                    )
                }
            }),
            Code::Unauthenticated => Self::Failed(format!(
                "{message}; --token-file or TRAWL_TOKEN gives the credential, and that of a `trawl up --private` is found by its own user"
            )),
            Code::DeadlineExceeded => Self::Failed("the coordinator did not answer in time".into()),
            _ if is_transport(&status) => {
                let reason = one_line(&status_message(&status));
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

/// The fields that a status names.
fn findings(status: &Status) -> Vec<Finding> {
    let violations = status.get_details_bad_request().map(|details| details.field_violations);
    let violations = violations.unwrap_or_default().into_iter();
    violations
        .map(|violation| Finding::new(violation.field, violation.description))
        .collect()
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
    fn a_rejection_says_each_thing_once() {
        let rejected = |violations: &[(&str, &str)]| {
            let mut details = ErrorDetails::new();
            for (field, description) in violations {
                details.add_bad_request_violation(*field, *description);
            }
            let status = Status::with_error_details(Code::InvalidArgument, "a summary of it", details);
            let error = Error::from(status);
            assert!(matches!(error, Error::Rejected(_)));
            error.to_string()
        };
        let (trials, kind) = (
            ("max_trials", "must be at least 1"),
            ("model[2].activation.kind", "is none of relu, tanh"),
        );
        assert_eq!(rejected(&[trials]), "max_trials: must be at least 1");
        assert_eq!(
            rejected(&[trials, kind]),
            "the request was rejected: 2 fields are wrong\n  max_trials: must be at least 1\n  \
             model[2].activation.kind: is none of relu, tanh"
        );
        assert_eq!(rejected(&[]), "a summary of it");
    }

    #[test]
    fn only_this_sides_statuses_count_as_transport() {
        assert!(is_transport(&Status::unavailable("away")));
        assert!(!is_transport(&Status::internal("a bug over there")));
        assert!(is_transport(&Status::from_error(Box::new(io::Error::other("reset")))));
    }
}
