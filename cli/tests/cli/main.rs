//! The command line as a process, against fake coordinators.

#![expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod client;
mod help;
mod hostile;
mod lists;
mod messages;
mod report;
mod stage;
mod submitted_again;
