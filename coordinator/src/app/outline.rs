//! The outline of a study, which answers a dry run: columns, rows, network and jobs as the coordinator understood them.

use trawl_dataset::{InputColumn, SampleShape};
use trawl_domain::estimate;
use trawl_domain::fold::FoldSize;
use trawl_domain::job::Window;
use trawl_domain::study::Study;

use super::AppError;
use super::read_dataset::DatasetFiles;

/// A study as the coordinator understood it.
#[derive(Debug)]
pub struct Outline {
    /// Columns of a table, with their numbers of empty cells. Empty for arrays, and for files that the submitter may not see.
    pub columns: Vec<(InputColumn, u32)>,
    /// Training rows.
    pub train_rows: u32,
    /// Classes with their training rows; empty in the same cases.
    pub classes: Vec<(String, u32)>,
    /// Sizes of folds, and how many folds have each.
    pub folds: Vec<(FoldSize, u32)>,
    /// The network's input.
    pub input: SampleShape,
    /// The network of the first trial, in the order of its layers.
    pub layers: Vec<LayerOutline>,
    /// Jobs in which the first trials train.
    pub first_jobs: u32,
    /// Trials in these jobs.
    pub first_trials: u32,
    /// Epochs of folds of the whole search if no trial fails; `None` where a searched number of epochs leaves it open.
    pub fold_epochs: Option<u64>,
    /// Estimated time on one core of a CPU; `None` where a searched number of epochs leaves it open.
    pub core_seconds: Option<f64>,
    /// Jobs that the workers online can train at once.
    pub slots: u32,
}

/// A layer of a network.
#[derive(Debug)]
pub struct LayerOutline {
    /// Its name in PyTorch: its index, with the indices of the residuals around it in front, as in `3.0`.
    pub name: String,
    /// Its kind with its settings.
    pub text: String,
    /// Its output.
    pub output: SampleShape,
    /// Trainable numbers.
    pub weights: u64,
}

/// The outline of a checked study, from its first trials and the workers' number of slots.
pub(super) fn outline(
    study: &Study,
    files: &DatasetFiles,
    window: Option<&Window>,
    slots: u32,
) -> Result<Outline, AppError> {
    let first = window.and_then(|window| window.trials.first());
    let mut folds: Vec<(FoldSize, u32)> = Vec::new();
    for size in &study.fold_sizes {
        match folds.iter_mut().find(|(known, _)| known == size) {
            Some((_, count)) => *count += 1,
            None => folds.push((*size, 1)),
        }
    }
    let is_seen = files.are_registered();
    let inputs = files.inputs.iter().filter(|_| is_seen);
    let columns = inputs.flat_map(|inputs| inputs.columns().iter().cloned().zip(files.rows.gaps().iter().copied()));
    let classes = files.classes.iter().filter(|_| is_seen).flatten().cloned();
    Ok(Outline {
        columns: columns.collect(),
        train_rows: study.shape.train_rows,
        classes: classes.zip(files.class_sizes.iter().copied()).collect(),
        folds,
        input: study.shape.sample,
        layers: match first {
            Some(trial) => layers(study, &trial.params)?,
            None => Vec::new(),
        },
        first_jobs: window.map_or(0, |window| window.jobs.len() as u32),
        first_trials: window.map_or(0, |window| window.trials.len() as u32),
        fold_epochs: study.search_epoch_reports(),
        core_seconds: match window.map(|window| estimate::core_seconds(study, window)) {
            Some(estimate) => estimate.map_err(|violation| AppError::Internal(violation.to_string()))?,
            None => None,
        },
        slots,
    })
}

fn layers(study: &Study, params: &trawl_domain::space::Params) -> Result<Vec<LayerOutline>, AppError> {
    let config = study.config(params);
    let network = config
        .map_err(|violation| AppError::Internal(violation.to_string()))?
        .architecture;
    let shapes = network
        .shapes()
        .map_err(|violation| AppError::Internal(violation.to_string()))?;
    let layers = network.layers.iter().zip(network.names()).zip(shapes.windows(2));
    Ok(layers
        .map(|((layer, name), shapes)| {
            let settings = layer.settings().map(|(name, value)| format!(" {name}={value}"));
            LayerOutline {
                name,
                text: format!("{}{}", layer.kind().name, settings.collect::<String>()),
                output: shapes[1],
                weights: layer.params(shapes[0]),
            }
        })
        .collect())
}
