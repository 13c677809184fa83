//! Proposals of samplers, and the results that they learned from.

use std::ops::Range;

use sqlx::types::Json;
use trawl_domain::id::StudyId;
use trawl_domain::job::Learned;
use trawl_domain::metric::Objective;
use trawl_domain::search::{Past, Standing, by_all_objectives};
use trawl_domain::space::Params;
use trawl_domain::state::TrialState;

use super::objectives::flat;
use super::{Connection, StoreError, bad_row, count, to_pg_int, word};

/// Keeps the hashes of the results learned from, and the number of trials proposed.
pub async fn keep(conn: &mut Connection, study_id: StudyId, learned: &Learned, trials: u32) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.proposals (study_id, first_trial, trials, history_sha256, proposals_sha256)
         VALUES ($1, $2, $3, $4, $5)",
        study_id.0,
        to_pg_int(learned.first_trial),
        to_pg_int(trials),
        &learned.history[..],
        &learned.proposals[..],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Hashes of the proposals among these trials, by the first trial of each.
pub async fn kept(conn: &mut Connection, study_id: StudyId, trials: &Range<u32>) -> Result<Vec<Learned>, StoreError> {
    let rows = sqlx::query!(
        "SELECT first_trial, history_sha256, proposals_sha256
         FROM trawl_store.proposals
         WHERE study_id = $1 AND first_trial >= $2 AND first_trial < $3
         ORDER BY first_trial",
        study_id.0,
        to_pg_int(trials.start),
        to_pg_int(trials.end),
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

/// Results that a generation may know: prior results, and the study's trials so far.
#[derive(Clone, Debug)]
pub struct History {
    /// The study's trials, by number, as the first objective sorts them.
    pub trials: Vec<Past>,
    prior: Vec<Past>,
    /// The keys of the further objectives: of `prior`, then of `trials`. `None` for a trial that has none.
    further_keys: Vec<Option<Vec<f64>>>,
}

impl History {
    /// The history of a study without trials: prior results only.
    pub fn of_prior(results: &[PriorResult]) -> Self {
        let past = (0..).zip(results).map(|(trial, result)| Past {
            trial,
            params: result.params.clone(),
            standing: Standing::Prior { key: result.rank_key },
        });
        let further_keys = results.iter().map(|result| {
            let keys = result.further_keys.clone();
            Some(keys).filter(|keys| !keys.is_empty())
        });
        Self {
            trials: Vec::new(),
            prior: past.collect(),
            further_keys: further_keys.collect(),
        }
    }

    /// The history that a sampler sees when it proposes trials from `first` on.
    pub fn before(&self, first: u32) -> Vec<Past> {
        let known = self.trials.partition_point(|past| past.trial < first);
        let mut seen = [&self.prior[..], &self.trials[..known]].concat();
        if self.further_keys.iter().any(Option::is_some) {
            let further_keys = self.further_keys.iter().map(|keys| keys.clone().unwrap_or_default());
            by_all_objectives(&mut seen, &further_keys.collect::<Vec<_>>());
        }
        seen
    }
}

/// The history of a generation that knows the results of trials before `known`; values are rank keys.
pub async fn history(
    conn: &mut Connection,
    study_id: StudyId,
    known: u32,
    objective: Objective,
) -> Result<History, StoreError> {
    let prior = prior_results(conn, study_id).await?;
    let (prior, mut further_keys): (Vec<Past>, Vec<_>) = prior.into_iter().unzip();
    let rows = sqlx::query!(
        r#"SELECT trial, state, params AS "params: Json<Params>", rank_key, further_keys, rung, rung_value
           FROM trawl_store.trials
           WHERE study_id = $1
           ORDER BY trial"#,
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    let trials = rows
        .into_iter()
        .map(|row| {
            let trial = count("trials", row.trial, "trial", row.trial)?;
            further_keys.push(row.further_keys);
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
                // A cancelled trial has no result.
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
        .collect::<Result<_, StoreError>>()?;
    Ok(History {
        trials,
        prior,
        further_keys,
    })
}

/// Stores results of other studies as prior results of a study that has none yet.
pub async fn insert_prior(conn: &mut Connection, study_id: StudyId, results: &[PriorResult]) -> Result<(), StoreError> {
    let numbers: Vec<i32> = (0..results.len() as u32).map(to_pg_int).collect();
    let params: Vec<Json<&Params>> = results.iter().map(|result| Json(&result.params)).collect();
    let rank_keys: Vec<f64> = results.iter().map(|result| result.rank_key).collect();
    let (further_keys, further) = flat(results.iter().map(|result| &result.further_keys[..]));
    sqlx::query!(
        "INSERT INTO trawl_store.prior_results (study_id, number, params, rank_key, further_keys)
         SELECT $1, p.number, p.params, p.rank_key, NULLIF(($5::double precision[])[p.number * $6 + 1 : (p.number + 1) * $6], '{}')
         FROM unnest($2::integer[], $3::jsonb[], $4::double precision[]) AS p (number, params, rank_key)",
        study_id.0,
        &numbers,
        &params as &[Json<&Params>],
        &rank_keys,
        &further_keys,
        further,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A result of another study.
#[derive(Clone, Debug, PartialEq)]
pub struct PriorResult {
    /// The configuration.
    pub params: Params,
    /// Its rank key.
    pub rank_key: f64,
    /// Its rank keys of the further objectives.
    pub further_keys: Vec<f64>,
}

/// Completed trials of a study, the first ones by number, as prior results for another study.
pub async fn completed(conn: &mut Connection, study_id: StudyId, limit: u32) -> Result<Vec<PriorResult>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT params AS "params: Json<Params>", rank_key AS "rank_key!", further_keys
           FROM trawl_store.trials
           WHERE study_id = $1 AND state = 'completed'
           ORDER BY trial
           LIMIT $2"#,
        study_id.0,
        i64::from(limit),
    )
    .fetch_all(conn)
    .await?;
    let results = rows.into_iter().map(|row| PriorResult {
        params: row.params.0,
        rank_key: row.rank_key,
        further_keys: row.further_keys.unwrap_or_default(),
    });
    Ok(results.collect())
}

/// The prior results of a study, in order, each with its rank keys of the further objectives.
async fn prior_results(conn: &mut Connection, study_id: StudyId) -> Result<Vec<(Past, Option<Vec<f64>>)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT number, params AS "params: Json<Params>", rank_key, further_keys
           FROM trawl_store.prior_results
           WHERE study_id = $1
           ORDER BY number"#,
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let past = Past {
                trial: count("prior_results", study_id, "number", row.number)?,
                params: row.params.0,
                standing: Standing::Prior { key: row.rank_key },
            };
            Ok((past, row.further_keys))
        })
        .collect()
}

/// Removes the hashes of a study's proposals, and its prior results.
pub(super) async fn remove(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH proposals AS (DELETE FROM trawl_store.proposals WHERE study_id = $1)
         DELETE FROM trawl_store.prior_results WHERE study_id = $1",
        study_id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
