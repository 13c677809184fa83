//! Trials that are raced.

use std::ops::Range;

use sqlx::types::Json;
use trawl_domain::id::StudyId;
use trawl_domain::space::Params;
use trawl_domain::state::TrialState;

use super::objectives::flat;
use super::{Connection, StoreError, count, expect_rows, to_pg_int, word};

/// A trial that is raced.
#[derive(Clone, Debug, PartialEq)]
pub struct Racer {
    /// Number.
    pub trial: u32,
    /// State.
    pub state: TrialState,
    /// Passes over the training rows.
    pub epochs: u32,
    /// The rung that it is at, or that it ended at.
    pub rung: u32,
    /// Its parameters.
    pub params: Params,
    /// Its rank keys of all objectives, if it completed.
    pub keys: Option<Vec<f64>>,
}

/// The raced trials among these consecutive ones.
pub async fn racers(conn: &mut Connection, study_id: StudyId, trials: &Range<u32>) -> Result<Vec<Racer>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT trial, state, epochs, rung AS "rung!", params AS "params: Json<Params>",
                  CASE WHEN state = 'completed' THEN rank_key || COALESCE(further_keys, '{}') END AS keys
           FROM trawl_store.trials
           WHERE study_id = $1 AND trial >= $2 AND trial < $3 AND rung IS NOT NULL
           ORDER BY trial"#,
        study_id.0,
        to_pg_int(trials.start),
        to_pg_int(trials.end),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let number = |column, value| count("trials", row.trial, column, value);
            Ok(Racer {
                trial: number("trial", row.trial)?,
                state: word("trials", row.trial, "state", &row.state)?,
                epochs: number("epochs", row.epochs)?,
                rung: number("rung", row.rung)?,
                params: row.params.0,
                keys: row.keys,
            })
        })
        .collect()
}

/// The generations of a study that have trials under way.
pub async fn open_generations(conn: &mut Connection, study_id: StudyId) -> Result<Vec<u32>, StoreError> {
    let generations = sqlx::query_scalar!(
        "SELECT DISTINCT generation FROM trawl_store.trials
         WHERE study_id = $1 AND state IN ('queued', 'running')
         ORDER BY generation",
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    generations
        .into_iter()
        .map(|generation| count("trials", study_id, "generation", generation))
        .collect()
}

/// The decision of a rung about a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct RungVerdict {
    /// Number.
    pub trial: u32,
    /// Its value there.
    pub value: f64,
    /// Its rank keys there of the further objectives.
    pub further_keys: Vec<f64>,
    /// True if it goes on to the next rung; otherwise it is pruned.
    pub goes_on: bool,
}

/// Stores a rung's decisions about trials under way, and the number of trials compared there. The study is locked, and no job trains these trials.
pub async fn take_verdicts(
    conn: &mut Connection,
    study_id: StudyId,
    compared: u32,
    verdicts: &[RungVerdict],
) -> Result<(), StoreError> {
    let trials: Vec<i32> = verdicts.iter().map(|verdict| to_pg_int(verdict.trial)).collect();
    let values: Vec<f64> = verdicts.iter().map(|verdict| verdict.value).collect();
    let goes_on: Vec<bool> = verdicts.iter().map(|verdict| verdict.goes_on).collect();
    let (further_keys, further) = flat(verdicts.iter().map(|verdict| &verdict.further_keys[..]));
    let done = sqlx::query!(
        "UPDATE trawl_store.trials t
         SET rung_value = v.value, rung_trials = $5,
             further_keys = NULLIF(($6::double precision[])[(v.place - 1) * $7 + 1 : v.place * $7], '{}'), rung = t.rung + v.goes_on::integer,
             state = CASE WHEN v.goes_on THEN t.state ELSE 'pruned' END,
             finished_at = CASE WHEN v.goes_on THEN t.finished_at ELSE clock_timestamp() END
         FROM (SELECT trial, value, goes_on, place::integer AS place
               FROM unnest($2::integer[], $3::double precision[], $4::boolean[])
                    WITH ORDINALITY AS verdict (trial, value, goes_on, place)) v
         WHERE t.study_id = $1 AND t.trial = v.trial AND t.state IN ('queued', 'running')",
        study_id.0,
        &trials,
        &values,
        &goes_on,
        to_pg_int(compared),
        &further_keys,
        further,
    )
    .execute(conn)
    .await?;
    expect_rows("trials", verdicts.len() as u64, done.rows_affected())
}
