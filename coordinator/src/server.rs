//! Runs the coordinator: its ports, its ticks, and its end in stages.

use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};
use trawl_proto::v1::access_service_server::AccessServiceServer;
use trawl_proto::v1::study_service_server::StudyServiceServer;
use trawl_proto::v1::worker_service_server::WorkerServiceServer;

use crate::app::auth::{Authenticator, REFRESH_INTERVAL};
use crate::app::coordinator_lock::{self, CoordinatorLock};
use crate::app::rate_limit::RateLimiter;
use crate::app::{
    App, AppError, bound_readers, cancel_study, delete_study, judge_winner, quotas, retire, sweep_objects,
};
use crate::connections::{ConnectionLimiter, LimitedListener};
use crate::grpc::{Studies, Tokens, Workers, guarded};
use crate::http;
use crate::protocol::lease_reaper::reap_leases;
use crate::protocol::report_writer::report_writer;
use crate::tls::Tls;

/// Calls that one connection may have under way.
const STREAMS_PER_CONNECTION_MAX: u32 = 128;
/// Bytes that a connection may send unread, over all its calls: waiting calls, unread, leave room for others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// The same for one call. It bounds the unread bytes of all calls together, and still lets a file fill the line of a local network.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// Headers of a call, including its token.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Calls that a client may open and give up at once before the connection ends.
const RESET_STREAMS_MAX: usize = 64;
/// Time between two keep-alive pings of a connection, and time limit of the answer.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time until tokens that could not be read are read again: their holders wait for it.
const REFRESH_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// Work of a tick, and the time between two of them.
type Tick = (&'static str, Duration);
const TIDY: Tick = ("housekeeping", Duration::from_secs(5));
const JUDGE: Tick = ("judging ended searches", Duration::from_secs(1));
/// Connections to the metrics' own port, apart from all others: Prometheus needs one.
const METRICS_CONNECTIONS_MAX: usize = 16;
/// Time limit for calls to end once the coordinator stops.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// The coordinator's ports, and who may call.
#[derive(Debug)]
pub struct Ports {
    /// gRPC.
    pub grpc: TcpListener,
    /// Web.
    pub http: TcpListener,
    /// Metrics without a token, if the operator wants that port.
    pub metrics: Option<TcpListener>,
    /// Limits connections to the first two.
    pub connections: ConnectionLimiter,
    /// Identifies callers.
    pub authenticator: Arc<Authenticator>,
    /// Limits their rate.
    pub rate_limiter: Arc<RateLimiter>,
    /// TLS of the first two, if they use it.
    pub tls: Option<Tls>,
}

/// Serves until `stop` is cancelled; then ends waiting calls, lets others finish for a while, and returns.
///
/// # Errors
/// A port that fails.
pub async fn serve(app: Arc<App>, lock: CoordinatorLock, ports: Ports, stop: CancellationToken) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    // The writer outlives the streams that feed it: it ends when their last queue is dropped.
    let hard_stop = CancellationToken::new();
    let (reports, writer) = report_writer(Arc::clone(&app), hard_stop.clone());
    // A separate thread, so that a flood of calls does not delay it.
    let runtime = Handle::current();
    tasks.spawn_blocking(move || runtime.block_on(writer));
    // Held until the last upload has ended, so that other coordinators see that this one lives.
    let held = tokio::spawn(coordinator_lock::hold(Arc::clone(&app), lock));
    let authenticates = tokio::spawn(keep_authenticating(
        Arc::clone(&ports.authenticator),
        Arc::clone(&ports.rate_limiter),
    ));
    let (tells_up, is_up) = watch::channel(true);
    tasks.spawn(reap_leases(Arc::clone(&app), tells_up, stop.clone()));
    tasks.spawn(on_tick(TIDY, Arc::clone(&app), stop.clone(), tidy));
    tasks.spawn(on_tick(JUDGE, Arc::clone(&app), stop.clone(), judge));

    let (health, health_service) = tonic_health::server::health_reporter();
    tasks.spawn(tell_health(is_up, health, stop.clone()));

    // The guard limits message lengths, by RPC.
    let studies = Studies::new(Arc::clone(&app), stop.clone(), tasks.clone());
    let workers = WorkerServiceServer::new(Workers::new(Arc::clone(&app), reports, stop.clone(), tasks.clone()));
    // The descriptions include error details, so that clients can show which fields were refused.
    let describe = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(trawl_proto::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let tokens = AccessServiceServer::new(Tokens::new(Arc::clone(&app), Arc::clone(&ports.authenticator)));
    let routes = Routes::new(StudyServiceServer::new(studies.clone()))
        .add_service(workers)
        .add_service(tokens)
        .add_service(describe().build_v1()?)
        .add_service(describe().build_v1alpha()?)
        .add_service(health_service);
    let grpc_port = LimitedListener::new(ports.grpc, ports.connections.clone());
    let mut server = Server::builder();
    if let Some(tls) = &ports.tls {
        server = server.tls_config(tls.grpc.clone())?;
    }
    let mut grpc = tokio::spawn(
        server
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_max_header_list_size(HEADERS_BYTES_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
            .http2_max_local_error_reset_streams(Some(RESET_STREAMS_MAX))
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_routes(guarded(
                routes,
                Arc::clone(&app),
                Arc::clone(&ports.authenticator),
                Arc::clone(&ports.rate_limiter),
            ))
            .serve_with_incoming_shutdown(grpc_port.incoming(), stop.clone().cancelled_owned()),
    );
    let web = http::router(
        Arc::clone(&app),
        studies,
        ports.authenticator,
        ports.rate_limiter,
        ports.tls.is_some(),
    );
    let mut web = tokio::spawn(serve_web(ports.http, ports.connections, web, ports.tls, stop.clone()));
    if let Some(port) = ports.metrics {
        let connections = ConnectionLimiter::new(METRICS_CONNECTIONS_MAX);
        let metrics = http::metrics_router(Arc::clone(&app));
        tasks.spawn(serve_metrics(port, connections, metrics, stop.clone()));
    }

    // A finished handle must not be polled again.
    let mut grpc_ended = false;
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        ended = &mut grpc => {
            grpc_ended = true;
            ended??;
        }
        ended = &mut web => ended??,
    }
    stop.cancel();
    info!("coordinator stopping: calls come to their end");
    tasks.close();
    let drained = timeout(DRAIN_WITHIN, async {
        if !grpc_ended {
            let _ = (&mut grpc).await;
        }
        tasks.wait().await;
    });
    if drained.await.is_err() {
        warn!(
            drain.limit_ms = DRAIN_WITHIN.as_millis() as u64,
            "coordinator stopping: some calls were cut off"
        );
        hard_stop.cancel();
        grpc.abort();
    }
    web.abort();
    held.abort();
    authenticates.abort();
    Ok(())
}

/// Refreshes the list of tokens for ever: streams that end while the coordinator stops need it too.
async fn keep_authenticating(authenticator: Arc<Authenticator>, rate_limiter: Arc<RateLimiter>) {
    let mut is_fresh = true;
    loop {
        let refreshed = authenticator.refresh().await;
        match &refreshed {
            Err(error) if is_fresh => {
                warn!(error = %error, "tokens cannot be read: those that were known are let in for some seconds");
            }
            Ok(()) if !is_fresh => info!("tokens can be read again"),
            _ => {}
        }
        is_fresh = refreshed.is_ok();
        rate_limiter.forget_idle();
        sleep(if is_fresh {
            REFRESH_INTERVAL
        } else {
            REFRESH_AGAIN_AFTER
        })
        .await;
    }
}

/// Serves the metrics' own port. Its failure ends nothing else.
async fn serve_metrics(
    port: TcpListener,
    connections: ConnectionLimiter,
    router: axum::Router,
    stop: CancellationToken,
) {
    let served =
        axum::serve(LimitedListener::new(port, connections), router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        warn!(error = %error, "the port of the metrics failed");
    }
}

/// Serves the web port, under TLS if the operator wants it.
async fn serve_web(
    port: TcpListener,
    connections: ConnectionLimiter,
    router: axum::Router,
    tls: Option<Tls>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let Some(tls) = tls else {
        return axum::serve(LimitedListener::new(port, connections), router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
    };
    let handle = axum_server::Handle::new();
    let stopper = handle.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        stopper.graceful_shutdown(Some(DRAIN_WITHIN));
    });
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls.web)).acceptor(connections);
    axum_server::from_tcp(port.into_std()?)?
        .acceptor(acceptor)
        .handle(handle)
        .serve(router.into_make_service())
        .await
}

/// Housekeeping: counts the object store's bytes, ends overdue sessions of readers, ends the jobs of cancelled studies,
/// removes the rows of deleted ones, forgets what ended long ago, and sweeps the object store.
async fn tidy(app: Arc<App>) -> Result<(), AppError> {
    // First, because the quotas need this number even if a later step fails.
    quotas::count_bytes(&app).await?;
    // Second, because later steps may wait for locks of these sessions.
    bound_readers::end_overdue(&app).await?;
    cancel_study::sweep_cancelled(&app).await?;
    cancel_study::stop_overdue(&app).await?;
    delete_study::remove_deleted(&app).await?;
    retire::forget_ended(&app).await?;
    app.metrics().tidy();
    sweep_objects::sweep_objects(&app).await
}

/// Judges the best trials of ended searches.
async fn judge(app: Arc<App>) -> Result<(), AppError> {
    judge_winner::judge_winners(&app).await
}

async fn on_tick<F>((what, every): Tick, app: Arc<App>, stop: CancellationToken, work: fn(Arc<App>) -> F)
where
    F: Future<Output = Result<(), AppError>>,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = work(Arc::clone(&app)).await {
            warn!(error = %error, "{what} failed; the next tick tries again");
        }
    }
}

/// Reports by the gRPC health protocol whether the coordinator can serve.
async fn tell_health(mut is_up: watch::Receiver<bool>, health: HealthReporter, stop: CancellationToken) {
    loop {
        let status = if *is_up.borrow_and_update() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in [
            "",
            "trawl.v1.StudyService",
            "trawl.v1.WorkerService",
            "trawl.v1.AccessService",
        ] {
            health.set_service_status(service, status).await;
        }
        tokio::select! {
            // Without a sender the coordinator stops, and the end of this function reports that.
            Ok(()) = is_up.changed() => {}
            () = stop.cancelled() => {
                health.set_service_status("", ServingStatus::NotServing).await;
                return;
            }
        }
    }
}
