//! Flags of `trawl-coordinator`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use tracing_subscriber::EnvFilter;
use url::Url;

/// Samples configurations, keeps studies in Postgres, leases jobs to workers.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Postgres, 15 or newer, as postgres://USER:PASSWORD@HOST:PORT/DATABASE; migrated at start.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// Address of gRPC. Port 0 takes any free one.
    #[arg(long, env = "TRAWL_LISTEN", default_value = "127.0.0.1:50051")]
    pub(crate) listen: SocketAddr,
    /// Address of the web port. Port 0 takes any free one.
    #[arg(long, env = "TRAWL_HTTP_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) http_listen: SocketAddr,
    /// Token that every call has to carry.
    #[arg(long, env = "TRAWL_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Listen beyond loopback although there is no encryption.
    #[arg(long, env = "TRAWL_INSECURE")]
    pub(crate) insecure: bool,
    /// Folder that relative paths of datasets start from.
    #[arg(long, env = "TRAWL_DATASET_DIR", default_value = ".")]
    pub(crate) dataset_dir: PathBuf,
    /// Where the bytes of artifacts and datasets are: file:///FOLDER or s3://BUCKET/PREFIX, with credentials, region and
    /// endpoint from the usual AWS_ variables; where left out, ${XDG_DATA_HOME:-~/.local/share}/trawl/artifacts.
    #[arg(long, value_name = "URL", env = "TRAWL_ARTIFACTS")]
    pub(crate) artifacts: Option<String>,
    /// Folder with FashionMNIST's four IDX files; where left out, fashion-mnist in --dataset-dir, and where `make setup` puts
    /// it: ${XDG_CACHE_HOME:-~/.cache}/trawl/fashion-mnist.
    #[arg(long, value_name = "DIR", env = "TRAWL_FASHION_MNIST")]
    pub(crate) fashion_mnist: Option<PathBuf>,
    /// Time limit of a lease in milliseconds: a worker that is silent for so long has lost its jobs.
    #[arg(long, env = "TRAWL_LEASE_TTL_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(300..=3_600_000))]
    pub(crate) lease_ttl_ms: u64,
    /// Time between two checkpoints of a job in milliseconds: what a lost worker costs at most.
    #[arg(long, env = "TRAWL_CHECKPOINT_INTERVAL_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub(crate) checkpoint_interval_ms: u64,
    /// File that says where it listens, written once it is ready.
    #[arg(long, env = "TRAWL_READY_FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Form of the log, on standard error; RUST_LOG filters it.
    #[arg(long, env = "TRAWL_LOG", default_value = "human")]
    pub(crate) log: Log,
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
    /// Sends the log to standard error.
    pub(crate) fn init(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr);
        match self {
            Self::Human => subscriber.with_target(false).init(),
            Self::Json => subscriber.json().flatten_event(true).init(),
        }
    }
}

impl Args {
    /// Folders that may hold FashionMNIST.
    pub(crate) fn fashion_mnist_dirs(&self) -> Vec<PathBuf> {
        if let Some(folder) = &self.fashion_mnist {
            return vec![folder.clone()];
        }
        let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")));
        std::iter::once(self.dataset_dir.join("fashion-mnist"))
            .chain(cache.map(|cache| cache.join("trawl/fashion-mnist")))
            .collect()
    }

    /// URL of the object store.
    ///
    /// # Errors
    /// None is named, and there is no home folder.
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

    /// What is not told to be open is closed: ends the process with a usage error.
    pub(crate) fn refuse_open_ports(&self) {
        for (flag, addr) in [("--listen", self.listen), ("--http-listen", self.http_listen)] {
            if !addr.ip().is_loopback() && !self.insecure {
                let message = format!(
                    "{flag} {addr} is reached from other machines, unencrypted: say --insecure if that is meant"
                );
                Self::command().error(ErrorKind::ValueValidation, message).exit();
            }
        }
    }
}

/// A folder that a variable names.
fn folder(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
