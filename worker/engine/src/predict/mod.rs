//! Predictions: a trained network, read back from a refit's files, predicts rows whose targets are unknown.
//! `trawl-worker predict` is its command line; it needs no coordinator.

mod answers;
mod input;
mod network;

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use trawl_dataset::{FileContent, SampleShape};
use trawl_domain::limits::{ARTIFACT_BYTES_MAX, WEIGHTS_BYTES_MAX};

use crate::ensemble::Ensemble;
use crate::weights::{from_safetensors, of_folds};
use crate::{Engine, EngineError};
use answers::Answers;
use input::Kind;
pub use network::{Network, NetworkError};

/// A request for predictions by a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `network.json` of a refit.
    pub network: PathBuf,
    /// Its `weights.safetensors`.
    pub weights: PathBuf,
    /// One table, or files of images of one kind.
    pub inputs: Vec<PathBuf>,
    /// With classes: true if each class gets a column.
    pub probabilities: bool,
}

/// Why there are no predictions.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// A file cannot be read as the expected kind.
    #[error("{}: {reason}", file.display())]
    File {
        /// Its path, as given.
        file: PathBuf,
        /// The reason, with the line where there are lines.
        reason: String,
    },
    /// The files are valid, but do not fit together.
    #[error("{0}")]
    Inputs(String),
    /// The engine failed.
    #[error("the network gives no answer: {0}")]
    Network(#[from] EngineError),
    /// The predictions cannot be written.
    #[error("cannot write the predictions: {0}")]
    Output(#[source] io::Error),
}

impl PredictError {
    fn file(file: &Path, reason: impl ToString) -> Self {
        Self::File {
            file: file.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    /// True if the given files are at fault, and not this machine or this program.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Inputs(_))
    }
}

/// Writes the predictions for all rows of all inputs as CSV, in their order. Rows of one file go through the network in
/// pieces of bounded memory, and one file at a time is in memory. `note` gets a line for each column of a table with unknown
/// words or missing values, before the table's predictions.
///
/// # Errors
/// The first invalid file, with the reason; an engine that fails; or an output that is closed.
pub fn predict(
    request: &Request,
    engine: &impl Engine,
    output: &mut dyn Write,
    note: &mut dyn FnMut(&str),
) -> Result<(), PredictError> {
    let (network, networks) = load(request, engine)?;
    let ensemble = Ensemble::new(networks.iter().collect())?;
    let is_image = matches!(network.architecture().input, SampleShape::Image { .. });
    if !is_image && request.inputs.len() > 1 {
        return Err(PredictError::Inputs(
            "the network takes the rows of a table: give it one file at a time".to_owned(),
        ));
    }
    let mut answers = Answers::new(&network, engine, &ensemble, request.probabilities, output)?;
    let mut first: Option<(&Path, Kind)> = None;
    for file in &request.inputs {
        let failed = |error: io::Error| PredictError::file(file, format!("cannot be read: {error}"));
        let content = File::open(file).and_then(FileContent::new).map_err(failed)?;
        let kind = Kind::of(file, &trawl_dataset::first_bytes(&content).map_err(failed)?);
        match first {
            Some((first, of_first)) if of_first != kind => {
                return Err(PredictError::Inputs(format!(
                    "{}: is {kind}, and {} is {of_first}: give files of one kind",
                    file.display(),
                    first.display()
                )));
            }
            Some(_) => {}
            None => first = Some((file, kind)),
        }
        let rows = kind
            .rows(&network, &content)
            .map_err(|reason| PredictError::file(file, reason))?;
        for line in rows.replacements(network.inputs()) {
            note(&line);
        }
        answers.write(file, rows)?;
    }
    answers.finish()
}

fn load<E: Engine>(request: &Request, engine: &E) -> Result<(Network, Vec<E::Networks>), PredictError> {
    let network = Network::parse(&read(&request.network, ARTIFACT_BYTES_MAX)?)
        .map_err(|error| PredictError::file(&request.network, error))?;
    let weights = read(&request.weights, WEIGHTS_BYTES_MAX)?;
    let parameters = match network.is_ensemble() {
        true => of_folds(network.architecture(), &weights, network.fitted().len()),
        false => from_safetensors(network.architecture(), &weights).map(|parameters| vec![parameters]),
    };
    let parameters = parameters.map_err(|error| PredictError::file(&request.weights, error))?;
    drop(weights);
    let networks = parameters
        .into_iter()
        .zip(network.fitted())
        .map(|(parameters, fitted)| engine.network(network.architecture().clone(), parameters, Some(fitted)));
    let networks = networks.collect::<Result<_, _>>()?;
    Ok((network, networks))
}

/// The bytes of a file, which may have at most `bytes_max`.
fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, PredictError> {
    let failed = |error: io::Error| PredictError::file(path, format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(PredictError::file(path, format!("is larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}
