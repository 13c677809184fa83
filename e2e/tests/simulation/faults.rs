//! The faults of a run: a schedule, drawn from its seed.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use turmoil::Sim;

use crate::model::share;
use crate::run::LEASE_TTL;

/// Every fault is over by then.
const FAULTS_WITHIN: Duration = Duration::from_secs(240);
/// Faults of a run, at most.
const FAULTS_MAX: f64 = 24.0;

/// Something that is done to the run at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Kills a host's process.
    Kill(String),
    /// Starts a host's process again.
    Start(String),
    /// Tells a worker to stop.
    Drain(String),
    /// Loses all that two hosts send each other.
    Cut(String, String),
    /// Loses what the first sends the second.
    CutOneWay(String, String),
    /// Heals the link.
    Mend(String, String),
    /// Keeps all that two hosts send each other, as if one of them were stopped.
    Hold(String, String),
    /// Delivers what was kept, late.
    Release(String, String),
    /// Breaks links at random: the share of messages that break theirs.
    Lose(f64),
    /// The store fails, or answers again.
    StoreAway(bool),
    /// A user pauses the study, or resumes it.
    Pause(bool),
}

/// The hosts of a run.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    pub(crate) workers: Vec<String>,
    pub(crate) coordinators: Vec<String>,
}

impl Hosts {
    fn pick<'a>(from: &'a [String], rng: &mut ChaCha8Rng) -> &'a str {
        let place = (share(rng) * from.len() as f64) as usize;
        &from[place.min(from.len() - 1)]
    }

    /// Each worker with each coordinator.
    pub(crate) fn ways(&self) -> impl Iterator<Item = (&String, &String)> {
        let of = |worker| self.coordinators.iter().map(move |coordinator| (worker, coordinator));
        self.workers.iter().flat_map(of)
    }
}

/// The faults of a run, by time.
pub(crate) type Schedule = Vec<(Duration, Fault)>;

/// Nothing disturbs.
pub(crate) fn calm(_: &Hosts, _: &mut ChaCha8Rng) -> Schedule {
    Vec::new()
}

/// Up to so many faults, each up to two and a half time limits of a lease long; at the end everything is well again.
pub(crate) fn random(hosts: &Hosts, rng: &mut ChaCha8Rng) -> Schedule {
    let mut faults = Vec::new();
    for _ in 0..(share(rng) * FAULTS_MAX) as u32 {
        let at = FAULTS_WITHIN.mul_f64(0.8 * share(rng)) + Duration::from_secs(2);
        let lasts = LEASE_TTL.mul_f64(2.5 * share(rng));
        let worker = Hosts::pick(&hosts.workers, rng).to_owned();
        let coordinator = Hosts::pick(&hosts.coordinators, rng).to_owned();
        let kind = (share(rng) * 10.0) as u32;
        let (begin, end) = match kind {
            0 | 1 => (Fault::Kill(worker.clone()), Fault::Start(worker)),
            2 => (Fault::Drain(worker.clone()), Fault::Start(worker)),
            3 => (Fault::Kill(coordinator.clone()), Fault::Start(coordinator)),
            4 => (
                Fault::Cut(worker.clone(), coordinator.clone()),
                Fault::Mend(worker, coordinator),
            ),
            5 => (
                Fault::CutOneWay(coordinator.clone(), worker.clone()),
                Fault::Mend(worker, coordinator),
            ),
            6 => (
                Fault::CutOneWay(worker.clone(), coordinator.clone()),
                Fault::Mend(worker, coordinator),
            ),
            7 => {
                for coordinator in &hosts.coordinators {
                    faults.push((at, Fault::Hold(worker.clone(), coordinator.clone())));
                    faults.push((at + lasts, Fault::Release(worker.clone(), coordinator.clone())));
                }
                continue;
            }
            8 => (Fault::Lose(0.02 * share(rng)), Fault::Lose(0.0)),
            _ if share(rng) < 0.5 => (Fault::StoreAway(true), Fault::StoreAway(false)),
            _ => (Fault::Pause(true), Fault::Pause(false)),
        };
        faults.push((at, begin));
        faults.push((at + lasts, end));
    }
    faults.retain(|(at, _)| *at < FAULTS_WITHIN);
    faults.push((FAULTS_WITHIN, Fault::Lose(0.0)));
    faults.push((FAULTS_WITHIN, Fault::StoreAway(false)));
    faults.push((FAULTS_WITHIN, Fault::Pause(false)));
    for (worker, coordinator) in hosts.ways() {
        faults.push((FAULTS_WITHIN, Fault::Release(worker.clone(), coordinator.clone())));
    }
    for host in hosts.coordinators.iter().chain(&hosts.workers) {
        faults.push((FAULTS_WITHIN, Fault::Start(host.clone())));
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Does faults of the network and the hosts; false for any other.
pub(crate) fn disturb(sim: &mut Sim<'_>, fault: &Fault) -> bool {
    match fault {
        Fault::Kill(host) => sim.crash(host.as_str()),
        Fault::Start(host) => {
            if !sim.is_host_running(host.as_str()) {
                sim.bounce(host.as_str());
            }
        }
        Fault::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
        Fault::CutOneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
        Fault::Mend(a, b) => sim.repair(a.as_str(), b.as_str()),
        Fault::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
        Fault::Release(a, b) => sim.release(a.as_str(), b.as_str()),
        Fault::Lose(rate) => sim.set_fail_rate(*rate),
        Fault::Drain(_) | Fault::StoreAway(_) | Fault::Pause(_) => return false,
    }
    true
}
