//! A folder on a disk of its own, of a few MiB, that a test can fill: a tmpfs that only the processes started on it see.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Mounts a tmpfs and becomes the program.
const ON_DISK: &str = r#"
    set -e
    folder=$1 bytes=$2
    shift 2
    mount -t tmpfs -o "size=$bytes,mode=0777" none "$folder"
    # Postgres owns what it keeps a tablespace in, and is nobody here; in a namespace of its own user it could not be.
    chown 65534:65534 "$folder" 2>/dev/null || true
    exec "$@""#;

/// Bytes of one write of the file that fills a disk.
const PIECE_BYTES: usize = 1 << 20;

/// The words that start a program in a mount namespace of its own; `None`, with a message, where this machine lets nobody mount anything.
///
/// # Errors
/// The message cannot be written.
pub fn mount_namespace() -> anyhow::Result<Option<Vec<String>>> {
    // Root needs no user namespace; in one, Postgres could not become its own user.
    let words = if rustix::process::geteuid().is_root() {
        &["unshare", "--mount"][..]
    } else {
        &["unshare", "--user", "--map-root-user", "--mount"]
    };
    let probe = Command::new(words[0])
        .args(&words[1..])
        .args(["mount", "-t", "tmpfs", "none", "/tmp"])
        .output();
    let why = match probe {
        Ok(output) if output.status.success() => {
            return Ok(Some(words.iter().map(|word| (*word).to_owned()).collect()));
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    // Past the test harness, which keeps the output of tests that pass to itself.
    writeln!(std::io::stderr(), "skipped: nothing can be mounted here: {why}")?;
    Ok(None)
}

/// A disk that exists once a process was started on it.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
    bytes: u64,
    unshare: Vec<String>,
}

impl SmallDisk {
    /// One of so many bytes; `None`, with a message, where this machine lets nobody mount anything.
    ///
    /// # Errors
    /// There is no folder to be had.
    pub fn new(bytes: u64) -> anyhow::Result<Option<Self>> {
        let Some(unshare) = mount_namespace()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            folder: TempDir::new()?,
            bytes,
            unshare,
        }))
    }

    /// Where it is, for the processes on it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The words that start a program on it: the program and its arguments follow them.
    pub fn wrapper(&self) -> Vec<String> {
        let mut words = self.unshare.clone();
        let folder = self.folder.path().display().to_string();
        words.extend(["sh", "-c", ON_DISK, "sh"].map(str::to_owned));
        words.extend([folder, self.bytes.to_string()]);
        words
    }

    /// Where a file of the disk is for everybody, by way of a process on it.
    pub fn seen_by(&self, process: u32, file: &str) -> PathBuf {
        let folder = self.folder.path();
        let inside = folder.strip_prefix("/").unwrap_or(folder);
        Path::new(&format!("/proc/{process}/root")).join(inside).join(file)
    }

    /// Fills it to the last byte but `free`, once more if something was removed meanwhile.
    ///
    /// # Errors
    /// It cannot be written for another reason.
    pub fn fill(&self, process: u32, free: u64) -> anyhow::Result<()> {
        let path = self.seen_by(process, "filler");
        let mut filler = File::options().create(true).append(true).open(&path)?;
        let piece = vec![1; PIECE_BYTES];
        loop {
            match filler.write(&piece) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
        filler.set_len(filler.metadata()?.len().saturating_sub(free))?;
        Ok(())
    }

    /// Removes what fills it.
    ///
    /// # Errors
    /// It was not filled.
    pub fn free(&self, process: u32) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.seen_by(process, "filler"))?)
    }
}
