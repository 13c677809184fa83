//! The workers' protocol, simulated: the real agent and the real half of the coordinator that speaks with it, on a network and a
//! clock that a seed controls, over a model of the store. And the model, compared with the store.
//!
//! `make simulate SEEDS=500` runs many seeds; docs/reliability.md says what is real here and what is modelled.

mod faults;
mod log;
mod model;
mod network;
mod parity;
mod run;
mod script;
mod study;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use faults::{Fault, calm, random};
use model::Rows;
use run::{Ran, run};
use study::SimulatedStudy;

/// Seeds that `make test` runs.
const SEEDS: u64 = 20;
/// Studies that the seeds take in turn.
const STUDIES: u64 = 4;
/// Trials, epochs, batch sizes: some thirty jobs.
const STUDY: (u32, u32, u32) = (36, 16, 48);
/// The same where trials are raced, of which more share a job: so survivors of several jobs go on together.
const RACED: (u32, u32, u32) = (48, 16, 4);
/// Trials of a generation of those.
const GENERATION: u32 = 8;

/// In those with the numbers 2 and 3, trials are raced.
fn study(number: u64) -> anyhow::Result<SimulatedStudy> {
    let ((trials, epochs, batch_sizes), raced) = match number {
        0 | 1 => (STUDY, None),
        _ => (RACED, Some(GENERATION)),
    };
    SimulatedStudy::new(number, trials, epochs, batch_sizes, raced)
}

/// What an undisturbed run leaves.
fn undisturbed(study: &SimulatedStudy) -> anyhow::Result<Rows> {
    let ran = run(study, 0, calm)?;
    anyhow::ensure!(
        ran.broken.is_empty(),
        "an undisturbed run breaks promises: {:#?}",
        ran.broken
    );
    Ok(ran.results)
}

/// What a disturbed run breaks.
fn broken(ran: &Ran, undisturbed: &Rows) -> Vec<String> {
    let mut broken = ran.broken.clone();
    for (table, rows) in undisturbed {
        let came = &ran.results[table];
        let differing = rows.iter().zip(came).find(|(row, came)| row != came);
        if let Some((row, came)) = differing {
            broken.push(format!("{table}: {came} where an undisturbed run has {row}"));
        } else if rows.len() != came.len() {
            broken.push(format!(
                "{table}: {} rows where an undisturbed run has {}",
                came.len(),
                rows.len()
            ));
        }
    }
    broken
}

fn number(variable: &str, or: u64) -> anyhow::Result<u64> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(or),
    }
}

#[test]
fn seeds_keep_the_promises() -> anyhow::Result<()> {
    let (seeds, from) = (
        number("TRAWL_SIMULATION_SEEDS", SEEDS)?,
        number("TRAWL_SIMULATION_FROM", 0)?,
    );
    let shows_log = number("TRAWL_SIMULATION_LOG", 0)? != 0;
    let began = Instant::now();
    let (mut simulated, mut events, mut failed) = (Duration::ZERO, 0, Vec::new());
    let mut references = BTreeMap::new();
    for seed in from..from + seeds {
        let number = seed % STUDIES;
        if let std::collections::btree_map::Entry::Vacant(entry) = references.entry(number) {
            let study = study(number)?;
            let rows = undisturbed(&study)?;
            entry.insert((study, rows));
        }
        let (study, reference) = &references[&number];
        let ran = run(study, seed, random)?;
        simulated += ran.simulated;
        events += ran.events;
        let broken = broken(&ran, reference);
        if shows_log {
            ran.lines.iter().for_each(|line| eprintln!("{line}"));
        }
        if !broken.is_empty() {
            eprintln!("seed {seed} breaks promises: {broken:#?}\nagain: make simulate FROM={seed} SEEDS=1 LOG=1");
            failed.push(seed);
        }
    }
    let (minutes, hours) = (began.elapsed().as_secs_f64() / 60.0, simulated.as_secs_f64() / 3600.0);
    println!("seeds                        {seeds}, from {from}");
    println!("failed                       {} {failed:?}", failed.len());
    println!("simulated hours              {hours:.2}");
    println!("minutes                      {minutes:.2}");
    println!("simulated hours per minute   {:.2}", hours / minutes);
    println!("events                       {events}");
    anyhow::ensure!(failed.is_empty(), "{} of {seeds} seeds break promises", failed.len());
    Ok(())
}

#[test]
fn survivors_of_several_jobs_go_on_in_one() -> anyhow::Result<()> {
    let ran = run(&study(2)?, 0, calm)?;
    let count = |what: &str| ran.lines.iter().filter(|line| line.contains(what)).count();
    let (goes_on, anew) = (count("job goes on from a checkpoint"), count("checkpoint left aside"));
    assert!(goes_on > 8, "{goes_on} checkpoints were gone on from");
    assert_eq!(anew, 0);
    let trials = ran.results["trials"].iter();
    let pruned = trials.filter(|row| row.contains("pruned")).count();
    assert!(pruned > 30, "{pruned} trials were pruned");
    Ok(())
}

#[test]
fn a_seed_replays_its_run() -> anyhow::Result<()> {
    let study = study(1)?;
    for seed in (1..40).step_by(4) {
        let (first, second) = (run(&study, seed, random)?, run(&study, seed, random)?);
        let differing = first.lines.iter().zip(&second.lines).find(|(a, b)| a != b);
        assert_eq!(differing, None, "seed {seed}");
        assert_eq!(
            (first.digest, first.events),
            (second.digest, second.events),
            "seed {seed}"
        );
        assert!(first.events > 500, "hardly anything happened: {} events", first.events);
    }
    let (one, other) = (run(&study, 1, random)?, run(&study, 5, random)?);
    assert_ne!(one.digest, other.digest, "seeds make no difference");
    Ok(())
}

#[test]
fn a_worker_that_is_cut_off_stops_in_time() -> anyhow::Result<()> {
    let study = study(0)?;
    let reference = undisturbed(&study)?;
    for seed in 0..4 {
        let ran = run(&study, seed, |hosts, _| {
            let of_first = hosts.ways().filter(|(worker, _)| **worker == hosts.workers[0]);
            let cut = |(worker, coordinator): (&String, &String)| Fault::Cut(worker.clone(), coordinator.clone());
            of_first.map(|way| (Duration::from_secs(12 + seed), cut(way))).collect()
        })?;
        assert_eq!(broken(&ran, &reference), Vec::<String>::new(), "seed {seed}");
        let fenced = ran
            .lines
            .iter()
            .any(|line| line.contains("leases may have run out unnoticed"));
        assert!(fenced, "seed {seed}: the worker held no lease when it was cut off");
    }
    Ok(())
}

#[test]
fn a_coordinator_that_falls_silent_costs_no_lease_where_there_is_another() -> anyhow::Result<()> {
    let study = study(3)?;
    let reference = undisturbed(&study)?;
    let mut silent = 0;
    for seed in 0..8 {
        let mut has_another = false;
        let ran = run(&study, seed, |hosts, _| {
            has_another = hosts.coordinators.len() > 1;
            let (worker, coordinator) = (&hosts.workers[0], &hosts.coordinators[0]);
            let cut = Fault::Cut(worker.clone(), coordinator.clone());
            vec![(Duration::from_millis(12_000 + 700 * seed), cut)]
        })?;
        if !has_another {
            continue;
        }
        silent += 1;
        assert_eq!(broken(&ran, &reference), Vec::<String>::new(), "seed {seed}");
        let lost = |line: &&String| line.contains("leases may have run out unnoticed");
        assert_eq!(ran.lines.iter().find(lost), None, "seed {seed}");
    }
    assert!(silent >= 2, "only {silent} seeds have two coordinators");
    Ok(())
}

#[test]
fn a_worker_that_gave_its_lease_up_leaves_no_checkpoint_beyond_its_reports() -> anyhow::Result<()> {
    // It gave the lease up by its own clock and dropped its reports, while the coordinator still held on to it.
    for seed in [21, 52] {
        let study = study(seed % STUDIES)?;
        let reference = undisturbed(&study)?;
        let ran = run(&study, seed, random)?;
        assert_eq!(broken(&ran, &reference), Vec::<String>::new(), "seed {seed}");
    }
    Ok(())
}
