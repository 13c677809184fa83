//! `trawl-worker`: takes its device, and works for the coordinator until a signal stops it. `trawl-worker predict` predicts rows instead.

mod args;
mod liveness;
mod predict_command;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use trawl_agent::file_cache::FileCache;
use trawl_agent::{Ended, NotRegistered, Settings, Trainer};
use trawl_domain::id::WorkerId;
use trawl_engine_torch::{Torch, device, shorten_panics};
use trawl_telemetry::Traces;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    shorten_panics();
    match &args.command {
        Some(Command::Predict(predict)) => predict_command::run(predict),
        Some(Command::Alive(args)) => match liveness::check(&args.alive_file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => predict_command::fail(&error, 1),
        },
        // In a line, with its causes: most of these are wrong settings, for which a backtrace helps nobody.
        None => work(args).unwrap_or_else(|failure| match failure {
            Failure::Settings(error) => predict_command::fail(&format!("{error:#}"), SETTINGS_STATUS),
            Failure::Work(error) => predict_command::fail(&format!("{error:#}"), 1),
        }),
    }
}

/// Why a worker ended early.
enum Failure {
    /// No start with these settings will do better.
    Settings(anyhow::Error),
    Work(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Work(error.into())
    }
}

/// Exit status for settings that are wrong, as of a flag that is not known: `trawl up` does not start such a worker again.
const SETTINGS_STATUS: u8 = 2;

/// Exit status of a worker that has to be started anew: a training hangs, or the device is lost.
const UNFIT_STATUS: i32 = 3;

/// Works for the coordinator.
fn work(args: Args) -> Result<ExitCode, Failure> {
    // Cached datasets are nobody else's.
    umask(Mode::RWXG | Mode::RWXO);
    // Before any thread and any tensor: libtorch looks for CUDA once, and remembers what it found.
    let device = device::take(args.device, args.threads, args.share_devices.as_deref());
    let device = device.map_err(|error| Failure::Settings(error.into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let traces = {
        let _entered = runtime.enter();
        Traces::from_environment("trawl-worker").map_err(|error| Failure::Settings(error.into()))?
    };
    args.log.init(&traces);
    info!(
        worker.device = device.name,
        worker.device_description = device.description,
        "device taken"
    );

    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    let settings = Settings {
        worker_id: WorkerId(uuid::Builder::from_random_bytes(id).into_uuid()),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        slots: args.slots,
        device_name: device.name,
        register_within: args.register_within_s.map(Duration::from_secs),
    };
    let limit = Duration::from_millis(args.progress_limit_ms);
    let cache_dir = args.cache_dir().map_err(Failure::Settings)?;
    let files = FileCache::new(cache_dir, args.cache_bytes);
    let training = Trainer::new(Torch::new(device.device), files, limit);
    let ended: Result<Ended, Failure> = runtime.block_on(async {
        let connection = args.connection().map_err(Failure::Settings)?;
        let stop = CancellationToken::new();
        stop_on_signals(&stop)?;
        if let Some(file) = args.alive_file {
            tokio::spawn(liveness::keep_fresh(file));
        }
        let ended = trawl_agent::run(settings, connection, training, stop).await;
        let ended = ended.map_err(|error| match error {
            NotRegistered::Role { .. } => Failure::Settings(error.into()),
            NotRegistered::InTime { .. } => Failure::Work(error.into()),
        })?;
        info!("worker stopped");
        Ok(ended)
    });
    traces.flush();
    match ended? {
        Ended::Told => Ok(ExitCode::SUCCESS),
        Ended::Unhealthy => {
            runtime.shutdown_background();
            // Without libtorch's exit handlers, which may wait for what a thread that hangs holds, or for a device that is lost.
            signal_hook::low_level::exit(UNFIT_STATUS)
        }
    }
}

/// Signals within this time of the first are one: a supervisor that stops a group of processes may signal the worker, and so may
/// a script of the group that passes on what it was told.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_secs(2);

/// The first SIGINT or SIGTERM hands the leases back, another one later stops at once.
fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
        next().await;
        info!("worker told to stop");
        stop.cancel();
        let same_until = Instant::now() + SAME_SIGNAL_WITHIN;
        while timeout_at(same_until, next()).await.is_ok() {}
        let _ = timeout(Duration::from_secs(60), next()).await;
        warn!("worker stops at once: a second signal came, or a minute passed");
        signal_hook::low_level::exit(1);
    });
    Ok(())
}
