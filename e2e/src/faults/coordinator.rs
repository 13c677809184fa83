//! A coordinator that is killed, and one that is away for a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Closed, FaultFixture, FixtureSettings, Outcome, Row, Settings};
use crate::history::{Action, Operation, Outcome as Told, Percentiles, Stored, StoredAttempt};
use crate::system::look_for;

/// The coordinator's work when it dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// A claim is under way.
    Claiming,
    /// A batch of reports is.
    Committing,
    /// A sweep has just taken a lease back.
    Sweeping,
    /// A study is being submitted, and its first trials sampled.
    Sampling,
}

const MOMENTS: [Moment; 4] = [Moment::Claiming, Moment::Committing, Moment::Sweeping, Moment::Sampling];
/// A younger operation is under way for sure.
const YOUNG: Duration = Duration::from_millis(3);

/// Kills it at each of these moments in turn, while workers vanish too.
pub(super) async fn killed(settings: &Settings) -> anyhow::Result<Outcome> {
    const ROUNDS: usize = 5;
    let mut fixture_settings = FixtureSettings::new("coordinator-killed");
    fixture_settings.lease_ttl = Duration::from_secs(3);
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    fixture.load.behaviours().set(200, 0);
    let (mut starts, mut returns) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for moment in MOMENTS {
            kill_at(&mut fixture, moment, round).await?;
            fixture.pause(Duration::from_millis(300)).await;
            starts.push(fixture.load.history().now());
            fixture.start_coordinator().await?;
            let started = Instant::now();
            fixture.load.acknowledged(1).await?;
            returns.push(started.elapsed());
            fixture.load.acknowledged(100).await?;
        }
    }
    returns.sort_unstable();
    let ttl = fixture.settings.lease_ttl;
    let Closed { mut row, stored, .. } = fixture.end(starts.len()).await?;
    row.see(format!(
        "{ROUNDS} times each while claiming, committing, sweeping and sampling; from ready to the next acknowledgement {}",
        Percentiles::of(&returns)
    ));
    expect_grace(&mut row, &stored, &starts, ttl);
    Ok(Outcome::Done(row))
}

async fn kill_at(fixture: &mut FaultFixture, moment: Moment, round: usize) -> anyhow::Result<()> {
    match moment {
        Moment::Claiming => wait_amid(fixture, |operation| matches!(operation.action, Action::Lease(_))).await?,
        Moment::Committing => wait_amid(fixture, Operation::is_report).await?,
        Moment::Sweeping => {
            let before = expired(fixture).await?;
            let owner = fixture.owner.clone();
            look_for("a sweep", async || {
                let expired: i64 = sqlx::query_scalar(EXPIRED).fetch_one(&owner).await?;
                Ok((expired > before).then_some(()))
            })
            .await?;
        }
        Moment::Sampling => {
            let name = format!("sampled-{round}");
            let study = fixture.load.reference().study(&name)?;
            let client = crate::system::Client::new(&fixture.url, &fixture.database_url).await?;
            let submission = tokio::spawn(async move { client.submit(study).await });
            fixture.pause(Duration::from_millis(30)).await;
            fixture.kill_coordinator()?;
            // Whether it came through shows afterwards: a study that is there is a whole one.
            let _ = submission.await?;
            return Ok(());
        }
    }
    fixture.kill_coordinator()
}

/// Waits until an operation of this kind was asked for just now.
async fn wait_amid(fixture: &FaultFixture, is_meant: impl Fn(&Operation) -> bool) -> anyhow::Result<()> {
    let history = fixture.load.history();
    look_for("an operation under way", async || {
        let now = history.now();
        let amid = history.count(|operation| {
            operation.outcome == Told::Invoked && now.saturating_sub(operation.invoked) < YOUNG && is_meant(operation)
        });
        Ok((amid > 0).then_some(()))
    })
    .await
}

const EXPIRED: &str = "SELECT count(*) FROM trawl_store.job_attempts WHERE outcome = 'expired'";

async fn expired(fixture: &FaultFixture) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(EXPIRED).fetch_one(&fixture.owner).await?)
}

/// Nothing is taken back within the grace: a lease from before a start of the coordinator or of Postgres ends a full time limit after
/// it at the earliest, unless its holder ends it.
pub(super) fn expect_grace(row: &mut Row, stored: &Stored, starts: &[Duration], ttl: Duration) {
    let is_early = |start: &Duration| {
        let early = stored.attempts.iter().filter(|attempt| {
            attempt.granted < *start
                && attempt.outcome.as_deref() == Some("expired")
                && attempt
                    .ended
                    .is_some_and(|ended| ended > *start && ended < *start + ttl)
        });
        early.count()
    };
    let early: usize = starts.iter().map(is_early).sum();
    row.see(format!("{early} leases taken back within the grace"));
    row.expect(early == 0, || {
        format!("{early} leases were taken back within the grace")
    });
}

/// Leases that no worker knows of, because their claim was cut off before its answer: of some ten claims a second, each of a few milliseconds.
pub(super) const CLAIMS_CUT_OFF_MAX: usize = 3;

/// The coordinator is away for longer and longer.
pub(super) async fn away(settings: &Settings) -> anyhow::Result<Outcome> {
    const ABSENCES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(20), Duration::from_secs(60)];
    let mut fixture_settings = FixtureSettings::new("coordinator-away");
    fixture_settings.lease_ttl = Duration::from_secs(5);
    // Jobs that last beyond the grace.
    fixture_settings.epoch_ms = 80;
    let ttl = fixture_settings.lease_ttl;
    let mut fixture = FaultFixture::start(fixture_settings, settings).await?;
    let (mut starts, mut kills) = (Vec::new(), Vec::new());
    for absence in ABSENCES {
        fixture.load.acknowledged(200).await?;
        fixture.kill_coordinator()?;
        kills.push(fixture.load.history().now());
        sleep(absence).await;
        starts.push(fixture.load.history().now());
        fixture.start_coordinator().await?;
    }
    fixture.load.acknowledged(200).await?;
    let real = fixture.real.len();
    let Closed { mut row, stored, .. } = fixture.end(ABSENCES.len()).await?;
    // Each lease counts once, however many absences it lived through before it was lost.
    let met_absence = |attempt: &&StoredAttempt| {
        let lived_at = |kill: &Duration| attempt.granted < *kill && attempt.ended.is_none_or(|ended| ended > *kill);
        kills.iter().any(lived_at)
    };
    let is_lost = |attempt: &&StoredAttempt| attempt.outcome.as_deref() == Some("expired");
    let (lost, held): (Vec<_>, Vec<_>) = stored.attempts.iter().filter(met_absence).partition(is_lost);
    let (lost, held) = (lost.len(), held.len());
    row.see(format!(
        "away for 0, 20 and 60 s with a time limit of {} s: {held} leases were held through it, {lost} were not (workers that \
         train stop by themselves once their lease may have run out, and a claim may be cut off before its answer)",
        ttl.as_secs()
    ));
    row.expect(held > real, || "hardly a lease was held through it".into());
    row.expect(lost <= 2 * real + CLAIMS_CUT_OFF_MAX, || {
        format!("{lost} leases were lost")
    });
    expect_grace(&mut row, &stored, &starts, ttl);
    Ok(Outcome::Done(row))
}
