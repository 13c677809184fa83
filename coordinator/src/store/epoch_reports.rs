//! Epoch reports.

use chrono::{DateTime, Utc};
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::seed::Owner;

use super::{Connection, StoreError, count, int};

/// The losses of one member of a job after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewReport {
    /// Place among the job's members.
    pub member: u32,
    /// Mean training loss, finite.
    pub train_loss: f64,
    /// Validation loss, finite; absent where no rows validate.
    pub val_loss: Option<f64>,
    /// Validation accuracy; absent without classes.
    pub val_accuracy: Option<f64>,
}

/// A report on its way into the table.
#[derive(Clone, Copy, Debug)]
pub struct NewRow<'a> {
    /// The member's fold.
    pub fold_id: i64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Its losses.
    pub report: &'a NewReport,
}

/// How far a member of a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// The job.
    pub job_id: JobId,
    /// The member's fold.
    pub fold_id: i64,
    /// False once it diverged.
    pub is_running: bool,
    /// Epochs that are reported: all before this one.
    pub reported: u32,
    /// Epochs that the job has.
    pub epochs: u32,
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

/// How far the members of jobs are, in the order of the members. Reports come in order, so the last one tells how many there are.
pub async fn progress(conn: &mut Connection, jobs: &[JobId]) -> Result<Vec<MemberProgress>, StoreError> {
    let jobs: Vec<_> = jobs.iter().map(|job| job.0).collect();
    let rows = sqlx::query!(
        r#"SELECT f.job_id, f.fold_id, f.state = 'running' AS "is_running!", COALESCE(last.epoch + 1, 0) AS "reported!",
                  of_job.epochs AS "epochs!"
           FROM trawl_store.jobs j
           CROSS JOIN LATERAL (SELECT COALESCE(t.epochs, r.epochs) AS epochs
                               FROM trawl_store.folds one
                               LEFT JOIN trawl_store.trials t ON t.study_id = one.study_id AND t.trial = one.trial
                               LEFT JOIN trawl_store.refits r ON r.study_id = one.study_id AND r.refit = one.refit
                               WHERE one.job_id = j.job_id AND one.member = 0) of_job
           JOIN trawl_store.folds f ON f.job_id = j.job_id
           LEFT JOIN LATERAL (SELECT max(e.epoch) AS epoch FROM trawl_store.epoch_reports e
                              WHERE e.fold_id = f.fold_id) last ON true
           WHERE j.job_id = ANY($1)
           ORDER BY f.job_id, f.member"#,
        &jobs,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(MemberProgress {
                job_id: JobId(row.job_id),
                fold_id: row.fold_id,
                is_running: row.is_running,
                reported: count("epoch_reports", row.fold_id, "epoch", row.reported)?,
                epochs: count("jobs", row.job_id, "epochs", row.epochs)?,
            })
        })
        .collect()
}

/// Stores reports whose leases the transaction has locked. A report that is there already stays as it is. Studies count
/// what is new.
pub async fn insert(conn: &mut Connection, rows: &[NewRow<'_>]) -> Result<(), StoreError> {
    let folds: Vec<i64> = rows.iter().map(|row| row.fold_id).collect();
    let epochs: Vec<i32> = rows.iter().map(|row| int(row.epoch)).collect();
    let train_losses: Vec<f64> = rows.iter().map(|row| row.report.train_loss).collect();
    let val_losses: Vec<Option<f64>> = rows.iter().map(|row| row.report.val_loss).collect();
    let val_accuracies: Vec<Option<f64>> = rows.iter().map(|row| row.report.val_accuracy).collect();
    sqlx::query!(
        "WITH new AS (
             INSERT INTO trawl_store.epoch_reports (fold_id, epoch, train_loss, val_loss, val_accuracy, reported_at)
             SELECT r.fold_id, r.epoch, r.train_loss, r.val_loss, r.val_accuracy, clock_timestamp()
             FROM unnest($1::bigint[], $2::integer[], $3::double precision[], $4::double precision[],
                         $5::double precision[])
                  AS r (fold_id, epoch, train_loss, val_loss, val_accuracy)
             ON CONFLICT DO NOTHING
             RETURNING fold_id
         ), of_folds AS (
             SELECT fold_id, count(*) AS reports FROM new GROUP BY fold_id
         ), counted AS (
             SELECT f.study_id, sum(of_folds.reports)::bigint AS reports
             FROM of_folds JOIN trawl_store.folds f USING (fold_id)
             GROUP BY f.study_id
         )
         UPDATE trawl_store.studies s
         SET epochs_reported = s.epochs_reported + counted.reports
         FROM counted
         WHERE s.study_id = counted.study_id",
        &folds,
        &epochs,
        &train_losses,
        &val_losses as &[Option<f64>],
        &val_accuracies as &[Option<f64>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Reports that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// How many.
    pub rows: u64,
    /// There are more of them.
    pub are_left: bool,
}

/// Removes what a job, whose lease the transaction has locked, reported after its checkpoints, at most so many rows of it and the
/// last epochs first. Its study has to be told.
pub async fn drop_after_checkpoints(
    conn: &mut Connection,
    job_id: JobId,
    rows_max: u32,
) -> Result<Dropped, StoreError> {
    let from = sqlx::query!(
        r#"SELECT kept.epochs AS "kept!", GREATEST(kept.epochs, last.epoch + 1 - $2 / last.folds) AS "from!"
           FROM (SELECT COALESCE(max(epochs), 0) AS epochs FROM trawl_store.checkpoints WHERE job_id = $1) kept,
                (SELECT max(of_fold.epoch) AS epoch, count(*)::integer AS folds
                 FROM trawl_store.folds f
                 CROSS JOIN LATERAL (SELECT max(r.epoch) AS epoch FROM trawl_store.epoch_reports r
                                     WHERE r.fold_id = f.fold_id) of_fold
                 WHERE f.job_id = $1) last"#,
        job_id.0,
        int(rows_max),
    )
    .fetch_one(&mut *conn)
    .await?;
    let gone = sqlx::query!(
        "DELETE FROM trawl_store.epoch_reports r
         USING trawl_store.folds f
         WHERE f.job_id = $1 AND r.fold_id = f.fold_id AND r.epoch >= $2",
        job_id.0,
        from.from,
    )
    .execute(conn)
    .await?;
    Ok(Dropped {
        rows: gone.rows_affected(),
        are_left: from.from > from.kept,
    })
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
           CROSS JOIN LATERAL (SELECT of_fold.*
                               FROM trawl_store.epoch_reports of_fold
                               WHERE of_fold.fold_id = f.fold_id
                                 AND of_fold.epoch > CASE WHEN f.fold = $4 THEN $5 ELSE -1 END
                               ORDER BY of_fold.epoch
                               LIMIT $6) r
           WHERE f.study_id = $1 AND (f.trial = $2 OR f.refit = $3) AND f.fold >= $4
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
