//! Where faults happen: a Postgres of its own, a coordinator, a proxy before it, load, and workers that really train.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tempfile::TempDir;
use trawl_domain::id::{JobId, LeaseToken};
use trawl_domain::lease::LeaseClaim;
use trawl_domain::seed::Stream;
use uuid::Uuid;

use super::{Row, Settings};
use crate::fault_proxy::FaultProxy;
use crate::history::Attempt;
use crate::load::{Load, LoadSettings};
use crate::meters;
use crate::postgres::{Postgres, owner_pool};
use crate::process::{Process, binary};
use crate::scripted_worker::SCRIPTED_HOST;
use crate::system::{Client, Coordinator, StoreAt, look_for, worker_by};

/// Scripted workers; every other one goes through the proxy.
const SCRIPTED: u32 = 30;

/// Settings of a fixture.
#[derive(Clone, Debug, PartialEq)]
pub struct FixtureSettings {
    /// Names the row, and its own part of the seed.
    pub name: &'static str,
    /// Workers that really train.
    pub real: usize,
    /// Time that a scripted worker takes for an epoch.
    pub epoch_ms: u64,
    /// Jobs that are queued at least.
    pub queued_min: u32,
    /// Time limit of a lease.
    pub lease_ttl: Duration,
    /// The operator's token, which load and workers call with; `None` asks nobody for one.
    pub token: Option<&'static str>,
}

impl FixtureSettings {
    /// Of a row of this name: 3 workers that train beside the scripted ones, leases of 1.5 s.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            real: 3,
            epoch_ms: 30,
            queued_min: 24,
            lease_ttl: Duration::from_millis(1_500),
            token: None,
        }
    }
}

/// A worker that trains.
#[derive(Debug)]
pub struct RealWorker {
    /// Its process.
    pub process: Process,
    /// Under which it registered.
    pub worker_id: Uuid,
}

/// A fixture that was closed.
#[derive(Debug)]
pub struct Closed {
    /// Its row.
    pub row: Row,
    /// The leases that the database granted.
    pub attempts: Vec<Attempt>,
}

/// A place for faults.
#[derive(Debug)]
pub struct FaultFixture {
    /// How it is.
    pub settings: FixtureSettings,
    /// Its Postgres.
    pub postgres: Postgres,
    /// URL of its database.
    pub database_url: String,
    /// The owner of the database.
    pub owner: PgPool,
    /// The coordinator, while there is one.
    pub coordinator: Option<Coordinator>,
    /// Where it listens.
    pub url: String,
    /// What half of the scripted workers go through.
    pub proxy: FaultProxy,
    /// The load.
    pub load: Load,
    /// Workers that train.
    pub real: Vec<RealWorker>,
    /// Random numbers of the row.
    pub chance: Stream,
    store: StoreAt,
    folder: TempDir,
    logs: u32,
}

impl FaultFixture {
    /// Sets one up, with its load.
    ///
    /// # Errors
    /// A part of it does not start.
    pub async fn start(settings: FixtureSettings, run: &Settings) -> anyhow::Result<Self> {
        let postgres = Postgres::start_durable()?;
        let database_url = postgres.fresh_database().await?;
        let folder = TempDir::with_prefix(format!("trawl-faults-{}.", settings.name))?;
        let store = StoreAt::folder(&folder.path().join("store"));
        std::fs::create_dir(folder.path().join("store"))?;
        let program = coordinator_program(&folder.path().join("coordinator.log"))?;
        let coordinator = start_coordinator(program, &settings, &database_url, &store, "127.0.0.1:0").await?;
        let url = coordinator.url.clone();
        let owner = owner_pool(&database_url).await?;
        let proxy = FaultProxy::open(&url).await?;
        let ways = vec![
            Client::with_token(&url, &database_url, settings.token).await?,
            Client::with_token(&proxy.url, &database_url, settings.token).await?,
        ];
        let load = LoadSettings {
            workers: SCRIPTED,
            epoch_ms: settings.epoch_ms,
            queued_min: settings.queued_min,
            lease_ttl: settings.lease_ttl,
            seed: run.seed,
        };
        let load = Load::start(load, run.reference.clone(), ways, owner.clone()).await?;
        let mut fixture = Self {
            chance: run.chance(settings.name),
            postgres,
            database_url,
            owner,
            coordinator: Some(coordinator),
            url,
            proxy,
            load,
            real: Vec::new(),
            store,
            folder,
            logs: 0,
            settings,
        };
        for _ in 0..fixture.settings.real {
            fixture.add_worker(worker_program()?).await?;
        }
        Ok(fixture)
    }

    /// Starts a worker that trains, by its program or by one that ends in it.
    ///
    /// # Errors
    /// It does not register.
    pub async fn add_worker(&mut self, program: Command) -> anyhow::Result<()> {
        self.logs += 1;
        let log = self.folder.path().join(format!("worker-{}.log", self.logs));
        let ids = "SELECT worker_id FROM trawl_store.workers WHERE host <> $1";
        let ids = || {
            sqlx::query_scalar::<_, Uuid>(ids)
                .bind(SCRIPTED_HOST)
                .fetch_all(&self.owner)
        };
        let before = look_for("the workers", async || Ok(ids().await.ok())).await?;
        let log = File::create(&log)?;
        let process = worker_by(program, &self.url, |command| {
            let token = self.settings.token.map(|token| ("TRAWL_TOKEN", token));
            command
                .args(["--log", "json"])
                .env("RUST_LOG", "info")
                .envs(token)
                .stderr(log);
        })?;
        let worker_id = look_for("a new worker", async || {
            let now = ids().await.unwrap_or_default();
            Ok(now.into_iter().find(|id| !before.contains(id)))
        });
        let worker_id = worker_id.await?;
        self.real.push(RealWorker { process, worker_id });
        Ok(())
    }

    /// Kills one of the workers that train while it has a job, and starts another. False if it has none just now.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn kill_worker(&mut self) -> anyhow::Result<bool> {
        let index = self.chance.below(self.real.len() as u64) as usize;
        let held: Option<(Uuid, Uuid)> =
            sqlx::query_as("SELECT job_id, token FROM trawl_store.leases WHERE worker_id = $1 LIMIT 1")
                .bind(self.real[index].worker_id)
                .fetch_optional(&self.owner)
                .await?;
        let claim = held.map(|(job_id, token)| LeaseClaim {
            job_id: JobId(job_id),
            token: LeaseToken(token),
        });
        let Some(claim) = claim.filter(|claim| self.load.behaviours().may_lose(claim.job_id)) else {
            return Ok(false);
        };
        self.load.history().died(claim);
        self.real.swap_remove(index).process.crash()?;
        self.add_worker(worker_program()?).await?;
        Ok(true)
    }

    /// Kills the coordinator as a crash would.
    ///
    /// # Errors
    /// There is none.
    pub fn kill_coordinator(&mut self) -> anyhow::Result<()> {
        self.coordinator.take().context("no coordinator runs")?.process.crash()
    }

    /// Starts one again, at its address.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_coordinator(&mut self) -> anyhow::Result<()> {
        let program = coordinator_program(&self.folder.path().join("coordinator.log"))?;
        self.start_coordinator_by(program).await
    }

    /// The same by its program, or by one that ends in it.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_coordinator_by(&mut self, program: Command) -> anyhow::Result<()> {
        self.load.history().starts_coordinator();
        let listen = self.url.trim_start_matches("http://");
        let coordinator = start_coordinator(program, &self.settings, &self.database_url, &self.store, listen);
        self.coordinator = Some(coordinator.await?);
        Ok(())
    }

    /// The folder of its logs and its object store.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The most memory that the coordinator has had, in KiB.
    ///
    /// # Errors
    /// There is none.
    pub fn coordinator_peak_kib(&self) -> anyhow::Result<u64> {
        let process = &self.coordinator.as_ref().context("no coordinator runs")?.process;
        Ok(meters::peak_memory_bytes(process.id())? >> 10)
    }

    /// Pauses for a random time up to this.
    pub async fn pause(&mut self, max: Duration) {
        let pause = self.chance.below(max.as_micros() as u64 + 1);
        tokio::time::sleep(Duration::from_micros(pause)).await;
    }

    /// Lets every study come to its end and compares history, database and undisturbed run, for a fault that was injected so often.
    ///
    /// # Errors
    /// A study does not end. The logs are left then, and the error says where.
    pub async fn end(self, injected: usize) -> anyhow::Result<Closed> {
        let Self {
            load, real, mut folder, ..
        } = self;
        let ended = load.end().await;
        drop(real);
        let logs = folder.path().display().to_string();
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                folder.disable_cleanup(true);
                return Err(error.context(format!("logs are in {logs}")));
            }
        };
        let mut row = Row {
            injected,
            findings: ended.findings,
            ..Row::default()
        };
        row.see(format!("rows of {} studies as undisturbed", ended.studies));
        row.expect(ended.studies > 0, || "no study was under way".into());
        row.expect(row.findings.acknowledged > 0, || "nothing was acknowledged".into());
        if !row.holds() {
            folder.disable_cleanup(true);
            row.see(format!("logs are in {logs}"));
        }
        Ok(Closed {
            row,
            attempts: ended.attempts,
        })
    }
}

/// `trawl-worker`. Trainings take only the time that the cores have left, as they have machines of their own elsewhere: else every
/// measurement would show how they crowd two cores. A low priority is not enough: others would wait for the end of a slice of time.
pub(super) fn worker_program() -> anyhow::Result<Command> {
    let mut program = Command::new("chrt");
    program.args(["--idle", "0"]).arg(binary("trawl-worker")?);
    Ok(program)
}

/// `trawl-coordinator`, with its log in this file.
pub(super) fn coordinator_program(log: &Path) -> anyhow::Result<Command> {
    let mut program = Command::new(binary("trawl-coordinator")?);
    program.stderr(File::options().create(true).append(true).open(log)?);
    Ok(program)
}

async fn start_coordinator(
    program: Command,
    settings: &FixtureSettings,
    database_url: &str,
    store: &StoreAt,
    listen: &str,
) -> anyhow::Result<Coordinator> {
    let ttl_ms = settings.lease_ttl.as_millis().to_string();
    let mut flags = vec!["--lease-ttl-ms", &ttl_ms, "--checkpoint-interval-ms", "200"];
    flags.extend(settings.token.iter().flat_map(|token| ["--token", token]));
    Coordinator::start_by(program, database_url, store, &flags, listen).await
}
