//! Sends the files that a job leaves, in pieces, before the job is finished.

use std::sync::Arc;

use tracing::warn;
use trawl_domain::artifact::{ArtifactKind, EndedMember, Ranking, weights_file};
use trawl_domain::dataset::FileHash;
use trawl_domain::job::JobMember;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::WEIGHTS_BYTES_MAX;
use trawl_engine::EngineError;
use trawl_proto::v1;

use super::Agent;
use super::job_error::JobError;
use super::pieces::pieces;
use super::retry::write;
use super::training::Trained;

/// Sends one file: of the job's refit, or of the trial of this member. It is visible once the job is finished.
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

/// The weights of a member.
pub(super) struct Weights {
    member: usize,
    fold: u32,
    content: Vec<u8>,
}

/// The weights of those trials that may be among the study's best: a job's networks are small enough to be in memory at once.
///
/// # Errors
/// The weights cannot be had.
pub(super) fn weights_of_best<T: Trained>(
    ranking: &Ranking,
    members: &[JobMember],
    trained: &T,
) -> Result<Vec<Weights>, EngineError> {
    let ended: Vec<EndedMember> = members
        .iter()
        .zip(trained.metrics())
        .map(|(member, metrics)| EndedMember {
            owner: member.owner,
            fold: member.fold,
            metrics: *metrics,
        })
        .collect();
    let kept = ranking.may_be_kept(&ended).into_iter();
    kept.map(|member| {
        Ok(Weights {
            member,
            fold: members[member].fold,
            content: trained.weights(member)?,
        })
    })
    .collect()
}

/// Sends the weights of members, each under the name of its fold.
///
/// # Errors
/// As [`put_artifact`].
pub(super) async fn put_weights(agent: &Arc<Agent>, lease: LeaseClaim, weights: Vec<Weights>) -> Result<(), JobError> {
    for Weights { member, fold, content } in weights {
        if content.len() as u64 > WEIGHTS_BYTES_MAX {
            // The search goes on without: it is about the losses.
            warn!(
                job.id = %lease.job_id,
                artifact.bytes = content.len(),
                "weights are too large to be kept"
            );
            continue;
        }
        let kind = ArtifactKind::Weights.as_str();
        put_artifact(agent, lease, Some(member as u32), kind, &weights_file(fold), content).await?;
    }
    Ok(())
}
