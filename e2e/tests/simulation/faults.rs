//! What disturbs a run: a schedule of faults, drawn from its seed.

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
pub(crate) enum Deed {
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
    /// The way is whole again.
    Mend(String, String),
    /// Keeps all that two hosts send each other, as if one of them were stopped.
    Hold(String, String),
    /// Delivers what was kept, late.
    Release(String, String),
    /// Breaks ways at random: the share of messages that break theirs.
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

/// The deeds of a run, by time.
pub(crate) type Schedule = Vec<(Duration, Deed)>;

/// Nothing disturbs.
pub(crate) fn calm(_: &Hosts, _: &mut ChaCha8Rng) -> Schedule {
    Vec::new()
}

/// Up to so many faults, each up to two and a half time limits of a lease long; at the end everything is well again.
pub(crate) fn random(hosts: &Hosts, rng: &mut ChaCha8Rng) -> Schedule {
    let mut deeds = Vec::new();
    for _ in 0..(share(rng) * FAULTS_MAX) as u32 {
        let at = FAULTS_WITHIN.mul_f64(0.8 * share(rng)) + Duration::from_secs(2);
        let lasts = LEASE_TTL.mul_f64(2.5 * share(rng));
        let worker = Hosts::pick(&hosts.workers, rng).to_owned();
        let coordinator = Hosts::pick(&hosts.coordinators, rng).to_owned();
        let kind = (share(rng) * 10.0) as u32;
        let (begin, end) = match kind {
            0 | 1 => (Deed::Kill(worker.clone()), Deed::Start(worker)),
            2 => (Deed::Drain(worker.clone()), Deed::Start(worker)),
            3 => (Deed::Kill(coordinator.clone()), Deed::Start(coordinator)),
            4 => (
                Deed::Cut(worker.clone(), coordinator.clone()),
                Deed::Mend(worker, coordinator),
            ),
            5 => (
                Deed::CutOneWay(coordinator.clone(), worker.clone()),
                Deed::Mend(worker, coordinator),
            ),
            6 => (
                Deed::CutOneWay(worker.clone(), coordinator.clone()),
                Deed::Mend(worker, coordinator),
            ),
            7 => {
                for coordinator in &hosts.coordinators {
                    deeds.push((at, Deed::Hold(worker.clone(), coordinator.clone())));
                    deeds.push((at + lasts, Deed::Release(worker.clone(), coordinator.clone())));
                }
                continue;
            }
            8 => (Deed::Lose(0.02 * share(rng)), Deed::Lose(0.0)),
            _ if share(rng) < 0.5 => (Deed::StoreAway(true), Deed::StoreAway(false)),
            _ => (Deed::Pause(true), Deed::Pause(false)),
        };
        deeds.push((at, begin));
        deeds.push((at + lasts, end));
    }
    deeds.retain(|(at, _)| *at < FAULTS_WITHIN);
    deeds.push((FAULTS_WITHIN, Deed::Lose(0.0)));
    deeds.push((FAULTS_WITHIN, Deed::StoreAway(false)));
    deeds.push((FAULTS_WITHIN, Deed::Pause(false)));
    for (worker, coordinator) in hosts.ways() {
        deeds.push((FAULTS_WITHIN, Deed::Release(worker.clone(), coordinator.clone())));
    }
    for host in hosts.coordinators.iter().chain(&hosts.workers) {
        deeds.push((FAULTS_WITHIN, Deed::Start(host.clone())));
    }
    deeds.sort_by_key(|(at, _)| *at);
    deeds
}

/// Does what is the network's and the hosts' affair; false if it is not.
pub(crate) fn disturb(sim: &mut Sim<'_>, deed: &Deed) -> bool {
    match deed {
        Deed::Kill(host) => sim.crash(host.as_str()),
        Deed::Start(host) => {
            if !sim.is_host_running(host.as_str()) {
                sim.bounce(host.as_str());
            }
        }
        Deed::Cut(a, b) => sim.partition(a.as_str(), b.as_str()),
        Deed::CutOneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
        Deed::Mend(a, b) => sim.repair(a.as_str(), b.as_str()),
        Deed::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
        Deed::Release(a, b) => sim.release(a.as_str(), b.as_str()),
        Deed::Lose(rate) => sim.set_fail_rate(*rate),
        Deed::Drain(_) | Deed::StoreAway(_) | Deed::Pause(_) => return false,
    }
    true
}
