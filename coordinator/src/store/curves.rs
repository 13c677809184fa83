//! Curves of folds whose job completed; and pages of the epoch reports of any fold.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use trawl_domain::id::StudyId;
use trawl_domain::job::TrialFold;
use trawl_domain::limits::REPORT_EPOCHS_MAX;
use trawl_domain::metric::{Goal, Metric, Metrics};
use trawl_domain::seed::FitOwner;

use super::job_reports::{concat, list};
use super::{Connection, StoreError, count, to_pg_int};

/// Consecutive epochs of one fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewCurve {
    /// The fold.
    pub fold_id: i64,
    /// Its first epoch.
    pub first_epoch: u32,
    /// [epochs]
    pub train_loss: Vec<f64>,
    /// [metrics, epochs]
    pub val: Vec<Option<f64>>,
}

/// A stored report.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportRecord {
    /// Fold; absent for a refit's fit on all training rows.
    pub fold: Option<u32>,
    /// Number of the fold, or of that fit; orders pages.
    pub fold_position: u32,
    /// Epoch, from 0.
    pub epoch: u32,
    /// Mean training loss.
    pub train_loss: f64,
    /// Metrics on the validation rows.
    pub metrics: Metrics,
    /// When it became durable.
    pub reported_at: DateTime<Utc>,
}

/// Stores the same epochs of several folds that were reported together: `reports` has the first epoch of each report
/// and the time when it became durable.
pub async fn insert(
    conn: &mut Connection,
    metrics: &[Metric],
    reports: &[(u32, DateTime<Utc>)],
    curves: &[NewCurve],
) -> Result<(), StoreError> {
    let folds: Vec<i64> = curves.iter().map(|curve| curve.fold_id).collect();
    let first: Vec<i32> = curves.iter().map(|curve| to_pg_int(curve.first_epoch)).collect();
    let (train_loss, train_end) = concat(curves.iter().map(|curve| &curve.train_loss));
    let (val, val_end) = concat(curves.iter().map(|curve| &curve.val));
    let (report_epoch, reported_at): (Vec<i32>, Vec<_>) =
        reports.iter().map(|(epoch, at)| (to_pg_int(*epoch), *at)).unzip();
    sqlx::query!(
        "INSERT INTO trawl_store.curves (fold_id, first_epoch, epochs, metrics, train_loss, val, report_epoch, reported_at)
         SELECT c.fold_id, c.first_epoch, c.train_len, string_to_array($3, ','),
                ($4::double precision[])[c.train_end - c.train_len + 1 : c.train_end],
                ($5::double precision[])[c.val_end - c.val_len + 1 : c.val_end], $8, $9
         FROM (SELECT u.*, train_end - lag(train_end, 1, 0) OVER rows AS train_len,
                      val_end - lag(val_end, 1, 0) OVER rows AS val_len
               FROM unnest($1::bigint[], $2::integer[], $6::integer[], $7::integer[])
                    WITH ORDINALITY AS u (fold_id, first_epoch, train_end, val_end, place)
               WINDOW rows AS (ORDER BY place)) c",
        &folds,
        &first,
        list(metrics),
        &train_loss,
        &val as &[Option<f64>],
        &train_end,
        &val_end,
        &report_epoch,
        &reported_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A page of the reports of one trial or refit, by fold and epoch; `after` is the fold position and epoch of the last
/// report of the page before.
pub async fn page(
    conn: &mut Connection,
    study_id: StudyId,
    owner: FitOwner,
    after: Option<(u32, u32)>,
    limit: u32,
) -> Result<Vec<ReportRecord>, StoreError> {
    let (trial, refit) = match owner {
        FitOwner::Trial(trial) => (Some(to_pg_int(trial)), None),
        FitOwner::Refit(refit) => (None, Some(to_pg_int(refit))),
    };
    let (fold, epoch) = after.map_or((-1, -1), |(fold, epoch)| (to_pg_int(fold), to_pg_int(epoch)));
    // Epochs have no gaps: a fold has at most the next `limit` epochs on a page, from rows that begin at most a row's length before.
    let rows = sqlx::query!(
        r#"SELECT f.fold, COALESCE(f.split = 'all', false) AS "is_final!", e.fold_id AS "fold_id!", e.epoch AS "epoch!",
                  e.train_loss AS "train_loss!", e.metrics AS "metrics!: Json<Metrics>",
                  e.reported_at AS "reported_at!"
           FROM (SELECT of_owner.fold_id, of_owner.fold, j.split,
                        CASE WHEN of_owner.fold = $4 THEN $5 ELSE -1 END AS after
                 FROM trawl_store.folds of_owner
                 LEFT JOIN trawl_store.jobs j USING (job_id)
                 WHERE of_owner.study_id = $1 AND (of_owner.trial = $2 OR of_owner.refit = $3) AND of_owner.fold >= $4) f
           JOIN trawl_store.epochs e ON e.fold_id = f.fold_id
           WHERE e.chunk_first > f.after - $7 AND e.chunk_first <= f.after + $6 AND e.chunk_end > f.after AND e.epoch > f.after AND e.epoch <= f.after + $6
           ORDER BY f.fold, e.epoch
           LIMIT $6"#,
        study_id.0,
        trial,
        refit,
        fold,
        epoch,
        to_pg_int(limit),
        to_pg_int(REPORT_EPOCHS_MAX),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let fold = count("folds", row.fold_id, "fold", row.fold)?;
            Ok(ReportRecord {
                fold: (!row.is_final).then_some(fold),
                fold_position: fold,
                epoch: count("epochs", row.fold_id, "epoch", row.epoch)?,
                train_loss: row.train_loss,
                metrics: row.metrics.0,
                reported_at: row.reported_at,
            })
        })
        .collect()
}

/// For each fold of a trial, its number and the number of epochs after which a metric was best, the first among equals.
pub async fn best_epochs(
    conn: &mut Connection,
    study_id: StudyId,
    trial: u32,
    metric: Metric,
    goal: Goal,
) -> Result<Vec<(u32, u32)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT DISTINCT ON (fold) fold AS "fold!", epoch AS "epoch!"
           FROM trawl_store.epochs
           WHERE study_id = $1 AND trial = $2 AND metrics ? $3
           ORDER BY fold, (metrics ->> $3)::double precision * CASE WHEN $4 THEN -1 ELSE 1 END, epoch"#,
        study_id.0,
        to_pg_int(trial),
        metric.as_str(),
        goal == Goal::Maximize,
    )
    .fetch_all(conn)
    .await?;
    let of_row = |fold, epoch| -> Result<(u32, u32), StoreError> {
        Ok((
            count("folds", trial, "fold", fold)?,
            count("epochs", trial, "epoch", epoch)? + 1,
        ))
    };
    rows.into_iter().map(|row| of_row(row.fold, row.epoch)).collect()
}

/// One metric of a fold after one epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Which fold.
    pub fold: TrialFold,
    /// After which epoch.
    pub epoch: u32,
    /// The metric.
    pub value: f64,
}

/// A metric of all folds of these trials, after these epochs or after every one: by trial, fold and epoch.
pub async fn metric_of_trials(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
    metric: Metric,
    epochs: Option<&[u32]>,
) -> Result<Vec<Measured>, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let epochs: Option<Vec<i32>> = epochs.map(|epochs| epochs.iter().map(|epoch| to_pg_int(*epoch)).collect());
    let rows = sqlx::query!(
        r#"SELECT e.fold_id AS "fold_id!", e.trial AS "trial!", e.fold AS "fold!", e.epoch AS "epoch!",
                  (e.metrics ->> $4)::double precision AS "value!"
           FROM trawl_store.epochs e
           WHERE e.study_id = $1 AND e.trial = ANY($2) AND ($3::integer[] IS NULL OR e.epoch = ANY($3)) AND e.metrics ? $4
           ORDER BY e.trial, e.fold, e.epoch"#,
        study_id.0,
        &trials,
        epochs.as_deref(),
        metric.as_str(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let number = |column, value| count("epochs", row.fold_id, column, value);
            Ok(Measured {
                fold: TrialFold {
                    trial: number("trial", row.trial)?,
                    fold: number("fold", row.fold)?,
                },
                epoch: number("epoch", row.epoch)?,
                value: row.value,
            })
        })
        .collect()
}
