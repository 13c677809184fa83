//! What others notice of an attack: how long a worker waits for its heartbeats meanwhile, and how much memory a process takes.

use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::scripted_worker::ScriptedWorker;
use crate::system::{Client, wait_for};

/// Time between two heartbeats: short, so that no pause of the coordinator falls between them.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(50);

/// The most memory that a process has had, in bytes.
///
/// # Errors
/// It has ended.
pub fn peak_memory_bytes(process: u32) -> anyhow::Result<u64> {
    memory_bytes(process, "VmHWM:")
}

/// The memory that a process has now, in bytes.
///
/// # Errors
/// It has ended.
pub fn present_memory_bytes(process: u32) -> anyhow::Result<u64> {
    memory_bytes(process, "VmRSS:")
}

fn memory_bytes(process: u32, name: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.with_context(|| format!("the process has no {name}"))? << 10)
}

/// Seconds of CPU that a process and its ended children have used.
///
/// # Errors
/// It has ended.
pub fn cpu_seconds(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // PID (NAME) STATE PARENT …, and a name may hold anything. From the twelfth on: its own time and its children's.
    let (_, rest) = stat.rsplit_once(") ").context("a process without a state")?;
    let ticks = rest.split(' ').skip(11).take(4).map(str::parse::<u64>);
    let ticks: u64 = ticks.sum::<Result<_, _>>()?;
    // The kernel reports times in hundredths of a second, on every architecture that trawl runs on.
    Ok(ticks as f64 / 100.0)
}

/// Heartbeats of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Beats {
    /// Heartbeats that were answered.
    pub count: usize,
    /// The longest time that one took.
    pub longest: Duration,
}

/// A registered worker that sends heartbeats, one after the other, until it is stopped.
#[derive(Debug)]
pub struct Heartbeats {
    stop: oneshot::Sender<()>,
    beats: JoinHandle<Result<Beats, tonic::Status>>,
}

impl Heartbeats {
    /// Registers a worker, and begins. It is on a connection of its own.
    ///
    /// # Errors
    /// The coordinator refuses it.
    pub async fn begin(trawl: &Client) -> anyhow::Result<Self> {
        Ok(Self::of(ScriptedWorker::register(trawl).await?))
    }

    /// Begins with a worker that is registered already.
    pub fn of(mut worker: ScriptedWorker) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let beats = tokio::spawn(async move {
            let mut beats = Beats {
                count: 0,
                longest: Duration::ZERO,
            };
            let mut last = false;
            loop {
                let sent_at = Instant::now();
                worker.heartbeat(&[]).await?;
                beats.count += 1;
                beats.longest = beats.longest.max(sent_at.elapsed());
                if last {
                    return Ok(beats);
                }
                // One more follows the word to stop: what it finds belongs to the attack as well.
                tokio::select! {
                    () = sleep(HEARTBEAT_INTERVAL) => {}
                    _ = &mut stopped => last = true,
                }
            }
        });
        Self { stop, beats }
    }

    /// Waits for the answer to the one that is under way, sends a last one, and stops.
    ///
    /// # Errors
    /// One was refused, or is never answered.
    pub async fn end(self) -> anyhow::Result<Beats> {
        // One that was refused has ended already, and says so.
        let _ = self.stop.send(());
        wait_for("a heartbeat's answer", async { Ok(self.beats.await??) }).await
    }
}
