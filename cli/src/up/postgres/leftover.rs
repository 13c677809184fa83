//! A Postgres that an earlier `trawl up` left behind because it was killed. The data folder is locked, so that nobody else
//! can be using it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::super::data_dir::failed;
use super::super::note;
use super::Place;
use crate::error::Error;

/// For each way of stopping it.
const GRACE: Duration = Duration::from_secs(30);

/// Stops it, if there is one.
pub(super) async fn stop(place: &Place<'_>) -> Result<(), Error> {
    let pid_file = place.data.join("postmaster.pid");
    let Some(pid) = pid_in(&pid_file) else { return Ok(()) };
    if serves(pid, &place.data) {
        note(&format!(
            "stopping the Postgres that an earlier `trawl up` left behind (process {})",
            pid.as_raw_pid()
        ));
        // Fast shutdown, then immediate shutdown.
        for signal in [Signal::INT, Signal::QUIT] {
            tell(pid, &place.data, signal).map_err(|error| failed("stop Postgres by", &pid_file, &error.into()))?;
            let asked = Instant::now();
            while serves(pid, &place.data) && asked.elapsed() < GRACE {
                sleep(Duration::from_millis(10)).await;
            }
            if !serves(pid, &place.data) {
                return Ok(());
            }
        }
        return Err(Error::Failed(format!(
            "Postgres (process {}) does not stop; see {}",
            pid.as_raw_pid(),
            place.log.path().display()
        )));
    }
    // After a crash, Postgres itself sees that nobody has that id any more. If a stranger got it, as happens in
    // containers, Postgres would take it for one of its own and refuse to start.
    if Path::new(&format!("/proc/{}", pid.as_raw_pid())).exists() {
        fs::remove_file(&pid_file).map_err(|error| failed("remove", &pid_file, &error))?;
    }
    Ok(())
}

fn pid_in(pid_file: &Path) -> Option<Pid> {
    let number = fs::read_to_string(pid_file).ok()?.lines().next()?.trim().parse().ok()?;
    // A server in single-user mode writes its number negated.
    Pid::from_raw(number).filter(|_| number > 0)
}

/// Signals the process, if it still is that Postgres: its number may have gone to another.
fn tell(pid: Pid, data: &Path, signal: Signal) -> Result<(), Errno> {
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error),
    };
    if !serves(pid, data) {
        return Ok(());
    }
    match pidfd_send_signal(handle, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error),
    }
}

/// True if the process was started with this data folder. Its arguments are readable where nothing else about another
/// user's process is.
fn serves(pid: Pid, data: &Path) -> bool {
    let arguments = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())).unwrap_or_default();
    let mut arguments = arguments.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"-D") && arguments.next() == Some(data.as_os_str().as_bytes())
}
