//! Floods: idle streams, bombs, deep nesting and malformed requests, while others work.

use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::{FaultFixture, FixtureSettings, Outcome, Row, Settings};
use crate::flood;
use crate::system::Client;

/// The token of load and workers.
const OPERATOR: &str = "the-operators-own-token";
/// Tokens of a flood, each with a coordinator's default rate.
const FLOODS_TOKENS: usize = 4;
/// How long others are measured before a flood. Scripted workers begin, and for a while end, their jobs together: a p99 over fewer
/// seconds would show one such moment.
const UNDISTURBED_FOR: Duration = Duration::from_secs(30);
/// The same before the flood of some minutes, and as long as it: both then include checkpoints of Postgres and the growth of its tables.
const UNDISTURBED_FOR_MINUTES: Duration = Duration::from_secs(250);
const IDLE_STREAMS: usize = 1_000;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Rounds of bombs, each of both kinds, and of deep nesting.
const BOMB_ROUNDS: usize = 4;
const BOMBS_AT_ONCE: usize = 8;
const BOMB_BYTES: usize = 1_000_000;
const NESTING_DEPTH: usize = 100_000;
const MALFORMED: u64 = 1_000_000;
/// The coordinator's memory under any of them, at most.
const PEAK_KIB_MAX: u64 = 768 << 10;
/// How much longer than before others may wait, at their 99th percentile.
const OTHERS_RATIO_MAX: f64 = 3.0;

/// Opens streams that say nothing.
pub(super) async fn idle(settings: &Settings) -> anyhow::Result<Outcome> {
    let flood = Flood {
        name: "idle-streams",
        injected: IDLE_STREAMS,
        role: "worker",
        undisturbed_for: UNDISTURBED_FOR,
    };
    poured(settings, flood, async |url, tokens| {
        let mut row = Row::default();
        let streams = flood::idle_streams(&url, tokens.first().map(String::as_str), IDLE_STREAMS).await?;
        sleep(IDLE_FOR).await;
        row.see(format!("{} streams that say nothing", streams.streams.len()));
        Ok(row)
    })
    .await
}

/// Submits messages that are larger in memory than on the wire, and messages that are nested too deep.
pub(super) async fn bombs(settings: &Settings) -> anyhow::Result<Outcome> {
    let messages = [
        flood::bomb(BOMB_BYTES),
        flood::bomb_of_values(BOMB_BYTES),
        flood::bomb(4 * BOMB_BYTES),
        flood::nesting(NESTING_DEPTH),
    ];
    let flood = Flood {
        name: "bombs",
        injected: BOMB_ROUNDS * BOMBS_AT_ONCE * messages.len(),
        role: "user",
        undisturbed_for: UNDISTURBED_FOR,
    };
    poured(settings, flood, async move |url, tokens| {
        let mut row = Row::default();
        let token = tokens.first().map(String::as_str);
        for _ in 0..BOMB_ROUNDS {
            for message in &messages {
                let codes = flood::submit_at_once(&url, token, message, BOMBS_AT_ONCE).await?;
                row.expect(!codes.contains(&Code::Ok), || "a bomb was taken".into());
            }
        }
        Ok(row)
    })
    .await
}

/// Sends requests that are broken in eight ways.
pub(super) async fn malformed(settings: &Settings) -> anyhow::Result<Outcome> {
    let flood = Flood {
        name: "malformed",
        injected: MALFORMED as usize,
        role: "user",
        undisturbed_for: UNDISTURBED_FOR_MINUTES,
    };
    poured(settings, flood, async |url, tokens| {
        let mut row = Row::default();
        let each = MALFORMED / tokens.len() as u64;
        let began = Instant::now();
        let mut floods = JoinSet::new();
        for (part, token) in (0..).zip(tokens) {
            let (url, numbers) = (url.clone(), part * each..(part + 1) * each);
            floods.spawn(async move { flood::malformed_requests(&url, Some(&token), numbers).await });
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
        Ok(row)
    })
    .await
}

/// How a flood is poured.
struct Flood {
    /// Name of its row.
    name: &'static str,
    /// Number of requests or streams.
    injected: usize,
    /// Role of its tokens.
    role: &'static str,
    /// How long others are measured before it.
    undisturbed_for: Duration,
}

/// Pours a flood over a fixture, and looks at the coordinator's memory and log and at how long others waited.
async fn poured(
    settings: &Settings,
    flood: Flood,
    pour: impl AsyncFnOnce(String, Vec<String>) -> anyhow::Result<Row> + Send + 'static,
) -> anyhow::Result<Outcome> {
    let mut fixture_settings = FixtureSettings::new(flood.name);
    fixture_settings.token = Some(OPERATOR);
    let fixture = FaultFixture::start(fixture_settings, settings).await?;
    let client = Client::new(&fixture.url, &fixture.database_url).await?;
    let mut admin = client.admin(OPERATOR).await?;
    let mut tokens = Vec::new();
    for number in 0..FLOODS_TOKENS {
        tokens.push(admin.create(&format!("flood-{number}"), flood.role, None).await?);
    }
    let history = fixture.load.history();
    // Workers that begin together wait together: the first reports do not count.
    fixture.load.acknowledged(5_000).await?;
    let from = history.now();
    sleep(flood.undisturbed_for).await;
    let to = history.now();
    let undisturbed = history.acknowledgements(from..to);
    let url = fixture.url.clone();
    let poured = on_another_thread(async move || pour(url, tokens).await).await?;
    let during = history.acknowledgements(to..history.now());
    let peak_kib = fixture.coordinator_peak_kib()?;
    let log = std::fs::read_to_string(fixture.folder().join("coordinator.log"))?;
    let mut row = fixture.end(flood.injected).await?.row;
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
    row.expect(ratio < OTHERS_RATIO_MAX, || {
        format!("others were acknowledged late: {during}")
    });
    Ok(Outcome::Done(row))
}

/// Works on a thread and a runtime of its own, so that no measured client is in its way; of low priority, as a real flood comes
/// from machines elsewhere.
async fn on_another_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (sends_result, result) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // Of this thread alone, on Linux.
        let _ = setpriority_process(None, 19);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(work()));
        // The caller waits for this.
        let _ = sends_result.send(done);
    })?;
    result.await?
}
