//! Processes that a test starts, and that end with it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::system::WAIT_MAX;

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

/// The command that starts a program by way of a wrapper, which ends in it; of the program itself where there is none.
pub(crate) fn wrapped(wrapper: &[String], program: &Path) -> Command {
    let Some((first, others)) = wrapper.split_first() else {
        return Command::new(program);
    };
    let mut command = Command::new(first);
    command.args(others).arg(program);
    command
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

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit status; none where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be started, or what it prints is no text.
pub fn ran(command: &mut Command) -> anyhow::Result<Ran> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
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

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(pid(self.child.id())?, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        // Its number stays its own until its status has been read.
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let handle = pidfd_open(pid(self.child.id())?, PidfdFlags::NONBLOCK)?;
        until_ended(&handle).await?;
        Ok(self.child.wait()?)
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

/// A process and all that it started, directly or not, as they are at one moment. Each is held by a handle, which stays its
/// own when its number goes to another.
#[derive(Debug)]
pub struct ProcessTree(Vec<OwnedFd>);

impl ProcessTree {
    /// The tree below a process.
    ///
    /// # Errors
    /// The processes of this machine cannot be listed.
    pub fn of(root: u32) -> anyhow::Result<Self> {
        let mut handles = Vec::new();
        for process in processes_below(root)? {
            match pidfd_open(pid(process)?, PidfdFlags::NONBLOCK) {
                Ok(handle) => handles.push(handle),
                // It ended meanwhile.
                Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(handles))
    }

    /// Kills all of them at once, as a failure of power would.
    ///
    /// # Errors
    /// One must not be killed.
    pub fn kill(&self) -> anyhow::Result<()> {
        for handle in &self.0 {
            match pidfd_send_signal(handle, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until all of them have ended.
    ///
    /// # Errors
    /// They cannot be waited for.
    pub async fn ended(&self) -> anyhow::Result<()> {
        for handle in &self.0 {
            until_ended(handle).await?;
        }
        Ok(())
    }
}

/// The arguments of a process and of all that it started.
///
/// # Errors
/// The processes of this machine cannot be listed.
pub(crate) fn command_lines(root: u32) -> anyhow::Result<Vec<String>> {
    let lines = processes_below(root)?.into_iter().map(|process| {
        // One that has ended meanwhile has none.
        let line = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    });
    Ok(lines.collect())
}

/// A process and all that it started, directly or not.
///
/// # Errors
/// The processes of this machine cannot be listed.
pub fn processes_below(root: u32) -> anyhow::Result<Vec<u32>> {
    let parents = parents()?;
    let mut found = vec![root];
    let mut next = 0;
    while let Some(process) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, parent)| *parent == process);
        found.extend(children.map(|(child, _)| *child));
        next += 1;
    }
    Ok(found)
}

fn pid(number: u32) -> anyhow::Result<Pid> {
    Pid::from_raw(i32::try_from(number)?).context("a process without a number")
}

/// Such a handle becomes readable with the end of its process.
async fn until_ended(handle: &OwnedFd) -> anyhow::Result<()> {
    let handle = handle.try_clone()?;
    let limit = WAIT_MAX.try_into()?;
    let wait = move || poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
    ensure!(tokio::task::spawn_blocking(wait).await?? > 0, "a process does not end");
    Ok(())
}

/// All processes of this machine, each with its parent.
fn parents() -> anyhow::Result<Vec<(u32, u32)>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // PID (NAME) STATE PARENT …, and a name may hold anything.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        // One that has ended meanwhile has no parent.
        parents.extend(parent.map(|parent| (process, parent)));
    }
    Ok(parents)
}
