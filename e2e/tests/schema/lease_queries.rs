//! The queries of a worker's step do not grow with the number of jobs, and no study is read again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::register_worker::{CallingWorker, register_worker};
use trawl_coordinator::app::submit_study::submit_study;
use trawl_coordinator::protocol::WorkerStore;
use trawl_coordinator::store::workers::NewWorker;
use trawl_domain::id::WorkerId;
use trawl_e2e::{fresh_database, studies};
use uuid::Uuid;

use crate::{app, migrated};

/// Counts queries by what sqlx says of them.
#[derive(Clone, Debug, Default)]
struct Queries {
    all: Arc<AtomicUsize>,
    /// Queries that read a submitted study.
    of_studies: Arc<AtomicUsize>,
}

impl<S: Subscriber> Layer<S> for Queries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            self.all.fetch_add(1, Ordering::Relaxed);
            let mut reads_spec = ReadsSpec(false);
            event.record(&mut reads_spec);
            self.of_studies.fetch_add(usize::from(reads_spec.0), Ordering::Relaxed);
        }
    }
}

struct ReadsSpec(bool);

impl Visit for ReadsSpec {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0 |= value.contains("pause_reason, spec,");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

impl Queries {
    /// Returns the number of queries of some work, how many of them read a study, and its answer.
    async fn of<T>(work: impl Future<Output = T>) -> (usize, usize, T) {
        let queries = Self::default();
        // While there is one subscriber alone, tracing asks a thread's own whether it wants a kind of event, and remembers the answer for all.
        let _second = Dispatch::new(tracing_subscriber::registry());
        let subscriber = tracing_subscriber::registry().with(queries.clone());
        let answer = work.with_subscriber(subscriber).await;
        (
            queries.all.load(Ordering::Relaxed),
            queries.of_studies.load(Ordering::Relaxed),
            answer,
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_many_jobs_costs_as_many_queries_as_a_lease_of_one() -> anyhow::Result<()> {
    let app = app(migrated(&fresh_database().await?).await?);
    for name in ["first", "second"] {
        // Folds of one batch size and number of rows share a job: there are forty.
        let mut study = studies::with_whole_paths(studies::small(name, 200, 1)?);
        study["space"]["batch_size"] = serde_json::json!({ "int_uniform": { "low": 2, "high": 21 } });
        study["space"]["activation"] = serde_json::json!({ "choice": ["relu"] });
        study.as_object_mut().context("a study is an object")?.remove("refit");
        let study = studies::from_json(&study)?;
        submit_study(&app, study, HashMap::new(), false, Caller::Anybody).await?;
    }
    let worker = NewWorker {
        worker_id: WorkerId(Uuid::from_u128(1)),
        host: "host".to_owned(),
        device: "cpu".to_owned(),
        slots: 64,
        version: "0".to_owned(),
    };
    register_worker(&app, &worker, Caller::Anybody).await?;
    let worker = CallingWorker {
        worker_id: worker.worker_id,
        caller: Caller::Anybody,
    };
    let mut counts = Vec::new();
    // Several jobs are of both studies, which share the queue.
    for slots in [1, 8, 64] {
        let (all, of_studies, leased) = Queries::of(app.try_lease(worker, slots)).await;
        let leased = leased?;
        assert_eq!((leased.len(), of_studies), (slots as usize, 0));
        let mut tokens: Vec<_> = leased.iter().map(|leased| leased.lease.token.0).collect();
        tokens.sort_unstable();
        tokens.dedup();
        assert_eq!(tokens.len(), leased.len(), "each job has a token of its own");
        let names: BTreeSet<_> = leased.iter().map(|leased| leased.job.study.as_str()).collect();
        assert_eq!(names.len(), 1 + usize::from(slots > 1), "{names:?}");
        counts.push(all);
    }
    assert!(
        counts[0] > 0 && counts.iter().all(|count| *count == counts[0]),
        "{counts:?}"
    );
    Ok(())
}
