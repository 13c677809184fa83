//! Floods: idle streams, bombs, deep nesting and malformed requests, while others work.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{Outcome, Row, Scene, SceneSettings, Settings};
use crate::flood;
use crate::history::{Operation, Percentiles};

/// So often that no flood is refused for its mere number before it reaches what it is aimed at.
const NO_RATE_LIMIT: [&str; 2] = ["--requests-per-second", "4000000"];
const UNDISTURBED_FOR: Duration = Duration::from_secs(10);
const IDLE_STREAMS: usize = 1_000;
const IDLE_FOR: Duration = Duration::from_secs(10);
/// Rounds of bombs, each of both kinds, and of deep nesting.
const BOMB_ROUNDS: usize = 4;
const BOMBS_AT_ONCE: usize = 8;
const BOMB_BYTES: usize = 1_000_000;
const NESTING_DEPTH: usize = 100_000;
const MALFORMED: u64 = 1_000_000;
/// Connections that malformed requests come on at once.
const MALFORMED_CONNECTIONS: u64 = 4;
/// What the coordinator may have of memory under any of them, as docs/reliability.md says.
const PEAK_KIB_MAX: u64 = 768 << 10;
const OTHERS_RATIO_MAX: f64 = 2.0;
/// Beyond the ratio: the flood's own work on the cores that all share.
const OTHERS_SLACK: Duration = Duration::from_millis(50);

/// Opens streams that say nothing.
pub(super) async fn idle(settings: &Settings) -> anyhow::Result<Outcome> {
    poured(settings, "idle-streams", IDLE_STREAMS, async |url, row| {
        let streams = flood::idle_streams(&url, None, IDLE_STREAMS).await?;
        sleep(IDLE_FOR).await;
        row.see(format!("{} streams that say nothing", streams.streams.len()));
        Ok(())
    })
    .await
}

/// Submits messages that are larger in memory than on the wire, and deeper than anything.
pub(super) async fn bombs(settings: &Settings) -> anyhow::Result<Outcome> {
    let messages = [
        flood::bomb(BOMB_BYTES),
        flood::bomb_of_values(BOMB_BYTES),
        flood::bomb(4 * BOMB_BYTES),
        flood::nesting(NESTING_DEPTH),
    ];
    let injected = BOMB_ROUNDS * BOMBS_AT_ONCE * messages.len();
    poured(settings, "bombs", injected, async |url, row| {
        for _ in 0..BOMB_ROUNDS {
            for message in &messages {
                let codes = flood::submit_at_once(&url, None, message, BOMBS_AT_ONCE).await?;
                row.expect(!codes.contains(&Code::Ok), || "a bomb was taken".into());
            }
        }
        Ok(())
    })
    .await
}

/// Sends requests that are broken in eight ways.
pub(super) async fn malformed(settings: &Settings) -> anyhow::Result<Outcome> {
    poured(settings, "malformed", MALFORMED as usize, async |url, row| {
        let each = MALFORMED / MALFORMED_CONNECTIONS;
        let began = Instant::now();
        let mut floods = JoinSet::new();
        for part in 0..MALFORMED_CONNECTIONS {
            let url = url.clone();
            floods.spawn(async move { flood::malformed_requests(&url, None, part * each..(part + 1) * each).await });
        }
        let mut closed = 0;
        while let Some(flood) = floods.join_next().await {
            closed += flood??;
        }
        let per_second = MALFORMED as f64 / began.elapsed().as_secs_f64();
        row.see(format!(
            "{per_second:.0} a second; connections ended because of them: {closed}"
        ));
        row.expect(closed == 0, || "connections were ended".into());
        Ok(())
    })
    .await
}

/// Pours a flood over a scene, and looks at the coordinator's memory and log and at how long others waited.
async fn poured(
    settings: &Settings,
    name: &'static str,
    injected: usize,
    pour: impl AsyncFnOnce(String, &mut Row) -> anyhow::Result<()>,
) -> anyhow::Result<Outcome> {
    let mut scene_settings = SceneSettings::new(name);
    scene_settings.flags.extend(NO_RATE_LIMIT.map(str::to_owned));
    let scene = Scene::start(scene_settings, settings).await?;
    let history = scene.load.history();
    let acknowledged_in = |from: Duration, to: Duration| {
        let is_meant = |operation: &Operation| {
            operation.is_report() && operation.is_ok() && (from..to).contains(&operation.invoked)
        };
        Percentiles::of(&history.latencies(is_meant))
    };
    // What begins together waits together: the first reports are no measure.
    scene.load.acknowledged(200).await?;
    let from = history.now();
    sleep(UNDISTURBED_FOR).await;
    let to = history.now();
    let undisturbed = acknowledged_in(from, to);
    let mut poured = Row::default();
    pour(scene.url.clone(), &mut poured).await?;
    let during = acknowledged_in(to, history.now());
    let peak_kib = scene.coordinator_peak_kib()?;
    let log = std::fs::read_to_string(scene.folder().join("coordinator.log"))?;
    let mut row = scene.end(injected).await?.row;
    row.seen.extend(poured.seen);
    row.failures.extend(poured.failures);
    let ratio = during.p99.as_secs_f64() / undisturbed.p99.as_secs_f64();
    row.see(format!(
        "VmHWM {} MiB; others' acknowledgements undisturbed {undisturbed}, during it {during}: p99 x{ratio:.2}",
        peak_kib >> 10
    ));
    row.expect(peak_kib < PEAK_KIB_MAX, || "too much memory".into());
    row.expect(!log.contains("panicked"), || "something panicked".into());
    row.expect(during.count > 0, || "nobody else was served".into());
    row.expect(
        during.p99 < undisturbed.p99.mul_f64(OTHERS_RATIO_MAX) + OTHERS_SLACK,
        || format!("others were acknowledged late: {during}"),
    );
    Ok(Outcome::Done(row))
}
