//! Sends the files that a job leaves, in pieces, before the job is finished.

use std::sync::Arc;

use tracing::warn;
use trawl_dataset::FileHash;
use trawl_domain::artifact::{ArtifactKind, EndedMember, Ranking};
use trawl_domain::job::JobMember;
use trawl_domain::lease::LeaseClaim;
use trawl_engine::EngineError;
use trawl_proto::v1;

use super::Agent;
use super::job_error::JobError;
use super::pieces::pieces;
use super::retry::write;
use super::training::Trained;

/// Sends one file of the job's refit, or of this member's trial. It becomes visible when the job is finished.
///
/// # Errors
/// The lease is lost, or the coordinator refuses the file.
pub(super) async fn put_artifact(
    agent: &Arc<Agent>,
    lease: LeaseClaim,
    member: Option<u32>,
    kind: &str,
    name: &str,
    content: Vec<u8>,
) -> Result<(), JobError> {
    let head = v1::PutArtifactRequest {
        lease: Some(lease.into()),
        member,
        kind: kind.to_owned(),
        name: name.to_owned(),
        bytes: content.len() as u64,
        sha256: FileHash::of(&content).to_string(),
        chunk: Vec::new(),
    };
    let content = Arc::new(content);
    write(agent, lease, || {
        let (mut client, content, head) = (agent.connection.patient_client(), Arc::clone(&content), head.clone());
        let pieces = pieces(content).map(|chunk| v1::PutArtifactRequest {
            chunk,
            ..Default::default()
        });
        let messages = tokio_stream::iter(std::iter::once(head).chain(pieces));
        async move { Ok(client.put_artifact(messages).await?.into_inner().status) }
    })
    .await
}

/// A file of a trial's fold.
pub(super) struct FoldFile {
    member: usize,
    kind: ArtifactKind,
    name: String,
    content: Vec<u8>,
}

impl FoldFile {
    /// The only file of this kind from a member; `None` if the member leaves none.
    pub(super) fn new(members: &[JobMember], member: usize, kind: ArtifactKind, content: Vec<u8>) -> Option<Self> {
        let name = kind.file(Some(members[member].fold))?;
        Some(Self {
            member,
            kind,
            name,
            content,
        })
    }

    /// Sends the file.
    ///
    /// # Errors
    /// As [`put_artifact`].
    pub(super) async fn put(self, agent: &Arc<Agent>, lease: LeaseClaim) -> Result<(), JobError> {
        let Self {
            member,
            kind,
            name,
            content,
        } = self;
        if content.len() as u64 > kind.bytes_max() {
            // The search goes on without the file: it needs only the losses.
            warn!(
                job.id = %lease.job_id,
                artifact.name = name,
                artifact.bytes = content.len(),
                "artifact is too large to be kept"
            );
            return Ok(());
        }
        put_artifact(agent, lease, Some(member as u32), kind.as_str(), &name, content).await
    }
}

/// Members whose trials may be among the study's best, so that their files are kept.
pub(super) fn members_of_best<T: Trained>(ranking: &Ranking, members: &[JobMember], trained: &T) -> Vec<usize> {
    let ended: Vec<EndedMember> = members
        .iter()
        .zip(trained.metrics())
        .map(|(member, metrics)| EndedMember {
            owner: member.owner,
            fold: member.fold,
            metrics: *metrics,
        })
        .collect();
    ranking.may_be_kept(&ended)
}

/// The weights of members: a job's networks are small enough to be in memory together.
///
/// # Errors
/// The weights cannot be read.
pub(super) fn weights<T: Trained>(
    kept: &[usize],
    members: &[JobMember],
    trained: &T,
) -> Result<Vec<FoldFile>, EngineError> {
    let mut files = Vec::with_capacity(kept.len());
    for member in kept {
        let content = trained.weights(*member)?;
        files.extend(FoldFile::new(members, *member, ArtifactKind::Weights, content));
    }
    Ok(files)
}
