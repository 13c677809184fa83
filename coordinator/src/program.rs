//! The program `trawl-coordinator`: reads its flags, opens its ports and its database, and serves until a signal stops it.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::app::auth::{Authenticator, Caller};
use crate::app::dataset_dir::DatasetDir;
use crate::app::rate_limit::RateLimiter;
use crate::app::{App, Settings, bound_readers, coordinator_lock, expire_leases, probe_files, quotas};
use crate::connections::ConnectionLimiter;
use crate::database;
use crate::files::{Files, ProbeError};
use crate::server::{Ports, serve};
use crate::tls::Tls;
use anyhow::Context;
use clap::Parser;
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use trawl_domain::secret::Secret;
use trawl_telemetry::Traces;

use crate::args::{Args, Command};

/// How long a thread may go on once all is said and done: one may wait for a disk that does not answer.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// A thread takes so many steps of tasks between two looks at sockets and at what other threads woke. Tokio's own default is larger, and under a flood of
/// calls acknowledgements would wait longer.
const STEPS_BETWEEN_LOOKS: u32 = 8;

/// Runs the program. It is here, and not in `main.rs`, so that its futures are compiled once.
pub fn main() -> ExitCode {
    match start(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (Failure::Settings(error) | Failure::Work(error)) = &failure;
            // In a line, with its causes: most of these are wrong settings, for which a backtrace helps nobody.
            // A closed standard error must not end it otherwise, as `eprintln!` would.
            let _ = writeln!(io::stderr().lock(), "error: {error:#}");
            match failure {
                // As of a flag that is not known.
                Failure::Settings(_) => ExitCode::from(2),
                Failure::Work(_) => ExitCode::FAILURE,
            }
        }
    }
}

/// Why a coordinator ended early.
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

fn start(args: Args) -> Result<(), Failure> {
    // Files of artifacts and datasets are nobody else's.
    umask(Mode::RWXG | Mode::RWXO);
    if args.command.is_none() {
        args.refuse_open_ports();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(STEPS_BETWEEN_LOOKS)
        .global_queue_interval(STEPS_BETWEEN_LOOKS)
        .build()?;
    let done = runtime.block_on(work(args));
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    done
}

async fn work(args: Args) -> Result<(), Failure> {
    let database_url = args.database_url().map_err(|error| Failure::Settings(error.into()))?;
    let traces = Traces::from_environment("trawl-coordinator").map_err(|error| Failure::Settings(error.into()))?;
    args.log.init(&traces);
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let work = async {
        match args.command {
            Some(Command::Migrate) => migrate(&database_url).await.map_err(Failure::Work),
            None => run(args, &database_url, stop.clone()).await,
        }
    };
    // Asked to stop while it still waits for Postgres, it has nothing to end.
    let done = tokio::select! {
        done = work => done,
        () = async { stop.cancelled().await; sleep(Duration::from_secs(30)).await } => Ok(()),
    };
    tokio::task::spawn_blocking(move || traces.flush()).await?;
    done
}

/// Brings the database to this version's schema.
async fn migrate(database_url: &Secret) -> anyhow::Result<()> {
    let version = database::migrate(&database::connect(database_url).await?).await?;
    println!("the database has the schema of version {version}");
    Ok(())
}

/// What the settings name, read and opened.
struct Opened {
    token: Option<Secret>,
    worker_token: Option<Secret>,
    reader_url: Option<Secret>,
    tls: Option<Tls>,
    files: Files,
}

fn open(args: &Args) -> anyhow::Result<Opened> {
    Ok(Opened {
        token: args.access.token()?,
        worker_token: args.access.worker_token()?,
        reader_url: args.reader_url()?,
        tls: args.access.tls_files().map(|files| Tls::read(&files)).transpose()?,
        files: Files::open(&args.artifacts_url()?).context("--artifacts")?,
    })
}

async fn run(args: Args, database_url: &Secret, stop: CancellationToken) -> Result<(), Failure> {
    install_tls_provider()?;
    let Opened {
        token,
        worker_token,
        reader_url,
        tls,
        files,
    } = open(&args).map_err(Failure::Settings)?;
    // A port that is taken may be free a moment later.
    let [grpc, http] = [args.listen, args.http_listen].map(|addr| listen(addr, args.ports_held));
    let (grpc, http) = (grpc?, http?);
    let metrics = args.metrics_listen.map(|addr| listen(addr, false)).transpose()?;
    let addrs = Addrs {
        grpc: grpc.local_addr()?,
        http: http.local_addr()?,
        metrics: metrics.as_ref().map(TcpListener::local_addr).transpose()?,
    };

    let pool = tokio::select! {
        pool = database::connect(database_url) => pool?,
        () = stop.cancelled() => return Ok(()),
    };
    database::migrate(&pool).await?;
    let postgres_addr = database::addr(&pool.connect_options());
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    let settings = Settings {
        dataset_dir: args.dataset_dir.as_deref().map(dataset_dir).transpose()?,
        fashion_mnist_dirs: args.fashion_mnist_dirs(),
        lease_ttl: Duration::from_millis(args.lease_ttl_ms),
        checkpoint_interval: Duration::from_millis(args.checkpoint_interval_ms),
        quotas: args.quotas.quotas(),
        reader_transaction_limit: Duration::from_millis(args.reader_transaction_limit_ms),
    };
    let app = Arc::new(App::new(pool, files, settings, entropy));
    app.metrics()
        .set_certificate_end(tls.as_ref().and_then(|tls| tls.ends_at));
    expire_leases::grant_grace(&app).await?;
    quotas::count_bytes(&app).await?;
    let lock = coordinator_lock::acquire(&app).await?;
    // After the lock, by which others know that the probe's note is of a coordinator that lives.
    tokio::select! {
        probed = wait_for_files(&app) => probed?,
        () = stop.cancelled() => return Ok(()),
    }
    bound_readers::look_for_rights(&app).await?;
    if let Some(url) = &reader_url {
        bound_readers::check_reader(&app, url).await?;
        // Printed on purpose: with it, results can be read and nothing changed.
        println!("SQL, for reading alone: {}", url.expose());
    }

    let authenticator = Arc::new(Authenticator::new(
        Arc::clone(&app),
        token.as_ref(),
        worker_token.as_ref(),
    ));
    authenticator.refresh().await?;
    if let Some(caller) = authenticator.open_to()? {
        let message = match caller {
            Caller::AnyUser => {
                "no token is asked for: anybody who reaches these ports may submit, steer and read studies"
            }
            _ => {
                "no token is asked for: anybody who reaches these ports may submit, steer and read studies, and be a worker"
            }
        };
        if addrs.grpc.ip().is_loopback() && addrs.http.ip().is_loopback() {
            info!("{message}");
        } else {
            warn!("{message}");
        }
    }
    info!(
        tls = tls.is_some(),
        grpc.addr = %addrs.grpc,
        http.addr = %addrs.http,
        postgres.addr = %postgres_addr,
        metrics.addr = addrs.metrics.map(display),
        version = env!("CARGO_PKG_VERSION"),
        "coordinator ready"
    );
    if let Some(path) = &args.ready_file {
        write_ready_file(path, tls.is_some(), &addrs)?;
    }
    let ports = Ports {
        grpc,
        http,
        metrics,
        connections: ConnectionLimiter::new(args.connections_max()),
        authenticator,
        rate_limiter: Arc::new(RateLimiter::new(args.access.requests_per_second)),
        tls,
    };
    serve(app, lock, ports, stop).await?;
    info!("coordinator stopped");
    Ok(())
}

/// Waits for the object store as for Postgres, unless it refuses.
async fn wait_for_files(app: &App) -> Result<(), Failure> {
    probe_files::wait_for_files(app).await.map_err(|error| {
        let told = anyhow::anyhow!("--artifacts {error}");
        match error {
            ProbeError::Refused(_) => Failure::Settings(told),
            ProbeError::Full(_) | ProbeError::Away(_) => Failure::Work(told),
        }
    })
}

/// The folder below which requests may name files. One that is not there yet may be mounted later.
fn dataset_dir(folder: &Path) -> anyhow::Result<DatasetDir> {
    let datasets = DatasetDir::new(folder).context("--dataset-dir")?;
    if let Err(error) = datasets.check() {
        warn!(error = %error, "no dataset file can be read below --dataset-dir {}", folder.display());
    }
    Ok(datasets)
}

/// The TLS of the web port and of S3 clients has no cryptography of its own.
fn install_tls_provider() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("there is another TLS provider already"))
}

/// Connections that nobody has accepted yet.
const BACKLOG: u32 = 1024;

fn listen(addr: SocketAddr, held: bool) -> anyhow::Result<TcpListener> {
    let listen = || {
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(held)?;
        socket.bind(addr)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("cannot listen on {addr}"))
}

/// Where it listens.
struct Addrs {
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: Option<SocketAddr>,
}

/// Says where it listens, whole or not at all: another process waits for the file.
fn write_ready_file(path: &Path, tls: bool, addrs: &Addrs) -> anyhow::Result<()> {
    let scheme = if tls { "https" } else { "http" };
    let mut ready = serde_json::json!({
        "grpc": format!("{scheme}://{}", addrs.grpc),
        "http": format!("{scheme}://{}", addrs.http),
    });
    if let Some(metrics) = addrs.metrics {
        ready["metrics"] = format!("http://{metrics}").into();
    }
    let part = path.with_extension("part");
    std::fs::write(&part, format!("{ready}\n"))
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The first SIGINT or SIGTERM stops in stages, the second at once.
fn stop_on_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
        next().await;
        info!("coordinator told to stop");
        stop.cancel();
        let _ = timeout(Duration::from_secs(60), next()).await;
        warn!("coordinator stops at once: a second signal came, or a minute passed");
        std::process::exit(1);
    });
    Ok(())
}
