//! Reports of jobs under way: each has consecutive epochs of all of a job's members.

use chrono::{DateTime, Utc};
use sqlx::types::Uuid;
use trawl_domain::id::JobId;
use trawl_domain::metric::Metric;

use super::{Connection, StoreError, count, expect_rows, to_pg_int, word};

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// The job.
    pub job_id: JobId,
    /// Its folds.
    pub members: u32,
    /// Members that have neither ended nor diverged, ascending.
    pub running: Vec<u32>,
    /// Number of epochs reported.
    pub reported: u32,
    /// The epoch before which the job ends.
    pub end_epoch: u32,
}

/// Consecutive epochs of all of a job's members. Values are ordered by member first, and by epoch last.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The job.
    pub job_id: JobId,
    /// The first of its epochs.
    pub first_epoch: u32,
    /// How many epochs.
    pub epochs: u32,
    /// Metrics on the validation rows.
    pub metrics: Vec<Metric>,
    /// [members, epochs]; `None` from the epoch in which a member diverged.
    pub train_loss: Vec<Option<f64>>,
    /// [members, metrics, epochs]
    pub val: Vec<Option<f64>>,
}

impl Report {
    /// Epoch reports: one for each epoch of a member.
    pub fn epoch_reports(&self) -> usize {
        self.train_loss.iter().flatten().count()
    }

    /// The first epochs alone.
    fn first(&self, epochs: u32) -> Self {
        let cut = |values: &[Option<f64>]| -> Vec<Option<f64>> {
            let curves = values.chunks(self.epochs as usize);
            curves.flat_map(|curve| &curve[..epochs as usize]).copied().collect()
        };
        Self {
            epochs,
            metrics: self.metrics.clone(),
            train_loss: cut(&self.train_loss),
            val: cut(&self.val),
            ..*self
        }
    }
}

/// A durable report.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReport {
    /// The report.
    pub report: Report,
    /// When it became durable.
    pub reported_at: DateTime<Utc>,
}

/// How far jobs are. Reports come in order, so the last one determines the number of epochs.
pub async fn progress(conn: &mut Connection, jobs: &[JobId]) -> Result<Vec<JobProgress>, StoreError> {
    let jobs: Vec<Uuid> = jobs.iter().map(|job| job.0).collect();
    let rows = sqlx::query!(
        r#"SELECT j.job_id, j.members, j.end_epoch,
                  ARRAY(SELECT f.member FROM trawl_store.folds f
                        WHERE f.job_id = j.job_id AND f.state = 'running'
                        ORDER BY f.member) AS "running!",
                  COALESCE((SELECT r.first_epoch + r.epochs FROM trawl_store.job_reports r
                            WHERE r.job_id = j.job_id
                            ORDER BY r.first_epoch DESC LIMIT 1), j.first_epoch) AS "reported!"
           FROM trawl_store.jobs j
           WHERE j.job_id = ANY($1)"#,
        &jobs,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let number = |column, value| count("jobs", row.job_id, column, value);
            Ok(JobProgress {
                job_id: JobId(row.job_id),
                members: number("members", row.members)?,
                running: row
                    .running
                    .iter()
                    .map(|member| number("members", *member))
                    .collect::<Result<_, _>>()?,
                reported: number("epochs", row.reported)?,
                end_epoch: number("end_epoch", row.end_epoch)?,
            })
        })
        .collect()
}

/// Stores reports whose leases and jobs the transaction has locked. Each begins where the one before ended. Studies
/// count the new epochs.
pub async fn insert(conn: &mut Connection, reports: &[Report]) -> Result<(), StoreError> {
    let jobs: Vec<Uuid> = reports.iter().map(|report| report.job_id.0).collect();
    let number = |of: fn(&Report) -> u32| reports.iter().map(|report| to_pg_int(of(report))).collect::<Vec<_>>();
    let metrics: Vec<String> = reports.iter().map(|report| list(&report.metrics)).collect();
    let (train_loss, train_end) = concat(reports.iter().map(|report| &report.train_loss));
    let (val, val_end) = concat(reports.iter().map(|report| &report.val));
    sqlx::query!(
        "WITH new AS (
             INSERT INTO trawl_store.job_reports
                 (job_id, first_epoch, epochs, reports, metrics, train_loss, val, reported_at)
             SELECT r.job_id, r.first_epoch, r.epochs, r.reports, string_to_array(r.metrics, ','),
                    ($6::double precision[])[r.train_end - r.train_len + 1 : r.train_end],
                    ($7::double precision[])[r.val_end - r.val_len + 1 : r.val_end], clock_timestamp()
             FROM (SELECT u.*, train_end - lag(train_end, 1, 0) OVER rows AS train_len,
                          val_end - lag(val_end, 1, 0) OVER rows AS val_len
                   FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::integer[], $5::text[], $8::integer[], $9::integer[])
                        WITH ORDINALITY AS u (job_id, first_epoch, epochs, reports, metrics, train_end, val_end, place)
                   WINDOW rows AS (ORDER BY place)) r
             RETURNING job_id, reports
         ), counted AS (
             SELECT j.study_id, sum(new.reports)::bigint AS reports
             FROM new JOIN trawl_store.jobs j USING (job_id)
             GROUP BY j.study_id
         ), locked AS (
             SELECT s.study_id FROM trawl_store.studies s
             WHERE s.study_id IN (SELECT study_id FROM counted)
             ORDER BY s.study_id
             FOR NO KEY UPDATE
         )
         UPDATE trawl_store.studies s
         SET epochs_reported = s.epochs_reported + counted.reports
         FROM counted JOIN locked USING (study_id)
         WHERE s.study_id = locked.study_id",
        &jobs,
        &number(|report| report.first_epoch),
        &number(|report| report.epochs),
        &number(|report| report.epoch_reports() as u32),
        &metrics,
        &train_loss as &[Option<f64>],
        &val as &[Option<f64>],
        &train_end,
        &val_end,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Arrays end to end, and the end of each: Postgres has no arrays of arrays of different lengths.
pub(super) fn concat<'a, T: Copy + 'a>(arrays: impl Iterator<Item = &'a Vec<T>>) -> (Vec<T>, Vec<i32>) {
    let (mut all, mut ends) = (Vec::new(), Vec::new());
    for array in arrays {
        all.extend_from_slice(array);
        ends.push(to_pg_int(all.len() as u32));
    }
    (all, ends)
}

/// Names of metrics, as `string_to_array` takes them.
pub(super) fn list(metrics: &[Metric]) -> String {
    metrics
        .iter()
        .map(|metric| metric.as_str())
        .collect::<Vec<_>>()
        .join(",")
}

struct ReportRow {
    first_epoch: i32,
    epochs: i32,
    metrics: Vec<String>,
    train_loss: Vec<Option<f64>>,
    val: Vec<Option<f64>>,
    reported_at: DateTime<Utc>,
}

impl ReportRow {
    fn read(self, job_id: JobId) -> Result<StoredReport, StoreError> {
        let metric = |name: &String| word("job_reports", job_id, "metrics", name);
        Ok(StoredReport {
            report: Report {
                job_id,
                first_epoch: count("job_reports", job_id, "first_epoch", self.first_epoch)?,
                epochs: count("job_reports", job_id, "epochs", self.epochs)?,
                metrics: self.metrics.iter().map(metric).collect::<Result<_, _>>()?,
                train_loss: self.train_loss,
                val: self.val,
            },
            reported_at: self.reported_at,
        })
    }
}

/// Up to `limit` reports of a job that begin at this epoch or later, in order.
pub async fn from_epoch(
    conn: &mut Connection,
    job_id: JobId,
    epoch: u32,
    limit: u32,
) -> Result<Vec<StoredReport>, StoreError> {
    let rows = sqlx::query_as!(
        ReportRow,
        r#"SELECT first_epoch, epochs, metrics, train_loss AS "train_loss: Vec<Option<f64>>",
                  val AS "val: Vec<Option<f64>>", reported_at
           FROM trawl_store.job_reports
           WHERE job_id = $1 AND first_epoch >= $2
           ORDER BY first_epoch
           LIMIT $3"#,
        job_id.0,
        to_pg_int(epoch),
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| row.read(job_id)).collect()
}

/// The last report of a job that begins before this epoch.
async fn before_epoch(conn: &mut Connection, job_id: JobId, epoch: u32) -> Result<Option<StoredReport>, StoreError> {
    let row = sqlx::query_as!(
        ReportRow,
        r#"SELECT first_epoch, epochs, metrics, train_loss AS "train_loss: Vec<Option<f64>>",
                  val AS "val: Vec<Option<f64>>", reported_at
           FROM trawl_store.job_reports
           WHERE job_id = $1 AND first_epoch < $2
           ORDER BY first_epoch DESC
           LIMIT 1"#,
        job_id.0,
        to_pg_int(epoch),
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| row.read(job_id)).transpose()
}

/// Removes all reports of a job.
pub async fn remove(conn: &mut Connection, job_id: JobId) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM trawl_store.job_reports WHERE job_id = $1", job_id.0)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a job's reports after its checkpoints; returns the number of epoch reports removed, which the caller
/// subtracts from the study's count. The transaction has locked the job's lease.
pub async fn drop_after_checkpoints(conn: &mut Connection, job_id: JobId) -> Result<u64, StoreError> {
    let kept = sqlx::query_scalar!(
        r#"SELECT COALESCE(max(epochs), 0) AS "epochs!" FROM trawl_store.checkpoints WHERE job_id = $1"#,
        job_id.0
    )
    .fetch_one(&mut *conn)
    .await?;
    let kept = count("checkpoints", job_id, "epochs", kept)?;
    let dropped = sqlx::query_scalar!(
        r#"WITH gone AS (
               DELETE FROM trawl_store.job_reports WHERE job_id = $1 AND first_epoch >= $2 RETURNING reports
           )
           SELECT COALESCE(sum(reports), 0) AS "reports!" FROM gone"#,
        job_id.0,
        to_pg_int(kept),
    )
    .fetch_one(&mut *conn)
    .await?;
    // A report may span a checkpoint.
    let last = before_epoch(conn, job_id, kept).await?.map(|stored| stored.report);
    let mut cut = 0;
    if let Some(report) = last.filter(|report| report.first_epoch + report.epochs > kept) {
        let first = report.first(kept - report.first_epoch);
        cut = report.epoch_reports() - first.epoch_reports();
        replace(conn, &first).await?;
    }
    Ok(dropped.unsigned_abs() + cut as u64)
}

/// Replaces a stored report by its first epochs.
async fn replace(conn: &mut Connection, report: &Report) -> Result<(), StoreError> {
    let done = sqlx::query!(
        "UPDATE trawl_store.job_reports SET epochs = $3, reports = $4, train_loss = $5, val = $6
         WHERE job_id = $1 AND first_epoch = $2",
        report.job_id.0,
        to_pg_int(report.first_epoch),
        to_pg_int(report.epochs),
        to_pg_int(report.epoch_reports() as u32),
        &report.train_loss as &[Option<f64>],
        &report.val as &[Option<f64>],
    )
    .execute(conn)
    .await?;
    expect_rows("job_reports", 1, done.rows_affected())
}
