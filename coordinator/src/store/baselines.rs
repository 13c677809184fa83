//! What models without a search reach on the folds of a study.

use trawl_domain::baseline::Baseline;
use trawl_domain::id::StudyId;
use trawl_domain::metric::TrialValue;

use super::{Connection, StoreError, word};

/// Stores the value of a baseline, unless it is there: a job may be trained twice.
pub async fn insert(
    conn: &mut Connection,
    study_id: StudyId,
    baseline: Baseline,
    value: TrialValue,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO trawl_store.baselines (study_id, baseline, value, value_std) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
        study_id.0,
        baseline.as_str(),
        value.mean,
        value.std,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The baselines of a study, by name.
pub async fn of_study(conn: &mut Connection, study_id: StudyId) -> Result<Vec<(Baseline, TrialValue)>, StoreError> {
    let rows = sqlx::query!(
        "SELECT baseline, value, value_std FROM trawl_store.baselines WHERE study_id = $1 ORDER BY baseline",
        study_id.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let value = TrialValue {
                mean: row.value,
                std: row.value_std,
                seed_std: None,
            };
            Ok((word("baselines", study_id, "baseline", &row.baseline)?, value))
        })
        .collect()
}

/// Removes the baselines of a study.
pub(super) async fn remove(conn: &mut Connection, study_id: StudyId) -> Result<(), StoreError> {
    sqlx::query!("DELETE FROM trawl_store.baselines WHERE study_id = $1", study_id.0)
        .execute(conn)
        .await?;
    Ok(())
}
