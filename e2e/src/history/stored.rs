//! What the database has after a run, as its owner sees it.

use std::time::Duration;

use sqlx::PgPool;

/// Everything that a history is compared with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Epoch reports of trials.
    pub reports: Vec<StoredReport>,
    /// Leases that were ever granted, by job and number of the grant.
    pub attempts: Vec<StoredAttempt>,
    /// Jobs.
    pub jobs: Vec<StoredJob>,
    /// Folds of trials.
    pub folds: Vec<StoredFold>,
    /// Studies.
    pub studies: Vec<StoredStudy>,
}

/// A row of the epoch reports.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredReport {
    /// Name of the study.
    pub study: String,
    /// Trial.
    pub trial: i32,
    /// Fold.
    pub fold: i32,
    /// Epoch.
    pub epoch: i32,
    /// Training loss.
    pub train_loss: f64,
    /// Validation loss.
    pub val_loss: Option<f64>,
}

/// A lease that was granted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAttempt {
    /// UUID of the job.
    pub job_id: String,
    /// Which grant of the job.
    pub lease_epoch: i32,
    /// Token of the lease.
    pub token: String,
    /// How it ended, if it has.
    pub outcome: Option<String>,
    /// When it was granted, by the database's clock, since the origin of the history.
    pub granted: Duration,
    /// When it ended.
    pub ended: Option<Duration>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredJob {
    /// UUID.
    pub job_id: String,
    /// As ARCHITECTURE.md has them.
    pub state: String,
    /// Live leases.
    pub leases: i64,
}

/// A fold of a trial.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredFold {
    /// Name of the study.
    pub study: String,
    /// Trial.
    pub trial: i32,
    /// Fold.
    pub fold: i32,
    /// As ARCHITECTURE.md has them.
    pub state: String,
    /// State of its job.
    pub job_state: String,
    /// Its result: the validation loss of its last epoch.
    pub val_loss: Option<f64>,
}

/// A study, with the value of its best trial as its folds' results have it.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct StoredStudy {
    /// Name.
    pub name: String,
    /// As ARCHITECTURE.md has them.
    pub state: String,
    /// The number of its best trial, as the study has it.
    pub best_trial: Option<i32>,
    /// Trials that are better than that.
    pub better_trials: i64,
}

type AttemptRow = (String, i32, String, Option<String>, f64, Option<f64>);

impl Stored {
    /// Reads all of it. `origin_s` is the origin of the history in seconds of the database's clock.
    ///
    /// # Errors
    /// Postgres does not answer.
    pub async fn read(owner: &PgPool, origin_s: f64) -> anyhow::Result<Self> {
        let reports = sqlx::query_as(
            "SELECT s.name AS study, e.trial, e.fold, e.epoch, e.train_loss, e.val_loss
             FROM trawl_store.epochs e JOIN trawl_store.studies s USING (study_id) WHERE e.trial IS NOT NULL",
        );
        let attempts = sqlx::query_as::<_, AttemptRow>(
            "SELECT job_id::text, lease_epoch, token::text, outcome,
                    extract(epoch FROM granted_at)::float8 - $1, extract(epoch FROM ended_at)::float8 - $1
             FROM trawl_store.job_attempts ORDER BY job_id, lease_epoch",
        );
        let jobs = sqlx::query_as(
            "SELECT job_id::text, state, (SELECT count(*) FROM trawl_store.leases l WHERE l.job_id = j.job_id) AS leases
             FROM trawl_store.jobs j",
        );
        let folds = sqlx::query_as(
            "SELECT s.name AS study, f.trial, f.fold, f.state, j.state AS job_state,
                    f.last_values[array_position(f.metrics, 'val_loss')] AS val_loss
             FROM trawl_store.folds f JOIN trawl_store.jobs j USING (job_id)
             JOIN trawl_store.studies s ON s.study_id = f.study_id WHERE f.trial IS NOT NULL",
        );
        let studies = sqlx::query_as(
            "WITH means AS (SELECT study, trial, avg(val_loss) AS mean FROM trawl.fold_metrics
                            WHERE state = 'completed' GROUP BY study, trial)
             SELECT s.name, s.state, s.best_trial,
                    (SELECT count(*) FROM means m JOIN means best ON best.study = s.name AND best.trial = s.best_trial
                     WHERE m.study = s.name AND m.mean < best.mean * (1 - 1e-12)) AS better_trials
             FROM trawl.studies s",
        );
        let seconds = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
        let attempt = |(job_id, lease_epoch, token, outcome, granted, ended): AttemptRow| StoredAttempt {
            job_id,
            lease_epoch,
            token,
            outcome,
            granted: seconds(granted),
            ended: ended.map(seconds),
        };
        Ok(Self {
            reports: reports.fetch_all(owner).await?,
            attempts: attempts
                .bind(origin_s)
                .fetch_all(owner)
                .await?
                .into_iter()
                .map(attempt)
                .collect(),
            jobs: jobs.fetch_all(owner).await?,
            folds: folds.fetch_all(owner).await?,
            studies: studies.fetch_all(owner).await?,
        })
    }
}
