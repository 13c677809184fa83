//! The real store: the coordinator's steps on a Postgres, with its rows as text.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::pause_study::{pause_study, resume_study};
use trawl_coordinator::app::submit_study::submit_study;
use trawl_coordinator::app::{App, AppError, Settings};
use trawl_coordinator::files::Files;
use trawl_domain::dataset::FileHash;
use trawl_e2e::fresh_database;

use crate::model::Rows;
use crate::study::SimulatedStudy;

/// Columns that hold a moment, by table.
const MOMENTS: [(&str, &[&str]); 3] = [
    ("leases", &["expires_at"]),
    ("workers", &["last_seen_at"]),
    ("job_attempts", &["granted_at", "ended_at"]),
];

/// A coordinator's steps on a Postgres.
#[derive(Debug)]
pub(crate) struct RealStore {
    app: Arc<App>,
    pool: PgPool,
}

impl Deref for RealStore {
    type Target = App;

    fn deref(&self) -> &App {
        &self.app
    }
}

impl RealStore {
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect(&fresh_database().await?)
            .await?;
        sqlx::migrate!("../migrations").run(&pool).await?;
        let app = App::new(pool.clone(), Files::in_memory(), settings, [7; 32]);
        Ok(Self {
            app: Arc::new(app),
            pool,
        })
    }

    /// Nothing but a study that was just submitted.
    pub(crate) async fn restart(&self, study: &SimulatedStudy) -> anyhow::Result<()> {
        let tables: Vec<String> = sqlx::query_scalar(
            // But for the row that submissions lock.
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
             WHERE schemaname = 'trawl_store' AND tablename <> 'quota_lock'",
        )
        .fetch_all(&self.pool)
        .await?;
        let truncate = format!("TRUNCATE {}", tables.join(", "));
        sqlx::query(AssertSqlSafe(truncate)).execute(&self.pool).await?;
        submit_study(&self.app, study.wire.clone(), false, Caller::Anybody).await?;
        Ok(())
    }

    /// Lets time pass: every moment goes into the past by it.
    pub(crate) async fn advance(&self, time: Duration) -> anyhow::Result<()> {
        for (table, columns) in MOMENTS {
            let moved: Vec<String> = columns
                .iter()
                .map(|c| format!("{c} = {c} - make_interval(secs => $1)"))
                .collect();
            let update = format!("UPDATE trawl_store.{table} SET {}", moved.join(", "));
            sqlx::query(AssertSqlSafe(update))
                .bind(time.as_secs_f64())
                .execute(&self.pool)
                .await?;
        }
        Ok(())
    }

    /// Pauses the study, or resumes it; nothing if it ended.
    pub(crate) async fn pause(&self, pause: bool) -> anyhow::Result<()> {
        let switched = match pause {
            true => pause_study(&self.app, "simulated").await,
            false => resume_study(&self.app, "simulated").await,
        };
        match switched {
            Ok(_) | Err(AppError::FailedPrecondition(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All rows, as the model tells its own.
    pub(crate) async fn rows(&self) -> anyhow::Result<Rows> {
        Ok(Rows::from([
            ("study", self.study().await?),
            ("jobs", self.jobs().await?),
            ("leases", self.lines("SELECT format('%s: %s', j.place, l.worker_id) FROM trawl_store.leases l JOIN places j USING (job_id) ORDER BY j.place").await?),
            ("job_attempts", self.attempts().await?),
            ("checkpoints", self.checkpoints().await?),
            ("trials", self.trials().await?),
            ("trial_attempts", self.lines("SELECT format('%s: %s', trial, attempts) FROM trawl_store.trials ORDER BY trial").await?),
            ("folds", self.folds().await?),
            ("epoch_reports", self.reports().await?),
            ("artifacts", self.artifacts().await?),
        ]))
    }

    /// Rows that are text already; `places` has the place of each job in the queue.
    async fn lines(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar(with_places(sql)).fetch_all(&self.pool).await?)
    }

    async fn study(&self) -> anyhow::Result<Vec<String>> {
        self.lines(
            "SELECT format('%s completed=%s pruned=%s failed=%s reports=%s', state, trials_completed, trials_pruned, trials_failed,
                           epochs_reported)
             FROM trawl_store.studies",
        )
        .await
    }

    async fn jobs(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<(i64, String, i32, i32, Option<String>)> = sqlx::query_as(with_places(
            "SELECT p.place, j.state, j.attempts, j.lease_epoch, j.last_error
             FROM trawl_store.jobs j JOIN places p USING (job_id) ORDER BY p.place",
        ))
        .fetch_all(&self.pool)
        .await?;
        let line = |(place, state, attempts, epoch, error)| {
            format!("{place}: {state} attempts={attempts} epoch={epoch} {error:?}")
        };
        Ok(rows
            .into_iter()
            .map(|(a, b, c, d, e): (_, _, _, _, Option<String>)| line((a, b, c, d, e)))
            .collect())
    }

    async fn attempts(&self) -> anyhow::Result<Vec<String>> {
        type Row = (i64, i32, uuid::Uuid, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(with_places(
            "SELECT p.place, a.lease_epoch, a.worker_id, a.outcome, a.cause, a.error
             FROM trawl_store.job_attempts a JOIN places p USING (job_id) ORDER BY p.place, a.lease_epoch",
        ))
        .fetch_all(&self.pool)
        .await?;
        let line = |(place, epoch, worker, outcome, cause, error): Row| {
            format!("{place}/{epoch}: {worker} {outcome:?} {cause:?} {error:?}")
        };
        Ok(rows.into_iter().map(line).collect())
    }

    async fn checkpoints(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<(i64, i32, i32, i64, Vec<u8>)> = sqlx::query_as(with_places(
            "SELECT p.place, c.number, c.epochs, c.bytes, c.sha256
             FROM trawl_store.checkpoints c JOIN places p USING (job_id) ORDER BY p.place, c.number",
        ))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(place, number, epochs, bytes, sha256)| {
                Ok(format!(
                    "{place}/{number}: epochs={epochs} bytes={bytes} {}",
                    hash(sha256)?
                ))
            })
            .collect()
    }

    async fn trials(&self) -> anyhow::Result<Vec<String>> {
        type Row = (
            i32,
            String,
            Option<f64>,
            Option<f64>,
            Option<String>,
            Option<i32>,
            Option<f64>,
            Option<i32>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT trial, state, value, value_std, error, rung, rung_value, rung_trials FROM trawl_store.trials ORDER BY trial",
        )
        .fetch_all(&self.pool)
        .await?;
        let line = |(trial, state, value, std, error, rung, at, with): Row| {
            format!("{trial}: {state} {value:?} {std:?} {error:?} {rung:?} {at:?} {with:?}")
        };
        Ok(rows.into_iter().map(line).collect())
    }

    async fn folds(&self) -> anyhow::Result<Vec<String>> {
        type Row = (
            i32,
            i32,
            String,
            i32,
            Option<f64>,
            Option<f64>,
            Option<i32>,
            Option<f64>,
            Option<String>,
            Option<i32>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT trial, fold, state, epochs, train_loss, last_values[1], best_epoch, best_values[1], error, diverged_epoch
             FROM trawl_store.folds ORDER BY trial, fold",
        )
        .fetch_all(&self.pool)
        .await?;
        let line = |(trial, fold, state, epochs, train, val, best, best_val, error, diverged): Row| {
            format!(
                "{trial}/{fold}: {state} epochs={epochs} {train:?} {val:?} {best:?} {best_val:?} {error:?} {diverged:?}"
            )
        };
        Ok(rows.into_iter().map(line).collect())
    }

    async fn reports(&self) -> anyhow::Result<Vec<String>> {
        type Row = (i32, i32, i32, f64, Option<f64>, Option<f64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT trial, fold, epoch, train_loss, val_loss, val_accuracy
             FROM trawl_store.epochs
             ORDER BY trial, fold, epoch",
        )
        .fetch_all(&self.pool)
        .await?;
        let line = |(trial, fold, epoch, train, val, accuracy): Row| {
            format!("{trial}/{fold}/{epoch}: {train:?} {val:?} {accuracy:?}")
        };
        Ok(rows.into_iter().map(line).collect())
    }

    async fn artifacts(&self) -> anyhow::Result<Vec<String>> {
        let rows: Vec<(i32, String, String, i64, Vec<u8>)> =
            sqlx::query_as("SELECT trial, name, kind, bytes, sha256 FROM trawl_store.artifacts ORDER BY trial, name")
                .fetch_all(&self.pool)
                .await?;
        rows.into_iter()
            .map(|(trial, name, kind, bytes, sha256)| {
                Ok(format!("{trial}/{name}: {kind} bytes={bytes} {}", hash(sha256)?))
            })
            .collect()
    }
}

fn with_places(sql: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "WITH places AS (SELECT job_id, row_number() OVER (ORDER BY position) - 1 AS place FROM trawl_store.jobs) {sql}"
    ))
}

fn hash(bytes: Vec<u8>) -> anyhow::Result<FileHash> {
    let bytes = bytes
        .try_into()
        .map_err(|_| anyhow::anyhow!("a hash of another length"))?;
    Ok(FileHash(bytes))
}
