//! `trawl`: the client of a coordinator, and `trawl up`, which runs everything on one machine.

mod args;
mod client;
mod commands;
mod datasets;
mod error;
mod examples;
mod folders;
mod output;
mod parquet_table;
mod pictures;
mod private;
mod program;
mod progress;
mod study_file;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;
use crate::error::Error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread: children of `trawl up` get a signal when the thread that started them ends, and the main one ends last.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(|error| Error::Failed(format!("cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(commands::run(cli)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
