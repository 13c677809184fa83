//! Acknowledgements that are lost after the commit: their senders repeat what was done.

use super::{FaultFixture, FixtureSettings, Outcome, Settings};
use crate::history::{Action, Operation, Outcome as Told};
use crate::system::look_for;

/// Cuts the way back from the coordinator again and again: each time once reports are stored whose senders do not know it.
pub(super) async fn lost(settings: &Settings) -> anyhow::Result<Outcome> {
    const CUTS: usize = 25;
    let mut fixture = FaultFixture::start(FixtureSettings::new("acknowledgement-lost"), settings).await?;
    let (mut reports, mut ends) = (0, 0);
    for _ in 0..CUTS {
        fixture.load.acknowledged(50).await?;
        fixture.proxy.hold_answers_after(fixture.chance.below(4 << 10));
        let waits = |operation: &Operation| operation.outcome == Told::Invoked && operation.action.is_write();
        let unknown = look_for("reports that are stored and not acknowledged", async || {
            let operations = fixture.load.history().operations();
            let unknown: Vec<&Operation> = operations.iter().filter(|operation| waits(operation)).collect();
            let counts = stored_of(&fixture, &unknown).await?;
            Ok((counts.0 > 10).then_some(counts))
        });
        let (stored, ended) = unknown.await?;
        reports += stored;
        ends += ended;
        fixture.proxy.cut();
    }
    let mut row = fixture.end(CUTS).await?.row;
    row.see(format!(
        "{reports} reports and {ends} ends of jobs were stored without their senders knowing, and sent again"
    ));
    Ok(Outcome::Done(row))
}

/// How many of these reports, and how many of these ends, are stored.
async fn stored_of(fixture: &FaultFixture, operations: &[&Operation]) -> anyhow::Result<(i64, i64)> {
    let lease = |operation: &&Operation| operation.lease.as_ref().map(|lease| lease.job_id.clone());
    let reports: Vec<(String, i32)> = operations
        .iter()
        .filter_map(|operation| match operation.action {
            Action::Report { epoch, .. } => Some((lease(operation)?, epoch as i32)),
            _ => None,
        })
        .collect();
    let ends: Vec<String> = operations
        .iter()
        .filter(|operation| operation.action == Action::Finish)
        .filter_map(|operation| operation.lease.as_ref().map(|lease| lease.token.clone()))
        .collect();
    let (jobs, epochs): (Vec<String>, Vec<i32>) = reports.into_iter().unzip();
    let stored = sqlx::query_scalar(
        "SELECT count(*) FROM unnest($1::text[], $2::integer[]) AS u (job_id, epoch)
         JOIN trawl_store.folds f ON f.job_id = u.job_id::uuid AND f.member = 0
         JOIN trawl_store.epochs r ON r.fold_id = f.fold_id AND r.epoch = u.epoch",
    )
    .bind(&jobs)
    .bind(&epochs)
    .fetch_one(&fixture.owner)
    .await?;
    let ended = sqlx::query_scalar(
        "SELECT count(*) FROM trawl_store.job_attempts WHERE outcome = 'finished' AND token::text = ANY ($1)",
    )
    .bind(&ends)
    .fetch_one(&fixture.owner)
    .await?;
    Ok((stored, ended))
}
