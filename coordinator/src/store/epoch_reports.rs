//! Epoch reports.

use chrono::{DateTime, Utc};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::seed::Owner;

use super::{Connection, StoreError, count, int};

/// The losses of one member of a job after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewReport {
    /// The job.
    pub job_id: JobId,
    /// Place among the job's members.
    pub member: u32,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Mean training loss, finite.
    pub train_loss: f64,
    /// Validation loss, finite; absent where no rows validate.
    pub val_loss: Option<f64>,
    /// Validation accuracy; absent without classes.
    pub val_accuracy: Option<f64>,
}

/// A stored report.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportRecord {
    /// Fold; absent for a refit's fit on all training rows.
    pub fold: Option<u32>,
    /// Number of the fold, that fit included: what pages go by.
    pub fold_position: u32,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Mean training loss.
    pub train_loss: f64,
    /// Validation loss.
    pub val_loss: Option<f64>,
    /// Validation accuracy.
    pub val_accuracy: Option<f64>,
    /// When it became durable.
    pub reported_at: DateTime<Utc>,
}

/// Stores reports whose leases the transaction has locked. A report that is there already stays as it is. Studies count
/// what is new.
pub async fn insert(conn: &mut Connection, reports: &[NewReport]) -> Result<(), StoreError> {
    let jobs: Vec<_> = reports.iter().map(|report| report.job_id.0).collect();
    let members: Vec<i32> = reports.iter().map(|report| int(report.member)).collect();
    let epochs: Vec<i32> = reports.iter().map(|report| int(report.epoch)).collect();
    let train_losses: Vec<f64> = reports.iter().map(|report| report.train_loss).collect();
    let val_losses: Vec<Option<f64>> = reports.iter().map(|report| report.val_loss).collect();
    let val_accuracies: Vec<Option<f64>> = reports.iter().map(|report| report.val_accuracy).collect();
    sqlx::query!(
        "WITH new AS (
             INSERT INTO trawl_store.epoch_reports (fold_id, epoch, train_loss, val_loss, val_accuracy, reported_at)
             SELECT f.fold_id, r.epoch, r.train_loss, r.val_loss, r.val_accuracy, clock_timestamp()
             FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::double precision[], $5::double precision[],
                         $6::double precision[])
                  AS r (job_id, member, epoch, train_loss, val_loss, val_accuracy)
             JOIN trawl_store.folds f USING (job_id, member)
             ON CONFLICT DO NOTHING
             RETURNING fold_id
         ), counted AS (
             SELECT f.study_id, count(*) AS reports
             FROM new JOIN trawl_store.folds f USING (fold_id)
             GROUP BY f.study_id
         )
         UPDATE trawl_store.studies s
         SET epochs_reported = s.epochs_reported + counted.reports
         FROM counted
         WHERE s.study_id = counted.study_id",
        &jobs,
        &members,
        &epochs,
        &train_losses,
        &val_losses as &[Option<f64>],
        &val_accuracies as &[Option<f64>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of the reports of one trial or refit, by fold and epoch; `after` is fold position and epoch of the last one of the
/// page before.
pub async fn page(
    conn: &mut Connection,
    study_id: StudyId,
    owner: Owner,
    after: Option<(u32, u32)>,
    limit: u32,
) -> Result<Vec<ReportRecord>, StoreError> {
    let (trial, refit) = match owner {
        Owner::Trial(trial) => (Some(int(trial)), None),
        Owner::Refit(refit) => (None, Some(int(refit))),
    };
    let (fold, epoch) = after.map_or((-1, -1), |(fold, epoch)| (int(fold), int(epoch)));
    let rows = sqlx::query!(
        r#"SELECT f.fold, j.split = 'all' AS "is_final!", r.fold_id, r.epoch, r.train_loss, r.val_loss,
                  r.val_accuracy, r.reported_at
           FROM trawl_store.folds f
           JOIN trawl_store.jobs j USING (job_id)
           JOIN trawl_store.epoch_reports r USING (fold_id)
           WHERE f.study_id = $1 AND (f.trial = $2 OR f.refit = $3) AND (f.fold, r.epoch) > ($4, $5)
           ORDER BY f.fold, r.epoch
           LIMIT $6"#,
        study_id.0,
        trial,
        refit,
        fold,
        epoch,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let fold = count("folds", row.fold_id, "fold", row.fold)?;
            Ok(ReportRecord {
                fold: (!row.is_final).then_some(fold),
                fold_position: fold,
                epoch: count("epoch_reports", row.fold_id, "epoch", row.epoch)?,
                train_loss: row.train_loss,
                val_loss: row.val_loss,
                val_accuracy: row.val_accuracy,
                reported_at: row.reported_at,
            })
        })
        .collect()
}
