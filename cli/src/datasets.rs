//! Registers the dataset files that a study file names, so that neither coordinator nor workers need to see their paths.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use trawl_domain::dataset::{FileHash, FileHasher};
use trawl_domain::limits::DATASET_BYTES_MAX;
use trawl_proto::v1::PutDatasetRequest;

use crate::client::{Client, UPLOAD_TIMEOUT};
use crate::error::{Error, say};
use crate::study_file::StudyFile;

/// Bytes of one piece of a file.
const CHUNK_BYTES: usize = 64 << 10;

/// A file that can be registered.
struct LocalFile {
    path: String,
    bytes: u64,
    sha256: FileHash,
}

/// A path that cannot be read here.
struct Unread {
    field: &'static str,
    path: String,
    error: io::Error,
}

/// The files of a study, hashed.
pub(crate) struct LocalFiles {
    found: Vec<LocalFile>,
    unread: Vec<Unread>,
}

/// Hashes the files that a study names by path, and names them by their hashes instead. A path that cannot be read here
/// stays: the coordinator may have such a file below its --dataset-dir, or else says so along with all else that is wrong.
pub(crate) async fn name_by_hash(file: &mut StudyFile) -> LocalFiles {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for (field, path) in file.local_paths() {
        match hash(path).await {
            Ok(file) => {
                let by_hash = format!("sha256:{}", file.sha256);
                found.push(file);
                *path = by_hash;
            }
            Err(error) => unread.push(Unread {
                field,
                path: path.clone(),
                error,
            }),
        }
    }
    LocalFiles { found, unread }
}

impl LocalFiles {
    /// Sends those files that the coordinator does not have.
    ///
    /// # Errors
    /// A broken connection, or a file that changed meanwhile.
    pub(crate) async fn register(&self, client: &mut Client) -> Result<(), Error> {
        for file in &self.found {
            register(client, file).await?;
        }
        Ok(())
    }

    /// What a coordinator said of the study, with what it cannot know: why a path was not read here, but sent as it is.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let Error::Rejected(mut text) = error else {
            return error;
        };
        for Unread { field, path, error } in &self.unread {
            let _ = write!(
                text,
                "\n  {field}: {path} was not sent, as it cannot be read here: {error}"
            );
        }
        Error::Rejected(text)
    }

    /// Says whose files the study has that were not read here.
    pub(crate) fn say_what_was_left(&self) {
        for Unread { field, path, error } in &self.unread {
            say(&format!(
                "{field}: {path} cannot be read here ({error}); the coordinator has read its own file of that path"
            ));
        }
    }
}

async fn hash(path: &str) -> io::Result<LocalFile> {
    let mut file = open(path).await?;
    let mut hasher = FileHasher::default();
    let mut bytes = 0;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let len = file.read(&mut chunk).await?;
        if len == 0 {
            break;
        }
        hasher.update(&chunk[..len]);
        bytes += len as u64;
        if bytes > DATASET_BYTES_MAX {
            return Err(io::Error::other(format!(
                "is larger than {} MiB",
                DATASET_BYTES_MAX >> 20
            )));
        }
    }
    Ok(LocalFile {
        path: path.to_owned(),
        bytes,
        sha256: hasher.finish(),
    })
}

async fn open(path: &str) -> io::Result<File> {
    let file = File::open(Path::new(path)).await?;
    if file.metadata().await?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("is not a file"))
    }
}

async fn register(client: &mut Client, file: &LocalFile) -> Result<(), Error> {
    let (sender, receiver) = mpsc::channel(4);
    let mut request = Request::new(ReceiverStream::new(receiver));
    request.set_timeout(UPLOAD_TIMEOUT);
    let answer = client.put_dataset(request);
    let sending = send(file, sender);
    tokio::pin!(answer, sending);
    let mut sent = None;
    loop {
        tokio::select! {
            biased;
            // One that has the file already answers at once, and reads no further.
            answer = &mut answer => {
                if let Some(Err(error)) = sent {
                    return Err(Error::Failed(format!("{}: {error}", file.path)));
                }
                answer?;
                return Ok(());
            }
            done = &mut sending, if sent.is_none() => sent = Some(done),
        }
    }
}

/// Sends a file in pieces, as far as anybody reads them.
async fn send(file: &LocalFile, sender: mpsc::Sender<PutDatasetRequest>) -> io::Result<()> {
    let head = PutDatasetRequest {
        sha256: file.sha256.to_string(),
        bytes: file.bytes,
        chunk: Vec::new(),
    };
    if sender.send(head).await.is_err() {
        return Ok(());
    }
    let mut content = open(&file.path).await?;
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let len = content.read(&mut chunk).await?;
        chunk.truncate(len);
        let piece = PutDatasetRequest {
            chunk,
            ..Default::default()
        };
        if len == 0 || sender.send(piece).await.is_err() {
            return Ok(());
        }
    }
}
