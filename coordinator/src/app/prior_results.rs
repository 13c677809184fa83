//! Prior results: completed trials of other studies that a study counts as its own from the start.

use trawl_domain::id::StudyId;
use trawl_domain::limits::{LEARNING_TRIALS_MAX, PRIOR_RESULTS_MAX};
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;

use super::{App, AppError};
use crate::store::proposals::{self, PriorResult};
use crate::store::studies;

/// Results of other studies.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior {
    /// Results that lie in this study's space, in order.
    pub(super) results: Vec<PriorResult>,
    /// The number of results from each study, in a sentence each.
    pub(super) notes: Vec<String>,
}

/// Gathers the results of the studies `from`, by name or id, for a checked study.
///
/// # Errors
/// Violations of `from`: a study does not exist or has not ended, or its objectives or loss differ.
pub(super) async fn gather(app: &App, study: &Study, from: &[String]) -> Result<Prior, AppError> {
    let mut prior = Prior::default();
    let mut violations = Violations::new();
    let mut seen = Vec::new();
    for (place, name) in from.iter().enumerate() {
        match of_study(app, study, name, &mut prior).await? {
            Ok(study_id) if seen.contains(&study_id) => {
                violations.add(
                    format!("from[{place}]"),
                    format!("'{name}' is there already, by its name or its id"),
                );
            }
            Ok(study_id) => seen.push(study_id),
            Err(description) => violations.add(format!("from[{place}]"), description),
        }
    }
    violations.into_result(Some(prior)).map_err(AppError::from)
}

/// Takes the results of one study, or gives the reason against it.
async fn of_study(
    app: &App,
    study: &Study,
    name: &str,
    prior: &mut Prior,
) -> Result<Result<StudyId, String>, AppError> {
    let study_id = match app.find_study(name).await {
        Ok(record) => record.study_id,
        Err(AppError::NotFound(_)) => return Ok(Err(format!("there is no study '{name}'"))),
        Err(error) => return Err(error),
    };
    // Locked, so that the study cannot go on between the check and the reading of results.
    let mut tx = app.begin().await?;
    let record = studies::lock(&mut tx, study_id).await?;
    if !record.state.is_final() {
        return Ok(Err(format!(
            "'{name}' is {}, and its results are taken once it has ended",
            record.state
        )));
    }
    let other = app.study_of(&record)?;
    let other = &other.study;
    if (other.objective, &other.further, &other.f1_class) != (study.objective, &study.further, &study.f1_class) {
        return Ok(Err(format!(
            "'{name}' has other objectives, and so values that cannot be compared"
        )));
    }
    if other.training.loss != study.training.loss {
        return Ok(Err(format!(
            "'{name}' trains with {}, and so its values cannot be compared",
            other.training.loss
        )));
    }
    if study.ranks_by_loss() && other.training.loss_settings() != study.training.loss_settings() {
        return Ok(Err(format!(
            "'{name}' has another label_smoothing, focal_gamma or class_weights, and so its values cannot be compared"
        )));
    }
    let results = proposals::completed(&mut tx, study_id, LEARNING_TRIALS_MAX).await?;
    tx.rollback().await?;
    let before = prior.results.len();
    let fitting = results.into_iter().filter(|result| study.space.has(&result.params));
    prior.results.extend(fitting.take(PRIOR_RESULTS_MAX - before));
    prior.notes.push(format!(
        "{} of {} completed trials of '{name}' count as results of this study",
        prior.results.len() - before,
        record.trials_completed
    ));
    Ok(Ok(study_id))
}
