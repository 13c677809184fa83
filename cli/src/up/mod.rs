//! `trawl up`: embedded Postgres, coordinator and workers in one foreground command.
//!
//! They start in this order and stop in the reverse one: a worker hands its leases back to a living coordinator, which
//! writes that into a living database.

mod children;
mod coordinator;
mod data_dir;
mod launcher;
mod postgres;

use std::future::{Future, pending};
use std::path::PathBuf;
use std::pin::pin;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use trawl_domain::access::Protection;
use trawl_domain::secret::Secret;
use trawl_proto::dial::TlsChoice;

use self::children::{Spec, Stop, supervise};
use self::coordinator::Coordinator;
use self::data_dir::{DataDir, Endpoints};
use self::launcher::Launcher;
use self::postgres::Postgres;
use crate::args::{ServerArgs, UpArgs};
use crate::error::{Error, say};
use crate::output::Output;
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
    let (token, tls) = (server.token()?, server.tls()?);
    let protection = Protection {
        token: token.is_some(),
        tls: tls.identity.is_some(),
        insecure: args.insecure,
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
        coordinator,
        worker,
        data_dir,
        launcher: Launcher::detect(token).await?,
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

/// Everything that does not change while it runs.
struct Up<'a> {
    args: &'a UpArgs,
    coordinator: PathBuf,
    worker: PathBuf,
    data_dir: DataDir,
    launcher: Launcher,
    /// Its identity is the coordinator's; the rest is how workers know it.
    tls: TlsChoice,
    stop: Stop,
}

impl Up<'_> {
    async fn run(&self, output: &mut Output) -> Result<(), Error> {
        if let Some(url) = self.args.database_url.as_ref().filter(|url| !url.is_empty()) {
            return self.serve(url.expose(), pending(), output).await;
        }
        let bin = postgres::bin_dir(self.args.postgres_dir.as_deref())?;
        let Some(mut postgres) = Postgres::start(&bin, &self.data_dir, &self.launcher, &self.stop).await? else {
            return Ok(());
        };
        let url = postgres.url().to_owned();
        let served = self.serve(&url, postgres.died(), output).await;
        postgres.stop(&self.stop.now).await;
        served
    }

    /// Runs coordinator and workers on a database; returns once both have stopped.
    async fn serve(
        &self,
        database_url: &str,
        database_died: impl Future<Output = Error>,
        output: &mut Output,
    ) -> Result<(), Error> {
        let mut database_died = pin!(database_died);
        let coordinator = Coordinator {
            program: self.coordinator.clone(),
            launcher: self.launcher.clone(),
            database_url: Secret::new(database_url),
            tls: self.tls.identity.clone(),
            ready_file: self.data_dir.ready_file(),
            artifacts: self.data_dir.path().join("artifacts"),
            dataset_dir: self.args.dataset_dir.clone(),
            listen: self.args.listen,
            http_listen: self.args.http_listen,
            insecure: self.args.insecure,
        };
        let started = tokio::select! {
            started = coordinator.start(&self.stop) => started?,
            error = &mut database_died => return Err(error),
        };
        let Some((process, ready)) = started else { return Ok(()) };

        let coordinator_stop = self.stop.later();
        let mut coordinators = JoinSet::new();
        coordinators.spawn(supervise(
            coordinator.at_ports_of(&ready).spec(),
            Some(process),
            coordinator_stop.clone(),
        ));
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
            database_url: database_url.to_owned(),
        };
        let done = match self.announce(&endpoints, output) {
            Ok(()) => tokio::select! {
                () = self.stop.asked.cancelled() => Ok(()),
                error = database_died => Err(error),
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
        let devices = self.data_dir.path().join("devices");
        let command = move || -> Command {
            let mut command = launcher.command(&program);
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
            if let Some(file) = &tls.ca {
                command.arg("--tls-ca").arg(file);
            }
            if let Some(name) = &tls.server_name {
                command.args(["--tls-server-name", name]);
            }
            // Workers talk to the coordinator alone; the database's password is none of their business.
            command.env_remove("DATABASE_URL");
            command
        };
        Spec {
            name: format!("worker {number}"),
            command: Box::new(command),
            grace: WORKER_GRACE,
        }
    }

    /// Tells people and scripts where everything is.
    fn announce(&self, endpoints: &Endpoints, output: &mut Output) -> Result<(), Error> {
        self.data_dir.publish_endpoints(endpoints)?;
        let server = if endpoints.grpc == DEFAULT_GRPC {
            String::new()
        } else {
            format!("--server {} ", endpoints.grpc)
        };
        let text = format!(
            "gRPC      {}\nweb       {}\nPostgres  {}\nworkers   {}, device {}\n\
             Submit a study with `trawl {server}submit FILE`; Ctrl-C stops everything.\n",
            endpoints.grpc,
            endpoints.http,
            endpoints.database_url,
            self.worker_count(),
            self.args.device
        );
        // Whoever started it may have closed its output; it serves all the same.
        let _ = output.text(&text).and_then(|()| output.flush());
        Ok(())
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
