//! Sends the artifacts of a refit's fit on all training rows, each file as soon as it is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::lease::LeaseClaim;
use trawl_engine::Control;
use trawl_engine::analysis::{Artifact, SkippedArtifact};

use super::Agent;
use super::artifacts::put_artifact;
use super::job_error::JobError;
use super::progress::Progress;
use super::thread::on_thread;
use super::training::Trained;

/// Sends the artifacts of a fit on all training rows: its weights, and the files of the analysis.
///
/// # Errors
/// The lease is lost, the coordinator refuses a file, or the analysis makes no progress for `limit`. A file that cannot
/// be made is no error.
pub(super) async fn put_refit_artifacts<T: Trained>(
    agent: &Arc<Agent>,
    lease: LeaseClaim,
    limit: Duration,
    trained: T,
    control: Control,
) -> Result<(), JobError> {
    put(agent, lease, ArtifactKind::Weights, trained.weights(0)?).await?;
    let (sender, mut made) = mpsc::channel(1);
    let progress = Progress::of(control.clone());
    let shown = progress.clone();
    let analysis = on_thread(limit, progress, move || {
        // A closed channel means that the lease is lost, and nothing more has to be made.
        trained.analyse(&control, &mut |artifact| {
            shown.wait(|| sender.blocking_send(artifact)).is_ok()
        })
    });
    let putting = async {
        while let Some(Artifact { kind, content }) = made.recv().await {
            match content {
                Ok(content) => put(agent, lease, kind, content).await?,
                Err(reason) => left_out(lease, kind.refit_file(), &reason),
            }
        }
        Ok(())
    };
    let (analysed, ()) = tokio::try_join!(biased; analysis, putting)?;
    match analysed {
        Ok(()) => Ok(()),
        Err(SkippedArtifact::Interrupted) => Err(JobError::Interrupted),
        Err(reason) => {
            left_out(lease, "all but the weights", &reason);
            Ok(())
        }
    }
}

async fn put(agent: &Arc<Agent>, lease: LeaseClaim, kind: ArtifactKind, content: Vec<u8>) -> Result<(), JobError> {
    put_artifact(agent, lease, None, kind.as_str(), kind.refit_file(), content).await
}

fn left_out(lease: LeaseClaim, name: &str, reason: &SkippedArtifact) {
    warn!(job.id = %lease.job_id, artifact.name = name, error = %reason, "artifact left out");
}
