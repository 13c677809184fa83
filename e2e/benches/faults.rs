//! `make faults`: every fault of [`trawl_e2e::faults`] in its turn, as lines of one table. The settings are described in
//! `deploy/faults.sh`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::Instant;
use trawl_e2e::faults::{FAULTS, KINDS, Outcome, Settings, failed, heading, line, soak};
use trawl_e2e::load::{Reference, Size};

/// A study of the load: some 32 jobs of 6 members.
const SIZE: Size = Size {
    trials: 64,
    epochs: 100,
};

/// Faults of one seed of a soak.
const SOAK_FAULTS: usize = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings {
        seed: number("SEED", 1)?,
        long_transaction: Duration::from_secs(number("TRANSACTION_S", 120)?),
        reference: Arc::new(Reference::train(SIZE).await?),
    };
    if std::env::var("TRAWL_FAULTS_RUN").is_ok_and(|run| run == "soak") {
        soak_seeds(settings).await
    } else {
        table(&settings).await
    }
}

/// Seed by seed, until there were enough of them or the time is over; a seed that has begun is brought to its end.
async fn soak_seeds(settings: Settings) -> anyhow::Result<()> {
    let (seeds, minutes) = (number("SEEDS", 1_000)?, number("MINUTES", 10)?);
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    println!();
    println!("Faults of all kinds in random order, {SOAK_FAULTS} a seed");
    println!();
    println!("{}", heading());
    let mut broken = Vec::new();
    let first = settings.seed;
    for seed in first..first.saturating_add(seeds) {
        if Instant::now() >= until {
            break;
        }
        let started = Instant::now();
        let settings = Settings {
            seed,
            ..settings.clone()
        };
        let outcome = soak(&settings, &KINDS, SOAK_FAULTS).await.map(Outcome::Done);
        println!("{}", line(&format!("seed {seed}"), &outcome, started.elapsed()));
        if failed(&outcome) {
            println!("    to repeat: make soak SEED={seed} SEEDS=1");
            broken.push(seed);
        }
    }
    ensure!(broken.is_empty(), "failed: seeds {broken:?}");
    Ok(())
}

async fn table(settings: &Settings) -> anyhow::Result<()> {
    let started = Instant::now();
    let wanted = std::env::var("FAULTS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| FAULTS.iter().all(|fault| fault.name != **name))
    {
        let names: Vec<&str> = FAULTS.iter().map(|fault| fault.name).collect();
        bail!("there is no fault '{unknown}'; there are {}", names.join(", "));
    }
    println!();
    println!(
        "Faults injected under load, seed {}: 30 scripted workers and 3 that train",
        settings.seed
    );
    println!();
    println!("{}", heading());
    let mut broken = Vec::new();
    for fault in FAULTS {
        if !wanted.is_empty() && !wanted.contains(&fault.name) {
            continue;
        }
        let row_started = Instant::now();
        let outcome = (fault.run)(settings).await;
        println!("{}", line(fault.name, &outcome, row_started.elapsed()));
        if failed(&outcome) {
            broken.push(fault.name);
        }
    }
    println!();
    for fault in FAULTS {
        println!("{:<22} {}", fault.name, fault.what);
    }
    println!();
    println!("{:.0} s in all", started.elapsed().as_secs_f64());
    ensure!(
        broken.is_empty(),
        "failed: {}; to repeat: make faults FAULTS={} SEED={}",
        broken.join(", "),
        broken.join(","),
        settings.seed
    );
    Ok(())
}

/// A number that the environment may set.
fn number(name: &str, otherwise: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().with_context(|| format!("{name}={text} is no number")),
        _ => Ok(otherwise),
    }
}
