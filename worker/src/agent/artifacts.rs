//! Sends the files that a job leaves, in pieces, before the job is finished.

use std::sync::Arc;

use trawl_domain::dataset::FileHash;
use trawl_proto::v1;

use super::Agent;
use super::run_job::{JobError, insist, note_status};

/// Bytes of one piece of an artifact.
const CHUNK_BYTES: usize = 64 << 10;

/// Sends one file: of the job's refit, or of the trial of this member. It is visible once the job is finished.
///
/// # Errors
/// The lease is lost, or the coordinator refuses the file.
pub(super) async fn put_artifact(
    agent: &Arc<Agent>,
    lease: &v1::Lease,
    member: Option<u32>,
    kind: &str,
    name: &str,
    content: Vec<u8>,
) -> Result<(), JobError> {
    let head = v1::PutArtifactRequest {
        lease: Some(lease.clone()),
        member,
        kind: kind.to_owned(),
        name: name.to_owned(),
        bytes: content.len() as u64,
        sha256: FileHash::of(&content).to_string(),
        chunk: Vec::new(),
    };
    // Pieces are cut as they go out: a file is not in memory twice.
    let content = Arc::new(content);
    let put = insist(agent, lease, || {
        let (mut client, content, head) = (agent.connection.patient_client(), Arc::clone(&content), head.clone());
        let pieces = (0..content.len()).step_by(CHUNK_BYTES).map(move |from| {
            let to = (from + CHUNK_BYTES).min(content.len());
            v1::PutArtifactRequest {
                chunk: content[from..to].to_vec(),
                ..Default::default()
            }
        });
        let messages = tokio_stream::iter(std::iter::once(head).chain(pieces));
        async move { client.put_artifact(messages).await }
    });
    note_status(agent, lease, put.await?.status)
}
