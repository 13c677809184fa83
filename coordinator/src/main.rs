//! `trawl-coordinator`.

use std::process::ExitCode;

fn main() -> ExitCode {
    trawl_coordinator::main()
}
