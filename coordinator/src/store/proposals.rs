//! What samplers proposed, and what they learned it from.

use std::ops::Range;

use sqlx::types::Json;
use trawl_domain::id::StudyId;
use trawl_domain::job::Learned;
use trawl_domain::metric::Objective;
use trawl_domain::search::{Past, Standing};
use trawl_domain::space::Params;
use trawl_domain::state::TrialState;

use super::{Connection, StoreError, bad_row, count, int, word};

/// Keeps the hashes of what was learned from, and of so many trials that were proposed.
pub async fn keep(conn: &mut Connection, study_id: StudyId, learned: &Learned, trials: u32) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.proposals (study_id, first_trial, trials, history_sha256, proposals_sha256)
         VALUES ($1, $2, $3, $4, $5)",
        study_id.0,
        int(learned.first_trial),
        int(trials),
        &learned.history[..],
        &learned.proposals[..],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Hashes of what was proposed at once among these trials, by the first of them.
pub async fn kept(conn: &mut Connection, study_id: StudyId, trials: &Range<u32>) -> Result<Vec<Learned>, StoreError> {
    let rows = sqlx::query!(
        "SELECT first_trial, history_sha256, proposals_sha256
         FROM trawl_store.proposals
         WHERE study_id = $1 AND first_trial >= $2 AND first_trial < $3
         ORDER BY first_trial",
        study_id.0,
        int(trials.start),
        int(trials.end),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let hash = |column, bytes: Vec<u8>| {
                let bytes: Result<[u8; 32], _> = bytes.try_into();
                bytes.map_err(|bytes| bad_row("proposals", study_id, column, format!("{} bytes", bytes.len())))
            };
            Ok(Learned {
                first_trial: count("proposals", study_id, "first_trial", row.first_trial)?,
                history: hash("history_sha256", row.history_sha256)?,
                proposals: hash("proposals_sha256", row.proposals_sha256)?,
            })
        })
        .collect()
}

/// The last trial that a sampler proposed.
pub async fn last_proposed(conn: &mut Connection, study_id: StudyId) -> Result<Option<u32>, StoreError> {
    let trial = sqlx::query_scalar!(
        "SELECT trial FROM trawl_store.trials WHERE study_id = $1 AND chosen IS NULL ORDER BY trial DESC LIMIT 1",
        study_id.0,
    )
    .fetch_optional(conn)
    .await?;
    trial.map(|trial| count("trials", study_id, "trial", trial)).transpose()
}

/// The trials of a study so far, as a generation sees them that knows the results of those before `known`; values as they sort.
pub async fn history(
    conn: &mut Connection,
    study_id: StudyId,
    known: u32,
    objective: Objective,
) -> Result<Vec<Past>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT trial, state, params AS "params: Json<Params>", rank_key, rung, rung_value
           FROM trawl_store.trials
           WHERE study_id = $1
           ORDER BY trial"#,
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let trial = count("trials", row.trial, "trial", row.trial)?;
            let rung = row
                .rung
                .map(|rung| count("trials", row.trial, "rung", rung))
                .transpose()?;
            let state: TrialState = word("trials", row.trial, "state", &row.state)?;
            let standing = match (state, row.rank_key, rung.zip(row.rung_value)) {
                _ if trial >= known => Standing::Pending,
                (TrialState::Completed, Some(key), _) => Standing::Completed { key },
                (TrialState::Pruned, _, Some((rung, value))) => Standing::Pruned {
                    rung,
                    key: objective.rank_key(value),
                },
                // One that nobody trained is no result.
                (TrialState::Cancelled, ..) => Standing::Pending,
                (state, ..) if state.is_final() => Standing::Failed,
                _ => Standing::Pending,
            };
            Ok(Past {
                trial,
                params: row.params.0,
                standing,
            })
        })
        .collect()
}
