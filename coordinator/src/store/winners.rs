//! The value of best trials, and the importance of parameters.

use std::collections::BTreeMap;

use trawl_domain::id::StudyId;
use trawl_domain::winner::Interval;
use uuid::Uuid;

use super::studies::StudyRecord;
use super::{Connection, StoreError, count, to_pg_int};

/// A corrected value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectedValue {
    /// The value.
    pub value: f64,
    /// Its confidence interval.
    pub interval: Interval,
    /// Number of trials among which the best one was chosen.
    pub contenders: u32,
}

/// The value of a study's best trial.
#[derive(Clone, Debug, PartialEq)]
pub struct WinnerRecord {
    /// Number.
    pub trial: u32,
    /// Its value, corrected for the bias of choosing the best.
    pub corrected: Option<CorrectedValue>,
    /// Probability that it is better than the second best.
    pub p_better: Option<f64>,
    /// Trials that cannot be separated from it.
    pub not_separable_from: Vec<u32>,
}

/// The importance of a study's parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportanceRecord {
    /// Shares, by parameter.
    pub importance: BTreeMap<String, f64>,
    /// Number of trials that they were computed from.
    pub trials: u32,
    /// The rung at which they were compared; `None` for whole trials.
    pub rung: Option<u32>,
}

/// Studies whose search ended with a completed trial, and whose best trial is not judged yet.
pub async fn studies_to_judge(conn: &mut Connection, limit: u32) -> Result<Vec<StudyId>, StoreError> {
    let studies: Vec<Uuid> = sqlx::query_scalar!(
        "SELECT s.study_id
         FROM trawl_store.studies s
         WHERE s.state IN ('refitting', 'completed', 'failed', 'cancelled') AND s.trials_completed > 0
           AND s.deleted_at IS NULL
           AND NOT EXISTS (SELECT FROM trawl_store.winners w WHERE w.study_id = s.study_id)
         ORDER BY s.created_at, s.study_id
         LIMIT $1",
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    Ok(studies.into_iter().map(StudyId).collect())
}

/// True if the study is one of [`studies_to_judge`].
pub async fn is_to_judge(conn: &mut Connection, study_id: StudyId) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar!(
        r#"SELECT s.state IN ('refitting', 'completed', 'failed', 'cancelled') AND s.trials_completed > 0
                  AND s.deleted_at IS NULL
                  AND NOT EXISTS (SELECT FROM trawl_store.winners w WHERE w.study_id = s.study_id) AS "is_open!"
           FROM trawl_store.studies s WHERE s.study_id = $1"#,
        study_id.0,
    )
    .fetch_optional(conn)
    .await?;
    Ok(found.unwrap_or(false))
}

/// Stores the value of a study's best trial; false if it is already there, or if the study has run again since `judged`.
pub async fn insert(conn: &mut Connection, judged: &StudyRecord, winner: &WinnerRecord) -> Result<bool, StoreError> {
    let study_id = judged.study_id;
    let others: Vec<i32> = winner
        .not_separable_from
        .iter()
        .map(|trial| to_pg_int(*trial))
        .collect();
    let interval = winner.corrected.map(|corrected| corrected.interval);
    let done = sqlx::query!(
        "INSERT INTO trawl_store.winners
             (study_id, trial, contenders, corrected_value, corrected_low, corrected_high, p_better, not_separable_from)
         SELECT s.study_id, $2::integer, $3::integer, $4::double precision, $5::double precision, $6::double precision,
                $7::double precision, $8::integer[]
         FROM trawl_store.studies s
         WHERE s.study_id = $1 AND s.state NOT IN ('running', 'paused') AND s.max_trials = $9 AND s.trials_completed = $10
         FOR SHARE OF s
         ON CONFLICT DO NOTHING",
        study_id.0,
        to_pg_int(winner.trial),
        winner.corrected.map(|corrected| to_pg_int(corrected.contenders)),
        winner.corrected.map(|corrected| corrected.value),
        interval.map(|interval| interval.low),
        interval.map(|interval| interval.high),
        winner.p_better,
        &others,
        to_pg_int(judged.max_trials),
        to_pg_int(judged.trials_completed),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores the importance of a study's parameters.
pub async fn insert_importance(
    conn: &mut Connection,
    study_id: StudyId,
    importance: &ImportanceRecord,
) -> Result<(), StoreError> {
    let (names, shares): (Vec<String>, Vec<f64>) = importance.importance.clone().into_iter().unzip();
    sqlx::query!(
        "INSERT INTO trawl_store.importance (study_id, parameter, importance, trials, rung)
         SELECT $1, p.parameter, p.importance, $4, $5
         FROM unnest($2::text[], $3::double precision[]) AS p (parameter, importance)",
        study_id.0,
        &names,
        &shares,
        to_pg_int(importance.trials),
        importance.rung.map(to_pg_int),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The value of a study's best trial, if it was computed.
pub async fn of_study(conn: &mut Connection, study_id: StudyId) -> Result<Option<WinnerRecord>, StoreError> {
    let row = sqlx::query!(
        "SELECT trial, contenders, corrected_value, corrected_low, corrected_high, p_better, not_separable_from
         FROM trawl_store.winners WHERE study_id = $1",
        study_id.0,
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        let number = |column, value| count("winners", study_id, column, value);
        let corrected = match (
            row.contenders,
            row.corrected_value,
            row.corrected_low,
            row.corrected_high,
        ) {
            (Some(contenders), Some(value), Some(low), Some(high)) => Some(CorrectedValue {
                value,
                interval: Interval { low, high },
                contenders: number("contenders", contenders)?,
            }),
            _ => None,
        };
        let others = row.not_separable_from.into_iter();
        Ok(WinnerRecord {
            trial: number("trial", row.trial)?,
            corrected,
            p_better: row.p_better,
            not_separable_from: others
                .map(|trial| number("not_separable_from", trial))
                .collect::<Result<_, _>>()?,
        })
    })
    .transpose()
}

/// The importance of a study's parameters, if it was computed.
pub async fn importance(conn: &mut Connection, study_id: StudyId) -> Result<Option<ImportanceRecord>, StoreError> {
    let rows = sqlx::query!(
        "SELECT parameter, importance, trials, rung FROM trawl_store.importance WHERE study_id = $1",
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let number = |column, value| count("importance", study_id, column, value);
    Ok(Some(ImportanceRecord {
        trials: number("trials", first.trials)?,
        rung: first.rung.map(|rung| number("rung", rung)).transpose()?,
        importance: rows.into_iter().map(|row| (row.parameter, row.importance)).collect(),
    }))
}

/// Stores how the front of a study grew with its completed trials.
pub async fn insert_hypervolumes(
    conn: &mut Connection,
    study_id: StudyId,
    hypervolumes: &[(u32, f64)],
) -> Result<(), StoreError> {
    let (trials, volumes): (Vec<i32>, Vec<f64>) = hypervolumes
        .iter()
        .map(|(trial, volume)| (to_pg_int(*trial), *volume))
        .unzip();
    sqlx::query!(
        "INSERT INTO trawl_store.hypervolumes (study_id, trial, hypervolume)
         SELECT $1, * FROM unnest($2::integer[], $3::double precision[])",
        study_id.0,
        &trials,
        &volumes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes all that was computed for a study.
pub(super) async fn remove(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH winner AS (DELETE FROM trawl_store.winners WHERE study_id = $1),
              volumes AS (DELETE FROM trawl_store.hypervolumes WHERE study_id = $1)
         DELETE FROM trawl_store.importance WHERE study_id = $1",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
