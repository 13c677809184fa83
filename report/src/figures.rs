//! The figures of a report, one file a subject. Each function says in plain data what there is to be seen.

mod classes;
mod curves;
mod fit;
mod front;
mod images;
mod network;
mod racing;
mod search;
mod settings;

#[cfg(test)]
mod tests;

use super::artifacts::{
    ActivationProfiles, Activations, ArtifactError, Calibration, ConfusionMatrix, FeatureMaps, Misclassified,
    Predictions, WeightHistograms,
};
use super::data::{ArtifactFile, RefitData, StudyData};
use super::figure::Figure;
use super::metric::Metric;
pub(crate) use search::value_by_trial;

/// A refit's figures, and what is wrong with its artifacts.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefitFigures {
    pub(crate) figures: Vec<Figure>,
    /// What is told of its probabilities.
    pub(crate) calibration: Option<Calibration>,
    /// Artifacts that could not be read.
    pub(crate) errors: Vec<ArtifactError>,
}

/// The figures of the search; those for which there is nothing yet are left out.
pub(crate) fn of_search(study: &StudyData) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(value_by_trial(study));
    figures.extend(front::front(study));
    figures.extend(front::hypervolume(study));
    figures.extend(racing::best_by_epochs(study));
    figures.extend(racing::rungs(study));
    figures.extend(settings::parallel_coordinates(study));
    figures.extend(settings::settings_and_value(study));
    figures.extend(settings::importance(study));
    figures.extend(settings::dependence(study));
    figures.extend(search::ranking(study));
    figures.extend(
        Metric::ALL
            .into_iter()
            .filter_map(|metric| curves::of_best_trials(study, metric)),
    );
    figures
}

/// The figures of a refit; those whose artifact is absent are left out.
pub(crate) fn of_refit(refit: &RefitData) -> RefitFigures {
    let number = refit.summary.refit;
    let predictions = read(&refit.files, "predictions", Predictions::parse);
    let profiles = read(&refit.files, "activation_profiles", ActivationProfiles::parse);
    let histograms = read(&refit.files, "weight_histograms", WeightHistograms::parse);
    let activations = read(&refit.files, "activations", Activations::parse);
    let maps = read(&refit.files, "feature_maps", FeatureMaps::parse);
    let confusion = read(&refit.files, "confusion_matrix", ConfusionMatrix::parse);
    let misclassified = read(&refit.files, "misclassified", Misclassified::parse);
    let calibration = read(&refit.files, "calibration", Calibration::parse);

    let mut drawn = RefitFigures::default();
    drawn.calibration = drawn.noted(calibration);
    let predictions = drawn.noted(predictions);
    let profiles = drawn.noted(profiles);
    let (histograms, activations) = (drawn.noted(histograms), drawn.noted(activations));
    let (maps, confusion, misclassified) = (drawn.noted(maps), drawn.noted(confusion), drawn.noted(misclassified));

    let mut figures = Vec::new();
    figures.extend(
        predictions
            .iter()
            .filter_map(|predictions| fit::training_points(number, predictions)),
    );
    figures.extend(
        Metric::ALL
            .into_iter()
            .filter_map(|metric| curves::of_refit(refit, metric)),
    );
    figures.extend(
        predictions
            .iter()
            .filter_map(|predictions| fit::fit(number, predictions, profiles.as_ref())),
    );
    figures.extend(
        profiles
            .iter()
            .flat_map(|profiles| network::activation_profiles(number, profiles)),
    );
    figures.extend(
        histograms
            .iter()
            .filter_map(|histograms| network::weight_histograms(number, histograms)),
    );
    figures.extend(
        activations
            .iter()
            .filter_map(|activations| network::activation_strength(number, activations)),
    );
    figures.extend(maps.iter().flat_map(|maps| images::of_feature_maps(number, maps)));
    figures.extend(
        confusion
            .iter()
            .flat_map(|confusion| classes::confusion(number, confusion)),
    );
    figures.extend(
        misclassified
            .iter()
            .filter_map(|samples| images::misclassified(number, samples)),
    );
    drawn.figures = figures;
    drawn
}

impl RefitFigures {
    /// What was read, or nothing and a note.
    fn noted<T>(&mut self, read: Option<Result<T, ArtifactError>>) -> Option<T> {
        match read? {
            Ok(artifact) => Some(artifact),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }
}

/// The artifact of a kind, where there is one.
fn read<T>(
    files: &[ArtifactFile],
    kind: &str,
    parse: fn(&str, &[u8]) -> Result<T, ArtifactError>,
) -> Option<Result<T, ArtifactError>> {
    let file = files.iter().find(|file| file.kind == kind)?;
    Some(parse(&file.name, &file.bytes))
}

/// The id of a refit's figure.
fn refit_id(refit: u32, name: &str) -> String {
    format!("refit-{refit}-{name}")
}

/// At most so many of the points, evenly spaced, and the last one.
fn thinned<T: Copy>(points: Vec<T>, max: usize) -> Vec<T> {
    let every = points.len().div_ceil(max.max(1)).max(1);
    if every == 1 {
        return points;
    }
    let last = points.last().copied();
    let is_last_kept = (points.len() - 1).is_multiple_of(every);
    let mut kept: Vec<T> = points.into_iter().step_by(every).collect();
    if !is_last_kept {
        kept.extend(last);
    }
    kept
}
