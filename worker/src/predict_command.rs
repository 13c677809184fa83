//! `trawl-worker predict`: predictions on standard output, notes and errors on standard error.

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use trawl_domain::text::shown;
use trawl_engine::predict::{PredictError, Request, predict};
use trawl_engine_torch::{Torch, device};

use crate::args::PredictArgs;

/// Exit status for wrong usage and for invalid files; also clap's.
const WRONG_INPUT: u8 = 2;

/// Predicts all rows, or prints one line with the reason why not.
pub(crate) fn run(args: &PredictArgs) -> ExitCode {
    let torch = match device::take(args.device, args.threads, None) {
        Ok(taken) => Torch::new(taken.device),
        Err(error) => return fail(&error, 1),
    };
    let request = Request {
        network: args.network.clone(),
        weights: args.weights.clone(),
        inputs: args.inputs.clone(),
        probabilities: args.probabilities,
    };
    let mut output = BufWriter::new(io::stdout().lock());
    let done = predict(&request, &torch, &mut output, &mut note);
    let done = done.and_then(|()| output.flush().map_err(PredictError::Output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output closed it, as in `trawl-worker predict … | head`.
        Err(PredictError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(&error, if error.is_input() { WRONG_INPUT } else { 1 }),
    }
}

/// Prints a note in one line, by whose beginning `trawl predict` knows it.
fn note(line: &str) {
    say(format_args!("note: {}", shown(line, usize::MAX)));
}

/// Prints the error in one line.
pub(crate) fn fail(error: &dyn std::fmt::Display, status: u8) -> ExitCode {
    say(format_args!("error: {error}"));
    ExitCode::from(status)
}

fn say(line: std::fmt::Arguments<'_>) {
    // A closed standard error must not change the exit, as with `eprintln!`.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
