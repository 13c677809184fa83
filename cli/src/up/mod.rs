//! `trawl up`: embedded Postgres, coordinator and workers in one foreground command.
//!
//! They start in this order and stop in the reverse one: a worker hands its leases back to a living coordinator, which
//! writes that into a living database.

mod children;
mod coordinator;
mod data_dir;
mod environment;
mod held_ports;
mod launcher;
mod postgres;

use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::pin;
use std::thread::available_parallelism;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trawl_domain::access::{Protection, token_text};
use trawl_domain::secret::Secret;
use trawl_proto::dial::TlsChoice;

use self::children::{Spec, Stop, supervise};
use self::coordinator::Coordinator;
pub(crate) use self::data_dir::running;
use self::data_dir::{DataDir, Endpoints};
use self::environment::Kind;
use self::held_ports::Port;
use self::launcher::Launcher;
use self::postgres::Postgres;
pub(crate) use self::postgres::psql;
use crate::args::{ServerArgs, UpArgs};
use crate::error::{Error, say};
use crate::folders::entropy;
use crate::output::Output;
use crate::private::{self, Published};
use crate::program;

/// A worker that stops hands its jobs back, which takes one epoch at most.
const WORKER_GRACE: Duration = Duration::from_secs(20);
/// Each is a process with some 700 MiB of the GPU's memory. On an H200, four trained three times as fast as one.
const WORKERS_PER_GPU: usize = 4;
const DEFAULT_GRPC: &str = "http://127.0.0.1:50051";

/// Runs until Ctrl-C, or until something ends that cannot be started again.
///
/// # Errors
/// Also ports that would be open and are not told to be.
pub(crate) async fn up(args: &UpArgs, server: &ServerArgs, output: &mut Output) -> Result<(), Error> {
    // What it and its children write is nobody else's.
    umask(Mode::RWXG | Mode::RWXO);
    let (token, tls) = (operators_token(args, server)?, server.tls()?);
    let protection = Protection {
        token: token.is_some(),
        tls: tls.identity.is_some(),
        insecure: tls.insecure,
    };
    for (flag, addr) in [("--listen", args.listen), ("--http-listen", args.http_listen)] {
        if let Some(reason) = protection.refuses(flag, addr) {
            return Err(Error::Usage(reason));
        }
    }
    let coordinator = program::find("trawl-coordinator")?;
    let worker = program::find("trawl-worker")?;
    let data_dir = DataDir::lock(args.data_dir.as_deref())?;
    let stop = stop_on_signals()?;
    let up = Up {
        args,
        grpc: Port::hold("--listen", args.listen)?,
        http: Port::hold("--http-listen", args.http_listen)?,
        coordinator,
        worker,
        worker_token_file: data_dir.make_worker_token()?,
        data_dir,
        launcher: Launcher::detect().await?,
        token,
        tls,
        stop,
    };
    let done = up.run(output).await;
    up.data_dir.forget_endpoints();
    if done.is_ok() && up.stop.now.is_cancelled() {
        return Err(Error::Failed("killed before everything had stopped by itself".into()));
    }
    done
}

/// The token that the coordinator asks everybody but workers for.
fn operators_token(args: &UpArgs, server: &ServerArgs) -> Result<Option<Secret>, Error> {
    match (server.token()?, args.private) {
        (token, false) => Ok(token),
        (Some(_), true) => Err(Error::Usage(
            "--private makes a token, and there is one already, of --token, --token-file or their variables".into(),
        )),
        (None, true) if !args.listen.ip().is_loopback() => Err(Error::Usage(format!(
            "--private is for this machine, and --listen {} for others; --token-file names a token for those",
            args.listen
        ))),
        (None, true) => Ok(Some(token_text(entropy()?))),
    }
}

/// What the first worker says that refuses its settings; the others have the same.
async fn first_refusal(workers: &mut JoinSet<Result<(), Error>>) -> Error {
    while let Some(ended) = workers.join_next().await {
        if let Ok(Err(error)) = ended {
            return error;
        }
    }
    pending().await
}

/// A database, as it is told to those who need it.
struct Database {
    /// For the coordinator.
    owner_url: Secret,
    /// For people; that of a database of their own they know.
    reader_url: Option<Secret>,
    /// The environment that goes with it.
    kind: Kind,
}

/// Everything that does not change while it runs.
struct Up<'a> {
    args: &'a UpArgs,
    grpc: Port,
    http: Port,
    coordinator: PathBuf,
    worker: PathBuf,
    data_dir: DataDir,
    /// The workers' own, whether or not anybody else needs one.
    worker_token_file: PathBuf,
    launcher: Launcher,
    /// The operator's.
    token: Option<Secret>,
    /// Its identity is the coordinator's; the rest is how workers know it.
    tls: TlsChoice,
    stop: Stop,
}

impl Up<'_> {
    async fn run(&self, output: &mut Output) -> Result<(), Error> {
        if let Some(url) = self.args.database_url.as_ref().filter(|url| !url.is_empty()) {
            let database = Database {
                owner_url: url.clone(),
                reader_url: None,
                kind: Kind::CoordinatorOfDatabase,
            };
            return self.serve(database, pending(), output).await;
        }
        let installation = postgres::installation(self.args.postgres_dir.as_deref())?;
        let port = self.args.postgres_port;
        let started = Postgres::start(&installation, &self.data_dir, &self.launcher, port, &self.stop).await?;
        let Some(mut postgres) = started else {
            return Ok(());
        };
        let database = Database {
            owner_url: postgres.owner_url().clone(),
            reader_url: Some(postgres.reader_url().clone()),
            kind: Kind::Coordinator,
        };
        let served = self.serve(database, postgres.died(), output).await;
        postgres.stop(&self.stop.now).await;
        served
    }

    /// Runs coordinator and workers on a database; returns once both have stopped.
    async fn serve(
        &self,
        database: Database,
        database_died: impl Future<Output = Error>,
        output: &mut Output,
    ) -> Result<(), Error> {
        let mut database_died = pin!(database_died);
        let coordinator = Coordinator {
            program: self.coordinator.clone(),
            launcher: self.launcher.clone(),
            database_url: database.owner_url,
            kind: database.kind,
            token: self.token.clone(),
            worker_token_file: self.worker_token_file.clone(),
            tls: self.tls.identity.clone(),
            ready_file: self.data_dir.ready_file(),
            artifacts: self.data_dir.path().join("artifacts"),
            dataset_dir: self.args.dataset_dir.clone(),
            listen: self.grpc.addr(),
            http_listen: self.http.addr(),
            insecure: self.tls.insecure,
        };
        let started = tokio::select! {
            started = coordinator.start(&self.stop) => started?,
            error = &mut database_died => return Err(error),
        };
        let Some((process, ready)) = started else { return Ok(()) };

        let coordinator_stop = self.stop.later();
        let mut coordinators = JoinSet::new();
        coordinators.spawn(supervise(coordinator.spec(), Some(process), coordinator_stop.clone()));
        let worker_stop = self.stop.later();
        let mut workers = JoinSet::new();
        for number in 0..self.worker_count() {
            workers.spawn(supervise(
                self.worker_spec(number, &ready.grpc),
                None,
                worker_stop.clone(),
            ));
        }

        let endpoints = Endpoints {
            grpc: ready.grpc,
            http: ready.http,
            database_url: database.reader_url.map(|url| url.expose().to_owned()),
        };
        let done = match self.announce(&endpoints, output) {
            Ok(_published) => tokio::select! {
                () = self.stop.asked.cancelled() => Ok(()),
                error = first_refusal(&mut workers) => Err(error),
                error = database_died => {
                    // At once: its port is free for others now, and nobody must give them a password.
                    self.stop.now.cancel();
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        worker_stop.asked.cancel();
        while workers.join_next().await.is_some() {}
        coordinator_stop.asked.cancel();
        while coordinators.join_next().await.is_some() {}
        done
    }

    fn worker_count(&self) -> usize {
        let cores = available_parallelism().map_or(1, usize::from);
        match self.args.workers {
            Some(count) => count as usize,
            None => match self.gpus() {
                0 => cores,
                gpus => cores.min(WORKERS_PER_GPU * gpus),
            },
        }
    }

    /// GPUs on which workers would train.
    fn gpus(&self) -> usize {
        match self.args.device.as_str() {
            "cpu" => 0,
            // Without the CUDA half of libtorch they train on the CPU, whatever else there is.
            "auto" if std::env::var_os("TRAWL_LIBTORCH_CUDA_DIR").is_none() => 0,
            "auto" => std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count),
            _ => 1,
        }
    }

    fn worker_spec(&self, number: usize, grpc: &str) -> Spec {
        let (program, launcher) = (self.worker.clone(), self.launcher.clone());
        let (grpc, device, tls) = (grpc.to_owned(), self.args.device.clone(), self.tls.clone());
        let (devices, token_file) = (self.data_dir.path().join("devices"), self.worker_token_file.clone());
        let command = move || -> Command {
            let mut command = launcher.command(Kind::Worker, &program);
            command.args([
                "--coordinator",
                &grpc,
                "--device",
                &device,
                "--slots",
                "1",
                "--threads",
                "1",
            ]);
            command.arg("--share-devices").arg(&devices);
            command.arg("--token-file").arg(&token_file);
            if let Some(file) = &tls.ca {
                command.arg("--tls-ca").arg(file);
            }
            if let Some(name) = &tls.server_name {
                command.args(["--tls-server-name", name]);
            }
            // They ask it where it listens, which is this machine.
            if tls.insecure {
                command.arg("--insecure");
            }
            command
        };
        Spec {
            name: format!("worker {number}"),
            command: Box::new(command),
            grace: WORKER_GRACE,
        }
    }

    /// Lets this user's `trawl` find the token of --private.
    fn publish_token(&self) -> Result<Option<Published>, Error> {
        let (true, Some(token)) = (self.args.private, &self.token) else {
            return Ok(None);
        };
        private::publish(self.grpc.addr(), token).map(Some)
    }

    /// Who may do what, in a line.
    fn access(&self) -> &'static str {
        match (self.args.private, &self.token) {
            (true, _) => "yours alone, and `trawl` finds the token by itself",
            (false, Some(_)) => "by token",
            (false, None) if self.args.listen.ip().is_loopback() => {
                "any user of this machine may submit studies, unless tokens were made here; --private keeps others out"
            }
            (false, None) => {
                "anybody who reaches it may submit studies, unless tokens were made here; --token-file keeps others out"
            }
        }
    }

    /// Tells people and scripts where everything is; a token of --private can be found as long as what is returned lives.
    fn announce(&self, endpoints: &Endpoints, output: &mut Output) -> Result<Option<Published>, Error> {
        let published = self.publish_token()?;
        self.data_dir.publish_endpoints(endpoints)?;
        let server = if endpoints.grpc == DEFAULT_GRPC {
            String::new()
        } else {
            format!("--server {} ", endpoints.grpc)
        };
        let text = format!(
            "gRPC      {}\nweb       {}\nPostgres  {}\nworkers   {}, device {}\naccess    {}\n\
             Submit a study with `trawl {server}submit FILE`, or try `trawl {server}submit @regression --watch`; Ctrl-C stops everything.\n",
            endpoints.grpc,
            endpoints.http,
            endpoints.database_url.as_deref().unwrap_or("that of --database-url"),
            self.worker_count(),
            self.args.device,
            self.access()
        );
        // Its output may be closed; it serves all the same.
        let _ = output.text(&text).and_then(|()| output.flush());
        Ok(published)
    }
}

/// The first SIGINT or SIGTERM asks for a stop, the second one makes it immediate.
fn stop_on_signals() -> Result<Stop, Error> {
    let stop = Stop {
        asked: CancellationToken::new(),
        now: CancellationToken::new(),
    };
    let listen = |kind| signal(kind).map_err(|error| Error::Failed(format!("cannot listen for signals: {error}")));
    let (mut interrupts, mut terminations) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let tokens = stop.clone();
    tokio::spawn(async move {
        for (token, news) in [
            (
                &tokens.asked,
                "stopping workers, coordinator and Postgres; once more kills them",
            ),
            (&tokens.now, "killing what is left"),
        ] {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = terminations.recv() => {}
            }
            note(news);
            token.cancel();
        }
    });
    Ok(stop)
}

/// Tells what happens, among the children's log lines.
fn note(news: &str) {
    say(&format!("trawl up: {news}"));
}
