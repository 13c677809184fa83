//! Workers that are killed, and workers that fall silent and come back.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{interval, sleep};

use super::{Closed, FaultFixture, FixtureSettings, Outcome, Settings};
use crate::history::{Percentiles, recoveries};
use crate::system::look_for;

/// Time between two kills of processes; each takes a while to be replaced.
const KILL_INTERVAL: Duration = Duration::from_millis(1_500);
/// How often the coordinator looks for leases that ran out.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than time limit and sweep a recovery may take on a busy machine: until a worker is free, and asks.
const SLACK: Duration = Duration::from_secs(5);

/// Scripted workers vanish amid their jobs, and processes that train are killed.
pub(super) async fn killed(settings: &Settings) -> anyhow::Result<Outcome> {
    let fixture_settings = FixtureSettings::new("worker-killed");
    let ttl = fixture_settings.lease_ttl;
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    fixture.load.behaviours().set(600, 0);
    let mut ticks = interval(KILL_INTERVAL);
    while fixture.load.history().deaths().len() < settings.kills {
        ticks.tick().await;
        fixture.kill_worker().await?;
    }
    let deaths = fixture.load.history().deaths();
    let processes = deaths.iter().filter(|death| death.is_process).count();
    let [epochs, checkpoints, uploads, results] = fixture.load.behaviours().vanished();
    let resumed = fixture.load.resumed();
    let Closed { mut row, stored, .. } = fixture.end(deaths.len()).await?;
    let recovered = Percentiles::of(&recoveries(&deaths, &stored));
    row.see(format!(
        "recovery {recovered}; {processes} processes by SIGKILL, of scripted workers {epochs} amid epochs, {checkpoints} amid a checkpoint, \
         {uploads} amid an upload, {results} before the result; time limit {} ms, sweep every {} ms; {resumed} times a scripted worker went on \
         from a checkpoint",
        ttl.as_millis(),
        SWEEP_INTERVAL.as_millis(),
    ));
    row.expect(recovered.max < ttl + SWEEP_INTERVAL + SLACK, || {
        format!("a job had no worker for {:?}", recovered.max)
    });
    row.expect(
        [epochs, checkpoints, uploads, results, processes]
            .iter()
            .all(|deaths| *deaths > 0),
        || "a kind of death did not come".into(),
    );
    row.expect(resumed > 0, || "nobody went on from a checkpoint".into());
    // Deaths whose job ended at that moment have no recovery.
    row.expect(recovered.count * 10 >= deaths.len() * 9, || {
        format!("{} of {} deaths were recovered from", recovered.count, deaths.len())
    });
    Ok(Outcome::Done(row))
}

/// Scripted workers fall silent amid their jobs and try to go on too late; processes that train are stopped and continued.
pub(super) async fn stopped(settings: &Settings) -> anyhow::Result<Outcome> {
    const SILENCES: usize = 40;
    const STOPS: usize = 8;
    let fixture_settings = FixtureSettings::new("worker-stopped");
    let ttl = fixture_settings.lease_ttl;
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    fixture.load.behaviours().set(0, 300);
    for _ in 0..STOPS {
        let index = fixture.chance.below(fixture.real.len() as u64) as usize;
        let worker_id = fixture.real[index].worker_id.clone();
        look_for("a worker with a job", async || {
            Ok((!fixture.leases_of(&worker_id).await?.is_empty()).then_some(()))
        })
        .await?;
        fixture.real[index].process.signal(Signal::STOP)?;
        sleep(2 * ttl).await;
        fixture.real[index].process.signal(Signal::CONT)?;
    }
    look_for("silent workers", async || {
        Ok((fixture.load.behaviours().silenced() >= SILENCES).then_some(()))
    })
    .await?;
    let silenced = fixture.load.behaviours().silenced();
    let Closed {
        mut row, worker_logs, ..
    } = fixture.end(STOPS + silenced).await?;
    // Once it goes on, it stops by its own clock or by an answer, whichever comes first.
    let stops = ["may have run out unnoticed", "lease lost"].map(|message| worker_logs.matches(message).count());
    row.see(format!(
        "{STOPS} processes by SIGSTOP, which fenced themselves or were told {} times; {silenced} scripted workers",
        stops.iter().sum::<usize>()
    ));
    row.expect(stops.iter().sum::<usize>() >= STOPS, || {
        "a process that was stopped did not learn of its lease's end".into()
    });
    row.expect(row.findings.stale_tried >= 4 * SILENCES, || {
        "too few writes were tried after a lease had ended".into()
    });
    Ok(Outcome::Done(row))
}
