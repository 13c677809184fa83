//! Prior results: completed trials of other studies that count as a study's own from the start.

use trawl_domain::limits::PRIOR_RESULTS_MAX;
use trawl_domain::study::Study;
use trawl_domain::violation::Violations;

use super::{App, AppError};
use crate::store::proposals::{self, PriorResult};

/// Trials that are read at a time.
const PAGE_TRIALS: u32 = 512;

/// Results of other studies.
#[derive(Clone, Debug, Default)]
pub(super) struct Prior {
    /// Those that this study's space has, in order.
    pub(super) results: Vec<PriorResult>,
    /// How many of which study, a sentence each.
    pub(super) notes: Vec<String>,
}

/// Gathers the results of these studies, by name or id, for a study that was checked.
///
/// # Errors
/// Violations of `from`: a study is not there or has not ended, or it has other objectives or another loss.
pub(super) async fn gather(app: &App, study: &Study, from: &[String]) -> Result<Prior, AppError> {
    let mut prior = Prior::default();
    let mut violations = Violations::new();
    for (place, name) in from.iter().enumerate() {
        match of_study(app, study, name, &mut prior).await? {
            Ok(()) => {}
            Err(description) => violations.add(format!("from[{place}]"), description),
        }
    }
    violations.into_result(Some(prior)).map_err(AppError::from)
}

/// Takes the results of one study, or says what speaks against it.
async fn of_study(app: &App, study: &Study, name: &str, prior: &mut Prior) -> Result<Result<(), String>, AppError> {
    let record = match app.find_study(name).await {
        Ok(record) => record,
        Err(AppError::NotFound(_)) => return Ok(Err(format!("there is no study '{name}'"))),
        Err(error) => return Err(error),
    };
    if !record.state.is_final() {
        return Ok(Err(format!(
            "'{name}' is {}, and its results are taken once it has ended",
            record.state
        )));
    }
    let other = app.study_of(&record)?;
    let other = &other.study;
    if (other.objective, &other.further) != (study.objective, &study.further) {
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
    let mut conn = app.pool.acquire().await?;
    let (mut first, mut all, mut taken) = (0, 0, 0);
    loop {
        let page = proposals::completed(&mut conn, record.study_id, first, PAGE_TRIALS).await?;
        let Some((last, _)) = page.last() else { break };
        first = last + 1;
        all += page.len();
        let fitting = page.into_iter().filter(|(_, result)| study.space.has(&result.params));
        for (_, result) in fitting.take(PRIOR_RESULTS_MAX.saturating_sub(prior.results.len())) {
            taken += 1;
            prior.results.push(result);
        }
    }
    prior.notes.push(format!(
        "{taken} of {all} completed trials of '{name}' count as results of this study"
    ));
    Ok(Ok(()))
}
