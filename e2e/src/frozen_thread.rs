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
    /// Stops the one thread of this name while it is in the code of libtorch. Elsewhere it may wait for another thread, which is no hang, or
    /// hold a lock that others need, as that of its heap is: then all of them would stand. `None` where this machine permits nobody to trace it.
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
                    if computes(process, thread)? {
                        return Ok(());
                    }
                    ptrace::cont(thread, None)?;
                    std::thread::yield_now();
                }
            };
            let is_stopped: Result<(), Errno> = stop();
            let goes_on = is_stopped.is_ok();
            // The caller waits for this.
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

/// True if a thread that was stopped was executing libtorch, and no system call.
fn computes(process: u32, thread: Pid) -> Result<bool, Errno> {
    // `-1`, the stack pointer and the program counter, or a system call's number with its arguments.
    let read = |path: String| {
        let text = std::fs::read_to_string(path);
        text.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))
    };
    let state = read(format!("/proc/{process}/task/{thread}/syscall"))?;
    let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let Some(counter) = state
        .strip_prefix("-1 ")
        .and_then(|state| hexadecimal(state.split_whitespace().nth(1)?))
    else {
        return Ok(false);
    };
    let maps = read(format!("/proc/{process}/maps"))?;
    Ok(maps.lines().filter(|map| map.ends_with("/libtorch_cpu.so")).any(|map| {
        let ends = map.split(' ').next().and_then(|range| range.split_once('-'));
        ends.and_then(|(from, to)| Some(hexadecimal(from)?..hexadecimal(to)?))
            .is_some_and(|range| range.contains(&counter))
    }))
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
