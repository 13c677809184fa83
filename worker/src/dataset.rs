//! Tables of datasets: fetched from the coordinator by their hash, checked, read once, and kept on the device for all jobs.

use std::collections::VecDeque;

use tch::Device;
use tokio::sync::Mutex;
use trawl_domain::dataset::{Columns, FileHash, Table};
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_proto::v1;

use crate::agent::connection::Connection;
use crate::trainer::DeviceTable;

/// Tables that are kept; the one used longest ago goes first.
const TABLES_MAX: usize = 8;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The coordinator did not send it.
    #[error("dataset file {0}: {1}")]
    Fetch(FileHash, #[source] Box<tonic::Status>),
    /// What it sent is another file.
    #[error("dataset file {0}: what came has the hash {1}")]
    Hash(FileHash, FileHash),
    /// The file is no table.
    #[error("dataset file {0}: {1}")]
    Table(FileHash, #[source] trawl_domain::dataset::TableError),
}

/// The tables of this process.
#[derive(Debug)]
pub struct Datasets {
    device: Device,
    /// The one used last is at the back. The lock is held while a file is fetched: two jobs that want it fetch it once.
    tables: Mutex<VecDeque<((FileHash, Columns), DeviceTable)>>,
}

impl Datasets {
    /// No tables yet.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            tables: Mutex::default(),
        }
    }

    /// A table on the device.
    ///
    /// # Errors
    /// The file cannot be fetched, or is no table.
    pub async fn table(
        &self,
        connection: &Connection,
        hash: FileHash,
        columns: &Columns,
    ) -> Result<DeviceTable, DatasetError> {
        let mut tables = self.tables.lock().await;
        let key = (hash, columns.clone());
        let entry = match tables.iter().position(|(kept, _)| *kept == key) {
            Some(place) => tables.remove(place),
            None => None,
        };
        let (key, table) = match entry {
            Some(entry) => entry,
            None => {
                let content = fetch(connection, hash).await?;
                let read = Table::from_csv(&content, columns).map_err(|error| DatasetError::Table(hash, error))?;
                let table = DeviceTable::from_rows(
                    &read.features,
                    &read.targets,
                    read.rows as usize,
                    columns.features.len(),
                    self.device,
                );
                (key, table)
            }
        };
        let shared = table.shallow_clone();
        tables.push_back((key, table));
        if tables.len() > TABLES_MAX {
            tables.pop_front();
        }
        Ok(shared)
    }
}

async fn fetch(connection: &Connection, hash: FileHash) -> Result<Vec<u8>, DatasetError> {
    let failed = |status| DatasetError::Fetch(hash, Box::new(status));
    let request = v1::GetDatasetRequest {
        sha256: hash.to_string(),
    };
    let mut pieces = connection
        .client()
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
