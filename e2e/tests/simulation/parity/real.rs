//! The real store: the coordinator's steps on a Postgres, with its rows as text.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::Duration;

use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, FromRow, PgPool};
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::pause_study::{pause_study, resume_study};
use trawl_coordinator::app::submit_study::submit_study;
use trawl_coordinator::app::{App, AppError, Settings};
use trawl_coordinator::files::Files;
use trawl_e2e::fresh_database;

use crate::model::{Rows, told};
use crate::study::SimulatedStudy;

type Text = Option<String>;
type Real = Option<f64>;
type Whole = Option<i32>;

/// Columns that hold a moment, by table.
const MOMENTS: [(&str, &[&str]); 3] = [
    ("leases", &["expires_at"]),
    ("workers", &["last_seen_at"]),
    ("job_attempts", &["granted_at", "ended_at"]),
];

/// A coordinator's steps on a Postgres.
#[derive(Debug)]
pub(crate) struct RealStore {
    pub(crate) app: App,
    pool: PgPool,
}

impl RealStore {
    pub(crate) async fn start(settings: Settings) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect(&fresh_database().await?)
            .await?;
        sqlx::migrate!("../migrations").run(&pool).await?;
        let app = App::new(pool.clone(), Files::in_memory(), settings, [7; 32]);
        Ok(Self { app, pool })
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
        submit_study(&self.app, study.wire.clone(), HashMap::new(), false, Caller::Anybody).await?;
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

    /// All rows, as the model tells its own; `places` has the place of each job in the queue.
    pub(crate) async fn rows(&self) -> anyhow::Result<Rows> {
        type Trial = (i32, String, Real, Real, Text, Whole, Real, Whole);
        type Fold = (i32, i32, String, i32, Real, Real, Whole, Real, Text, Whole);
        let study = self.told::<(String, i32, i32, i32, i64)>(
            "SELECT state, trials_completed, trials_pruned, trials_failed, epochs_reported FROM trawl_store.studies",
        );
        let jobs = self.told::<(i64, String, i32, i32, Text)>(
            "SELECT p.place, j.state, j.attempts, j.lease_epoch, j.last_error
             FROM trawl_store.jobs j JOIN places p USING (job_id) ORDER BY p.place",
        );
        let leases = self.told::<(i64, String)>(
            "SELECT p.place, l.worker_id::text FROM trawl_store.leases l JOIN places p USING (job_id) ORDER BY p.place",
        );
        let attempts = self.told::<(i64, i32, String, Text, Text, Text)>(
            "SELECT p.place, a.lease_epoch, a.worker_id::text, a.outcome, a.cause, a.error
             FROM trawl_store.job_attempts a JOIN places p USING (job_id) ORDER BY p.place, a.lease_epoch",
        );
        let checkpoints = self.told::<(i64, i32, i32, i64, String)>(
            "SELECT p.place, c.number, c.epochs, c.bytes, encode(c.sha256, 'hex')
             FROM trawl_store.checkpoints c JOIN places p USING (job_id) ORDER BY p.place, c.number",
        );
        let trials = self.told::<Trial>(
            "SELECT trial, state, value, value_std, error, rung, rung_value, rung_trials FROM trawl_store.trials ORDER BY trial",
        );
        let trial_attempts = self.told::<(i32, i32)>("SELECT trial, attempts FROM trawl_store.trials ORDER BY trial");
        let folds = self.told::<Fold>(
            "SELECT trial, fold, state, epochs, train_loss, last_values[1], best_epoch, best_values[1], error, diverged_epoch
             FROM trawl_store.folds ORDER BY trial, fold",
        );
        let reports = self.told::<(i32, i32, i32, f64, Real, Real)>(
            "SELECT trial, fold, epoch, train_loss, val_loss, val_accuracy
             FROM trawl_store.epochs ORDER BY trial, fold, epoch",
        );
        let artifacts = self.told::<(i32, String, String, i64, String)>(
            "SELECT trial, name, kind, bytes, encode(sha256, 'hex') FROM trawl_store.artifacts ORDER BY trial, name",
        );
        Ok(Rows::from([
            ("study", study.await?),
            ("jobs", jobs.await?),
            ("leases", leases.await?),
            ("job_attempts", attempts.await?),
            ("checkpoints", checkpoints.await?),
            ("trials", trials.await?),
            ("trial_attempts", trial_attempts.await?),
            ("folds", folds.await?),
            ("epoch_reports", reports.await?),
            ("artifacts", artifacts.await?),
        ]))
    }

    async fn told<T>(&self, sql: &str) -> anyhow::Result<Vec<String>>
    where
        T: Debug + Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let sql = format!(
            "WITH places AS (SELECT job_id, row_number() OVER (ORDER BY position) - 1 AS place FROM trawl_store.jobs) {sql}"
        );
        let rows: Vec<T> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&self.pool).await?;
        Ok(told(rows.iter()))
    }
}
