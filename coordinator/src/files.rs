//! The bytes of artifacts, checkpoints and datasets, in an object store: a folder of this machine, or an S3 bucket.
//!
//! An object appears whole or not at all. Postgres alone knows which objects there should be; nothing ever lists the
//! store.

mod probe;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::io::AsyncWriteExt;
use tokio_stream::{Stream, StreamExt};
use tracing::warn;
use trawl_dataset::{FileHash, FileHasher};
use url::Url;

pub use probe::ProbeError;

/// Bytes of one piece of a file, at most.
pub const CHUNK_BYTES_MAX: usize = 64 << 10;
/// Bytes of a part written to a folder.
const FOLDER_PART_BYTES: usize = 1 << 20;
/// The same for a bucket: S3 accepts no smaller part except the last.
const BUCKET_PART_BYTES: usize = 5 << 20;
/// Parts of one file in memory: one is stored while the next one is filled.
const PARTS_AT_ONCE: usize = 2;
/// What object_store says before the status of an answer.
const STATUS: &str = "status code: ";

/// Why the object store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The URL names no store.
    #[error("{0}")]
    Url(String),
    /// The folder cannot be created.
    #[error("cannot make the folder {0}: {1}")]
    Folder(PathBuf, #[source] std::io::Error),
    /// The store, or the connection to it, failed.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// A file could not be written or removed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl FilesError {
    /// True if the store has no space left: a folder's disk or its owner's share of it, or a bucket's.
    pub fn is_full(&self) -> bool {
        let of_disk = self.causes().any(|cause| {
            let io = cause.downcast_ref::<std::io::Error>();
            io.is_some_and(|io| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
        });
        if of_disk {
            return true;
        }
        // S3 itself is never full; compatible servers report it by status or by a code in the answer's text.
        let text = self.to_string();
        ["507 Insufficient Storage", "StorageFull", "QuotaExceeded"]
            .iter()
            .any(|said| text.contains(said))
    }

    /// True if there is no object of that key.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Store(object_store::Error::NotFound { .. }))
    }

    /// Why, in a few words: status and code of the store's answer, or the first cause.
    pub fn reason(&self) -> String {
        let text = self.to_string();
        let between = |before: &str, after: &str| {
            let (found, _) = text.split_once(before)?.1.split_once(after)?;
            Some(found.trim().to_owned())
        };
        match (between(STATUS, ":"), between("<Code>", "</Code>")) {
            (Some(status), Some(code)) => format!("{status}, {code}"),
            (Some(status), None) => status,
            (None, _) => self.causes().last().map_or(text, |cause| cause.to_string()),
        }
    }

    /// The wrapped error and its causes.
    fn causes(&self) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
        // `source()` skips transparent wrappers, so the walk starts at the wrapped error.
        let first: Option<&(dyn std::error::Error + 'static)> = match self {
            Self::Url(_) => None,
            Self::Folder(_, error) | Self::Io(error) => Some(error),
            Self::Store(error) => Some(error),
        };
        std::iter::successors(first, |cause: &&(dyn std::error::Error + 'static)| (*cause).source())
    }
}

/// An object store.
#[derive(Clone, Debug)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// The same store, without the minutes of retries that help a file, but hide a reason.
    probed: Arc<dyn ObjectStore>,
    /// The same store, if it is a folder.
    folder: Option<LocalFileSystem>,
    /// Where it is, for messages.
    place: String,
}

impl Files {
    /// Opens `file:///FOLDER`, which is created if it is missing, or `s3://BUCKET/PREFIX`, with credentials, region and
    /// endpoint from the usual AWS_ variables.
    ///
    /// # Errors
    /// Another kind of URL, or a folder that cannot be created. An unreachable bucket fails only at the first file.
    pub fn open(url: &str) -> Result<Self, FilesError> {
        let parsed = Url::parse(url).map_err(|error| FilesError::Url(format!("{url}: {error}")))?;
        match parsed.scheme() {
            "file" => {
                let folder = parsed
                    .to_file_path()
                    .map_err(|()| FilesError::Url(format!("{url}: write file:/// and an absolute path")))?;
                let made = std::fs::create_dir_all(&folder).and_then(|()| std::fs::metadata(&folder));
                let metadata = made.map_err(|error| FilesError::Folder(folder.clone(), error))?;
                if metadata.permissions().mode() & 0o007 != 0 {
                    warn!(folder = %folder.display(), "other users of this machine may look into the folder of artifacts and datasets");
                }
                // The row that lists a file is durable, so the file must be too.
                let folder = LocalFileSystem::new_with_prefix(&folder)?
                    .with_fsync(true)
                    .with_automatic_cleanup(true);
                Ok(Self {
                    store: Arc::new(folder.clone()),
                    probed: Arc::new(folder.clone()),
                    folder: Some(folder),
                    place: url.to_owned(),
                })
            }
            "s3" => {
                let bucket = parsed
                    .host_str()
                    .ok_or_else(|| FilesError::Url(format!("{url}: names no bucket")))?;
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
                let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
                let without_retries = RetryConfig {
                    max_retries: 0,
                    ..RetryConfig::default()
                };
                let probed = builder.clone().with_retry(without_retries).build()?;
                let prefix = Path::from_url_path(parsed.path()).map_err(object_store::Error::from)?;
                Ok(Self {
                    store: Arc::new(PrefixStore::new(builder.build()?, prefix.clone())),
                    probed: Arc::new(PrefixStore::new(probed, prefix)),
                    folder: None,
                    place: endpoint.map_or_else(|| url.to_owned(), |endpoint| format!("{url} at {endpoint}")),
                })
            }
            other => Err(FilesError::Url(format!(
                "{url}: cannot speak {other}, only file and s3"
            ))),
        }
    }

    /// A store in memory, for the simulation of the workers' protocol.
    pub fn in_memory() -> Self {
        let store = Arc::new(InMemory::new());
        Self {
            store: store.clone(),
            probed: store,
            folder: None,
            place: "memory".to_owned(),
        }
    }

    /// Begins an object; it does not exist until [`Upload::finish`].
    pub fn upload(&self, key: &str) -> Upload {
        let part_bytes = match self.folder {
            Some(_) => FOLDER_PART_BYTES,
            None => BUCKET_PART_BYTES,
        };
        Upload {
            writer: BufWriter::with_capacity(Arc::clone(&self.store), Path::from(key), part_bytes)
                .with_max_concurrency(PARTS_AT_ONCE),
            short: BytesMut::new(),
            hasher: FileHasher::default(),
            bytes: 0,
        }
    }

    /// An object in pieces.
    ///
    /// # Errors
    /// It does not exist, or the store is away.
    pub async fn read(&self, key: &str) -> Result<Pieces, FilesError> {
        let stream = self.store.get(&Path::from(key)).await?.into_stream();
        Ok(Pieces {
            stream,
            read: BytesMut::new(),
        })
    }

    /// An object as a file with random access: in a folder, the file itself; of a bucket, an unnamed copy in `TMPDIR`.
    ///
    /// # Errors
    /// It does not exist, the store is away, or there is no space for the copy.
    pub async fn open_file(&self, key: &str) -> Result<std::fs::File, FilesError> {
        if let Some(folder) = &self.folder {
            let place = folder.path_to_filesystem(&Path::from(key))?;
            return Ok(tokio::fs::File::open(place).await?.into_std().await);
        }
        let mut pieces = self.read(key).await?;
        let mut copy = tokio::fs::File::from_std(tempfile::tempfile()?);
        while let Some(piece) = pieces.next().await? {
            copy.write_all(&piece).await?;
        }
        copy.flush().await?;
        Ok(copy.into_std().await)
    }

    /// Removes an object, and remains of its upload by a killed process; a missing object is no error.
    ///
    /// # Errors
    /// The store is away.
    pub async fn remove(&self, key: &str) -> Result<(), FilesError> {
        let path = Path::from(key);
        self.remove_staged(&path).await?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes remains of other uploads of an existing object. An upload still under way fails.
    ///
    /// # Errors
    /// The store is away.
    pub async fn remove_leftovers(&self, key: &str) -> Result<(), FilesError> {
        self.remove_staged(&Path::from(key)).await
    }

    /// In a folder, an object is first written beside its place as NAME#NUMBER; a killed process leaves that file.
    async fn remove_staged(&self, path: &Path) -> Result<(), FilesError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let place = folder.path_to_filesystem(path)?;
        let (Some(parent), Some(name)) = (place.parent(), place.file_name().and_then(|name| name.to_str())) else {
            return Ok(());
        };
        let staged = format!("{name}#");
        let mut entries = match tokio::fs::read_dir(parent).await {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&staged)) {
                tokio::fs::remove_file(entry.path()).await?;
            }
        }
        Ok(())
    }
}

/// An object that is being read.
pub struct Pieces {
    stream: Pin<Box<dyn Stream<Item = object_store::Result<Bytes>> + Send>>,
    read: BytesMut,
}

impl Pieces {
    /// The next piece, of [`CHUNK_BYTES_MAX`] bytes until the last one; `None` at the end.
    ///
    /// # Errors
    /// The store is away.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FilesError> {
        while self.read.len() < CHUNK_BYTES_MAX {
            match self.stream.next().await.transpose()? {
                Some(bytes) => self.read.extend_from_slice(&bytes),
                None => break,
            }
        }
        let piece = self.read.split_to(self.read.len().min(CHUNK_BYTES_MAX)).freeze();
        Ok(Some(piece).filter(|piece| !piece.is_empty()))
    }
}

/// Identifies a file by size and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Size in bytes.
    pub bytes: u64,
    /// Hash of the bytes.
    pub sha256: FileHash,
}

/// An object on its way into the store; only some parts of a large one are in memory.
#[derive(Debug)]
pub struct Upload {
    writer: BufWriter,
    /// Collects short chunks into a long one: each chunk costs the writer memory of its own.
    short: BytesMut,
    hasher: FileHasher,
    bytes: u64,
}

impl Upload {
    /// The next bytes.
    ///
    /// # Errors
    /// The store is away.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), FilesError> {
        self.hasher.update(&chunk);
        self.bytes += chunk.len() as u64;
        if self.short.is_empty() && chunk.len() >= CHUNK_BYTES_MAX {
            return Ok(self.writer.put(chunk).await?);
        }
        self.short.extend_from_slice(&chunk);
        if self.short.len() >= CHUNK_BYTES_MAX {
            self.put_short().await?;
        }
        Ok(())
    }

    async fn put_short(&mut self) -> Result<(), FilesError> {
        let together = self.short.split().freeze();
        Ok(self.writer.put(together).await?)
    }

    /// Bytes so far.
    pub fn written_bytes(&self) -> u64 {
        self.bytes
    }

    /// Size and hash of the bytes so far.
    pub fn written(&self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            sha256: self.hasher.clone().finish(),
        }
    }

    /// Completes the object: it exists, and is durable.
    ///
    /// # Errors
    /// The store is away; the object may exist or not.
    pub async fn finish(mut self) -> Result<(), FilesError> {
        if !self.short.is_empty() {
            self.put_short().await?;
        }
        Ok(self.writer.shutdown().await?)
    }

    /// Gives the object up.
    pub async fn abort(mut self) {
        // Remains are swept.
        let _ = self.writer.abort().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_without_space_is_told_from_one_that_is_away() {
        let of_folder = |kind: ErrorKind| {
            FilesError::Store(object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(std::io::Error::from(kind)),
            })
        };
        assert!(of_folder(ErrorKind::StorageFull).is_full());
        assert!(of_folder(ErrorKind::QuotaExceeded).is_full());
        assert!(!of_folder(ErrorKind::PermissionDenied).is_full());
        assert!(FilesError::Io(std::io::Error::from(ErrorKind::StorageFull)).is_full());

        let of_bucket = |said: &str| {
            FilesError::Store(object_store::Error::Generic {
                store: "S3",
                source: format!("Server returned non-2xx status code: {said}").into(),
            })
        };
        let full = "507 Insufficient Storage: <Error><Code>XMinioStorageFull</Code></Error>";
        assert!(of_bucket(full).is_full());
        assert!(of_bucket("403 Forbidden: <Error><Code>QuotaExceeded</Code></Error>").is_full());
        assert!(!of_bucket("503 Service Unavailable: <Error><Code>SlowDown</Code></Error>").is_full());
    }
}
