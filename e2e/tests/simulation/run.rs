//! One run: coordinators and workers, real but for the store and the training, on a simulated network and clock, disturbed by its
//! seed; and its results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Request;
use tonic::transport::Server;
use trawl_agent::connection::Connection;
use trawl_coordinator::app::Settings;
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::files::Files;
use trawl_coordinator::grpc::Workers;
use trawl_coordinator::protocol::WorkerStore;
use trawl_coordinator::protocol::lease_reaper::reap_leases;
use trawl_coordinator::protocol::report_writer::report_writer;
use trawl_domain::id::{JobId, WorkerId};
use trawl_e2e::history::Observer;
use trawl_proto::dial::TlsChoice;
use trawl_proto::v1::worker_service_server::WorkerServiceServer;
use turmoil::Sim;

use crate::faults::{Fault, Hosts, Schedule, disturb};
use crate::log::Log;
use crate::model::{Model, ModelStore, Mood, NO_QUOTAS, Rows, Shared, share};
use crate::network::{PORT, listen, open};
use crate::script::Script;
use crate::study::SimulatedStudy;

/// As the coordinator has them by default, but for the checkpoints, which are more frequent.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(15);
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(8);
/// Between two tries to begin.
const BEGIN_INTERVAL: Duration = Duration::from_secs(1);
/// If the store is away for longer, every coordinator notices.
const NOTICED_WITHIN: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Granularity of the simulated network and of the hosts' turns.
const TICK: Duration = Duration::from_millis(5);
/// A run that takes longer has stuck.
const RUN_WITHIN: Duration = Duration::from_secs(3_600);
/// Between two looks whether the study is over.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Tasks are numbered throughout the process, and a runtime that is dropped drops them in an order that depends on the last digits
/// of their numbers: hosts that are killed close their connections in it. So runs begin at round numbers, and nothing that
/// spawns tasks runs beside one.
pub(crate) static ALONE: Mutex<()> = Mutex::new(());
const TASK_IDS: u64 = 64;

fn align_task_ids() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        loop {
            let id = tokio::spawn(async { tokio::task::id() }).await?;
            if id.to_string().parse::<u64>()?.is_multiple_of(TASK_IDS) {
                return Ok(());
            }
        }
    })
}

/// Results of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The rows that it left.
    pub(crate) results: Rows,
    /// Promises that were broken on the way.
    pub(crate) broken: Vec<String>,
    /// A hash over its log, and its lines.
    pub(crate) digest: u64,
    pub(crate) events: u64,
    pub(crate) lines: Vec<String>,
    /// How long it took, by its own clock.
    pub(crate) simulated: Duration,
}

/// Runs a seed on a study, disturbed by a schedule.
///
/// # Errors
/// The simulation itself failed.
pub(crate) fn run(
    study: &SimulatedStudy,
    seed: u64,
    schedule: impl FnOnce(&Hosts, &mut ChaCha8Rng) -> Schedule,
) -> anyhow::Result<Ran> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    align_task_ids()?;
    let log = Log::default();
    let world = World::new(study, seed, schedule)?;
    let shared = Arc::clone(&world.shared);
    let simulated = log.record(|| world.run(&log))?;
    let mut broken = shared.observer().broken().to_vec();
    let model = shared.model();
    if !model.is_over() {
        broken.push(format!("the study did not end within {} s", RUN_WITHIN.as_secs()));
    }
    let mut written = log.written();
    for (job_id, epoch) in &written.acknowledged {
        if !model.has_epoch(job_id, *epoch) {
            broken.push(format!(
                "epoch {epoch} of job {job_id} was acknowledged and is not stored"
            ));
        }
    }
    Ok(Ran {
        results: model.results(),
        broken,
        digest: written.digest(),
        events: written.events,
        lines: std::mem::take(&mut written.lines),
        simulated,
    })
}

struct World {
    hosts: Hosts,
    faults: Schedule,
    shared: Arc<Shared>,
    files: Files,
    disturbed: bool,
    rng: ChaCha8Rng,
    failed: Arc<Mutex<BTreeSet<JobId>>>,
    /// Sends the process of each worker the signal to stop.
    stops: Arc<Mutex<BTreeMap<String, CancellationToken>>>,
}

impl World {
    fn new(
        study: &SimulatedStudy,
        seed: u64,
        schedule: impl FnOnce(&Hosts, &mut ChaCha8Rng) -> Schedule,
    ) -> anyhow::Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut count = |least: f64, most: f64| (least + (most - least + 0.999) * share(&mut rng)) as usize;
        let names = |kind: &str, count: usize| (0..count).map(|number| format!("{kind}-{number}")).collect();
        let hosts = Hosts {
            workers: names("worker", count(2.0, 6.0)),
            coordinators: names("coordinator", count(1.0, 2.0)),
        };
        let faults = schedule(&hosts, &mut rng);
        let disturbed = !faults.is_empty();
        let mood = Mood {
            half_step_max: Duration::from_millis(40).mul_f64(share(&mut rng)),
            failing: if disturbed { 0.02 * share(&mut rng) } else { 0.0 },
            away_since: None,
            rng: ChaCha8Rng::seed_from_u64(rng.next_u64()),
        };
        let shared = Shared {
            model: Mutex::new(Model::new(
                study.study.clone(),
                study.train(),
                LEASE_TTL,
                rng.next_u64(),
            )?),
            observer: Mutex::new(Observer::new(LEASE_TTL)),
            mood: Some(Mutex::new(mood)),
            clock: || turmoil::sim_elapsed().unwrap_or_default(),
        };
        let files = Files::in_memory();
        put_dataset(&files, study)?;
        Ok(Self {
            hosts,
            faults,
            shared: Arc::new(shared),
            files,
            disturbed,
            rng,
            failed: Arc::default(),
            stops: Arc::default(),
        })
    }

    /// Runs to the end of the study; how long that took.
    fn run(mut self, log: &Log) -> anyhow::Result<Duration> {
        let latency_max = Duration::from_millis(2) + Duration::from_millis(150).mul_f64(share(&mut self.rng).powi(3));
        let mut sim = turmoil::Builder::new()
            .rng_seed(self.rng.next_u64())
            .epoch(UNIX_EPOCH)
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(latency_max)
            .repair_rate(0.1)
            .tcp_capacity(1 << 10)
            .simulation_duration(RUN_WITHIN * 2)
            .build();
        for name in self.hosts.coordinators.clone() {
            self.add_coordinator(&mut sim, &name);
        }
        for name in self.hosts.workers.clone() {
            self.add_worker(&mut sim, &name);
        }
        let mut faults = std::mem::take(&mut self.faults).into_iter().peekable();
        let mut look_at = LOOK_INTERVAL;
        loop {
            sim.step()
                .map_err(|error| anyhow::anyhow!("the simulation failed: {error}"))?;
            let now = sim.elapsed();
            while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= now) {
                log.line(now, &format!("{fault:?}"));
                if !disturb(&mut sim, &fault) {
                    self.do_fault(now, &fault);
                }
            }
            if now >= look_at {
                look_at += LOOK_INTERVAL;
                if self.shared.model().is_over() || now > RUN_WITHIN {
                    return Ok(now);
                }
            }
        }
    }

    fn do_fault(&self, now: Duration, fault: &Fault) {
        match fault {
            Fault::Drain(worker) => {
                if let Some(stop) = self.stops.lock().unwrap_or_else(PoisonError::into_inner).get(worker) {
                    stop.cancel();
                }
            }
            Fault::StoreAway(away) => {
                if let Some(mood) = &self.shared.mood {
                    let mut mood = mood.lock().unwrap_or_else(PoisonError::into_inner);
                    match (away, mood.away_since) {
                        (true, None) => mood.away_since = Some(now),
                        (false, Some(since)) => {
                            mood.away_since = None;
                            if now - since > NOTICED_WITHIN {
                                self.shared.observer().came_back(now);
                            }
                        }
                        _ => {}
                    }
                }
            }
            Fault::Pause(pause) => self.shared.model().pause(*pause),
            _ => {}
        }
    }

    fn add_coordinator(&self, sim: &mut Sim<'_>, name: &str) {
        let (shared, files) = (Arc::clone(&self.shared), self.files.clone());
        sim.host(name, move || {
            let store = ModelStore::new(Arc::clone(&shared), settings(), files.clone());
            async move { Ok(coordinate(Arc::new(store)).await?) }
        });
    }

    fn add_worker(&mut self, sim: &mut Sim<'_>, name: &str) {
        let urls: Vec<String> = self
            .hosts
            .coordinators
            .iter()
            .map(|host| format!("http://{host}:{PORT}"))
            .collect();
        let (shared, failed, stops) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.failed),
            Arc::clone(&self.stops),
        );
        let failing = if self.disturbed { 0.1 } else { 0.0 };
        let slots = 1 + u32::from(share(&mut self.rng) < 0.5);
        let step_max = Duration::from_millis(400) + Duration::from_millis(2_000).mul_f64(share(&mut self.rng));
        let processes = Mutex::new(ChaCha8Rng::seed_from_u64(self.rng.next_u64()));
        let name = name.to_owned();
        sim.host(name.clone(), move || {
            let mut process = processes.lock().unwrap_or_else(PoisonError::into_inner);
            let mut id = [0; 16];
            process.fill_bytes(&mut id);
            let settings = trawl_agent::Settings {
                worker_id: WorkerId(uuid::Builder::from_random_bytes(id).into_uuid()),
                host: name.clone(),
                slots,
                device_name: "cpu".to_owned(),
                register_within: None,
            };
            let script = Script {
                step_max,
                rng: Mutex::new(ChaCha8Rng::seed_from_u64(process.next_u64())),
                failing,
                failed: Arc::clone(&failed),
                shared: Arc::clone(&shared),
            };
            let stop = CancellationToken::new();
            stops
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(name.clone(), stop.clone());
            let urls = urls.clone();
            async move {
                let connection = Connection::opened_by(&urls, &TlsChoice::default(), None, &open)?;
                trawl_agent::run(settings, connection, script, stop).await?;
                Ok(())
            }
        });
    }
}

/// One coordinator, as its binary runs it, without the ports of users.
async fn coordinate(store: Arc<ModelStore>) -> anyhow::Result<()> {
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    // It does not begin before the store answers, as with Postgres.
    while store.grant_grace().await.is_err() {
        tokio::time::sleep(BEGIN_INTERVAL).await;
    }
    store.shared.observer().came_back((store.shared.clock)());
    let (reports, writer) = report_writer(Arc::clone(&store), stop.clone());
    tokio::spawn(writer);
    let (tells_up, _) = watch::channel(true);
    tokio::spawn(reap_leases(Arc::clone(&store), tells_up, stop.clone()));
    // There is no guard here that would say who calls.
    let by_anybody = |mut request: Request<()>| {
        request.extensions_mut().insert(Caller::Anybody);
        Ok(request)
    };
    let workers = WorkerServiceServer::with_interceptor(Workers::new(store, reports, stop, tasks), by_anybody);
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(workers)
        .serve_with_incoming(listen().await?)
        .await?;
    Ok(())
}

fn settings() -> Settings {
    Settings {
        dataset_dir: Default::default(),
        fashion_mnist_dirs: Vec::new(),
        quotas: NO_QUOTAS,
        lease_ttl: LEASE_TTL,
        checkpoint_interval: CHECKPOINT_INTERVAL,
        reader_transaction_limit: LEASE_TTL,
    }
}

fn put_dataset(files: &Files, study: &SimulatedStudy) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut upload = files.upload(&format!("datasets/{}", study.train().features));
        upload.write(study.file.clone().into()).await?;
        Ok(upload.finish().await?)
    })
}
