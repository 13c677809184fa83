//! What the best trials are worth, and how much parameters matter.

use std::collections::BTreeMap;

use trawl_domain::id::StudyId;
use trawl_domain::winner::Interval;
use uuid::Uuid;

use super::studies::StudyRecord;
use super::{Connection, StoreError, count, to_pg_int};

/// A value that was corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectedValue {
    /// The value.
    pub value: f64,
    /// Where it is.
    pub interval: Interval,
    /// Trials that the best one was chosen among.
    pub contenders: u32,
}

/// What the best trial of a study is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct WinnerRecord {
    /// Number.
    pub trial: u32,
    /// Its value without what it owes to having been chosen.
    pub corrected: Option<CorrectedValue>,
    /// Probability that it is better than the second best.
    pub p_better: Option<f64>,
    /// Trials that it does not stand out from.
    pub not_separable_from: Vec<u32>,
}

/// How much the parameters of a study matter.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportanceRecord {
    /// Its share, by parameter.
    pub importance: BTreeMap<String, f64>,
    /// Trials that it was computed from.
    pub trials: u32,
    /// The rung at which they were compared; `None` for whole trials.
    pub rung: Option<u32>,
}

/// Studies whose search ended with a completed trial, and whose best one was not judged.
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

/// True for one of these.
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

/// Stores what the best trial of a study is worth, as it was then; false if it is there already, or if the study has run again since.
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

/// Stores how much the parameters of a study matter.
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

/// What the best trial of a study is worth, if it was computed.
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

/// How much the parameters of a study matter, if it was computed.
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

/// Stores how the front of a study grew, of its completed trials.
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

/// Removes all that was computed of a study.
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
