//! The embedded Postgres: durable, for its coordinator by a socket in its own folder, for those who read results on loopback, behind
//! random passwords, and gone with its parent.

mod cluster;
mod leftover;
mod log;
mod reach;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use trawl_domain::secret::Secret;

use self::cluster::Passwords;
use self::log::Log;
use self::reach::Reach;
use super::children::{Stop, send, terminate};
use super::coordinator::in_url;
use super::data_dir::DataDir;
use super::launcher::Launcher;
use super::note;
use crate::error::Error;
use crate::folders::user_dir;

/// The database.
const TRAWL: &str = "trawl";
/// The role that owns it; no superuser.
const OWNER: &str = "trawl";
/// The role that may read its views.
const READER: &str = "reader";
/// Fast shutdown: it rolls back, writes a checkpoint and ends.
const FAST_GRACE: Duration = Duration::from_secs(30);
/// Immediate shutdown: it ends as in a crash, and recovers at the next start.
const IMMEDIATE_GRACE: Duration = Duration::from_secs(6);
/// Recovery replays at most what was written since the last checkpoint, which takes seconds; a slow disk gets time.
const READY_TIMEOUT: Duration = Duration::from_secs(600);
const SLOW: Duration = Duration::from_secs(10);
/// Somebody may take the free port between the look and the bind.
const PORT_ATTEMPTS: u32 = 5;
/// Bytes of a Unix socket's path.
const SOCKET_PATH_MAX: usize = 107;

/// A running Postgres.
pub(super) struct Postgres {
    child: Child,
    owner_url: Secret,
    reader_url: Secret,
    log: Log,
}

/// Where Postgres is installed, without links.
#[derive(Debug)]
pub(super) struct Installation {
    /// Programs, libraries and all else.
    root: PathBuf,
    /// The programs.
    bin: PathBuf,
}

/// What every step of its start needs.
struct Place<'a> {
    bin: &'a Path,
    /// Postgres's own data folder.
    data: PathBuf,
    /// Folder of the passwords.
    secrets: &'a Path,
    launcher: &'a Launcher,
    reach: Reach,
    log: &'a Log,
}

impl Place<'_> {
    /// A program of Postgres that works on a cluster, as its owner, talking into the log.
    fn command(&self, program: &str, cluster: &Path) -> Result<Command, Error> {
        let (way, program) = (self.reach.way(cluster), self.bin.join(program));
        let mut command = self.launcher.postgres_command(&way, &program);
        let (stdout, stderr) = self.log.writers()?;
        command
            .stdout(stdout)
            .stderr(stderr)
            .current_dir("/")
            .env("LC_ALL", "C");
        Ok(command)
    }
}

/// The installation that was named, or that by `make setup`.
pub(super) fn installation(named: Option<&Path>) -> Result<Installation, Error> {
    let installation = match named.filter(|path| !path.as_os_str().is_empty()) {
        Some(path) => path.to_owned(),
        None => user_dir("XDG_CACHE_HOME", ".cache")?.join("trawl/postgres-18.6"),
    };
    let (root, bin) = (installation.canonicalize(), installation.join("bin").canonicalize());
    match (root, bin) {
        (Ok(root), Ok(bin)) if bin.join("initdb").is_file() => {
            // Where its programs are a link to elsewhere, the rest is there as well.
            let root = if bin.starts_with(&root) {
                root
            } else {
                bin.join("..").canonicalize().unwrap_or(root)
            };
            Ok(Installation { root, bin })
        }
        _ => Err(Error::Failed(format!(
            "no Postgres in {}; run `make setup`, or name an installation with --postgres-dir or a database with \
             --database-url",
            installation.display()
        ))),
    }
}

/// The psql of that installation, or what PATH has by this name.
pub(crate) fn psql(named: Option<&Path>) -> PathBuf {
    let own = installation(named).map(|installation| installation.bin.join("psql"));
    own.ok()
        .filter(|own| own.is_file())
        .unwrap_or_else(|| PathBuf::from("psql"))
}

impl Postgres {
    /// Starts the database of a data folder, which is made at the first start. It takes the port that is asked for; else that of the last start, if
    /// nothing listens there; else a free one. `None` if a stop was asked for meanwhile.
    pub(super) async fn start(
        installation: &Installation,
        data_dir: &DataDir,
        launcher: &Launcher,
        asked_port: Option<u16>,
        stop: &Stop,
    ) -> Result<Option<Self>, Error> {
        let log = Log::open(&data_dir.path().join("postgres.log"))?;
        let place = Place {
            bin: &installation.bin,
            data: data_dir.path().join("postgres"),
            secrets: data_dir.path(),
            launcher,
            reach: Reach::find(launcher, &installation.root, data_dir.path()).await?,
            log: &log,
        };
        let prepared = async {
            leftover::stop(&place).await?;
            cluster::prepare(&place).await
        };
        let Passwords { owner, reader } = tokio::select! {
            () = stop.asked.cancelled() => return Ok(None),
            passwords = prepared => passwords?,
        };
        remove_stale_sockets(&place.data)?;
        for attempt in 1.. {
            let port = match (asked_port, data_dir.last_port()) {
                (Some(port), _) => is_free(port).then_some(port).ok_or_else(|| {
                    Error::Usage(format!(
                        "--postgres-port {port}: something else on 127.0.0.1 listens there"
                    ))
                })?,
                // Tools of its users have this one in their settings.
                (None, Some(port)) if attempt == 1 && is_free(port) => port,
                (None, _) => free_port()?,
            };
            let owner_url = owner_url(&place.data, port, &owner)?;
            let mut command = place.command("postgres", &place.data)?;
            command.arg("-D").arg(&place.data);
            for setting in settings(port) {
                command.args(["-c", &setting]);
            }
            let child = command
                .spawn()
                .map_err(|error| Error::Failed(format!("cannot start Postgres: {error}")))?;
            let reader = reader.expose();
            let mut postgres = Self {
                child,
                owner_url,
                reader_url: Secret::new(format!("postgres://{READER}:{reader}@127.0.0.1:{port}/{TRAWL}")),
                log: log.clone(),
            };
            match postgres.ready(&place, stop).await {
                Ok(true) => {
                    data_dir.keep_port(port)?;
                    return Ok(Some(postgres));
                }
                Ok(false) => {
                    postgres.stop(&stop.now).await;
                    return Ok(None);
                }
                Err(_) if attempt < PORT_ATTEMPTS && log.tail().contains("could not create any TCP/IP sockets") => {}
                Err(error) => {
                    postgres.stop(&stop.now).await;
                    return Err(error);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Where it is, for the coordinator.
    pub(super) fn owner_url(&self) -> &Secret {
        &self.owner_url
    }

    /// Where it is, for people who read results.
    pub(super) fn reader_url(&self) -> &Secret {
        &self.reader_url
    }

    /// Returns when it ends by itself, with what its log says about that.
    pub(super) async fn died(&mut self) -> Error {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Error::Failed(format!(
            "Postgres ended unexpectedly ({status}); the end of its log:\n{}",
            self.log.tail()
        ))
    }

    /// Shuts it down: fast, or immediately when `now` is cancelled. Both keep everything that was committed.
    pub(super) async fn stop(&mut self, now: &CancellationToken) {
        send(&self.child, Signal::INT);
        let fast = tokio::select! {
            ended = timeout(FAST_GRACE, self.child.wait()) => ended.is_ok(),
            () = now.cancelled() => false,
        };
        if !fast {
            // SIGKILL would orphan its own children, so it gets the chance to end them.
            terminate(
                &mut self.child,
                "Postgres",
                Signal::QUIT,
                IMMEDIATE_GRACE,
                &CancellationToken::new(),
            )
            .await;
        }
    }

    /// True once it takes connections, false if a stop was asked for meanwhile.
    async fn ready(&mut self, place: &Place<'_>, stop: &Stop) -> Result<bool, Error> {
        let started = Instant::now();
        let mut told = false;
        loop {
            if self
                .child
                .id()
                .is_some_and(|id| says_ready(&place.data.join("postmaster.pid"), id))
            {
                return Ok(true);
            }
            tokio::select! {
                biased;
                () = stop.asked.cancelled() => return Ok(false),
                _ = self.child.wait() => return Err(self.died().await),
                () = sleep(Duration::from_millis(10)) => {}
            }
            if started.elapsed() > SLOW && !told {
                told = true;
                note(&format!(
                    "Postgres is still starting; it may be recovering, see {}",
                    self.log.path().display()
                ));
            }
            if started.elapsed() > READY_TIMEOUT {
                let waited = READY_TIMEOUT.as_secs();
                return Err(Error::Failed(format!(
                    "Postgres was not ready after {waited} s; see {}",
                    self.log.path().display()
                )));
            }
        }
    }
}

/// The file's first line is the process, its eighth the state. A port that answers would say less: it answers during
/// recovery as well.
fn says_ready(pid_file: &Path, id: u32) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines();
    lines.next().is_some_and(|first| first.trim() == id.to_string())
        && lines.nth(6).is_some_and(|state| state.trim() == "ready")
}

fn settings(port: u16) -> [String; 7] {
    [
        "listen_addresses=127.0.0.1".into(),
        format!("port={port}"),
        // In the data folder, where Postgres works.
        "unix_socket_directories=.".into(),
        "unix_socket_permissions=0700".into(),
        "shared_buffers=128MB".into(),
        "log_timezone=UTC".into(),
        "timezone=UTC".into(),
    ]
}

/// The URL names the socket and no port. Once Postgres is dead, any user of the machine can take its port, and clients would send the
/// password there.
fn owner_url(data: &Path, port: u16, password: &Secret) -> Result<Secret, Error> {
    let socket = data.join(format!(".s.PGSQL.{port}"));
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Error::Failed(format!(
            "the data folder's path is too long: {} is the path of a socket, which has {SOCKET_PATH_MAX} bytes at most; name a \
             shorter one with --data-dir",
            socket.display()
        )));
    }
    let (folder, password) = (in_url(data), password.expose());
    Ok(Secret::new(format!(
        "postgres:///{TRAWL}?host={folder}&port={port}&user={OWNER}&password={password}"
    )))
}

/// Removes the sockets of a Postgres that was killed, with their locks: one that begins with the same port would take a process of the same number
/// for the other one. None runs: the data folder is locked, and what an earlier run left has been stopped.
fn remove_stale_sockets(data: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Failed(format!("cannot tidy {}: {error}", data.display()));
    for entry in fs::read_dir(data).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener
        .map_err(|error| Error::Failed(format!("no free port on 127.0.0.1: {error}")))?
        .port())
}
