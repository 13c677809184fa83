//! Flags of `trawl-coordinator`.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::app::quotas::Quotas;
use crate::tls::TlsFiles;
use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use trawl_domain::access::Protection;
use trawl_domain::limits::EPOCH_REPORTS_MAX;
use trawl_domain::secret::Secret;
use trawl_proto::credential::{self, CredentialError};
use trawl_telemetry::Traces;
use url::Url;

/// Files that the coordinator needs for other things: connections to Postgres, files under way.
const FILES_BESIDE_CONNECTIONS: usize = 256;

/// Samples configurations, keeps studies in Postgres, leases jobs to workers.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Postgres, 15 or newer, as postgres://USER:PASSWORD@HOST:PORT/DATABASE; migrated at start.
    /// Prefer the variable or --database-url-file: other users see arguments.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<Secret>,
    /// File with that URL, instead.
    #[arg(long, value_name = "FILE", env = "DATABASE_URL_FILE", global = true)]
    database_url_file: Option<PathBuf>,
    /// File with the URL by which people read results, postgres://USER:PASSWORD@HOST:PORT/DATABASE with a host and port as they
    /// reach them. That user has to be there, a member of trawl_reader and of no right over others (deploy/postgres/roles.sql
    /// prepares it); the URL is printed.
    #[arg(long, value_name = "FILE", env = "TRAWL_READER_URL_FILE")]
    pub(crate) reader_url_file: Option<PathBuf>,
    /// Time limit in milliseconds of a transaction, or of a query, of those who read results in Postgres; their session ends
    /// within seconds after it. They could lift a statement_timeout.
    #[arg(long, value_name = "MS", env = "TRAWL_READER_TRANSACTION_LIMIT_MS", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub(crate) reader_transaction_limit_ms: u64,
    /// Address of gRPC. Port 0 takes any free one.
    #[arg(long, env = "TRAWL_LISTEN", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Address of the web port. Port 0 takes any free one.
    #[arg(long, env = "TRAWL_HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) http_listen: SocketAddr,
    /// Address of a port for /metrics alone, which asks for no token and speaks no TLS; without this flag, the web port alone has
    /// them. Port 0 takes any free one.
    #[arg(long, value_name = "ADDR", env = "TRAWL_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// The process that starts the coordinator has bound both ports. The coordinator shares them (SO_REUSEPORT), which the kernel allows
    /// to processes of one user alone.
    #[arg(long, hide = true)]
    pub(crate) ports_held: bool,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Folder below which requests may name dataset files by their paths, as grpcurl does; without one, no path is read. `trawl
    /// submit` sends files and needs none.
    #[arg(long, value_name = "DIR", env = "TRAWL_DATASET_DIR")]
    pub(crate) dataset_dir: Option<PathBuf>,
    /// Where the bytes of artifacts and datasets are: file:///FOLDER or s3://BUCKET/PREFIX, with credentials, region and
    /// endpoint from the usual AWS_ variables (an endpoint without TLS needs AWS_ALLOW_HTTP=true); where left out,
    /// ${XDG_DATA_HOME:-~/.local/share}/trawl/artifacts.
    #[arg(long, value_name = "URL", env = "TRAWL_ARTIFACTS")]
    pub(crate) artifacts: Option<String>,
    /// Folder with FashionMNIST's four IDX files; where left out, fashion-mnist in --dataset-dir if there is one, and where
    /// `make setup` puts it: ${XDG_CACHE_HOME:-~/.cache}/trawl/fashion-mnist.
    #[arg(long, value_name = "DIR", env = "TRAWL_FASHION_MNIST")]
    pub(crate) fashion_mnist: Option<PathBuf>,
    /// Time limit of a lease in milliseconds: a worker that is silent for so long has lost its jobs.
    #[arg(long, env = "TRAWL_LEASE_TTL_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(300..=3_600_000))]
    pub(crate) lease_ttl_ms: u64,
    /// Time between two checkpoints of a job in milliseconds: what a lost worker costs at most.
    #[arg(long, env = "TRAWL_CHECKPOINT_INTERVAL_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) checkpoint_interval_ms: u64,
    #[command(flatten)]
    pub(crate) quotas: QuotaArgs,
    /// Connections to both ports at once; further ones are closed. A worker has two, and each takes up to a MiB of memory.
    #[arg(long, value_name = "N", env = "TRAWL_CONNECTIONS_MAX", default_value = "2048")]
    connections_max: NonZeroU32,
    /// File that says where it listens, written once it is ready.
    #[arg(long, env = "TRAWL_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Form of the log, on standard error; RUST_LOG filters it.
    #[arg(long, env = "TRAWL_LOG", default_value = "human", global = true)]
    pub(crate) log: Log,
}

/// What it does instead of serving.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the database to this version's schema, and end; a coordinator does so at its start, too.
    Migrate,
}

/// What studies may take of Postgres and of the object store.
#[derive(Debug, clap::Args)]
pub(crate) struct QuotaArgs {
    /// Studies that are kept; further ones are refused until some are deleted.
    #[arg(long, value_name = "N", env = "TRAWL_STUDIES_MAX", default_value_t = 10_000)]
    studies_max: u64,
    /// Epoch reports that all studies may leave, by what they ask for when they are submitted: trials x folds x epochs, and
    /// those of their refits. A report takes about 100 bytes of Postgres's disk.
    #[arg(
        long,
        value_name = "N",
        env = "TRAWL_EPOCH_REPORTS_MAX",
        default_value_t = 10_000_000_000
    )]
    epoch_reports_max: u64,
    /// Epoch reports that one study may leave.
    #[arg(long, value_name = "N", env = "TRAWL_STUDY_EPOCH_REPORTS_MAX", default_value_t = EPOCH_REPORTS_MAX)]
    study_epoch_reports_max: u64,
    /// Bytes of all artifacts, checkpoints and dataset files. A study whose next file finds no room pauses.
    #[arg(long, value_name = "N", env = "TRAWL_BYTES_MAX", default_value_t = 1 << 40)]
    bytes_max: u64,
    /// Bytes of those of one study.
    #[arg(long, value_name = "N", env = "TRAWL_STUDY_BYTES_MAX", default_value_t = 1 << 38)]
    study_bytes_max: u64,
}

impl QuotaArgs {
    /// The operator's quotas.
    pub(crate) fn quotas(&self) -> Quotas {
        Quotas {
            studies: self.studies_max,
            epoch_reports: self.epoch_reports_max,
            study_epoch_reports: self.study_epoch_reports_max,
            bytes: self.bytes_max,
            study_bytes: self.study_bytes_max,
        }
    }
}

/// Who may call, and how calls are encrypted.
#[derive(Debug, clap::Args)]
pub(crate) struct AccessArgs {
    /// Token that may do everything, and by which others are made. For experiments: other users see arguments, so prefer the
    /// variable or --token-file. Without one, and as long as none was ever made, none is asked for, and none can be made.
    #[arg(long, env = "TRAWL_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// File with that token, instead.
    #[arg(long, value_name = "FILE", env = "TRAWL_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// File with a token of the role worker, that workers may have from their start, before there is anybody to make one. Callers
    /// without a token, where none is asked for, are no workers then.
    #[arg(long, value_name = "FILE", env = "TRAWL_WORKER_TOKEN_FILE")]
    worker_token_file: Option<PathBuf>,
    /// Certificate for TLS on both ports, in PEM, with those between it and its authority. Read at start.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Mutual TLS: authorities, in PEM, from one of which every client needs a certificate, on both ports.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CLIENT_CA", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
    /// Listen beyond loopback although there is no token or no TLS.
    #[arg(long, env = "TRAWL_INSECURE")]
    insecure: bool,
    /// Calls that a token may make in a second, and at once; one beyond is refused, and told when to come again. Messages on streams
    /// do not count.
    #[arg(long, value_name = "N", env = "TRAWL_REQUESTS_PER_SECOND", default_value = "1000")]
    pub(crate) requests_per_second: NonZeroU32,
}

impl AccessArgs {
    /// The operator's token.
    ///
    /// # Errors
    /// The file has none.
    pub(crate) fn token(&self) -> Result<Option<Secret>, CredentialError> {
        credential::token(self.token.as_ref(), self.token_file.as_deref())
    }

    /// The token for workers.
    ///
    /// # Errors
    /// The file has none, or has the operator's.
    pub(crate) fn worker_token(&self) -> anyhow::Result<Option<Secret>> {
        let Some(file) = &self.worker_token_file else {
            return Ok(None);
        };
        let token = credential::from_file("--worker-token-file", file)?;
        anyhow::ensure!(
            self.token()?.as_ref() != Some(&token),
            "--worker-token-file holds the operator's token"
        );
        Ok(Some(token))
    }

    /// Paths of the TLS files, if TLS is wanted.
    pub(crate) fn tls_files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.tls_client_ca.clone(),
        })
    }

    /// The ports' protection; a named file counts, since it is read before they open.
    fn protection(&self) -> Protection {
        Protection {
            token: self.token_file.is_some() || self.token.as_ref().is_some_and(|token| !token.is_empty()),
            tls: self.tls_cert.is_some(),
            insecure: self.insecure,
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Log {
    /// One line an event, for people.
    Human,
    /// One JSON object an event.
    Json,
}

impl Log {
    /// Sends the log to standard error, and spans to the collector of traces.
    pub(crate) fn init(self, traces: &Traces) {
        // sqlx tells of each connection that an outage of Postgres broke.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx_core=warn"));
        let log = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            // Colours are for terminals only.
            .with_ansi(std::io::stderr().is_terminal());
        let log = match self {
            Self::Human => log.with_target(false).boxed(),
            Self::Json => log.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(traces.layers(log, filter)).init();
    }
}

impl Args {
    /// URL of the database. Without one, or with two, this is a usage error, and ends the process.
    ///
    /// # Errors
    /// The file has none.
    pub(crate) fn database_url(&self) -> Result<Secret, CredentialError> {
        let wrong = |kind, message: &str| Self::command().error(kind, message).exit();
        match (&self.database_url, &self.database_url_file) {
            (Some(url), None) => Ok(url.clone()),
            (None, Some(file)) => credential::from_file("--database-url-file", file),
            (None, None) => wrong(
                ErrorKind::MissingRequiredArgument,
                "one of --database-url (DATABASE_URL) and --database-url-file (DATABASE_URL_FILE) is needed",
            ),
            (Some(_), Some(_)) => wrong(
                ErrorKind::ArgumentConflict,
                "there are two databases, of --database-url or DATABASE_URL and of --database-url-file or DATABASE_URL_FILE",
            ),
        }
    }

    /// URL for people who read results, if there is one.
    ///
    /// # Errors
    /// The file has none.
    pub(crate) fn reader_url(&self) -> Result<Option<Secret>, CredentialError> {
        let file = self.reader_url_file.as_deref();
        file.map(|file| credential::from_file("--reader-url-file", file))
            .transpose()
    }

    /// Connections to both ports at once: the requested number, or fewer if the system's limit on files requires it.
    pub(crate) fn connections_max(&self) -> usize {
        let asked = self.connections_max.get() as usize;
        // The soft limit is often 1,024, whatever the hard one is: it protects programs that use `select`.
        let files = getrlimit(Resource::Nofile);
        let hard = files.maximum.unwrap_or(u64::MAX);
        let wanted = (asked + FILES_BESIDE_CONNECTIONS) as u64;
        let soft = files.current.unwrap_or(u64::MAX).max(wanted.min(hard));
        let raised = Rlimit {
            current: Some(soft),
            maximum: files.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            warn!(error = %error, "the limit of open files cannot be raised");
        }
        let now = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = usize::try_from(now)
            .unwrap_or(usize::MAX)
            .saturating_sub(FILES_BESIDE_CONNECTIONS)
            .max(1);
        if room < asked {
            warn!(
                connections.max = room,
                files.max = now,
                "fewer connections than asked for: files are limited"
            );
        }
        asked.min(room)
    }

    /// Folders that may hold FashionMNIST.
    pub(crate) fn fashion_mnist_dirs(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.fashion_mnist {
            return vec![folder.clone()];
        }
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        let datasets = self.dataset_dir.as_ref();
        datasets
            .map(|datasets| datasets.join("fashion-mnist"))
            .into_iter()
            .chain(cache.map(|cache| cache.join("trawl/fashion-mnist")))
            .collect()
    }

    /// URL of the object store.
    ///
    /// # Errors
    /// There is neither a URL nor a home folder.
    pub(crate) fn artifacts_url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.artifacts {
            return Ok(url.clone());
        }
        let data = folder("XDG_DATA_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/share")));
        let data = data.context("neither --artifacts, XDG_DATA_HOME nor HOME says where artifacts go")?;
        let folder = std::path::absolute(data.join("trawl/artifacts"))?;
        let url = Url::from_directory_path(&folder);
        Ok(url
            .map_err(|()| anyhow::anyhow!("{} is no folder", folder.display()))?
            .to_string())
    }

    /// A port is closed unless a flag opens it: ends the process with a usage error.
    pub(crate) fn refuse_open_ports(&self) {
        let protection = self.access.protection();
        let ports = [("--listen", self.listen), ("--http-listen", self.http_listen)];
        let refused = ports
            .into_iter()
            .find_map(|(flag, addr)| protection.refuses(flag, addr));
        let refused = refused.or_else(|| {
            let addr = self.metrics_listen?;
            protection.refuses_without_token("--metrics-listen", addr)
        });
        if let Some(message) = refused {
            Self::command().error(ErrorKind::ValueValidation, message).exit();
        }
    }
}

/// The folder in an environment variable.
fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
