//! Folds of trials and refits.

use sqlx::types::Json;
use trawl_domain::id::{JobId, StudyId};
use trawl_domain::job::TrialFold;
use trawl_domain::metric::{FoldMetrics, Metric, Metrics};
use trawl_domain::seed::FitOwner;
use trawl_domain::space::Params;
use trawl_domain::state::{DIVERGED, TrialState};
use uuid::Uuid;

use super::{Connection, StoreError, bad_row, count, expect_rows, to_pg_int, word};

/// A stored fold.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldRecord {
    /// Whose fold.
    pub owner: FitOwner,
    /// Number.
    pub fold: u32,
    /// State.
    pub state: TrialState,
    /// Epochs reported when it ended.
    pub epochs: u32,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
    /// Metrics on the validation rows; none where no rows validate.
    pub metrics: FoldMetrics,
    /// Epoch with the lowest validation loss.
    pub best_epoch: Option<u32>,
    /// Why it failed.
    pub error: Option<String>,
}

struct FoldRow {
    fold_id: i64,
    trial: Option<i32>,
    refit: Option<i32>,
    fold: i32,
    state: String,
    epochs: i32,
    train_loss: Option<f64>,
    metrics: Vec<String>,
    last_values: Vec<Option<f64>>,
    best_values: Vec<Option<f64>>,
    best_epoch: Option<i32>,
    error: Option<String>,
}

impl TryFrom<FoldRow> for FoldRecord {
    type Error = StoreError;

    fn try_from(row: FoldRow) -> Result<Self, StoreError> {
        let number = |column, value| count("folds", row.fold_id, column, value);
        Ok(Self {
            owner: owner(row.fold_id, row.trial, row.refit)?,
            fold: number("fold", row.fold)?,
            state: word("folds", row.fold_id, "state", &row.state)?,
            epochs: number("epochs", row.epochs)?,
            train_loss: row.train_loss,
            metrics: FoldMetrics {
                last: named(row.fold_id, &row.metrics, &row.last_values)?,
                best: named(row.fold_id, &row.metrics, &row.best_values)?,
            },
            best_epoch: row.best_epoch.map(|epoch| number("best_epoch", epoch)).transpose()?,
            error: row.error,
        })
    }
}

fn named(fold_id: i64, names: &[String], values: &[Option<f64>]) -> Result<Metrics, StoreError> {
    let there = names
        .iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, (*value)?)));
    let named = there.map(|(name, value)| Ok((word("folds", fold_id, "metrics", name)?, value)));
    named.collect()
}

pub(super) fn owner(fold_id: i64, trial: Option<i32>, refit: Option<i32>) -> Result<FitOwner, StoreError> {
    match (trial, refit) {
        (Some(trial), None) => count("folds", fold_id, "trial", trial).map(FitOwner::Trial),
        (None, Some(refit)) => count("folds", fold_id, "refit", refit).map(FitOwner::Refit),
        _ => Err(bad_row("folds", fold_id, "trial", "a fold is of a trial or of a refit")),
    }
}

/// A fold that is to be trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFold {
    /// Its job, and its place among the job's members; `None` while it waits for a job.
    pub job: Option<(JobId, u32)>,
    /// Whose fold.
    pub owner: FitOwner,
    /// Number.
    pub fold: u32,
    /// The epoch up to which it is trained.
    pub end_epoch: u32,
}

/// Stores folds.
pub async fn insert(conn: &mut Connection, study_id: StudyId, folds: &[NewFold]) -> Result<(), StoreError> {
    let jobs: Vec<_> = folds.iter().map(|fold| fold.job.map(|(job, _)| job.0)).collect();
    let members: Vec<_> = folds
        .iter()
        .map(|fold| fold.job.map(|(_, member)| to_pg_int(member)))
        .collect();
    let ends: Vec<i32> = folds.iter().map(|fold| to_pg_int(fold.end_epoch)).collect();
    let of = |pick: fn(FitOwner) -> Option<u32>| {
        folds
            .iter()
            .map(|fold| pick(fold.owner).map(to_pg_int))
            .collect::<Vec<_>>()
    };
    let trials = of(|owner| {
        if let FitOwner::Trial(trial) = owner {
            Some(trial)
        } else {
            None
        }
    });
    let refits = of(|owner| {
        if let FitOwner::Refit(refit) = owner {
            Some(refit)
        } else {
            None
        }
    });
    let numbers: Vec<i32> = folds.iter().map(|fold| to_pg_int(fold.fold)).collect();
    sqlx::query!(
        "INSERT INTO trawl_store.folds (study_id, job_id, member, trial, refit, fold, end_epoch)
         SELECT $1, * FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[])",
        study_id.0,
        &jobs as &[Option<Uuid>],
        &members as &[Option<i32>],
        &trials as &[Option<i32>],
        &refits as &[Option<i32>],
        &numbers,
        &ends,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The folds of these trials or of one refit, by trial and number.
pub async fn of_owners(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
    refit: Option<u32>,
) -> Result<Vec<FoldRecord>, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    sqlx::query_as!(
        FoldRow,
        r#"SELECT fold_id, trial, refit, fold, state, epochs, train_loss, metrics, last_values AS "last_values: Vec<Option<f64>>",
                  best_values AS "best_values: Vec<Option<f64>>", best_epoch, error
           FROM trawl_store.folds
           WHERE study_id = $1 AND (trial = ANY($2) OR refit = $3)
           ORDER BY trial, refit, fold"#,
        study_id.0,
        &trials,
        refit.map(to_pg_int),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(FoldRecord::try_from)
    .collect()
}

/// Epochs that the folds of a study's first trials were trained for.
pub async fn epochs_of_trials(conn: &mut Connection, study_id: StudyId, trials: u32) -> Result<u64, StoreError> {
    let epochs = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(epochs), 0)::bigint AS "epochs!"
           FROM trawl_store.folds
           WHERE study_id = $1 AND trial < $2"#,
        study_id.0,
        to_pg_int(trials),
    )
    .fetch_one(conn)
    .await?;
    Ok(epochs.unsigned_abs())
}

/// A fold that waits for a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Which one.
    pub fold: TrialFold,
    /// Parameters of its trial.
    pub params: Params,
    /// Epochs trained so far.
    pub epochs: u32,
    /// The epoch up to which it is trained.
    pub end_epoch: u32,
}

/// Folds of a study's trials that wait for a job, by trial; at most `limit`.
pub async fn waiting(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<Vec<Waiting>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT f.fold_id, f.trial AS "trial!", f.fold, f.epochs, f.end_epoch, t.params AS "params: Json<Params>"
           FROM trawl_store.trials t
           JOIN trawl_store.folds f USING (study_id, trial)
           WHERE t.study_id = $1 AND t.state IN ('queued', 'running') AND f.state = 'queued' AND f.job_id IS NULL
           ORDER BY f.trial, f.fold
           LIMIT $2"#,
        study_id.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let number = |column, value| count("folds", row.fold_id, column, value);
            Ok(Waiting {
                fold: TrialFold {
                    trial: number("trial", row.trial)?,
                    fold: number("fold", row.fold)?,
                },
                params: row.params.0,
                epochs: number("epochs", row.epochs)?,
                end_epoch: number("end_epoch", row.end_epoch)?,
            })
        })
        .collect()
}

/// Puts folds that wait into jobs, each at a place among the job's members. The study is locked.
pub async fn assign(
    conn: &mut Connection,
    study_id: StudyId,
    folds: &[(TrialFold, JobId, u32)],
) -> Result<(), StoreError> {
    let trials: Vec<i32> = folds.iter().map(|(fold, ..)| to_pg_int(fold.trial)).collect();
    let numbers: Vec<i32> = folds.iter().map(|(fold, ..)| to_pg_int(fold.fold)).collect();
    let jobs: Vec<Uuid> = folds.iter().map(|(_, job, _)| job.0).collect();
    let members: Vec<i32> = folds.iter().map(|(.., member)| to_pg_int(*member)).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.folds f SET job_id = a.job_id, member = a.member
         FROM unnest($2::integer[], $3::integer[], $4::uuid[], $5::integer[]) AS a (trial, fold, job_id, member)
         WHERE f.study_id = $1 AND f.trial = a.trial AND f.fold = a.fold AND f.state = 'queued' AND f.job_id IS NULL",
        study_id.0,
        &trials,
        &numbers,
        &jobs,
        &members,
    )
    .execute(conn)
    .await?;
    expect_rows("folds", folds.len() as u64, done.rows_affected())
}

/// Makes paused folds wait for a job that trains them further, each up to an epoch. They go on from the checkpoint of
/// the job that trained them. The study is locked.
pub async fn go_on(conn: &mut Connection, study_id: StudyId, folds: &[(TrialFold, u32)]) -> Result<(), StoreError> {
    let trials: Vec<i32> = folds.iter().map(|(fold, _)| to_pg_int(fold.trial)).collect();
    let numbers: Vec<i32> = folds.iter().map(|(fold, _)| to_pg_int(fold.fold)).collect();
    let ends: Vec<i32> = folds.iter().map(|(_, end_epoch)| to_pg_int(*end_epoch)).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.folds f
         SET state = 'queued', end_epoch = g.end_epoch, checkpoint_job = f.job_id, job_id = NULL, member = NULL
         FROM unnest($2::integer[], $3::integer[], $4::integer[]) AS g (trial, fold, end_epoch)
         WHERE f.study_id = $1 AND f.trial = g.trial AND f.fold = g.fold AND f.state = 'paused'",
        study_id.0,
        &trials,
        &numbers,
        &ends,
    )
    .execute(conn)
    .await?;
    expect_rows("folds", folds.len() as u64, done.rows_affected())
}

/// Makes the folds of failed trials wait again: failed folds from where their job began, others as they were. Returns
/// the number of epoch reports that no longer count. The study is locked.
pub async fn revive(conn: &mut Connection, study_id: StudyId, trials: &[u32]) -> Result<u64, StoreError> {
    let numbers: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let reports = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(cardinality(array_remove(
                      r.train_loss[f.member * r.epochs + 1 : (f.member + 1) * r.epochs], NULL))), 0)::bigint AS "reports!"
           FROM trawl_store.folds f
           JOIN trawl_store.job_reports r USING (job_id)
           WHERE f.study_id = $1 AND f.trial = ANY($2) AND f.state = 'failed'"#,
        study_id.0,
        &numbers,
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE trawl_store.folds f
         SET state = CASE WHEN f.state = 'failed' OR f.job_id IS NULL THEN 'queued'
                          WHEN f.epochs >= t.epochs THEN 'completed'
                          ELSE 'paused' END,
             job_id = CASE WHEN f.state = 'failed' THEN NULL ELSE f.job_id END,
             member = CASE WHEN f.state = 'failed' THEN NULL ELSE f.member END,
             error = NULL
         FROM trawl_store.trials t
         WHERE t.study_id = f.study_id AND t.trial = f.trial
           AND f.study_id = $1 AND f.trial = ANY($2) AND f.state IN ('failed', 'pruned')",
        study_id.0,
        &numbers,
    )
    .execute(conn)
    .await?;
    Ok(reports.unsigned_abs())
}

/// Ends the folds of these trials that no job trains.
pub async fn end_between_jobs(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
    state: TrialState,
) -> Result<(), StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = $3
         WHERE study_id = $1 AND trial = ANY($2)
           AND (state = 'paused' OR (state = 'queued' AND job_id IS NULL))",
        study_id.0,
        &trials,
        state.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that jobs were leased: their folds run.
pub async fn start(conn: &mut Connection, jobs: &[JobId]) -> Result<(), StoreError> {
    let jobs: Vec<_> = jobs.iter().map(|job| job.0).collect();
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = 'running' WHERE job_id = ANY($1) AND state = 'queued'",
        &jobs
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes that a job goes back to the queue: its running folds wait again, and so do folds that diverged after its
/// checkpoints.
pub async fn requeue(conn: &mut Connection, job_id: JobId) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = 'queued', error = NULL, diverged_epoch = NULL
         WHERE job_id = $1
           AND (state = 'running'
             OR state = 'failed' AND diverged_epoch >= (SELECT COALESCE(max(epochs), 0) FROM trawl_store.checkpoints
                                                     WHERE job_id = $1))",
        job_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends running folds whose loss was not finite: job, member and epoch of each.
pub async fn diverge(conn: &mut Connection, members: &[(JobId, u32, u32)]) -> Result<(), StoreError> {
    let jobs: Vec<_> = members.iter().map(|(job, ..)| job.0).collect();
    let places: Vec<i32> = members.iter().map(|(_, member, _)| to_pg_int(*member)).collect();
    let epochs: Vec<i32> = members.iter().map(|(.., epoch)| to_pg_int(*epoch)).collect();
    sqlx::query!(
        "UPDATE trawl_store.folds f SET state = 'failed', error = $4, diverged_epoch = d.epoch
         FROM unnest($1::uuid[], $2::integer[], $3::integer[]) AS d (job_id, member, epoch)
         WHERE f.job_id = d.job_id AND f.member = d.member AND f.state = 'running'",
        &jobs,
        &places,
        &epochs,
        DIVERGED,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The folds of a job, by member, before the job's reports are added.
pub async fn of_job(conn: &mut Connection, job_id: JobId) -> Result<Vec<FoldSummary>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT fold_id, fold, epochs, train_loss, metrics, last_values AS "last_values: Vec<Option<f64>>",
                  best_values AS "best_values: Vec<Option<f64>>", best_epoch
           FROM trawl_store.folds WHERE job_id = $1 ORDER BY member"#,
        job_id.0
    );
    let rows = rows.fetch_all(conn).await?.into_iter();
    rows.map(|row| {
        let number = |column, value| count("folds", row.fold_id, column, value);
        Ok(FoldSummary {
            fold_id: row.fold_id,
            fold: number("fold", row.fold)?,
            epochs: number("epochs", row.epochs)?,
            train_loss: row.train_loss,
            metrics: FoldMetrics {
                last: named(row.fold_id, &row.metrics, &row.last_values)?,
                best: named(row.fold_id, &row.metrics, &row.best_values)?,
            },
            best_epoch: row.best_epoch.map(|epoch| number("best_epoch", epoch)).transpose()?,
        })
    })
    .collect()
}

/// Final metrics of a fold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FoldSummary {
    /// The fold.
    pub fold_id: i64,
    /// Its number.
    pub fold: u32,
    /// Epochs reported.
    pub epochs: u32,
    /// Mean training loss of the last epoch.
    pub train_loss: Option<f64>,
    /// Metrics on the validation rows; none where no rows validate.
    pub metrics: FoldMetrics,
    /// Epoch with the lowest validation loss.
    pub best_epoch: Option<u32>,
}

/// Moves a job's running folds to `state`, and stores the metrics of all of its folds.
pub async fn complete(conn: &mut Connection, folds: &[FoldSummary], state: TrialState) -> Result<(), StoreError> {
    let ids: Vec<i64> = folds.iter().map(|fold| fold.fold_id).collect();
    let epochs: Vec<i32> = folds.iter().map(|fold| to_pg_int(fold.epochs)).collect();
    let best_epochs: Vec<Option<i32>> = folds.iter().map(|fold| fold.best_epoch.map(to_pg_int)).collect();
    let train_losses: Vec<Option<f64>> = folds.iter().map(|fold| fold.train_loss).collect();
    let is_measured = |metric: &&Metric| folds.iter().any(|fold| fold.metrics.best.get(**metric).is_some());
    let metrics: Vec<Metric> = Metric::ALL.iter().filter(is_measured).copied().collect();
    let values = |of: fn(&FoldMetrics) -> &Metrics| -> Vec<Option<f64>> {
        let of_fold = |fold: &FoldSummary| {
            metrics
                .iter()
                .map(|metric| of(&fold.metrics).get(*metric))
                .collect::<Vec<_>>()
        };
        folds.iter().flat_map(of_fold).collect()
    };
    let (last, best) = (values(|metrics| &metrics.last), values(|metrics| &metrics.best));
    let names: Vec<String> = metrics.iter().map(Metric::to_string).collect();
    sqlx::query!(
        "UPDATE trawl_store.folds f
         SET state = CASE f.state WHEN 'running' THEN $8 ELSE f.state END,
             epochs = m.epochs, train_loss = m.train_loss, best_epoch = m.best_epoch, metrics = $5::text[],
             last_values = ($6::double precision[])[(m.place - 1) * cardinality($5::text[]) + 1 : m.place * cardinality($5::text[])],
             best_values = ($7::double precision[])[(m.place - 1) * cardinality($5::text[]) + 1 : m.place * cardinality($5::text[])]
         FROM unnest($1::bigint[], $2::integer[], $3::integer[], $4::double precision[])
              WITH ORDINALITY AS m (fold_id, epochs, best_epoch, train_loss, place)
         WHERE f.fold_id = m.fold_id",
        &ids,
        &epochs,
        &best_epochs as &[Option<i32>],
        &train_losses as &[Option<f64>],
        &names,
        &last as &[Option<f64>],
        &best as &[Option<f64>],
        state.as_str(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends a job's unfinished folds.
pub async fn end_unfinished(
    conn: &mut Connection,
    job_id: JobId,
    state: TrialState,
    error: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE trawl_store.folds SET state = $2, error = $3 WHERE job_id = $1 AND state IN ('queued', 'running')",
        job_id.0,
        state.as_str(),
        error,
    )
    .execute(conn)
    .await?;
    Ok(())
}
