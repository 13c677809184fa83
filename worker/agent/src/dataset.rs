//! Datasets: fetches files from the coordinator by their hash, caches them on this machine's disk, reads them once, and
//! keeps the samples on the device for all jobs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use trawl_dataset::{
    Allowance, Content, FileContent, FileHash, FileHasher, Format, Known, Part, PartName, ReadError, Role, Samples,
    TargetKind,
};
use trawl_domain::job::Job;
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_engine::{Engine, EngineError, Table as _};
use trawl_proto::v1;

use super::connection::Connection;
use super::file_cache::FileCache;

/// Device memory for cached parts of datasets: ten times FashionMNIST. Jobs keep the parts that they train on in any case.
pub const PARTS_BYTES_MAX: usize = 512 << 20;

/// Why there are no samples.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The coordinator did not send a file.
    #[error("dataset file {0}: {1}")]
    Fetch(FileHash, #[source] Box<tonic::Status>),
    /// The coordinator did not send a file of the trial.
    #[error("file {0} of the trial: {1}")]
    TrialFile(String, #[source] Box<tonic::Status>),
    /// It sent another file.
    #[error("dataset file {0}: what came has the hash {1}")]
    Hash(FileHash, FileHash),
    /// This machine's disk has no place for it.
    #[error("dataset file {0} cannot be kept on this machine's disk: {1}")]
    Disk(FileHash, #[source] io::Error),
    /// The files are not a valid dataset.
    #[error("dataset file {0} {1}")]
    Read(FileHash, #[source] ReadError),
    /// The device cannot take its samples.
    #[error("samples on the device: {0}")]
    Device(#[from] EngineError),
}

/// Parts that are read together: the rows of a study that train and validate, or its test part.
#[derive(Clone, Debug, PartialEq)]
struct Key {
    format: Format,
    kind: TargetKind,
    /// Files of the training part; other parts are read like it.
    train: Part<FileHash>,
    rows: RowsOf,
}

/// The rows that are read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RowsOf {
    /// The training part, followed by the validation part where that has files of its own.
    Search(Option<Part<FileHash>>),
    /// The test part.
    Test(Part<FileHash>),
}

impl Key {
    /// The parts that are read, in the order of their rows.
    fn parts(&self) -> Vec<(PartName, Part<FileHash>)> {
        match self.rows {
            RowsOf::Search(validation) => {
                let validation = validation.map(|files| (PartName::Validation, files));
                std::iter::once((PartName::Train, self.train))
                    .chain(validation)
                    .collect()
            }
            RowsOf::Test(files) => vec![(PartName::Test, files)],
        }
    }
}

/// Parts on the device, as many as fit; the last used one is at the back.
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

    /// Drops the least recently used parts, before `bytes` more are taken.
    fn make_room(&mut self, bytes: usize) {
        let taken = |kept: &VecDeque<KeptPart<T>>| kept.iter().map(|part| part.bytes).sum::<usize>();
        while !self.kept.is_empty() && taken(&self.kept) + bytes > self.bytes_max {
            self.kept.pop_front();
        }
    }

    /// Keeps a part after [`Self::make_room`]; the newest one is kept however large it is.
    fn keep(&mut self, key: Key, table: T, bytes: usize) {
        self.kept.push_back(KeptPart { key, table, bytes });
    }
}

/// The datasets of this process.
#[derive(Debug)]
pub struct Datasets<E: Engine> {
    engine: Arc<E>,
    files: FileCache,
    /// Held while a file is fetched, so that two jobs that need the file fetch it once.
    parts: Mutex<Parts<E::Table>>,
}

impl<E: Engine> Datasets<E> {
    /// No samples yet. Cached parts take at most `parts_bytes_max` of the engine's device, beside those that jobs use; [`PARTS_BYTES_MAX`] is usual.
    pub fn new(engine: Arc<E>, files: FileCache, parts_bytes_max: usize) -> Self {
        Self {
            engine,
            files,
            parts: Mutex::new(Parts::new(parts_bytes_max)),
        }
    }

    /// The rows of a job's dataset that train and validate and, if the job has one, its test part, on the device.
    ///
    /// # Errors
    /// A file cannot be fetched, or is invalid.
    pub async fn load(&self, connection: &Connection, job: &Job) -> Result<(E::Table, Option<E::Table>), DatasetError> {
        let key = |rows| Key {
            format: job.format.clone(),
            kind: job.architecture.loss.target_kind(),
            train: job.train,
            rows,
        };
        let search = self.table(connection, key(RowsOf::Search(job.validation)), Known::default());
        let search = search.await?;
        let test = match job.test {
            Some(test) => Some(self.table(connection, key(RowsOf::Test(test)), search.known()).await?),
            None => None,
        };
        Ok((search, test))
    }

    /// The rows of `key`; for the test part, `known` is what the training part shows.
    async fn table(&self, connection: &Connection, key: Key, known: Known) -> Result<E::Table, DatasetError> {
        let mut parts = self.parts.lock().await;
        if let Some(table) = parts.find(&key) {
            return Ok(table);
        }
        let mut contents = Vec::new();
        for (_, files) in key.parts() {
            let features = self.file(connection, files.features).await?;
            let targets = match files.targets {
                Some(hash) => Some(self.file(connection, hash).await?),
                None => None,
            };
            contents.push(Part { features, targets });
        }
        let (samples, key) = on_thread(move || Ok::<_, DatasetError>((read(&key, contents, known)?, key))).await?;
        let bytes = self.engine.bytes_of(&samples);
        parts.make_room(bytes);
        let engine = Arc::clone(&self.engine);
        let table = on_thread(move || engine.load(&samples)).await?;
        parts.keep(key, table.clone(), bytes);
        Ok(table)
    }

    /// A file, from this machine's disk or otherwise from the coordinator.
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
            // Training goes on, and fetches the file again next time.
            let folder = self.files.folder().display();
            warn!(dataset.sha256 = %hash, error = %error, "dataset file cannot be cached in {folder}");
        }
        content.map_err(disk)
    }
}

/// Reads the files of the parts, and drops them; for the test part, `known` is what the training part shows.
fn read(key: &Key, contents: Vec<Part<FileContent>>, mut known: Known) -> Result<Samples, DatasetError> {
    // The coordinator has counted the numbers of all parts.
    let mut allowance = Allowance::whole();
    let mut samples: Option<Samples> = None;
    for ((part, files), content) in key.parts().into_iter().zip(contents) {
        let broken = |error: ReadError| {
            let file = files.targets.filter(|_| error.in_targets);
            DatasetError::Read(file.unwrap_or(files.features), error)
        };
        let content = content.as_ref().map(|content| content as &dyn Content);
        let role = Role::of(part, &known);
        let read = trawl_dataset::read(&key.format, key.kind, role, content, &mut allowance).map_err(broken)?;
        let read = match samples.take() {
            Some(train) => train.with_validation(read).map_err(broken)?,
            None => read,
        };
        known = read.known();
        samples = Some(read);
    }
    // There is always a first part.
    samples.ok_or_else(|| EngineError::BadJob("its dataset has no files".to_owned()).into())
}

/// Runs slow work on a thread that renews no leases.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Fetches a file from the coordinator; returns its number of bytes.
///
/// # Errors
/// The coordinator does not answer, sends another file, or the file cannot be written.
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
    use trawl_dataset::Columns;

    use super::*;

    fn key(number: u8) -> Key {
        Key {
            format: Format::Csv(Columns {
                target: "y".into(),
                ..Columns::default()
            }),
            kind: TargetKind::Class,
            train: Part {
                features: FileHash([number; 32]),
                targets: None,
            },
            rows: RowsOf::Search(None),
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
