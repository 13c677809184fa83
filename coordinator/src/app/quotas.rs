//! Quotas: limits on what one study, and all studies together, take of Postgres and of the object store.
//!
//! Studies and their epoch reports are counted at submission, under a lock: the most that a study can leave is known
//! before its first trial, and the sum is over studies, not over their rows. A cancelled study counts what it left. Bytes
//! are known only as they arrive. A study's own are summed for each file. The total of all studies is a number in memory:
//! each file raises it before its first byte, and it is recounted from the lists every few seconds and before any refusal.
//! So it is exact except for files under way, and files that another coordinator took since the last count.

use std::sync::atomic::{AtomicU64, Ordering};

use trawl_domain::id::StudyId;
use trawl_domain::limits::FILE_BYTES_CHARGED_MIN;
use trawl_domain::study::Study;

use super::{App, AppError};
use crate::store::usage::{self, StudyUsage};
use crate::store::{Connection, StoreError};

/// The operator's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Studies that are kept.
    pub studies: u64,
    /// Epoch reports that all studies may leave.
    pub epoch_reports: u64,
    /// Epoch reports that one study may leave, its refits included.
    pub study_epoch_reports: u64,
    /// Bytes of all artifacts, checkpoints and dataset files.
    pub bytes: u64,
    /// Bytes of one study's artifacts, checkpoints and dataset files.
    pub study_bytes: u64,
}

/// Bytes in the object store, as far as this coordinator knows.
#[derive(Debug, Default)]
pub(super) struct BytesKept(AtomicU64);

/// Epoch reports that a study may leave, in its search and in its final refit.
pub(super) fn asked(study: &Study) -> u64 {
    study.search_epoch_reports_max() + study.refit_epoch_reports()
}

/// Refuses a study that alone exceeds a quota.
///
/// # Errors
/// [`AppError::Invalid`]: waiting would not help.
pub(super) fn check_study(app: &App, study: &Study) -> Result<(), AppError> {
    let (asked, quota) = (asked(study), app.settings.quotas.study_epoch_reports);
    if asked <= quota {
        return Ok(());
    }
    Err(AppError::invalid(
        "max_trials",
        format!(
            "trials x folds x epochs, and those of the refit, make {asked} epoch reports; a study may leave {quota} here \
             (--study-epoch-reports-max)"
        ),
    ))
}

/// Checks that the quotas of all studies have room for `studies` and `epoch_reports` more.
///
/// # Errors
/// [`AppError::Exhausted`].
pub(super) async fn look(app: &App, conn: &mut Connection, studies: u64, epoch_reports: u64) -> Result<(), AppError> {
    let (quotas, used) = (app.settings.quotas, usage::of_studies(conn).await?);
    if used.studies + studies > quotas.studies {
        return Err(AppError::Exhausted(format!(
            "the quota of studies is used up: {} of {} are kept (--studies-max); delete some",
            used.studies, quotas.studies
        )));
    }
    if used.epoch_reports + epoch_reports > quotas.epoch_reports {
        return Err(AppError::Exhausted(format!(
            "the quota of epoch reports does not suffice: studies asked for {} of {} (--epoch-reports-max), and this one would \
             need {epoch_reports}; delete some",
            used.epoch_reports, quotas.epoch_reports
        )));
    }
    Ok(())
}

/// The same after the transaction has stored its rows; until it ends, no other transaction counts.
///
/// # Errors
/// [`AppError::Exhausted`]; the transaction has to be rolled back.
pub(super) async fn hold(app: &App, conn: &mut Connection) -> Result<(), AppError> {
    usage::lock(conn).await?;
    look(app, conn, 0, 0).await
}

/// Charges the `more` bytes of a file to the quota of all studies, and to its study's own if it has one.
///
/// # Errors
/// [`AppError::Exhausted`].
pub(super) async fn take_bytes(
    app: &App,
    conn: &mut Connection,
    study: Option<StudyId>,
    more: u64,
) -> Result<(), AppError> {
    let quotas = app.settings.quotas;
    let more = more.max(FILE_BYTES_CHARGED_MIN);
    if let Some(study_id) = study {
        let used = usage::bytes_of_study(conn, study_id).await?;
        if used.saturating_add(more) > quotas.study_bytes {
            return Err(AppError::Exhausted(format!(
                "the study's quota of bytes does not suffice: {used} of {} are used (--study-bytes-max), and {more} more are \
                 needed",
                quotas.study_bytes
            )));
        }
    }
    let kept = &app.bytes_kept.0;
    if kept.load(Ordering::Relaxed).saturating_add(more) > quotas.bytes {
        // Something may have been deleted since the last count.
        recount(app, conn).await?;
        let used = kept.load(Ordering::Relaxed);
        if used.saturating_add(more) > quotas.bytes {
            return Err(AppError::Exhausted(format!(
                "the quota of bytes does not suffice: {used} of {} are used (--bytes-max), and {more} more are needed; delete \
                 some studies",
                quotas.bytes
            )));
        }
    }
    kept.fetch_add(more, Ordering::Relaxed);
    Ok(())
}

/// Each quota of all studies: its name, what studies take of it, and its limit. No use is known without a count.
pub(super) fn in_use(app: &App, counted: Option<StudyUsage>) -> [(&'static str, Option<u64>, u64); 3] {
    let quotas = app.settings.quotas;
    let bytes = counted.map(|_| app.bytes_kept.0.load(Ordering::Relaxed));
    [
        ("studies", counted.map(|counted| counted.studies), quotas.studies),
        (
            "epoch_reports",
            counted.map(|counted| counted.epoch_reports),
            quotas.epoch_reports,
        ),
        ("bytes", bytes, quotas.bytes),
    ]
}

/// Counts the bytes again.
///
/// # Errors
/// Postgres has no answer.
pub(super) async fn recount(app: &App, conn: &mut Connection) -> Result<(), StoreError> {
    app.bytes_kept.0.store(usage::bytes(conn).await?, Ordering::Relaxed);
    Ok(())
}

/// The same, on a connection of its own.
///
/// # Errors
/// Postgres has no answer.
pub async fn count_bytes(app: &App) -> Result<(), AppError> {
    let mut conn = app.pool.acquire().await?;
    Ok(recount(app, &mut conn).await?)
}
