//! Datasets: files fetched from the coordinator by their hash and kept on this machine's disk, read once, and kept on the
//! device for all jobs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use trawl_domain::dataset::{
    self, Allowance, Content, FileContent, FileHash, FileHasher, Format, Known, Part, ReadError, Role, Samples,
    TargetKind,
};
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_engine::{Engine, EngineError, Table as _};
use trawl_proto::v1;

use super::connection::Connection;
use super::file_cache::FileCache;

/// Memory of the device for parts of datasets that are kept there: ten times FashionMNIST. Jobs that train keep theirs in any case.
pub const PARTS_BYTES_MAX: usize = 512 << 20;

/// Why there are no samples.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The coordinator did not send a file.
    #[error("dataset file {0}: {1}")]
    Fetch(FileHash, #[source] Box<tonic::Status>),
    /// What it sent is another file.
    #[error("dataset file {0}: what came has the hash {1}")]
    Hash(FileHash, FileHash),
    /// There is no place for it on this machine's disk.
    #[error("dataset file {0} cannot be kept on this machine's disk: {1}")]
    Disk(FileHash, #[source] io::Error),
    /// The files are no such dataset.
    #[error("dataset file {0} {1}")]
    Read(FileHash, #[source] ReadError),
    /// Its samples cannot be had on the device.
    #[error("samples on the device: {0}")]
    Device(#[from] EngineError),
}

/// What decides how a part is read: with the training part's, the classes of a test part.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    format: Format,
    kind: TargetKind,
    part: Part<FileHash>,
    /// Both parts may be in one file, and have other names there.
    is_test: bool,
    classes_of: Part<FileHash>,
}

/// Parts on the device, as many as have room; the one used last is at the back.
#[derive(Debug)]
struct Parts<T> {
    kept: VecDeque<KeptPart<T>>,
    bytes_max: usize,
}

#[derive(Debug)]
struct KeptPart<T> {
    key: Key,
    table: T,
    bytes: usize,
}

impl<T: Clone> Parts<T> {
    fn new(bytes_max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes_max,
        }
    }

    /// A part that is kept.
    fn find(&mut self, key: &Key) -> Option<T> {
        let place = self.kept.iter().position(|kept| kept.key == *key)?;
        let part = self.kept.remove(place)?;
        let shared = part.table.clone();
        self.kept.push_back(part);
        Some(shared)
    }

    /// Gives up what was used longest ago, before so many bytes more are taken.
    fn make_room(&mut self, bytes: usize) {
        let taken = |kept: &VecDeque<KeptPart<T>>| kept.iter().map(|part| part.bytes).sum::<usize>();
        while !self.kept.is_empty() && taken(&self.kept) + bytes > self.bytes_max {
            self.kept.pop_front();
        }
    }

    /// Keeps a part, for which there was room made; the newest one is kept however large it is.
    fn keep(&mut self, key: Key, table: T, bytes: usize) {
        self.kept.push_back(KeptPart { key, table, bytes });
    }
}

/// The datasets of this process.
#[derive(Debug)]
pub struct Datasets<E: Engine> {
    engine: Arc<E>,
    files: FileCache,
    /// The lock is held while a file is fetched: two jobs that want it fetch it once.
    parts: Mutex<Parts<E::Table>>,
}

impl<E: Engine> Datasets<E> {
    /// No samples yet. Parts take so many bytes of the engine's device at most, beside those that jobs use; [`PARTS_BYTES_MAX`] is usual.
    pub fn new(engine: Arc<E>, files: FileCache, parts_bytes_max: usize) -> Self {
        Self {
            engine,
            files,
            parts: Mutex::new(Parts::new(parts_bytes_max)),
        }
    }

    /// The training part of a dataset and, if asked for, its test part, on the device.
    ///
    /// # Errors
    /// A file cannot be fetched, or is not what it should be.
    pub async fn load(
        &self,
        connection: &Connection,
        format: &Format,
        kind: TargetKind,
        train: Part<FileHash>,
        test: Option<Part<FileHash>>,
    ) -> Result<(E::Table, Option<E::Table>), DatasetError> {
        let key = |part, is_test| Key {
            format: format.clone(),
            kind,
            part,
            is_test,
            classes_of: train,
        };
        let train = self.part(connection, key(train, false), None).await?;
        let test = match test {
            Some(test) => Some(self.part(connection, key(test, true), Some(train.known())).await?),
            None => None,
        };
        Ok((train, test))
    }

    /// One part; `test_of` is what the training part shows, for the test part.
    async fn part(&self, connection: &Connection, key: Key, test_of: Option<Known>) -> Result<E::Table, DatasetError> {
        let mut parts = self.parts.lock().await;
        if let Some(table) = parts.find(&key) {
            return Ok(table);
        }
        let features = self.file(connection, key.part.features).await?;
        let targets = match key.part.targets {
            Some(hash) => Some(self.file(connection, hash).await?),
            None => None,
        };
        let content = Part { features, targets };
        let (samples, key) = read(key, content, test_of).await?;
        let bytes = self.engine.bytes_of(&samples);
        parts.make_room(bytes);
        let engine = Arc::clone(&self.engine);
        let table = on_thread(move || engine.load(&samples)).await?;
        parts.keep(key, table.clone(), bytes);
        Ok(table)
    }

    /// A file, from this machine's disk or else from the coordinator.
    async fn file(&self, connection: &Connection, hash: FileHash) -> Result<FileContent, DatasetError> {
        let disk = |error| DatasetError::Disk(hash, error);
        let files = self.files.clone();
        if let Some(file) = on_thread(move || files.open(hash)).await {
            return FileContent::new(file).map_err(disk);
        }
        let files = self.files.clone();
        let new = on_thread(move || files.begin()).await.map_err(disk)?;
        let mut written = tokio::fs::File::from_std(new.file.try_clone().map_err(disk)?);
        let bytes = fetch(connection, hash, &mut written).await?;
        written.flush().await.map_err(disk)?;
        info!(dataset.sha256 = %hash, dataset.bytes = bytes, "dataset file fetched");
        let files = self.files.clone();
        let (content, kept) = on_thread(move || {
            let kept = files.keep(hash, &new);
            (new.file.try_clone().and_then(FileContent::new), kept)
        })
        .await;
        if let Err(error) = kept {
            // It trains all the same, and fetches it again next time.
            let folder = self.files.folder().display();
            warn!(dataset.sha256 = %hash, error = %error, "dataset file cannot be cached in {folder}");
        }
        content.map_err(disk)
    }
}

/// Reads what is in the files of a part, and drops them.
async fn read(key: Key, content: Part<FileContent>, test_of: Option<Known>) -> Result<(Samples, Key), DatasetError> {
    on_thread(move || {
        let part = content.as_ref().map(|content| content as &dyn Content);
        let role = match &test_of {
            None => Role::Train,
            Some(known) => Role::Test(known),
        };
        // The coordinator has counted the numbers of both parts.
        let mut allowance = Allowance::whole();
        let samples = dataset::read(&key.format, key.kind, role, part, &mut allowance);
        let samples = samples.map_err(|error| {
            let file = key.part.targets.filter(|_| error.in_targets);
            DatasetError::Read(file.unwrap_or(key.part.features), error)
        })?;
        Ok((samples, key))
    })
    .await
}

/// Does something that takes time, on a thread that renews no lease.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Fetches a file from the coordinator; how many bytes it has.
///
/// # Errors
/// It does not answer, what came is another file, or it cannot be written.
pub async fn fetch(
    connection: &Connection,
    hash: FileHash,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<u64, DatasetError> {
    let failed = |status| DatasetError::Fetch(hash, Box::new(status));
    let request = v1::GetDatasetRequest {
        sha256: hash.to_string(),
    };
    let mut pieces = connection
        .patient_client()
        .get_dataset(request)
        .await
        .map_err(failed)?
        .into_inner();
    let (mut hasher, mut bytes) = (FileHasher::default(), 0);
    while let Some(piece) = pieces.message().await.map_err(failed)? {
        hasher.update(&piece.chunk);
        bytes += piece.chunk.len() as u64;
        if bytes > DATASET_BYTES_MAX {
            return Err(failed(tonic::Status::out_of_range(
                "it is larger than any dataset may be",
            )));
        }
        let written = into.write_all(&piece.chunk).await;
        written.map_err(|error| DatasetError::Disk(hash, error))?;
    }
    let came = hasher.finish();
    if came == hash {
        Ok(bytes)
    } else {
        Err(DatasetError::Hash(hash, came))
    }
}

#[cfg(test)]
mod tests {
    use trawl_domain::dataset::Columns;

    use super::*;

    fn key(number: u8) -> Key {
        let part = Part {
            features: FileHash([number; 32]),
            targets: None,
        };
        Key {
            format: Format::Csv(Columns {
                target: "y".into(),
                ..Columns::default()
            }),
            kind: TargetKind::Class,
            part,
            is_test: false,
            classes_of: part,
        }
    }

    #[test]
    fn parts_are_kept_by_their_bytes() {
        let mut parts = Parts::new(9_000);
        let keep = |parts: &mut Parts<u8>, number: u8, bytes: usize| {
            parts.make_room(bytes);
            parts.keep(key(number), number, bytes);
        };
        for number in 0..3 {
            keep(&mut parts, number, 2_700);
        }
        assert_eq!(parts.find(&key(0)), Some(0), "there is room for three");
        keep(&mut parts, 3, 2_700);
        let there = [0, 1, 2, 3].map(|number| parts.find(&key(number)).is_some());
        assert_eq!(there, [true, false, true, true], "the one used longest ago is given up");
        keep(&mut parts, 4, 18_000);
        let there = [0, 1, 2, 3, 4].map(|number| parts.find(&key(number)).is_some());
        assert_eq!(there, [false, false, false, false, true], "the newest one stays");
    }
}
