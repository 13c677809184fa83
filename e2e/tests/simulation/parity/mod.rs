//! The model against the real store: random sequences of steps on both, which have to give the same answers and the same rows.
//!
//! No real clock takes part: the model gets the time, and in Postgres all times are moved into the past instead. Times move by
//! four seconds and their multiples, which are never close to the time limit of a lease, so the duration of a sequence itself does
//! not matter.

mod operations;
mod real;

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use trawl_coordinator::app::dataset_dir::DatasetDir;
use trawl_coordinator::app::{App, Settings};
use trawl_coordinator::files::Files;
use trawl_e2e::history::Observer;

use crate::model::{Model, ModelStore, NO_QUOTAS, Rows, Shared};
use crate::run::ALONE;
use crate::study::SimulatedStudy;
use operations::{Operation, Side, WORKERS, operation};
use real::RealStore;

const LEASE_TTL: Duration = Duration::from_secs(15);
/// Sequences, and steps of one at most.
const CASES: u64 = 300;
const STEPS_MAX: usize = 80;
/// Trials, epochs, batch sizes: two or three jobs of several members.
const STUDY: (u32, u32, u32) = (6, 2, 3);
/// Trials of a generation, where they are raced.
const GENERATION: u32 = 3;

thread_local! {
    /// The time on the model's side.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Both stores, at the beginning of a sequence.
struct Pair<'a> {
    model: Side<Arc<ModelStore>>,
    real: Side<&'a App>,
    store: &'a RealStore,
}

impl Pair<'_> {
    async fn apply(&mut self, operation: &Operation) -> anyhow::Result<()> {
        match operation {
            Operation::Advance(time) => {
                NOW.set(NOW.get() + *time);
                self.store.advance(*time).await?;
            }
            Operation::Pause(pause) => {
                self.model.store.shared.model().pause(*pause);
                self.store.pause(*pause).await?;
            }
            _ => {
                let (model, real) = (self.model.apply(operation).await, self.real.apply(operation).await);
                anyhow::ensure!(model == real, "the model answers {model}\nthe store answers {real}");
            }
        }
        Ok(())
    }

    async fn compare(&self) -> anyhow::Result<()> {
        let model = self.model.store.shared.model().rows();
        let real = self.store.rows().await?;
        for (table, rows) in &model {
            let real: &Vec<String> = &real[table];
            anyhow::ensure!(
                rows == real,
                "{table}\nthe model has {rows:#?}\nthe store has {real:#?}"
            );
        }
        Ok(())
    }
}

fn settings() -> Settings {
    Settings {
        dataset_dir: DatasetDir::new(&trawl_e2e::repository()).ok(),
        fashion_mnist_dirs: Vec::new(),
        quotas: NO_QUOTAS,
        lease_ttl: LEASE_TTL,
        checkpoint_interval: LEASE_TTL,
        reader_transaction_limit: LEASE_TTL,
    }
}

fn model_side(study: &SimulatedStudy) -> anyhow::Result<Side<Arc<ModelStore>>> {
    NOW.set(Duration::from_secs(1_000));
    let shared = Shared {
        model: Mutex::new(Model::new(study.study.clone(), study.train(), LEASE_TTL, 1)?),
        observer: Mutex::new(Observer::new(LEASE_TTL)),
        mood: None,
        clock: || NOW.get(),
    };
    let store = ModelStore::new(Arc::new(shared), settings(), Files::in_memory());
    Ok(Side::new(Arc::new(store)))
}

#[test]
fn the_model_answers_as_the_store_does() -> anyhow::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (trials, epochs, batch_sizes) = STUDY;
    let study = |raced| SimulatedStudy::new(3, trials, epochs, batch_sizes, raced);
    let (whole, raced) = (study(None)?, study(Some(GENERATION))?);
    let real = runtime.block_on(RealStore::start(settings()))?;
    let config = Config {
        cases: u32::try_from(crate::number("TRAWL_PARITY_CASES", CASES)?)?,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = [u8::try_from(crate::number("TRAWL_PARITY_SEED", 0)?)?; 32];
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let (steps, seen) = (Cell::new(0), RefCell::new(Rows::new()));
    let sequences = (any::<bool>(), vec(operation(), 1..STEPS_MAX));
    let ran = runner.run(&sequences, |(is_raced, operations)| {
        let study = if is_raced { &raced } else { &whole };
        let compared = runtime.block_on(sequence(study, &real, &operations));
        let rows = compared.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        steps.set(steps.get() + operations.len());
        for (table, rows) in rows {
            seen.borrow_mut().entry(table).or_default().extend(rows);
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, operations)) = ran {
        anyhow::bail!("{reason}\nafter {operations:#?}");
    }
    // Sequences that reach nothing would compare nothing.
    let (steps, answers) = (steps.get(), seen.into_inner());
    let reached = |table: &str, what: &str| answers[table].iter().filter(|row| row.contains(what)).count();
    println!(
        "{steps} steps; jobs completed {}, failed {}; leases expired {}, drained {}; checkpoints {}; artifacts {}; studies completed {}",
        reached("jobs", "completed"),
        reached("jobs", "failed"),
        reached("job_attempts", "expired"),
        reached("job_attempts", "drained"),
        answers["checkpoints"].len(),
        answers["artifacts"].len(),
        reached("study", "completed"),
    );
    for (table, what) in [
        ("jobs", "completed"),
        ("job_attempts", "expired"),
        ("job_attempts", "drained"),
        ("folds", "diverged"),
        ("folds", "paused"),
        ("trials", "pruned"),
    ] {
        anyhow::ensure!(reached(table, what) > 0, "no sequence left {table} {what}");
    }
    Ok(())
}

/// Takes both stores through a sequence; the rows that they agree on in the end.
async fn sequence(study: &SimulatedStudy, store: &RealStore, operations: &[Operation]) -> anyhow::Result<Rows> {
    store.restart(study).await?;
    let mut pair = Pair {
        model: model_side(study)?,
        real: Side::new(&store.app),
        store,
    };
    // Sequences begin with workers, else few would come to anything.
    for worker in 0..WORKERS {
        pair.apply(&Operation::Register(worker)).await?;
    }
    for (place, operation) in operations.iter().enumerate() {
        let applied = pair.apply(operation).await;
        applied.map_err(|error| error.context(format!("step {place}, {operation:?}")))?;
    }
    pair.compare().await?;
    Ok(pair.model.store.shared.model().rows())
}
