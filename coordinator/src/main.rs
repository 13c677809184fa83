//! `trawl-coordinator`: reads its flags, opens its ports and its database, and serves until it is told to stop.

mod args;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use trawl_coordinator::app::door::Door;
use trawl_coordinator::app::{App, Settings, be_present, expire_leases};

use trawl_coordinator::connections::Places;
use trawl_coordinator::files::Files;
use trawl_coordinator::server::{Ports, serve};
use trawl_coordinator::tls::Tls;

use args::Args;

/// How long Postgres may take to come up beside the coordinator.
const DATABASE_WITHIN: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    args.refuse_open_ports();
    args.log.init();
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    // Asked to stop while it still waits for Postgres, it has nothing to end.
    tokio::select! {
        done = run(args, stop.clone()) => done,
        () = async { stop.cancelled().await; sleep(Duration::from_secs(30)).await } => Ok(()),
    }
}

async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<()> {
    let token = args.access.token()?;
    install_tls_provider()?;
    let tls = args.access.tls_files().map(|files| Tls::read(&files)).transpose()?;
    let grpc = listen(args.listen).await?;
    let http = listen(args.http_listen).await?;
    let (grpc_addr, http_addr) = (grpc.local_addr()?, http.local_addr()?);

    let files = Files::open(&args.artifacts_url()?).context("--artifacts")?;
    let pool = tokio::select! {
        pool = connect(args.database_url.expose()) => pool?,
        () = stop.cancelled() => return Ok(()),
    };
    sqlx::migrate!("../migrations")
        .run(&pool)
        .await
        .context("cannot migrate the database")?;
    let mut entropy = [0; 32];
    getrandom::fill(&mut entropy).map_err(|error| anyhow::anyhow!("no random numbers from the system: {error}"))?;
    let settings = Settings {
        dataset_dir: std::path::absolute(&args.dataset_dir)?,
        fashion_mnist_dirs: args.fashion_mnist_dirs(),
        lease_ttl: Duration::from_millis(args.lease_ttl_ms),
        checkpoint_interval: Duration::from_millis(args.checkpoint_interval_ms),
        quotas: args.quotas.quotas(),
    };
    let app = Arc::new(App::new(pool, files, settings, entropy));
    expire_leases::grant_grace(&app).await?;
    let presence = be_present::appear(&app).await?;

    let door = Arc::new(Door::new(
        Arc::clone(&app),
        token.as_ref(),
        args.access.requests_per_second,
    ));
    if door.is_open().await? {
        let message = "no token is asked for: whoever reaches these ports may do everything";
        if grpc_addr.ip().is_loopback() && http_addr.ip().is_loopback() {
            info!("{message}");
        } else {
            warn!("{message}");
        }
    }
    info!(tls = tls.is_some(), grpc.addr = %grpc_addr, http.addr = %http_addr, version = env!("CARGO_PKG_VERSION"), "coordinator ready");
    if let Some(path) = &args.ready_file {
        write_ready_file(path, tls.is_some(), grpc_addr, http_addr)?;
    }
    let ports = Ports {
        grpc,
        http,
        places: Places::new(args.connections_max()),
        door,
        tls,
    };
    serve(app, presence, ports, stop).await?;
    info!("coordinator stopped");
    Ok(())
}

/// The TLS of the web port and of S3 clients has no cryptography of its own.
fn install_tls_provider() -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("there is another TLS provider already"))
}

async fn listen(addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .with_context(|| format!("cannot listen on {addr}"))
}

/// Connects to Postgres, and waits for it to come up.
async fn connect(url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url.parse().context("--database-url is no Postgres URL")?;
    // No statement of the coordinator takes long; one that does waits for a lock that somebody forgot.
    let options = options.application_name("trawl-coordinator").options([
        // The table of migrations must not be looked for in a schema that has the user's name, least of all in trawl's own.
        ("search_path", "public"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "15s"),
        ("idle_in_transaction_session_timeout", "30s"),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .acquire_timeout(Duration::from_secs(10));
    let deadline = Instant::now() + DATABASE_WITHIN;
    let mut told = false;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Ok(pool) => return Ok(pool),
            Err(error) if Instant::now() >= deadline => return Err(error).context("cannot connect to Postgres"),
            Err(error) => {
                if !told {
                    warn!(error = %error, "waiting for Postgres");
                    told = true;
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

/// Says where it listens, whole or not at all: another process waits for the file.
fn write_ready_file(path: &Path, tls: bool, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    let scheme = if tls { "https" } else { "http" };
    let ready = serde_json::json!({ "grpc": format!("{scheme}://{grpc}"), "http": format!("{scheme}://{http}") });
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
        info!("told to stop");
        stop.cancel();
        let _ = timeout(Duration::from_secs(60), next()).await;
        warn!("stopping at once");
        std::process::exit(1);
    });
    Ok(())
}
