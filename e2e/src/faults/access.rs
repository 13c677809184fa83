//! Calls by callers who may not make them.

use super::{Outcome, Row};
use crate::walk_every_rpc;

/// Has every RPC called by every role and by strangers. No load beside it: every row of every table is compared.
pub(super) async fn refused() -> anyhow::Result<Outcome> {
    let walk = walk_every_rpc().await?;
    let mut row = Row::new(walk.refused);
    row.see(format!(
        "{} RPCs by {} callers; {} of the refused calls would have changed rows; tables changed: {}",
        walk.rpcs,
        walk.callers,
        walk.effective,
        walk.changed_tables.len()
    ));
    row.failures.extend(walk.wrong_answers);
    let changed = walk.changed_tables.iter();
    row.failures
        .extend(changed.map(|table| format!("a refused call changed {table}")));
    Ok(Outcome::Done(row))
}
