//! Folds of trials and refits.

use trawl_domain::id::{JobId, StudyId};
use trawl_domain::metric::{FoldMetrics, Metric, Metrics};
use trawl_domain::seed::Owner;
use trawl_domain::state::{DIVERGED, TrialState};

use super::{Connection, StoreError, bad_row, count, int, word};

/// A stored fold.
#[derive(Clone, Debug, PartialEq)]
pub struct FoldRecord {
    /// Whose fold.
    pub owner: Owner,
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

pub(super) fn owner(fold_id: i64, trial: Option<i32>, refit: Option<i32>) -> Result<Owner, StoreError> {
    match (trial, refit) {
        (Some(trial), None) => count("folds", fold_id, "trial", trial).map(Owner::Trial),
        (None, Some(refit)) => count("folds", fold_id, "refit", refit).map(Owner::Refit),
        _ => Err(bad_row("folds", fold_id, "trial", "a fold is of a trial or of a refit")),
    }
}

/// One fold of a planned job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewFold {
    /// Its job.
    pub job_id: JobId,
    /// Its place among the job's members.
    pub member: u32,
    /// Whose fold.
    pub owner: Owner,
    /// Number.
    pub fold: u32,
}

/// Stores the folds of planned jobs.
pub async fn insert(conn: &mut Connection, study_id: StudyId, folds: &[NewFold]) -> Result<(), StoreError> {
    let jobs: Vec<_> = folds.iter().map(|fold| fold.job_id.0).collect();
    let members: Vec<i32> = folds.iter().map(|fold| int(fold.member)).collect();
    let of = |pick: fn(Owner) -> Option<u32>| folds.iter().map(|fold| pick(fold.owner).map(int)).collect::<Vec<_>>();
    let trials = of(|owner| {
        if let Owner::Trial(trial) = owner {
            Some(trial)
        } else {
            None
        }
    });
    let refits = of(|owner| {
        if let Owner::Refit(refit) = owner {
            Some(refit)
        } else {
            None
        }
    });
    let numbers: Vec<i32> = folds.iter().map(|fold| int(fold.fold)).collect();
    sqlx::query!(
        "INSERT INTO trawl_store.folds (study_id, job_id, member, trial, refit, fold)
         SELECT $1, * FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])",
        study_id.0,
        &jobs,
        &members,
        &trials as &[Option<i32>],
        &refits as &[Option<i32>],
        &numbers,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The folds of some trials or of one refit, by trial and number.
pub async fn of_owners(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
    refit: Option<u32>,
) -> Result<Vec<FoldRecord>, StoreError> {
    let trials: Vec<i32> = trials.iter().map(|trial| int(*trial)).collect();
    sqlx::query_as!(
        FoldRow,
        r#"SELECT fold_id, trial, refit, fold, state, epochs, train_loss, metrics, last_values AS "last_values: Vec<Option<f64>>",
                  best_values AS "best_values: Vec<Option<f64>>", best_epoch, error
           FROM trawl_store.folds
           WHERE study_id = $1 AND (trial = ANY($2) OR refit = $3)
           ORDER BY trial, refit, fold"#,
        study_id.0,
        &trials,
        refit.map(int),
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(FoldRecord::try_from)
    .collect()
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

/// Notes that a job goes back to the queue: those of its folds that run wait again, and those that diverged after its
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

/// Ends running folds whose loss was not finite: by job, member and epoch.
pub async fn diverge(conn: &mut Connection, members: &[(JobId, u32, u32)]) -> Result<(), StoreError> {
    let jobs: Vec<_> = members.iter().map(|(job, ..)| job.0).collect();
    let places: Vec<i32> = members.iter().map(|(_, member, _)| int(*member)).collect();
    let epochs: Vec<i32> = members.iter().map(|(.., epoch)| int(*epoch)).collect();
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

/// The folds of a job, by member.
pub async fn of_job(conn: &mut Connection, job_id: JobId) -> Result<Vec<i64>, StoreError> {
    let folds = sqlx::query_scalar!(
        "SELECT fold_id FROM trawl_store.folds WHERE job_id = $1 ORDER BY member",
        job_id.0
    );
    Ok(folds.fetch_all(conn).await?)
}

/// What the reports of a fold say in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FoldSummary {
    /// The fold.
    pub fold_id: i64,
    /// Epochs that were reported.
    pub epochs: u32,
    /// Mean training loss of the last one.
    pub train_loss: Option<f64>,
    /// Metrics on the validation rows; none where no rows validate.
    pub metrics: FoldMetrics,
    /// Epoch with the lowest validation loss.
    pub best_epoch: Option<u32>,
}

/// Ends the folds of a job, completes those that run, and gives all of them their metrics.
pub async fn complete(conn: &mut Connection, folds: &[FoldSummary]) -> Result<(), StoreError> {
    let ids: Vec<i64> = folds.iter().map(|fold| fold.fold_id).collect();
    let epochs: Vec<i32> = folds.iter().map(|fold| int(fold.epochs)).collect();
    let best_epochs: Vec<Option<i32>> = folds.iter().map(|fold| fold.best_epoch.map(int)).collect();
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
         SET state = CASE f.state WHEN 'running' THEN 'completed' ELSE f.state END,
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
