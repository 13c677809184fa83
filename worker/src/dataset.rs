//! Datasets: files fetched from the coordinator by their hash and kept on this machine's disk, read once, and kept on the
//! device for all jobs.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use tch::Device;
use tokio::sync::Mutex;
use tracing::{info, warn};
use trawl_domain::dataset::{self, FileHash, Format, Part, ReadError, TargetKind};
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_proto::v1;

use crate::agent::connection::Connection;
use crate::trainer::{DeviceTable, TrainError};

/// Parts of datasets that are kept on the device; the one used longest ago goes first.
const PARTS_MAX: usize = 8;

/// Why there are no samples.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The coordinator did not send a file.
    #[error("dataset file {0}: {1}")]
    Fetch(FileHash, #[source] Box<tonic::Status>),
    /// What it sent is another file.
    #[error("dataset file {0}: what came has the hash {1}")]
    Hash(FileHash, FileHash),
    /// The files are no such dataset.
    #[error("dataset file {0} {1}")]
    Read(FileHash, #[source] ReadError),
    /// Its samples cannot be had on the device.
    #[error("samples on the device: {0}")]
    Device(#[from] TrainError),
}

/// What decides how a part is read: with the training part's, the classes of a test part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    format: Format,
    kind: TargetKind,
    part: Part<FileHash>,
    classes_of: Part<FileHash>,
}

/// The datasets of this process.
#[derive(Debug)]
pub struct Datasets {
    device: Device,
    cache_dir: PathBuf,
    /// The one used last is at the back. The lock is held while a file is fetched: two jobs that want it fetch it once.
    parts: Mutex<VecDeque<(Key, DeviceTable)>>,
}

impl Datasets {
    /// No samples yet; files are kept in `cache_dir`.
    pub fn new(device: Device, cache_dir: PathBuf) -> Self {
        Self {
            device,
            cache_dir,
            parts: Mutex::default(),
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
    ) -> Result<(DeviceTable, Option<DeviceTable>), DatasetError> {
        let key = |part| Key {
            format: format.clone(),
            kind,
            part,
            classes_of: train,
        };
        let train = self.part(connection, key(train), None).await?;
        let test = match test {
            Some(test) => Some(self.part(connection, key(test), train.classes()).await?),
            None => None,
        };
        Ok((train, test))
    }

    async fn part(
        &self,
        connection: &Connection,
        key: Key,
        classes: Option<&[String]>,
    ) -> Result<DeviceTable, DatasetError> {
        let mut parts = self.parts.lock().await;
        let place = parts.iter().position(|(kept, _)| *kept == key);
        let (key, table) = match place.and_then(|place| parts.remove(place)) {
            Some(entry) => entry,
            None => {
                let features = self.file(connection, key.part.features).await?;
                let targets = match key.part.targets {
                    Some(hash) => Some(self.file(connection, hash).await?),
                    None => None,
                };
                let content = Part {
                    features: features.as_slice(),
                    targets: targets.as_deref(),
                };
                let samples = dataset::read(&key.format, key.kind, content, classes).map_err(|error| {
                    let file = key.part.targets.filter(|_| error.in_targets);
                    DatasetError::Read(file.unwrap_or(key.part.features), error)
                })?;
                let table = DeviceTable::new(&samples, self.device)?;
                (key, table)
            }
        };
        let shared = table.shallow_clone();
        parts.push_back((key, table));
        if parts.len() > PARTS_MAX {
            parts.pop_front();
        }
        Ok(shared)
    }

    /// The bytes of a file, from this machine's disk or else from the coordinator.
    async fn file(&self, connection: &Connection, hash: FileHash) -> Result<Vec<u8>, DatasetError> {
        let path = self.cache_dir.join(hash.to_string());
        match tokio::fs::read(&path).await {
            Ok(content) if FileHash::of(&content) == hash => return Ok(content),
            Ok(_) => warn!(dataset.sha256 = %hash, "a cached dataset file is broken and is fetched again"),
            Err(_) => {}
        }
        let content = fetch(connection, hash).await?;
        info!(dataset.sha256 = %hash, dataset.bytes = content.len(), "dataset file fetched");
        if let Err(error) = keep(&path, &content).await {
            // It trains all the same, and fetches it again next time.
            warn!(dataset.sha256 = %hash, error = %error, "dataset file cannot be cached in {}", self.cache_dir.display());
        }
        Ok(content)
    }
}

/// Writes a file whole or not at all: other workers of this machine read the same folder.
async fn keep(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await?;
    }
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = async {
        tokio::fs::write(&part, content).await?;
        tokio::fs::rename(&part, path).await
    };
    let done = written.await;
    if done.is_err() {
        // Whatever is left of it is of no use.
        let _ = tokio::fs::remove_file(&part).await;
    }
    done
}

/// Fetches a file from the coordinator.
///
/// # Errors
/// It does not answer, or what came is another file.
pub async fn fetch(connection: &Connection, hash: FileHash) -> Result<Vec<u8>, DatasetError> {
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
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await.map_err(failed)? {
        content.extend_from_slice(&piece.chunk);
        if content.len() as u64 > DATASET_BYTES_MAX {
            return Err(failed(tonic::Status::out_of_range(
                "it is larger than any dataset may be",
            )));
        }
    }
    let came = FileHash::of(&content);
    if came == hash {
        Ok(content)
    } else {
        Err(DatasetError::Hash(hash, came))
    }
}
