//! Checkpoints that are broken while nobody looks.

use std::path::Path;

use super::{FaultFixture, FixtureSettings, Outcome, Settings};

/// Kills workers that train, and cuts short or flips the newest checkpoint of each job before it goes on.
pub(super) async fn broken(settings: &Settings) -> anyhow::Result<Outcome> {
    const BROKEN: usize = 12;
    let mut fixture_settings = FixtureSettings::new("checkpoint-broken");
    // Most jobs go on with a worker that really reads them.
    fixture_settings.scripted = 4;
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    let mut broken = 0;
    while broken < BROKEN {
        let newest: Option<(String, String)> = sqlx::query_as(
            "SELECT c.object_key, w.worker_id::text
             FROM trawl_store.checkpoints c JOIN trawl_store.leases USING (job_id)
             JOIN trawl_store.workers w USING (worker_id)
             WHERE w.host <> $1 ORDER BY c.job_id, c.number DESC LIMIT 1",
        )
        .bind(crate::scripted_worker::SCRIPTED_HOST)
        .fetch_optional(&fixture.owner)
        .await?;
        let Some((key, worker_id)) = newest else {
            fixture.load.acknowledged(1).await?;
            continue;
        };
        let Some(index) = fixture.real.iter().position(|worker| worker.worker_id == worker_id) else {
            fixture.load.acknowledged(1).await?;
            continue;
        };
        if fixture.kill_worker_at(index).await? && break_file(&fixture.store().join(&key), broken % 2 == 0)? {
            broken += 1;
        }
    }
    let closed = fixture.end(BROKEN).await?;
    let count = |message: &str| closed.worker_logs.matches(message).count();
    let (aside, resumed) = (count("checkpoint left aside"), count("job goes on from a checkpoint"));
    let mut row = closed.row;
    row.see(format!(
        "cut short and flipped by turns; {aside} met, noticed and left aside, {resumed} jobs went on from a whole one"
    ));
    row.expect(aside > 0, || "no worker met a broken checkpoint".into());
    Ok(Outcome::Done(row))
}

/// False if it has gone with its job meanwhile.
fn break_file(path: &Path, cut: bool) -> anyhow::Result<bool> {
    let mut content = match std::fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    if cut {
        content.truncate(content.len() / 2);
    } else if let Some(last) = content.last_mut() {
        *last ^= 1;
    }
    // The folder may go meanwhile: then the job has ended, and nobody needs it.
    match std::fs::write(path, content) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
