//! Trials of studies with several objectives.

use std::collections::BTreeMap;

use sqlx::types::Json;
use trawl_domain::id::StudyId;
use trawl_domain::space::Params;

use super::{Connection, StoreError, count, to_pg_int};

/// The costs of trials so far: their parameters, and the seconds of workers.
pub async fn costs(
    conn: &mut Connection,
    study_id: StudyId,
    trials: &[u32],
) -> Result<BTreeMap<u32, (Params, f64)>, StoreError> {
    let numbers: Vec<i32> = trials.iter().map(|trial| to_pg_int(*trial)).collect();
    let rows = sqlx::query!(
        r#"SELECT trial, params AS "params: Json<Params>", worker_seconds
           FROM trawl_store.trials
           WHERE study_id = $1 AND trial = ANY($2)"#,
        study_id.0,
        &numbers,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let trial = count("trials", row.trial, "trial", row.trial)?;
            Ok((trial, (row.params.0, row.worker_seconds)))
        })
        .collect()
}

/// Completed trials of a study with several objectives, ascending, with their rank keys of all objectives; at most `limit`.
pub async fn all_keys(
    conn: &mut Connection,
    study_id: StudyId,
    limit: u32,
) -> Result<Vec<(u32, Vec<f64>)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT trial, rank_key || further_keys AS "keys!"
           FROM trawl_store.trials
           WHERE study_id = $1 AND state = 'completed' AND further_keys IS NOT NULL
           ORDER BY trial
           LIMIT $2"#,
        study_id.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok((count("trials", row.trial, "trial", row.trial)?, row.keys)))
        .collect()
}

/// Concatenates lists of equal length for a statement that splits them again; also returns that length.
pub(super) fn flat<'a>(lists: impl Iterator<Item = &'a [f64]> + Clone) -> (Vec<f64>, i32) {
    let len = lists.clone().map(<[f64]>::len).max().unwrap_or(0);
    let padded = |list: &'a [f64]| list.iter().copied().chain(std::iter::repeat(0.0)).take(len);
    (lists.flat_map(padded).collect(), to_pg_int(len as u32))
}
