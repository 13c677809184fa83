//! The log of Postgres: a file beside its data, of bounded size, whose end goes into error messages.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use super::super::data_dir::failed;
use crate::error::Error;

/// At a start, a larger log becomes the one old log that is kept.
const KEPT_BYTES_MAX: u64 = 16 << 20;
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 15;

/// A log that is open for appending.
#[derive(Clone, Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    /// What was there before this start.
    start: u64,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > KEPT_BYTES_MAX) {
            fs::rename(path, path.with_extension("log.1")).map_err(|error| failed("rename", path, &error))?;
        }
        let open = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o600)
            .open(path);
        let file = open.map_err(|error| failed("open", path, &error))?;
        let start = file.metadata().map_err(|error| failed("read", path, &error))?.len();
        Ok(Self {
            path: path.to_owned(),
            file: Arc::new(file),
            start,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Standard output and standard error of a child.
    pub(super) fn writers(&self) -> Result<(Stdio, Stdio), Error> {
        let clone = || {
            self.file
                .try_clone()
                .map_err(|error| failed("open", &self.path, &error))
        };
        Ok((clone()?.into(), clone()?.into()))
    }

    /// Its last lines since this start, indented.
    pub(super) fn tail(&self) -> String {
        let bytes = match self.last_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return format!("  cannot read {}: {error}", self.path.display()),
        };
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        last.iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
    fn last_bytes(&self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.start.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
