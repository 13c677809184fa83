//! The predictions of held-out rows that the folds of a refit's trial left: a refit calibrates by them.

use tonic::Code;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::lease::LeaseClaim;
use trawl_domain::limits::CALIBRATION_BYTES_MAX;
use trawl_engine::analysis::HeldOutFiles;
use trawl_proto::v1;

use super::connection::Connection;
use super::dataset::DatasetError;

/// The files of so many folds, or why they are of no use: one was too large to be kept, or the trial is not among the best any more.
///
/// # Errors
/// The coordinator does not send one that is there.
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
        let Some(content) = fetch(connection, lease, &name).await? else {
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

/// A file of the trial; `None` if it left none of that name.
async fn fetch(connection: &Connection, lease: LeaseClaim, name: &str) -> Result<Option<Vec<u8>>, DatasetError> {
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
        if content.len() as u64 > ArtifactKind::Predictions.bytes_max() {
            return Err(failed(tonic::Status::out_of_range("it is larger than any such file")));
        }
    }
    Ok(Some(content))
}
