//! The data folder of `trawl up`: one process at a time, and where it tells others what it serves.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use trawl_domain::access::token_text;

use crate::error::Error;
use crate::folders::{entropy, user_dir, write_for_user_alone, write_secret};

const ENDPOINTS: &str = "endpoints.json";
const WORKER_TOKEN: &str = "worker-token";
const POSTGRES_PORT: &str = "postgres-port";

/// Where everything is, for scripts.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Endpoints {
    pub(super) grpc: String,
    pub(super) http: String,
    /// For people, who read results. A database of the user's has a URL that they know, and it may be its owner's.
    pub(crate) database_url: Option<String>,
}

/// What the `trawl up` on a data folder serves.
///
/// # Errors
/// None runs there.
pub(crate) fn running(path: Option<&Path>) -> Result<Endpoints, Error> {
    let path = folder(path)?;
    let content = fs::read(path.join(ENDPOINTS)).ok();
    let endpoints = content.and_then(|content| serde_json::from_slice(&content).ok());
    endpoints.ok_or_else(|| {
        let path = path.display();
        Error::Failed(format!(
            "no `trawl up` runs on {path}; start one, or name its folder with --data-dir"
        ))
    })
}

fn folder(path: Option<&Path>) -> Result<PathBuf, Error> {
    match path {
        Some(path) => Ok(path.to_owned()),
        None => Ok(user_dir("XDG_DATA_HOME", ".local/share")?.join("trawl")),
    }
}

/// Refuses a folder in which another user could put something else in the place of trawl's files.
fn refuse_others(path: &Path) -> Result<(), Error> {
    let own = geteuid().as_raw();
    for folder in path.ancestors() {
        let meta = fs::symlink_metadata(folder).map_err(|error| failed("look at", folder, &error))?;
        let is_above = folder != path;
        let is_ours = meta.uid() == own || (is_above && meta.uid() == 0);
        // Where the sticky bit is, as in /tmp, nobody takes away what another one has.
        let is_closed = if is_above {
            meta.mode() & 0o002 == 0 || meta.mode() & 0o1000 != 0
        } else {
            meta.mode() & 0o022 == 0
        };
        if !is_ours || !is_closed {
            return Err(Error::Failed(format!(
                "{} is another user's, or others may write into it: they could take the place of the files in {}; name a folder of \
                 your own with --data-dir",
                folder.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// A data folder that this process alone uses.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// The kernel frees it with the process, however that ends. Children do not inherit it.
    lock: File,
}

impl Drop for DataDir {
    /// A child that was just forked shares the lock until it runs its own program: to close the file would leave it held.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl DataDir {
    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    /// Another `trawl up` has it, or it cannot be written.
    pub(super) fn lock(path: Option<&Path>) -> Result<Self, Error> {
        let path = folder(path)?;
        // Only its user may look inside: passwords and tokens are there.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        let path = made
            .and_then(|()| path.canonicalize())
            .map_err(|error| failed("make", &path, &error))?;
        refuse_others(&path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file);
        let lock = lock.map_err(|error| failed("open", &file, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Failed(format!(
                    "another `trawl up` uses {}; stop it, or name another folder with --data-dir",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &file, &error)),
        }
        let data_dir = Self { path, lock };
        data_dir.forget_endpoints();
        Ok(data_dir)
    }

    /// The folder, from the root on and without links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `endpoints.json` for its user alone.
    pub(super) fn publish_endpoints(&self, endpoints: &Endpoints) -> Result<(), Error> {
        let path = self.path.join(ENDPOINTS);
        let write = || -> io::Result<()> {
            let mut content = serde_json::to_vec(endpoints)?;
            content.push(b'\n');
            write_for_user_alone(&path, &content)
        };
        write().map_err(|error| failed("write", &path, &error))
    }

    /// Makes the token of this run's workers; the file that it is in.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn make_worker_token(&self) -> Result<PathBuf, Error> {
        let path = self.path.join(WORKER_TOKEN);
        write_secret(&path, &token_text(entropy()?)).map_err(|error| failed("write", &path, &error))?;
        Ok(path)
    }

    /// The port of Postgres at its last start.
    pub(super) fn last_port(&self) -> Option<u16> {
        let text = fs::read_to_string(self.path.join(POSTGRES_PORT)).ok()?;
        text.trim().parse().ok()
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep_port(&self, port: u16) -> Result<(), Error> {
        let path = self.path.join(POSTGRES_PORT);
        fs::write(&path, format!("{port}\n")).map_err(|error| failed("write", &path, &error))
    }

    /// Where the coordinator says that it is ready.
    pub(super) fn ready_file(&self) -> PathBuf {
        self.path.join("coordinator-ready.json")
    }

    /// Nothing is served, or not any more.
    pub(super) fn forget_endpoints(&self) {
        for file in [
            self.path.join(ENDPOINTS),
            self.path.join(WORKER_TOKEN),
            self.ready_file(),
        ] {
            // It may not be there.
            let _ = fs::remove_file(file);
        }
    }
}

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::Failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let open = temporary.path().join("open");
        fs::create_dir(&open).unwrap();
        for (mode, taken) in [(0o755, true), (0o777, false), (0o775, false)] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(DataDir::lock(Some(&open)).is_ok(), taken, "{mode:o}");
        }
        // Nor one below a folder in which others may put another one in its place, unless that is sticky.
        let below = open.join("below");
        for (mode, taken) in [(0o777, false), (0o1777, true)] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(DataDir::lock(Some(&below)).is_ok(), taken, "{mode:o}");
        }
    }

    #[test]
    fn a_folder_serves_one_process_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("a/b");
        let first = DataDir::lock(Some(&path)).unwrap();
        let second = DataDir::lock(Some(&path)).expect_err("it is taken").to_string();
        assert!(second.starts_with("another `trawl up` uses "), "{second}");
        drop(first);
        DataDir::lock(Some(&path)).unwrap();
    }

    #[test]
    fn endpoints_are_for_their_user_alone_and_go_with_the_next_start() {
        let temporary = tempfile::tempdir().unwrap();
        let data_dir = DataDir::lock(Some(temporary.path())).unwrap();
        let endpoints = Endpoints {
            grpc: "g".into(),
            http: "h".into(),
            database_url: Some("d".into()),
        };
        data_dir.publish_endpoints(&endpoints).unwrap();
        data_dir.publish_endpoints(&endpoints).unwrap();
        let file = data_dir.path().join("endpoints.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "{\"grpc\":\"g\",\"http\":\"h\",\"database_url\":\"d\"}\n");
        drop(data_dir);
        DataDir::lock(Some(temporary.path())).unwrap();
        assert!(!file.exists());
    }
}
