//! Trials that are raced.

use std::ops::Range;

use trawl_domain::id::StudyId;
use trawl_domain::state::TrialState;

use super::{Connection, StoreError, count, expect_rows, int, word};

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
    /// By what it sorts, if it completed.
    pub rank_key: Option<f64>,
}

/// Those of some consecutive trials that are raced.
pub async fn racers(conn: &mut Connection, study_id: StudyId, trials: &Range<u32>) -> Result<Vec<Racer>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT trial, state, epochs, rung AS "rung!", rank_key
           FROM trawl_store.trials
           WHERE study_id = $1 AND trial >= $2 AND trial < $3 AND rung IS NOT NULL
           ORDER BY trial"#,
        study_id.0,
        int(trials.start),
        int(trials.end),
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
                rank_key: row.rank_key,
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

/// What a rung decides of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RungVerdict {
    /// Number.
    pub trial: u32,
    /// Its value there.
    pub value: f64,
    /// Whether it goes on to the next rung; else it is pruned.
    pub goes_on: bool,
}

/// Takes what a rung decides of trials under way, of so many that were compared there. The study is locked, and no job trains them.
pub async fn take_verdicts(
    conn: &mut Connection,
    study_id: StudyId,
    compared: u32,
    verdicts: &[RungVerdict],
) -> Result<(), StoreError> {
    let trials: Vec<i32> = verdicts.iter().map(|verdict| int(verdict.trial)).collect();
    let values: Vec<f64> = verdicts.iter().map(|verdict| verdict.value).collect();
    let goes_on: Vec<bool> = verdicts.iter().map(|verdict| verdict.goes_on).collect();
    let done = sqlx::query!(
        "UPDATE trawl_store.trials t
         SET rung_value = v.value, rung_trials = $5, rung = t.rung + v.goes_on::integer,
             state = CASE WHEN v.goes_on THEN t.state ELSE 'pruned' END,
             finished_at = CASE WHEN v.goes_on THEN t.finished_at ELSE clock_timestamp() END
         FROM unnest($2::integer[], $3::double precision[], $4::boolean[]) AS v (trial, value, goes_on)
         WHERE t.study_id = $1 AND t.trial = v.trial AND t.state IN ('queued', 'running')",
        study_id.0,
        &trials,
        &values,
        &goes_on,
        int(compared),
    )
    .execute(conn)
    .await?;
    expect_rows("trials", verdicts.len() as u64, done.rows_affected())
}
