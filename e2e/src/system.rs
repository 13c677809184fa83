//! A coordinator on a database of its own, with as many workers as a test wants; and what users see of any trawl.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::PgPool;
use tempfile::TempDir;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use trawl_domain::secret::Secret;
use trawl_proto::credential::Bearer;
use trawl_proto::v1;
use trawl_proto::v1::access_service_client::AccessServiceClient;
use trawl_proto::v1::study_service_client::StudyServiceClient;
use trawl_proto::v1::worker_service_client::WorkerServiceClient;

use crate::access::Admin;
use crate::postgres::{fresh_database, owner_pool, reader_pool};
use crate::process::{Process, Ran, binary, ran, repository, wrapped};
use crate::small_disk::SmallDisk;
use crate::studies::IntoStudy;
use crate::views::Rows;

/// Every event that a test waits for comes sooner, or never.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(120);

/// Waits for an event, and fails if it does not come.
///
/// # Errors
/// It did not come.
pub async fn wait_for<T>(what: &str, event: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(WAIT_MAX, event)
        .await
        .with_context(|| format!("waited in vain for {what}"))?
}

/// Polls for something without an event until it is there, and fails if it never is.
///
/// # Errors
/// It never is, or cannot be looked for.
pub async fn look_for<T>(what: &str, mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    wait_for(what, async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Where a coordinator keeps files.
#[derive(Clone, Debug)]
pub struct StoreAt {
    /// As `--artifacts` has it.
    pub url: String,
    /// Variables of the environment with its address and credentials.
    pub variables: Vec<(&'static str, String)>,
    /// A command that ends in the coordinator's; none where this is empty.
    pub wrapper: Vec<String>,
}

impl StoreAt {
    /// A folder of this machine.
    pub fn folder(folder: &Path) -> Self {
        Self {
            url: format!("file://{}", folder.display()),
            variables: Vec::new(),
            wrapper: Vec::new(),
        }
    }

    /// A disk of the coordinator's own.
    pub fn disk(disk: &SmallDisk) -> Self {
        Self {
            wrapper: disk.wrapper(),
            ..Self::folder(disk.folder())
        }
    }
}

/// A coordinator that runs.
#[derive(Debug)]
pub struct Coordinator {
    /// The process.
    pub process: Process,
    /// URL of its gRPC port.
    pub url: String,
    /// URL of its web port.
    pub http_url: String,
    /// URL of the metrics' own port, if it has one.
    pub metrics_url: Option<String>,
}

impl Coordinator {
    /// Starts one, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start(database_url: &str, store: &StoreAt, flags: &[&str], listen: &str) -> anyhow::Result<Self> {
        let program = wrapped(&store.wrapper, &binary("trawl-coordinator")?);
        Self::start_by(program, database_url, store, flags, listen).await
    }

    /// The same by its program, or by one that ends in it and passes flags on.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_by(
        mut program: Command,
        database_url: &str,
        store: &StoreAt,
        flags: &[&str],
        listen: &str,
    ) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let ready_file = folder.path().join("ready.json");
        let process = Process::start(
            program
                .args(["--listen", listen, "--http-listen", "127.0.0.1:0", "--ready-file"])
                .arg(&ready_file)
                .args(["--artifacts", &store.url])
                .args(flags)
                .current_dir(repository())
                .env("DATABASE_URL", database_url)
                // Studies of tests name files by their paths in the repository; a flag takes precedence.
                .env("TRAWL_DATASET_DIR", repository())
                .envs(store.variables.iter().map(|(name, value)| (name, value)))
                .env("RUST_LOG", "warn"),
        )?;
        let ready: serde_json::Value = wait_for("the coordinator", read_when_there(&ready_file)).await?;
        let url = |port: &str| {
            ready[port]
                .as_str()
                .map(str::to_owned)
                .context("the ready file names no port")
        };
        Ok(Self {
            process,
            url: url("grpc")?,
            http_url: url("http")?,
            metrics_url: url("metrics").ok(),
        })
    }
}

/// Starts a worker of the coordinator at this URL, with a command that a test has changed.
///
/// # Errors
/// It cannot be started.
pub fn worker(url: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Process> {
    worker_by(Command::new(binary("trawl-worker")?), url, change)
}

/// The same by a program that ends in the worker's and passes flags on.
///
/// # Errors
/// It cannot be started.
pub fn worker_by(mut program: Command, url: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Process> {
    program.args(["--coordinator", url, "--device", "cpu"]);
    change(program.env("RUST_LOG", "warn"));
    Process::start(&mut program)
}

/// Polls for a file, which appears by a rename and without an event.
pub(crate) async fn read_when_there(path: &Path) -> anyhow::Result<serde_json::Value> {
    loop {
        match std::fs::read(path) {
            Ok(content) => return Ok(serde_json::from_slice(&content)?),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A connection that puts the token, if there is one, on every call.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// A trawl from its users' side: by gRPC and in the views.
#[derive(Debug)]
pub struct Client {
    url: String,
    token: Option<String>,
    /// Reads the views, as users do.
    pub sql: PgPool,
}

/// A whole trawl: database, coordinator, workers.
#[derive(Debug)]
pub struct System {
    /// URL of the database.
    pub database_url: String,
    client: Client,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The workers.
    pub workers: Vec<Process>,
    /// The folder of its object store.
    pub artifacts: TempDir,
    store: StoreAt,
    flags: Vec<String>,
}

impl System {
    /// Starts a coordinator with these flags, and no worker.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_on(fresh_database().await?, flags).await
    }

    /// Starts one, and so many workers.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub async fn with_workers(flags: &[&str], count: usize) -> anyhow::Result<Self> {
        let mut system = Self::start(flags).await?;
        system.add_workers(count)?;
        Ok(system)
    }

    /// Starts one on a database that is empty.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_on(database_url: String, flags: &[&str]) -> anyhow::Result<Self> {
        let artifacts = TempDir::new()?;
        let store = StoreAt::folder(artifacts.path());
        Self::start_with(database_url, artifacts, store, flags).await
    }

    /// Starts one with this object store, whose objects are in this folder.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_with(
        database_url: String,
        artifacts: TempDir,
        store: StoreAt,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let coordinator = Coordinator::start(&database_url, &store, flags, "127.0.0.1:0").await?;
        let client = Client::new(&coordinator.url, &database_url).await?;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Self {
            database_url,
            client,
            coordinator,
            workers: Vec::new(),
            artifacts,
            store,
            flags,
        })
    }

    /// Starts workers.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn add_workers(&mut self, count: usize) -> anyhow::Result<()> {
        for _ in 0..count {
            self.workers.push(worker(&self.coordinator.url, |_| {})?);
        }
        Ok(())
    }

    /// Starts a worker whose log goes to a file, one JSON object a line.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn add_worker_with_log(&mut self, log: &Path) -> anyhow::Result<()> {
        let log = std::fs::File::create(log)?;
        self.workers.push(worker(&self.coordinator.url, |command| {
            command.args(["--log", "json"]).env("RUST_LOG", "info").stderr(log);
        })?);
        Ok(())
    }

    /// Kills the coordinator as a crash would, and starts another at its address.
    ///
    /// # Errors
    /// It does not come up again.
    pub async fn crash_coordinator(self) -> anyhow::Result<Self> {
        self.crash_coordinator_and(async { Ok(()) }).await
    }

    /// The same, with something that happens before the other one starts.
    ///
    /// # Errors
    /// It does not happen, or the coordinator does not come up again.
    pub async fn crash_coordinator_and(
        self,
        meanwhile: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Self> {
        let Self {
            database_url,
            client,
            coordinator,
            workers,
            artifacts,
            store,
            flags,
        } = self;
        let listen = coordinator.url.trim_start_matches("http://").to_owned();
        coordinator.process.crash()?;
        meanwhile.await?;
        let borrowed: Vec<&str> = flags.iter().map(String::as_str).collect();
        let coordinator = Coordinator::start(&database_url, &store, &borrowed, &listen).await?;
        Ok(Self {
            database_url,
            client,
            coordinator,
            workers,
            artifacts,
            store,
            flags,
        })
    }

    /// Connections to the database as its owner, who sees behind the views.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn owner(&self) -> anyhow::Result<PgPool> {
        owner_pool(&self.database_url).await
    }

    /// Another coordinator on its database and its object store, and a client of that one.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn another_coordinator(&self, flags: &[&str]) -> anyhow::Result<(Coordinator, Client)> {
        let coordinator = Coordinator::start(&self.database_url, &self.store, flags, "127.0.0.1:0").await?;
        let client = Client::new(&coordinator.url, &self.database_url).await?;
        Ok((coordinator, client))
    }

    /// A client with this token.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn client(&self, token: &str) -> anyhow::Result<Client> {
        Client::with_token(&self.coordinator.url, &self.database_url, Some(token)).await
    }

    /// The folder of the examples.
    pub fn examples() -> PathBuf {
        repository().join("examples")
    }
}

impl Deref for System {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Client {
    /// Of a trawl at this URL of gRPC, on this database.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn new(url: &str, database_url: &str) -> anyhow::Result<Self> {
        Self::with_token(url, database_url, None).await
    }

    /// Of one that asks for a token.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn with_token(url: &str, database_url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            sql: reader_pool(database_url).await?,
        })
    }

    /// A client of the users' service.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn studies(&self) -> anyhow::Result<StudyServiceClient<Authorized>> {
        Ok(StudyServiceClient::new(self.authorized().await?))
    }

    /// A client of the administrators' service.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn tokens(&self) -> anyhow::Result<AccessServiceClient<Authorized>> {
        Ok(AccessServiceClient::new(self.authorized().await?))
    }

    async fn authorized(&self) -> anyhow::Result<Authorized> {
        let bearer = Bearer::new(self.token.as_deref().map(Secret::new).as_ref())?;
        Ok(InterceptedService::new(self.channel().await?, bearer))
    }

    /// The URL of its gRPC port.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A connection that puts no token on its calls.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn channel(&self) -> anyhow::Result<Channel> {
        Ok(Channel::from_shared(self.url.clone())?.connect().await?)
    }

    /// The administrators' service, asked with this token.
    ///
    /// # Errors
    /// There is no connection, or it is no token.
    pub async fn admin(&self, token: &str) -> anyhow::Result<Admin> {
        Admin::new(&self.channel().await?, token)
    }

    /// A client of the workers' service, to play a worker.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn worker_client(&self) -> anyhow::Result<WorkerServiceClient<Authorized>> {
        Ok(WorkerServiceClient::new(self.authorized().await?))
    }

    /// Submits a study.
    ///
    /// # Errors
    /// It is refused.
    pub async fn submit(&self, study: impl IntoStudy) -> anyhow::Result<v1::StudySummary> {
        let answer = self.create(study, false).await??;
        answer.study.context("no study in the answer")
    }

    /// What the coordinator answers to a study.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn create(
        &self,
        study: impl IntoStudy,
        dry_run: bool,
    ) -> anyhow::Result<Result<v1::CreateStudyResponse, Status>> {
        let request = v1::CreateStudyRequest {
            study: Some(study.into_study()?),
            dry_run,
            ..Default::default()
        };
        let answer = self.studies().await?.create_study(request).await;
        Ok(answer.map(Response::into_inner))
    }

    /// What the coordinator says of the fields of a study that it refuses as wrong.
    ///
    /// # Errors
    /// It takes it, or refuses it for another reason.
    pub async fn findings(&self, study: impl IntoStudy) -> anyhow::Result<Vec<(String, String)>> {
        let answer = self.create(study, false).await?;
        let refused = answer.err().context("a study that is right")?;
        ensure!(refused.code() == Code::InvalidArgument, "{refused}");
        Ok(findings(&refused))
    }

    /// Submits a study and watches it to its end.
    ///
    /// # Errors
    /// It does not complete.
    pub async fn complete(&self, study: impl IntoStudy) -> anyhow::Result<v1::StudySummary> {
        let name = self.submit(study).await?.name;
        self.completed(&name).await
    }

    /// Watches a study to its end.
    ///
    /// # Errors
    /// It does not complete.
    pub async fn completed(&self, study: &str) -> anyhow::Result<v1::StudySummary> {
        let ended = self.watch_to_end(study).await?;
        ensure!(ended.state == "completed", "{study} {}: {}", ended.state, ended.error);
        Ok(ended)
    }

    /// A study as it is now.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn study(&self, name: &str) -> anyhow::Result<v1::StudySummary> {
        let study = name.to_owned();
        let answer = self.studies().await?.get_study(v1::GetStudyRequest { study }).await?;
        answer.into_inner().study.context("no study in the answer")
    }

    /// Watches a study until it is as asked.
    ///
    /// # Errors
    /// It ends before, or never is.
    pub async fn watch_until(
        &self,
        study: &str,
        what: &str,
        is_so: impl Fn(&v1::StudySummary) -> bool,
    ) -> anyhow::Result<v1::StudySummary> {
        let request = v1::WatchStudyRequest {
            study: study.to_owned(),
        };
        let mut changes = self.studies().await?.watch_study(request).await?.into_inner();
        wait_for(what, async {
            while let Some(change) = changes.message().await? {
                let study = change.study.context("no study in the answer")?;
                if is_so(&study) {
                    return Ok(study);
                }
            }
            anyhow::bail!("the study ended before {what}")
        })
        .await
    }

    /// Watches a study to its end.
    ///
    /// # Errors
    /// It never ends.
    pub async fn watch_to_end(&self, study: &str) -> anyhow::Result<v1::StudySummary> {
        let is_final = |study: &v1::StudySummary| ["completed", "failed", "cancelled"].contains(&study.state.as_str());
        self.watch_until(study, "the end of the study", is_final).await
    }

    /// Runs the command line client, with the token if there is one.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn trawl(&self, args: &[&str]) -> anyhow::Result<Ran> {
        let mut command = Command::new(binary("trawl")?);
        command
            .args(args)
            .env("TRAWL_SERVER", &self.url)
            .envs(self.token.as_ref().map(|token| ("TRAWL_TOKEN", token)))
            .current_dir(repository());
        ran(&mut command)
    }

    /// What the command line client prints, if it succeeds.
    ///
    /// # Errors
    /// It fails.
    pub fn trawl_stdout(&self, args: &[&str]) -> anyhow::Result<String> {
        let ran = self.trawl(args)?;
        ensure!(ran.code == Some(0), "trawl {args:?}: {:?}: {}", ran.code, ran.stderr);
        Ok(ran.stdout)
    }
}

/// The fields that a refusal names, each with what is wrong with it.
pub fn findings(refused: &Status) -> Vec<(String, String)> {
    let details = refused.get_details_bad_request();
    let fields = details.into_iter().flat_map(|details| details.field_violations);
    fields.map(|field| (field.field, field.description)).collect()
}

/// The rows that an undisturbed run of a study leaves.
///
/// # Errors
/// It does not complete.
pub async fn undisturbed(study: impl IntoStudy) -> anyhow::Result<Rows> {
    let system = System::with_workers(&[], 1).await?;
    let ended = system.complete(study).await?;
    system.all_rows(&ended.name).await
}
