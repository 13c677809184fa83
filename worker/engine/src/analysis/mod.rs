//! The analysis: the artifacts of a trial's fold, and the artifacts of a refit except its weights, written once its fit on
//! all training rows has ended. `docs/artifacts.md` describes each file.
//!
//! The analysis asks the networks for outputs, and works on plain numbers. One file at a time is in memory.

mod activations;
mod answers;
mod calibration;
mod classes;
mod held_out;
mod histograms;
mod images;
mod model;
mod network;
mod predictions;

use serde::Serialize;
use trawl_dataset::{Format, SampleShape, Targets};
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::layer::Layer;
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use crate::ensemble::Ensemble;
use crate::weights::Parameter;
use crate::{Control, EngineError, Networks, Table};
use answers::Answers;
pub(crate) use answers::ClassAnswer;
pub use calibration::HeldOutFiles;
use calibration::{Calibrated, calibrate};
pub use held_out::HeldOut;
pub(crate) use predictions::{cell, named, yes_or_no};

/// The analysed member: a fit on all training rows has a job of its own.
const MEMBER: usize = 0;

/// Data and settings of a fit on all training rows.
#[derive(Debug)]
pub struct AnalysisInput<T> {
    /// Probability of each dropout layer, from the input on.
    pub dropout: Vec<f64>,
    /// The format of the dataset's files, with the columns' names.
    pub format: Format,
    /// Training rows.
    pub train: T,
    /// Test rows, if there are any; they may have no targets.
    pub test: Option<T>,
    /// Features for which activations are kept; if empty, training rows are chosen.
    pub inputs: Vec<Vec<f32>>,
    /// The predictions that probabilities are calibrated with; `None` without calibration.
    pub held_out: Option<HeldOutFiles>,
}

/// One file.
#[derive(Debug)]
pub struct Artifact {
    /// Its kind.
    pub kind: ArtifactKind,
    /// Its bytes, or why there are none.
    pub content: Result<Vec<u8>, SkippedArtifact>,
}

/// Why an artifact is left out. The refit is kept without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkippedArtifact {
    /// JSON and figures cannot express it.
    #[error("a number in it is not finite")]
    NotFinite,
    /// It is larger than any artifact may be.
    #[error("it would be larger than {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge,
    /// It was stopped.
    #[error("interrupted")]
    Interrupted,
    /// The network gave no answer.
    #[error(transparent)]
    Network(#[from] EngineError),
    /// It cannot be written.
    #[error("it cannot be written: {0}")]
    Format(String),
}

/// Artifacts of a single network; an ensemble does not have them.
const OF_ONE_NETWORK: [ArtifactKind; 4] = [
    ArtifactKind::WeightHistograms,
    ArtifactKind::ActivationProfiles,
    ArtifactKind::Activations,
    ArtifactKind::FeatureMaps,
];

/// Makes a file; `None` where the file does not apply to such a network or such rows.
type Maker<N> = fn(&Analysis<'_, N>) -> Result<Option<Vec<u8>>, SkippedArtifact>;

/// Networks under analysis.
struct Analysis<'a, N: Networks> {
    /// All of them.
    ensemble: &'a Ensemble<'a, N>,
    /// The first one.
    networks: &'a N,
    subject: &'a AnalysisInput<N::Table>,
    control: &'a Control,
    parameters: Vec<Parameter>,
    /// The temperature, where probabilities are to be calibrated.
    calibrated: Option<Calibrated>,
    /// Predictions for the test rows, if there are any.
    answers: Option<Answers>,
}

/// Test rows with their true and predicted classes.
struct LabelledTest<'a, T> {
    table: &'a T,
    labels: Vec<u32>,
    names: Vec<String>,
    answers: &'a [ClassAnswer],
}

/// Makes all artifacts of a fit on all training rows, or of an ensemble, beside their weights, one after the other.
/// `emit` takes each, may wait, and returns whether to make more. Once training is stopped, no more are made.
///
/// # Errors
/// The network gives no answers for the test rows, so that there is nothing to analyse.
pub fn analyse<N: Networks>(
    ensemble: &Ensemble<'_, N>,
    subject: &AnalysisInput<N::Table>,
    control: &Control,
    emit: &mut dyn FnMut(Artifact) -> bool,
) -> Result<(), SkippedArtifact> {
    let makers: [(ArtifactKind, Maker<N>); 10] = [
        (ArtifactKind::Network, network::network),
        (ArtifactKind::Model, model::model),
        (ArtifactKind::Calibration, calibration::calibration),
        (ArtifactKind::Predictions, predictions::predictions),
        (ArtifactKind::WeightHistograms, histograms::weight_histograms),
        (ArtifactKind::ActivationProfiles, activations::profiles),
        (ArtifactKind::Activations, activations::activations),
        (ArtifactKind::ConfusionMatrix, classes::confusion_matrix),
        (ArtifactKind::FeatureMaps, images::feature_maps),
        (ArtifactKind::Misclassified, images::misclassified),
    ];
    let networks = ensemble.first();
    let calibrated = match (&subject.held_out, subject.train.classes()) {
        (Some(files), Some(classes)) => Some(calibrate(files, classes, control)?),
        _ => None,
    };
    let temperature = temperature(calibrated.as_ref());
    let analysis = Analysis {
        ensemble,
        networks,
        subject,
        control,
        parameters: networks.parameters(MEMBER)?,
        answers: match &subject.test {
            Some(test) => Some(Answers::of(ensemble, test, temperature, control)?),
            None => None,
        },
        calibrated,
    };
    let is_one = ensemble.only().is_some();
    for (kind, make) in makers {
        if !is_one && OF_ONE_NETWORK.contains(&kind) {
            continue;
        }
        let made = make(&analysis).and_then(|content| match content {
            Some(content) if content.len() as u64 > ARTIFACT_BYTES_MAX => Err(SkippedArtifact::TooLarge),
            made => Ok(made),
        });
        if control.must_end() {
            return Err(SkippedArtifact::Interrupted);
        }
        if let Some(content) = made.transpose()
            && !emit(Artifact { kind, content })
        {
            break;
        }
    }
    Ok(())
}

/// The divisor of outputs before softmax.
fn temperature(calibrated: Option<&Calibrated>) -> f64 {
    match calibrated {
        Some(Ok((temperature, _))) => *temperature,
        Some(Err(_)) | None => 1.0,
    }
}

impl<N: Networks> Analysis<'_, N> {
    fn layers(&self) -> &[Layer] {
        &self.networks.architecture().layers
    }

    /// `weight` or `bias` of the layer with this index.
    fn parameter(&self, layer: usize, which: &str) -> Result<&Parameter, SkippedArtifact> {
        let names = self.networks.architecture().names();
        let name = names.get(layer).map(|name| format!("{name}.{which}"));
        let name = name.ok_or_else(|| SkippedArtifact::Format(format!("the network has no layer {layer}")))?;
        let found = self.parameters.iter().find(|parameter| parameter.name == name);
        found.ok_or_else(|| SkippedArtifact::Format(format!("the network has no parameter {name}")))
    }

    fn input(&self) -> SampleShape {
        self.networks.architecture().input
    }

    /// Number of the network's outputs.
    fn outputs(&self) -> usize {
        let output = self.networks.architecture().output();
        output.map_or(0, SampleShape::len) as usize
    }

    /// The test rows, where they have classes.
    fn labelled_test(&self) -> Result<Option<LabelledTest<'_, N::Table>>, SkippedArtifact> {
        let (Some(table), Some(answers)) = (&self.subject.test, &self.answers) else {
            return Ok(None);
        };
        let (Some(Targets::Classes { labels, names }), Some(answers)) = (table.targets()?, answers.classes()) else {
            return Ok(None);
        };
        Ok(Some(LabelledTest {
            table,
            labels,
            names,
            answers,
        }))
    }

    /// Names of the inputs: their columns' names, or `x0`, `x1`, … without names. `None` for images.
    fn features(&self) -> Option<Vec<String>> {
        match (self.input(), self.subject.train.known().inputs) {
            (SampleShape::Sequence { .. } | SampleShape::Image { .. }, _) => None,
            (SampleShape::Vector(_) | SampleShape::Table { .. }, Some(inputs)) => Some(inputs.names()),
            (SampleShape::Vector(len) | SampleShape::Table { len, .. }, None) => {
                Some((0..len).map(|index| format!("x{index}")).collect())
            }
        }
    }
}

/// As JSON. The numbers were checked before: JSON would turn non-finite ones into nulls.
fn to_json(value: &impl Serialize) -> Result<Vec<u8>, SkippedArtifact> {
    serde_json::to_vec(value).map_err(|error| SkippedArtifact::Format(error.to_string()))
}

fn check_finite<'a>(values: impl IntoIterator<Item = &'a f32>) -> Result<(), SkippedArtifact> {
    if values.into_iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(SkippedArtifact::NotFinite)
    }
}

#[cfg(test)]
mod tests;
