//! Flags of `trawl-worker`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use trawl_agent::connection::Connection;
use trawl_domain::limits::WORKER_SLOTS_MAX;
use trawl_domain::secret::Secret;
use trawl_engine_torch::device::DeviceChoice;
use trawl_proto::credential::{self, CredentialError};
use trawl_proto::dial::{DialError, TlsChoice};
use trawl_telemetry::Traces;

/// Leases jobs, trains them on its device and reports what came of them.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The coordinator; https:// for one that speaks TLS. Several of one database are separated by commas: another one is asked
    /// when one does not answer.
    #[arg(
        long = "coordinator",
        env = "TRAWL_COORDINATOR",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:50051"
    )]
    pub(crate) coordinators: Vec<String>,
    /// Token that the coordinator asks for, of the role worker. For experiments: other users see arguments, so prefer the
    /// variable or --token-file.
    #[arg(long, env = "TRAWL_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// File with that token, instead.
    #[arg(long, value_name = "FILE", env = "TRAWL_TOKEN_FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Authorities, in PEM, that the coordinator's certificate has to come from; the public ones where left out.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Certificate, in PEM, for a coordinator that asks for one.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key, in PEM.
    #[arg(long, value_name = "FILE", env = "TRAWL_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Name that the coordinator's certificate is for, where the URL has another.
    #[arg(long, value_name = "NAME", env = "TRAWL_TLS_SERVER_NAME")]
    tls_server_name: Option<String>,
    /// Send the token without TLS to a coordinator on another machine, too.
    #[arg(long, env = "TRAWL_INSECURE")]
    insecure: bool,
    /// Where to train: auto | cpu | cuda:N. auto takes the first GPU if there is one.
    #[arg(long, env = "TRAWL_DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Folder that the workers of this machine have in common: with it, auto takes the GPU that the fewest of them have.
    #[arg(long, value_name = "DIR", env = "TRAWL_SHARE_DEVICES")]
    pub(crate) share_devices: Option<PathBuf>,
    /// Jobs that train at once.
    #[arg(long, env = "TRAWL_SLOTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(WORKER_SLOTS_MAX)))]
    pub(crate) slots: u32,
    /// Threads that one operation may use. Small networks are the fastest with one, and losses are the same to the last bit
    /// only for the same number.
    #[arg(long, env = "TRAWL_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// Folder for dataset files, by their SHA-256; ${XDG_CACHE_HOME:-~/.cache}/trawl/datasets where left out.
    #[arg(long, value_name = "DIR", env = "TRAWL_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Bytes of the files in that folder; those used longest ago are removed. Workers that share it need the same number, and the
    /// disk has room for a file of 1 GiB more for each of them: one is there before others make room for it.
    #[arg(long, value_name = "N", env = "TRAWL_CACHE_BYTES", default_value_t = 8 << 30)]
    pub(crate) cache_bytes: u64,
    /// File that is written every few seconds as a sign of life; `trawl-worker alive` looks at it.
    #[arg(long, value_name = "FILE", env = "TRAWL_ALIVE_FILE")]
    pub(crate) alive_file: Option<PathBuf>,
    /// Give up after so many seconds without a coordinator that takes the worker; it tries for ever where left out.
    #[arg(long, value_name = "SECONDS", env = "TRAWL_REGISTER_WITHIN_S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) register_within_s: Option<u64>,
    /// A training that makes no step for so many milliseconds hangs: its job goes to another worker, the other jobs are handed
    /// back, and the process ends with status 3, to be started anew. Waiting for the coordinator does not count. A step of the
    /// largest network that a study may have takes seconds to minutes on a slow core.
    #[arg(long, env = "TRAWL_PROGRESS_LIMIT_MS", default_value_t = 600_000, value_parser = clap::value_parser!(u64).range(100..=86_400_000))]
    pub(crate) progress_limit_ms: u64,
    /// Form of the log, on standard error; RUST_LOG filters it.
    #[arg(long, env = "TRAWL_LOG", default_value = "human")]
    pub(crate) log: Log,
}

/// What it does instead of working for a coordinator.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Predict new rows with the network of a refit; prints CSV.
    ///
    /// Needs no coordinator: `trawl artifacts STUDY --refit N -o DIR` fetches the files of the network. Errors go to standard
    /// error; the exit status is 2 for wrong usage or files that are no such rows or network, 1 for anything else.
    Predict(PredictArgs),
    /// Tell whether the worker that writes --alive-file lives: exit status 0 if it does. For those who supervise it.
    Alive(AliveArgs),
}

/// Flags of `trawl-worker alive`.
#[derive(Debug, clap::Args)]
pub(crate) struct AliveArgs {
    /// The worker's --alive-file.
    #[arg(long, value_name = "FILE", env = "TRAWL_ALIVE_FILE")]
    pub(crate) alive_file: PathBuf,
}

/// Flags of `trawl-worker predict`.
#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// One table (CSV or .npy), or files of images of one kind (PNG and JPEG, IDX, .npy).
    #[arg(required = true, value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The refit's network.json.
    #[arg(long, value_name = "FILE", env = "TRAWL_NETWORK")]
    pub(crate) network: PathBuf,
    /// The refit's weights.safetensors.
    #[arg(long, value_name = "FILE", env = "TRAWL_WEIGHTS")]
    pub(crate) weights: PathBuf,
    /// Where to compute: auto | cpu | cuda:N. auto takes the first GPU if there is one.
    #[arg(long, env = "TRAWL_DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Threads that one operation may use. Predictions are the same to the last bit only for the number that trained.
    #[arg(long, env = "TRAWL_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) threads: u32,
    /// With classes: a column `p.CLASS` for the probability of each.
    #[arg(long, env = "TRAWL_PROBABILITIES")]
    pub(crate) probabilities: bool,
}

impl Args {
    /// The token.
    ///
    /// # Errors
    /// The file has none.
    fn token(&self) -> Result<Option<Secret>, CredentialError> {
        credential::token(self.token.as_ref(), self.token_file.as_deref())
    }

    /// The connection to the coordinator. An impossible combination of flags is a usage error, and ends the process.
    ///
    /// # Errors
    /// The token's file has none, or no header can carry the token.
    pub(crate) fn connection(&self) -> anyhow::Result<Connection> {
        let made = Connection::new(&self.coordinators, &self.tls(), self.token()?.as_ref());
        made.map_err(|error| match error.downcast::<DialError>() {
            Ok(error) => Self::command()
                .error(ErrorKind::ValueValidation, format!("--coordinator: {error}"))
                .exit(),
            Err(error) => error,
        })
    }

    /// The operator's choices for TLS.
    fn tls(&self) -> TlsChoice {
        TlsChoice {
            ca: self.tls_ca.clone(),
            identity: self.tls_cert.clone().zip(self.tls_key.clone()),
            server_name: self.tls_server_name.clone(),
            insecure: self.insecure,
        }
    }

    /// Folder for dataset files.
    ///
    /// # Errors
    /// No folder is named, and this user has none of its own: a folder that others can create first is not safe.
    pub(crate) fn cache_dir(&self) -> anyhow::Result<PathBuf> {
        let folder = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let of_user = || folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        self.cache_dir
            .clone()
            .or_else(|| of_user().map(|folder| folder.join("trawl/datasets")))
            .context("neither --cache-dir, XDG_CACHE_HOME nor HOME says where dataset files are kept")
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
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
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
