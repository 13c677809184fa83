//! The coordinator as a child: started, waited for, and started again where it was.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use trawl_domain::secret::Secret;

use super::children::{Spec, Stop, terminate};
use super::data_dir::failed;
use super::environment::Kind;
use super::launcher::Launcher;
use crate::error::Error;

/// From SIGTERM to SIGKILL: it ends its streams and lets requests finish.
const GRACE: Duration = Duration::from_secs(15);
/// It waits up to a minute for the database, and migrates it.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
const NAME: &str = "the coordinator";

/// How the coordinator is started.
#[derive(Clone)]
pub(super) struct Coordinator {
    pub(super) program: PathBuf,
    pub(super) launcher: Launcher,
    pub(super) database_url: Secret,
    /// Whose environment it gets: for a database of the user's, some of theirs.
    pub(super) kind: Kind,
    /// The operator's token, if it asks for one.
    pub(super) token: Option<Secret>,
    /// File with the token of its workers.
    pub(super) worker_token_file: PathBuf,
    /// Its certificate and private key, if it speaks TLS.
    pub(super) tls: Option<(PathBuf, PathBuf)>,
    /// Where it says that it is ready.
    pub(super) ready_file: PathBuf,
    /// Folder of artifacts and datasets.
    pub(super) artifacts: PathBuf,
    /// Folder below which requests may name files, if they may.
    pub(super) dataset_dir: Option<PathBuf>,
    /// Both ports are held by this process.
    pub(super) listen: SocketAddr,
    pub(super) http_listen: SocketAddr,
    pub(super) insecure: bool,
}

/// What a ready coordinator says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Ready {
    pub(super) grpc: String,
    pub(super) http: String,
}

impl Coordinator {
    /// Starts it and waits until it serves; `None` if a stop was asked for meanwhile.
    ///
    /// # Errors
    /// It ended instead: its own words are on standard error already.
    pub(super) async fn start(&self, stop: &Stop) -> Result<Option<(Child, Ready)>, Error> {
        let mut child = self
            .command()
            .spawn()
            .map_err(|error| Error::Failed(format!("{NAME} cannot be started: {error}")))?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(ready) = self.ready()? {
                return Ok(Some((child, ready)));
            }
            tokio::select! {
                biased;
                () = stop.asked.cancelled() => {
                    terminate(&mut child, NAME, Signal::TERM, GRACE, &stop.now).await;
                    return Ok(None);
                }
                status = child.wait() => {
                    let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(Error::Failed(format!("{NAME} ended before it was ready ({status})")));
                }
                () = sleep(Duration::from_millis(20)) => {}
            }
            if Instant::now() > deadline {
                terminate(&mut child, NAME, Signal::TERM, GRACE, &stop.now).await;
                return Err(Error::Failed(format!(
                    "{NAME} was not ready after {} s",
                    READY_TIMEOUT.as_secs()
                )));
            }
        }
    }

    /// How it is kept alive.
    pub(super) fn spec(self) -> Spec {
        Spec {
            name: NAME.into(),
            command: Box::new(move || self.command()),
            grace: GRACE,
        }
    }

    fn command(&self) -> Command {
        // What an earlier one said there is not true any more.
        let _ = fs::remove_file(&self.ready_file);
        let mut command = self.launcher.command(self.kind, &self.program);
        command.args([
            "--listen",
            &self.listen.to_string(),
            "--http-listen",
            &self.http_listen.to_string(),
            "--ports-held",
        ]);
        command.arg("--ready-file").arg(&self.ready_file);
        command.arg("--worker-token-file").arg(&self.worker_token_file);
        command.arg("--artifacts").arg(file_url(&self.artifacts));
        if let Some(folder) = &self.dataset_dir {
            command.arg("--dataset-dir").arg(folder);
        }
        if let Some((cert, key)) = &self.tls {
            command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
        }
        if self.insecure {
            command.arg("--insecure");
        }
        // Other users see arguments, and these are secrets.
        command.env("DATABASE_URL", self.database_url.expose());
        if let Some(token) = &self.token {
            command.env("TRAWL_TOKEN", token.expose());
        }
        command
    }

    fn ready(&self) -> Result<Option<Ready>, Error> {
        // It appears by a rename, so whatever is there is whole.
        let Ok(bytes) = fs::read(&self.ready_file) else {
            return Ok(None);
        };
        let ready = serde_json::from_slice(&bytes).map_err(|error| failed("read", &self.ready_file, &error.into()))?;
        Ok(Some(ready))
    }
}

fn file_url(folder: &Path) -> String {
    format!("file://{}", in_url(folder))
}

/// A path as it stands in a URL; what has a meaning in URLs is written as its number.
pub(super) fn in_url(path: &Path) -> String {
    let mut url = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => url.push(char::from(*byte)),
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_a_url_whatever_its_name() {
        assert_eq!(file_url(Path::new("/data/a-b_c.d")), "file:///data/a-b_c.d");
        assert_eq!(file_url(Path::new("/a b/50%/ü#")), "file:///a%20b/50%25/%C3%BC%23");
    }
}
