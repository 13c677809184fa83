//! Artifacts on their way to the coordinator.

use std::sync::Arc;

use trawl_domain::dataset::FileHash;
use trawl_proto::v1;

use super::Agent;
use super::run_job::{JobError, insist, note_status};

/// Bytes of one piece of an artifact.
const CHUNK_BYTES: usize = 64 << 10;

/// Sends one artifact of a job.
///
/// # Errors
/// The lease is lost, or the coordinator refuses it.
pub(super) async fn put_artifact(
    agent: &Arc<Agent>,
    lease: &v1::Lease,
    _member: Option<u32>,
    kind: &str,
    name: &str,
    content: Vec<u8>,
) -> Result<(), JobError> {
    let sha256 = FileHash::of(&content).to_string();
    let pieces: Vec<v1::PutArtifactRequest> = content
        .chunks(CHUNK_BYTES)
        .enumerate()
        .map(|(index, chunk)| {
            let mut piece = v1::PutArtifactRequest {
                chunk: chunk.to_vec(),
                ..Default::default()
            };
            if index == 0 {
                piece.lease = Some(lease.clone());
                piece.kind = kind.to_owned();
                piece.name = name.to_owned();
                piece.bytes = content.len() as u64;
                piece.sha256.clone_from(&sha256);
            }
            piece
        })
        .collect();
    let put = insist(agent, lease, || {
        let (mut client, pieces) = (agent.connection.patient_client(), tokio_stream::iter(pieces.clone()));
        async move { client.put_artifact(pieces).await }
    });
    note_status(agent, lease, put.await?.status)
}
