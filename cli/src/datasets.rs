//! Registers the dataset files that a study file names, so that neither coordinator nor workers need to see their paths.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use trawl_dataset::{FileHash, FileHasher, TOO_LARGE};
use trawl_domain::limits::{DATASET_BYTES_MAX, FILE_NAME_CHARS_MAX};
use trawl_domain::text;
use trawl_proto::v1::PutDatasetRequest;

use crate::client::{Client, UPLOAD_TIMEOUT};
use crate::error::{Error, say};
use crate::study_file::{NamedPath, StudyFile};

/// Bytes of one piece of a file.
const CHUNK_BYTES: usize = 64 << 10;

/// A file that can be registered.
struct LocalFile {
    named: NamedPath,
    bytes: u64,
    sha256: FileHash,
}

/// A path that cannot be read here.
struct Unread {
    named: NamedPath,
    error: io::Error,
}

/// The files of a study, hashed.
pub(crate) struct LocalFiles {
    found: Vec<LocalFile>,
    unread: Vec<Unread>,
}

/// Hashes the files that a study names by path, and names them by their hashes instead. A path that cannot be read here
/// stays: the coordinator may have such a file below its --dataset-dir, or else reports it with all other errors.
pub(crate) async fn name_by_hash(file: &mut StudyFile) -> LocalFiles {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for named in std::mem::take(&mut file.paths) {
        match hash(&named.path).await {
            Ok((bytes, sha256)) => {
                if let Some(path) = file.path_mut(named.field) {
                    *path = format!("sha256:{sha256}");
                }
                found.push(LocalFile { named, bytes, sha256 });
            }
            Err(error) => unread.push(Unread { named, error }),
        }
    }
    LocalFiles { found, unread }
}

impl LocalFiles {
    /// Sends the files that the coordinator does not have.
    ///
    /// # Errors
    /// A broken connection, or a file that changed meanwhile.
    pub(crate) async fn register(&self, client: &mut Client) -> Result<(), Error> {
        for file in &self.found {
            register(client, file).await.map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// The names of the files by field: their paths, as in the study file.
    pub(crate) fn names(&self) -> HashMap<String, String> {
        let found = self.found.iter().map(|file| &file.named);
        let all = found.chain(self.unread.iter().map(|unread| &unread.named));
        let name = |written| text::shown(written, FILE_NAME_CHARS_MAX);
        all.map(|named| (named.field.to_owned(), name(&named.written)))
            .collect()
    }

    /// A coordinator's errors about the study, with the paths of the study file, and with what it cannot know: why a path was sent as
    /// it is and not read here.
    pub(crate) fn explain(&self, error: Error) -> Error {
        match error {
            Error::Failed(text) => Error::Failed(self.as_written("", &text)),
            Error::Rejected(mut rejection) => {
                for finding in &mut rejection.findings {
                    finding.reason = self.as_written(&finding.field, &finding.reason);
                    let unread = self.unread.iter().find(|unread| unread.named.field == finding.field);
                    if let Some(Unread { named, error }) = unread {
                        let theirs = std::mem::replace(
                            &mut finding.reason,
                            format!("'{}' cannot be read here: {error}", named.written),
                        );
                        finding.help = Some(format!(
                            "the coordinator was given the path instead, and says: {theirs}"
                        ));
                    }
                }
                Error::Rejected(rejection)
            }
            other => other,
        }
    }

    /// A text about a field that names files as in the study file, because nobody has seen their hashes.
    fn as_written(&self, field: &str, text: &str) -> String {
        let mut text = text.to_owned();
        // Two fields may name one file, each by a path of its own.
        let (own, others): (Vec<_>, Vec<_>) = self.found.iter().partition(|file| file.named.field == field);
        for LocalFile { named, sha256, .. } in own.into_iter().chain(others) {
            let hash = sha256.to_string();
            text = text.replace(&format!("sha256:{hash}"), &named.written);
            text = text.replace(&hash, &named.written);
        }
        for Unread { named, .. } in &self.unread {
            text = text.replace(&named.path, &named.written);
        }
        text
    }

    /// Says which paths were not read here, and that the coordinator has read its own files of these paths.
    pub(crate) fn say_what_was_left(&self) {
        for Unread { named, error } in &self.unread {
            say(&format!(
                "{}: {} cannot be read here ({error}); the coordinator has read its own file of that path",
                named.field, named.written
            ));
        }
    }
}

/// Size and hash of a file.
async fn hash(path: &str) -> io::Result<(u64, FileHash)> {
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
            return Err(io::Error::other(TOO_LARGE));
        }
    }
    Ok((bytes, hasher.finish()))
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
            // A coordinator that has the file already answers at once, and reads no further.
            answer = &mut answer => {
                if let Some(Err(error)) = sent {
                    return Err(Error::Failed(format!("{}: {error}", file.named.written)));
                }
                answer?;
                return Ok(());
            }
            done = &mut sending, if sent.is_none() => sent = Some(done),
        }
    }
}

/// Sends a file in pieces, as long as the coordinator reads them.
async fn send(file: &LocalFile, sender: mpsc::Sender<PutDatasetRequest>) -> io::Result<()> {
    let head = PutDatasetRequest {
        sha256: file.sha256.to_string(),
        bytes: file.bytes,
        chunk: Vec::new(),
    };
    if sender.send(head).await.is_err() {
        return Ok(());
    }
    let mut content = open(&file.named.path).await?;
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
