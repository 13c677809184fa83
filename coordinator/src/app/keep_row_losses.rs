//! Finish: keeps the losses of single rows of completed folds.

use trawl_domain::limits::ROW_LOSSES_MAX;
use trawl_domain::metric::Metric;

use super::AppError;
use super::study_cache::LoadedStudy;
use crate::store::folds::FoldSummary;
use crate::store::jobs::{JobRecord, JobSplit};
use crate::store::{Connection, row_losses};

/// The metric whose loss each row of a job leaves; `None` if the job leaves none.
pub(super) fn wanted(study: &LoadedStudy, job: &JobRecord) -> Option<Metric> {
    match (job.refit, job.split) {
        (None, JobSplit::Validation) if !job.pauses() => study.study.row_losses(),
        (Some(_), JobSplit::All) if study.measures_tests && study.study.keeps_row_losses => {
            Some(Metric::ValLoss).filter(|metric| study.study.is_mean_of_rows(*metric))
        }
        _ => None,
    }
}

/// Keeps the row losses of a job's members, in their order: none, or one a row. A worker may leave them out.
///
/// # Errors
/// [`AppError::Invalid`] if the job asked for no losses, or if their number is not that of its rows.
pub(super) async fn keep(
    conn: &mut Connection,
    study: &LoadedStudy,
    job: &JobRecord,
    folds: &[FoldSummary],
    losses: &[Vec<f32>],
) -> Result<(), AppError> {
    let wrong = |index: usize, what: String| AppError::invalid(format!("row_losses[{index}]"), what);
    if losses.is_empty() {
        return Ok(());
    }
    if wanted(study, job).is_none() || losses.len() != folds.len() {
        let what = "must be left out, or have one of each member where the job asks for it";
        return Err(AppError::invalid("row_losses", what));
    }
    let validates = |fold: u32| {
        study
            .study
            .fold_sizes
            .get(fold as usize)
            .map(|size| size.validate as usize)
    };
    for (index, (fold, losses)) in folds.iter().zip(losses).enumerate() {
        let are_all = match job.split {
            JobSplit::Validation => Some(losses.len()) == validates(fold.fold),
            // The study does not record its number of test rows.
            JobSplit::All => losses.len() <= ROW_LOSSES_MAX as usize,
        };
        if losses.is_empty() {
            continue;
        }
        // A fold with fewer epochs diverged.
        if (fold.epochs < job.epochs && job.trains()) || !are_all || !losses.iter().all(|loss| loss.is_finite()) {
            let what = "must be a finite loss for each row, and none for a member that diverged";
            return Err(wrong(index, what.to_owned()));
        }
        if job.split == JobSplit::All || fold.fold < study.study.folds_with_row_losses() {
            row_losses::insert(conn, fold.fold_id, losses).await?;
        }
    }
    Ok(())
}
