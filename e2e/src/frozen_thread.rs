//! One thread of a process that stands still while the others run on: what a thread that hangs looks like from outside. A
//! signal would stop them all.

use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A thread that stands still until its process ends.
#[derive(Debug)]
pub struct FrozenThread {
    /// Traces it, which only the thread that began to can do.
    tracer: JoinHandle<()>,
}

impl FrozenThread {
    /// Stops the one thread of this name while it computes, and not while it waits for another one: a wait may last, and is no
    /// hang. `None` where this machine permits nobody to trace it.
    ///
    /// # Errors
    /// There is no such thread, or more than one.
    pub fn stop(process: u32, name: &str) -> anyhow::Result<Option<Self>> {
        let thread = Pid::from_raw(find(process, name)?);
        let (sends_stopped, stopped) = mpsc::channel();
        let tracer = std::thread::Builder::new().spawn(move || {
            let stop = || {
                ptrace::seize(thread, ptrace::Options::empty())?;
                loop {
                    ptrace::interrupt(thread)?;
                    waitpid(thread, Some(WaitPidFlag::__WALL))?;
                    if !waits(process, thread) {
                        return Ok(());
                    }
                    ptrace::cont(thread, None)?;
                    std::thread::yield_now();
                }
            };
            let is_stopped: Result<(), Errno> = stop();
            let goes_on = is_stopped.is_ok();
            // Who asked waits for this.
            let _ = sends_stopped.send(is_stopped);
            if goes_on {
                // It stands until its process ends, and is gone once that was seen here.
                let _ = waitpid(thread, Some(WaitPidFlag::__WALL));
            }
        })?;
        match stopped.recv()? {
            Ok(()) => Ok(Some(Self { tracer })),
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOSYS) => Ok(None),
            Err(error) => Err(error).context("a thread cannot be stopped"),
        }
    }

    /// True while it stands.
    pub fn stands(&self) -> bool {
        !self.tracer.is_finished()
    }
}

/// True if a thread that was stopped is in a wait for another one.
fn waits(process: u32, thread: Pid) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&nix::libc::SYS_futex.to_string())
}

fn find(process: u32, name: &str) -> anyhow::Result<i32> {
    let mut found = Vec::new();
    for task in Path::new(&format!("/proc/{process}/task")).read_dir()? {
        let task = task?;
        // One that has ended meanwhile has no name.
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            found.push(task.file_name().to_string_lossy().parse()?);
        }
    }
    ensure!(
        found.len() == 1,
        "{} threads of {process} are named {name}",
        found.len()
    );
    Ok(found[0])
}
