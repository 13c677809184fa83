//! `trawl up` on a data folder, as a user runs it.

use std::ops::Deref;
use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::Context;
use rustix::process::Signal;

use crate::process::{Process, ProcessTree, binary, command_lines, processes_below, repository};
use crate::system::{Client, read_when_there, wait_for};

/// Where a `trawl up` listens; a user's are the same at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    grpc: String,
    http: String,
}

impl Ports {
    /// Any that are free.
    pub fn free() -> Self {
        let any = || "127.0.0.1:0".to_owned();
        Self {
            grpc: any(),
            http: any(),
        }
    }
}

/// A `trawl up` with one worker that is ready.
#[derive(Debug)]
pub struct Up {
    process: Process,
    ports: Ports,
    client: Client,
    /// The URL that it prints.
    database_url: String,
}

impl Up {
    /// Starts one, and waits until it is ready. A lease lasts 3 s.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(data_dir: &Path, ports: &Ports) -> anyhow::Result<Self> {
        Self::start_with(data_dir, ports, |_| {}).await
    }

    /// The same, with a command that a test has changed.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_with(data_dir: &Path, ports: &Ports, change: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        Self::start_by(Command::new(binary("trawl")?), data_dir, ports, change).await
    }

    /// The same by `trawl`, or by a program that ends in it and passes flags on.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_by(
        mut command: Command,
        data_dir: &Path,
        ports: &Ports,
        change: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let file = data_dir.join("endpoints.json");
        // A file that a killed one left is out of date. Nobody else writes it meanwhile.
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        command
            .args(["up", "--workers", "1", "--device", "cpu"])
            .args(["--listen", &ports.grpc, "--http-listen", &ports.http, "--data-dir"])
            .arg(data_dir)
            .arg("--dataset-dir")
            .arg(repository())
            .current_dir(repository())
            .env_remove("DATABASE_URL")
            .env("TRAWL_LEASE_TTL_MS", "3000")
            .env("RUST_LOG", "warn");
        change(&mut command);
        let mut process = Process::start(&mut command)?;
        let ready = wait_for("trawl up", async {
            tokio::select! {
                ready = read_when_there(&file) => ready,
                status = process.ended() => anyhow::bail!("trawl up ended before it was ready: {}", status?),
            }
        })
        .await?;
        let url = |name: &str| ready[name].as_str().context("an endpoint is missing");
        let database_url = url("database_url")?.to_owned();
        let address = |name: &str| url(name).map(|url| url.trim_start_matches("http://").to_owned());
        Ok(Self {
            ports: Ports {
                grpc: address("grpc")?,
                http: address("http")?,
            },
            client: Client::new(url("grpc")?, &database_url).await?,
            process,
            database_url,
        })
    }

    /// Where it listens.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The database's URL that it prints.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The numbers of its process and of all that it started.
    ///
    /// # Errors
    /// The processes of this machine cannot be listed.
    pub fn processes(&self) -> anyhow::Result<Vec<u32>> {
        processes_below(self.process.id())
    }

    /// The arguments of it and of all that it started, as every user of this machine sees them.
    ///
    /// # Errors
    /// The processes of this machine cannot be listed.
    pub fn command_lines(&self) -> anyhow::Result<Vec<String>> {
        command_lines(self.process.id())
    }

    /// It, and all that it started: coordinator, worker, Postgres with its own processes.
    ///
    /// # Errors
    /// The processes of this machine cannot be listed.
    pub fn tree(&self) -> anyhow::Result<ProcessTree> {
        ProcessTree::of(self.process.id())
    }

    /// Kills it as a crash would, and nothing else, and waits for its end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn crash(mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::KILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        wait_for("the end of trawl up", self.process.ended()).await
    }

    /// Tells it to stop, and waits for its end.
    ///
    /// # Errors
    /// It had ended by itself.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.process.signal(Signal::TERM)?;
        self.ended().await
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test failed amid its work: what it started must not outlive the test's folder.
        if self.process.is_running()
            && let Ok(tree) = self.tree()
        {
            let _ = tree.kill();
        }
    }
}

impl Deref for Up {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
