//! The artifacts that are drawn, read from the forms of `docs/artifacts.md`.

mod json;
mod predictions;
mod tensors;

pub(crate) use json::{ActivationProfiles, Activations, Calibration, ConfusionMatrix, Histogram, WeightHistograms};
pub(crate) use predictions::{Outcome, Predictions, Split};
pub(crate) use tensors::{FeatureMaps, Misclassified, Samples, Stack};

/// An artifact that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("artifact {artifact}: {reason}")]
pub(crate) struct ArtifactError {
    /// Its file name.
    pub(crate) artifact: String,
    pub(crate) reason: String,
}

impl ArtifactError {
    fn new(artifact: &str, reason: impl Into<String>) -> Self {
        Self {
            artifact: artifact.to_owned(),
            reason: reason.into(),
        }
    }
}
