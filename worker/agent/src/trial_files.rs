//! Files from the folds of a refit's trial: predictions of held-out rows, with which a refit calibrates, and networks, where the refit keeps them.

use tonic::{Code, Status};
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::{ARTIFACT_BYTES_MAX, CALIBRATION_BYTES_MAX, WEIGHTS_BYTES_MAX};
use trawl_engine::analysis::HeldOutFiles;
use trawl_proto::v1;

use super::connection::Connection;
use super::dataset::DatasetError;

/// The files of the first `folds` folds, or why there are none: one was too large to be kept, or the trial is no longer among the best.
///
/// # Errors
/// The coordinator does not send an existing file.
pub(super) async fn held_out(
    connection: &Connection,
    lease: LeaseClaim,
    folds: u32,
) -> Result<HeldOutFiles, DatasetError> {
    let mut files = Vec::new();
    let mut bytes = 0;
    for fold in 0..folds {
        let Some(name) = ArtifactKind::Predictions.file(Some(fold)) else {
            continue;
        };
        let Some(content) = fetch(connection, lease, &name, ARTIFACT_BYTES_MAX).await? else {
            return Ok(Err(format!("its trial left no {name}")));
        };
        bytes += content.len() as u64;
        if bytes > CALIBRATION_BYTES_MAX {
            return Ok(Err(format!(
                "the predictions of its trial's folds are larger than {CALIBRATION_BYTES_MAX} bytes"
            )));
        }
        files.push((name, content));
    }
    Ok(Ok(files))
}

/// The networks' weights of the first `folds` folds, a file each.
///
/// # Errors
/// The trial left none for a fold, all of them are too large together, or the coordinator does not send one.
pub(super) async fn weights(
    connection: &Connection,
    lease: LeaseClaim,
    folds: u32,
) -> Result<Vec<Vec<u8>>, DatasetError> {
    let (mut files, mut bytes) = (Vec::new(), 0);
    for fold in 0..folds {
        let name = ArtifactKind::Weights.file(Some(fold)).unwrap_or_default();
        let content = fetch(connection, lease, &name, WEIGHTS_BYTES_MAX - bytes).await?;
        let content = content.ok_or_else(|| {
            let gone = Status::not_found("it is not kept: it was too large, or the trial is not among the three best");
            DatasetError::TrialFile(name, Box::new(gone))
        })?;
        bytes += content.len() as u64;
        files.push(content);
    }
    Ok(files)
}

/// A file of the trial, up to a number of bytes; `None` if the trial left none of that name.
async fn fetch(
    connection: &Connection,
    lease: LeaseClaim,
    name: &str,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, DatasetError> {
    let failed = |status| DatasetError::TrialFile(name.to_owned(), Box::new(status));
    let request = v1::GetTrialFileRequest {
        lease: Some(lease.into()),
        name: name.to_owned(),
    };
    let mut pieces = match connection.patient_client().get_trial_file(request).await {
        Ok(pieces) => pieces.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(failed(status)),
    };
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await.map_err(failed)? {
        content.extend_from_slice(&piece.chunk);
        if content.len() as u64 > bytes_max {
            return Err(failed(Status::out_of_range(
                "with those before it, it is larger than may be",
            )));
        }
    }
    Ok(Some(content))
}
