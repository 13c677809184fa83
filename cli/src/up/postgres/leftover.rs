//! A Postgres that an earlier `trawl up` left behind because it was killed. The data folder is locked, so that nobody else
//! can be using it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::data_dir::failed;
use super::super::note;
use super::Place;
use crate::error::Error;

/// Stops it, if there is one.
pub(super) async fn stop(place: &Place<'_>) -> Result<(), Error> {
    let pid_file = place.data.join("postmaster.pid");
    let Some(pid) = pid_in(&pid_file) else { return Ok(()) };
    if serves(pid, &place.data) {
        note(&format!(
            "stopping the Postgres that an earlier `trawl up` left behind (process {pid})"
        ));
        for mode in ["fast", "immediate"] {
            let mut command = place.command("pg_ctl")?;
            command
                .arg("stop")
                .arg("-D")
                .arg(&place.data)
                .args(["-m", mode, "-w", "-t", "30"]);
            // It may have been stopping anyway; what counts is whether it is gone.
            command
                .status()
                .await
                .map_err(|error| failed("run", &place.bin.join("pg_ctl"), &error))?;
            if !serves(pid, &place.data) {
                return Ok(());
            }
        }
        return Err(Error::Failed(format!(
            "Postgres (process {pid}) does not stop; see {}",
            place.log.path().display()
        )));
    }
    // After a crash, Postgres itself sees that nobody has that id any more. If a stranger got it, as happens in
    // containers, Postgres would take it for one of its own and refuse to start.
    if Path::new(&format!("/proc/{pid}")).exists() {
        fs::remove_file(&pid_file).map_err(|error| failed("remove", &pid_file, &error))?;
    }
    Ok(())
}

fn pid_in(pid_file: &Path) -> Option<u32> {
    fs::read_to_string(pid_file).ok()?.lines().next()?.trim().parse().ok()
}

/// True if the process was started with this data folder. Its arguments are readable where nothing else about another
/// user's process is.
fn serves(pid: u32, data: &Path) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"-D") && arguments.next() == Some(data.as_os_str().as_bytes())
}
