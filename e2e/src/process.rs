//! Processes that a test starts, and that end with it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map_or_else(PathBuf::new, Path::to_path_buf)
}

/// One of the project's binaries, of the same build as the test.
///
/// # Errors
/// It was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    // A test lies in target/PROFILE/deps, the binaries one folder up.
    let folder = test.ancestors().nth(2).context("the test lies in no target folder")?;
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: build the binaries first, with make build",
        path.display()
    );
    Ok(path)
}

/// A tool that `make setup` fetched.
///
/// # Errors
/// It was not fetched.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("TRAWL_TOOLS_DIR").context("TRAWL_TOOLS_DIR is not set: run make setup first")?;
    let path = Path::new(&folder).join(name);
    ensure!(path.is_file(), "{} is missing: run make setup", path.display());
    Ok(path)
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it. Its log goes to the test's standard error.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("a process without a number")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it at once, as a crash would, and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn crash(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Tells it to stop, and waits for its end.
    ///
    /// # Errors
    /// It had ended by itself.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        Ok(self.child.wait()?)
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
