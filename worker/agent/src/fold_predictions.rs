//! Sends the predictions from the folds of the best trials, each file as soon as it is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::job::JobMember;
use trawl_domain::lease::LeaseClaim;
use trawl_engine::Control;
use trawl_engine::analysis::SkippedArtifact;

use super::Agent;
use super::artifacts::FoldFile;
use super::job_error::JobError;
use super::progress::Progress;
use super::thread::on_thread;
use super::training::Trained;

/// Sends the predictions of these members' networks for the rows held out of their training.
///
/// # Errors
/// The job was stopped, the lease is lost, the coordinator refuses a file, or making one makes no progress for `limit`. A file that cannot be made is no error.
pub(super) async fn put_fold_predictions<T: Trained>(
    agent: &Arc<Agent>,
    lease: LeaseClaim,
    limit: Duration,
    trained: T,
    (kept, members): (Vec<usize>, Vec<JobMember>),
    control: Control,
) -> Result<(), JobError> {
    let (sender, mut made) = mpsc::channel(1);
    let progress = Progress::of(control.clone());
    let shown = progress.clone();
    let making = on_thread(limit, progress, move || {
        for member in kept {
            let content = trained.held_out(member, &control);
            let file = content.map(|content| FoldFile::new(&members, member, ArtifactKind::Predictions, content));
            if matches!(file, Err(SkippedArtifact::Interrupted)) {
                return Err(JobError::Interrupted);
            }
            // A closed channel means that the lease is lost, and nothing more has to be made.
            if shown.wait(|| sender.blocking_send((member, file))).is_err() {
                break;
            }
        }
        Ok(())
    });
    let putting = async {
        while let Some((member, file)) = made.recv().await {
            match file {
                Ok(Some(file)) => file.put(agent, lease).await?,
                Ok(None) => {}
                Err(reason) => {
                    warn!(job.id = %lease.job_id, job.member = member, error = %reason, "predictions of a fold left out");
                }
            }
        }
        Ok(())
    };
    let (made, ()) = tokio::try_join!(biased; making, putting)?;
    made
}
