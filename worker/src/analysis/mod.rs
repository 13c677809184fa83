//! The analysis: what a refit leaves beside its weights, once its fit on all training rows has ended. `docs/artifacts.md` says
//! what each file holds.
//!
//! It asks the trainer for outputs, and does the rest on plain numbers. One file at a time is in memory.

mod activations;
mod answers;
mod classes;
mod histograms;
mod images;
mod network;
mod parameters;
mod predictions;

use serde::Serialize;
use trawl_domain::artifact::ArtifactKind;
use trawl_domain::dataset::{Format, SampleShape, Targets};
use trawl_domain::layer::Layer;
use trawl_domain::limits::ARTIFACT_BYTES_MAX;

use crate::trainer::{DeviceTable, Interrupter, TrainError, Trained};
use answers::Answers;
pub(crate) use answers::ClassAnswer;
use parameters::Parameters;

/// The member that is looked into: a fit on all training rows is a job of its own.
const MEMBER: usize = 0;

/// A fit on all training rows, and what it was fitted to.
#[derive(Debug)]
pub struct Subject {
    /// The fit.
    pub trained: Trained,
    /// Its parameters, as safetensors.
    pub weights: Vec<u8>,
    /// Probability of each dropout layer, from the input on.
    pub dropout: Vec<f64>,
    /// How the dataset's files are read: it knows the columns' names.
    pub format: Format,
    /// Training rows.
    pub train: DeviceTable,
    /// Test rows, if there are any; they may have no targets.
    pub test: Option<DeviceTable>,
    /// Features for which activations are kept; empty lets training rows be chosen.
    pub inputs: Vec<Vec<f32>>,
}

/// One file.
#[derive(Debug)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// Its bytes, or why there are none.
    pub content: Result<Vec<u8>, LeftOut>,
}

/// Why an artifact is left out. The refit is worth keeping without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeftOut {
    /// JSON and figures have no word for it.
    #[error("a number in it is not finite")]
    NotFinite,
    /// It is larger than any artifact may be.
    #[error("it would be larger than {ARTIFACT_BYTES_MAX} bytes")]
    TooLarge,
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
    /// The network gave no answer.
    #[error(transparent)]
    Network(#[from] TrainError),
    /// It cannot be written down.
    #[error("it cannot be written: {0}")]
    Format(String),
}

/// What makes a file; `None` where the network or the rows are of another sort than the file is for.
type Maker = fn(&Analysis<'_>) -> Result<Option<Vec<u8>>, LeftOut>;

const MAKERS: [(ArtifactKind, Maker); 8] = [
    (ArtifactKind::Network, network::network),
    (ArtifactKind::Predictions, predictions::predictions),
    (ArtifactKind::WeightHistograms, histograms::weight_histograms),
    (ArtifactKind::ActivationProfiles, activations::profiles),
    (ArtifactKind::Activations, activations::activations),
    (ArtifactKind::ConfusionMatrix, classes::confusion_matrix),
    (ArtifactKind::FeatureMaps, images::feature_maps),
    (ArtifactKind::Misclassified, images::misclassified),
];

/// A subject under analysis.
struct Analysis<'a> {
    subject: &'a Subject,
    interrupter: &'a Interrupter,
    parameters: Parameters<'a>,
    /// For the test rows, if there are any.
    answers: Option<Answers>,
}

/// Test rows with what they are and what they were taken for, where classes are predicted.
struct LabelledTest<'a> {
    table: &'a DeviceTable,
    labels: Vec<u32>,
    names: Vec<String>,
    answers: &'a [ClassAnswer],
}

/// Makes all files that the subject leaves beside its weights, one after the other. `emit` takes each, may wait, and says
/// whether there shall be more. Once interrupted, nothing more is made.
///
/// # Errors
/// The network gives no answers for the test rows, so that there is nothing to analyse.
pub fn analyse(
    subject: &Subject,
    interrupter: &Interrupter,
    emit: &mut dyn FnMut(Artifact) -> bool,
) -> Result<(), LeftOut> {
    let analysis = Analysis {
        subject,
        interrupter,
        parameters: Parameters::read(&subject.weights)?,
        answers: match &subject.test {
            Some(test) => Some(Answers::of(&subject.trained, test.inputs(), interrupter)?),
            None => None,
        },
    };
    for (kind, make) in MAKERS {
        let made = make(&analysis).and_then(|content| match content {
            Some(content) if content.len() as u64 > ARTIFACT_BYTES_MAX => Err(LeftOut::TooLarge),
            made => Ok(made),
        });
        if interrupter.is_interrupted() {
            return Err(LeftOut::Interrupted);
        }
        if let Some(content) = made.transpose()
            && !emit(Artifact { kind, content })
        {
            break;
        }
    }
    Ok(())
}

impl Analysis<'_> {
    fn layers(&self) -> &[Layer] {
        &self.subject.trained.architecture().layers
    }

    fn input(&self) -> SampleShape {
        self.subject.trained.architecture().input
    }

    /// The test rows, where they have classes.
    fn labelled_test(&self) -> Result<Option<LabelledTest<'_>>, LeftOut> {
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

    /// Names of the features: columns, or `x0`, `x1`, … where they have none. `None` for images.
    fn features(&self) -> Option<Vec<String>> {
        match (self.input(), &self.subject.format) {
            (SampleShape::Image { .. }, _) => None,
            (SampleShape::Vector(_), Format::Csv(columns)) => Some(columns.features.clone()),
            (SampleShape::Vector(len), _) => Some((0..len).map(|index| format!("x{index}")).collect()),
        }
    }

    /// Name of the target.
    fn target(&self) -> &str {
        match &self.subject.format {
            Format::Csv(columns) => &columns.target,
            _ => "y",
        }
    }
}

/// As JSON. The numbers in it were checked: JSON would make nulls of those that are not finite.
fn to_json(value: &impl Serialize) -> Result<Vec<u8>, LeftOut> {
    serde_json::to_vec(value).map_err(|error| LeftOut::Format(error.to_string()))
}

fn check_finite<'a>(values: impl IntoIterator<Item = &'a f32>) -> Result<(), LeftOut> {
    if values.into_iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(LeftOut::NotFinite)
    }
}

#[cfg(test)]
mod tests;
