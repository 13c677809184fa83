//! The schema: everything in it has a comment, and no query of users reads a whole study for one page.

mod lease_queries;
mod slot_use;
mod upload_notes;

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use trawl_coordinator::app::auth::Caller;
use trawl_coordinator::app::dataset_dir::DatasetDir;
use trawl_coordinator::app::quotas::Quotas;
use trawl_coordinator::app::read_study::{
    get_study, get_trial, list_artifacts, list_best_trials, list_epoch_reports, list_studies, list_trials,
};
use trawl_coordinator::app::register_worker::list_workers;
use trawl_coordinator::app::submit_study::submit_study;
use trawl_coordinator::app::{App, Settings};
use trawl_coordinator::files::Files;
use trawl_coordinator::store::artifacts::Position;
use trawl_domain::seed::FitOwner;
use trawl_e2e::{fresh_database, repository, studies};

/// Rows and entries of indexes that one page may cost. The study has 100,000 trials, 200,000 folds and 400,000 epoch reports.
const READ_MAX: i64 = 3_000;
/// Rows of a page.
const PAGE: u32 = 100;

async fn migrated(url: &str) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new().max_connections(2).connect(url).await?;
    sqlx::migrate!("../migrations").run(&pool).await?;
    Ok(pool)
}

fn app(pool: PgPool) -> App {
    let lease_ttl = Duration::from_secs(15);
    let settings = Settings {
        dataset_dir: DatasetDir::new(&repository()).ok(),
        fashion_mnist_dirs: Vec::new(),
        lease_ttl,
        checkpoint_interval: lease_ttl,
        quotas: Quotas {
            studies: u64::MAX,
            epoch_reports: u64::MAX,
            study_epoch_reports: u64::MAX,
            bytes: u64::MAX,
            study_bytes: u64::MAX,
        },
        reader_transaction_limit: lease_ttl,
    };
    App::new(pool, Files::in_memory(), settings, [7; 32])
}

/// A database with a study of 100,000 trials.
async fn filled() -> anyhow::Result<String> {
    let url = fresh_database().await?;
    let pool = migrated(&url).await?;
    let mut study = studies::with_whole_paths(studies::small("large", 100_000, 2)?);
    study["validation"] = serde_json::json!({ "k_fold": 2 });
    let study = studies::from_json(&study)?;
    submit_study(&app(pool.clone()), study, HashMap::new(), false, Caller::Anybody).await?;
    sqlx::raw_sql(include_str!("fill.sql")).execute(&pool).await?;
    Ok(url)
}

/// Counts what is read over one connection.
struct Reads {
    /// Of that connection alone: statistics are its own until it hands them in.
    pool: PgPool,
}

impl Reads {
    /// Rows and entries of indexes that were read so far.
    async fn so_far(&self) -> anyhow::Result<i64> {
        sqlx::query("SELECT pg_stat_force_next_flush()")
            .execute(&self.pool)
            .await?;
        let read = "SELECT ((SELECT sum(seq_tup_read + COALESCE(idx_tup_fetch, 0)) FROM pg_stat_all_tables
                             WHERE schemaname = 'trawl_store')
                          + (SELECT sum(idx_tup_read) FROM pg_stat_all_indexes WHERE schemaname = 'trawl_store'))::bigint";
        Ok(sqlx::query_scalar(read).fetch_one(&self.pool).await?)
    }

    /// Rows that a question reads, with its answer.
    async fn of<T, E>(&self, question: impl Future<Output = Result<T, E>>) -> anyhow::Result<(i64, T)>
    where
        anyhow::Error: From<E>,
    {
        let before = self.so_far().await?;
        let answer = question.await?;
        Ok((self.so_far().await? - before, answer))
    }

    /// Asks a question that has so many rows as its answer.
    async fn page<T, E>(
        &self,
        question: &str,
        rows: usize,
        asked: impl Future<Output = Result<Vec<T>, E>>,
    ) -> anyhow::Result<()>
    where
        anyhow::Error: From<E>,
    {
        let (read, answer) = self.of(asked).await?;
        assert_eq!(answer.len(), rows, "rows of {question}");
        assert!(read <= READ_MAX, "{question}: {read} rows read");
        Ok(())
    }
}

/// Trials of the study with two objectives that no other one dominates.
const PARETO: usize = 4;

/// What users ask in SQL, and how many rows answer it.
const SQL: [(&str, usize); 23] = [
    ("SELECT * FROM trawl.studies WHERE name = 'large'", 1),
    ("SELECT * FROM trawl.studies ORDER BY created_at DESC LIMIT 100", 100),
    ("SELECT * FROM trawl.trials WHERE study = 'large' AND trial = 70000", 1),
    (
        "SELECT * FROM trawl.trials WHERE study = 'large' AND trial >= 50000 AND trial < 50100 ORDER BY trial",
        100,
    ),
    (
        "SELECT * FROM trawl.trials WHERE study_id = (SELECT study_id FROM trawl.studies WHERE name = 'large')
         ORDER BY trial LIMIT 100",
        100,
    ),
    (
        "SELECT trial, value, params FROM trawl.best_trials WHERE study = 'large' AND rank <= 5",
        5,
    ),
    (
        "SELECT * FROM trawl.best_trials WHERE study = 'large' AND rank BETWEEN 51 AND 100 ORDER BY rank DESC",
        50,
    ),
    (
        "SELECT b.* FROM trawl.studies s JOIN trawl.best_trials b USING (study_id) WHERE s.name = 'large' AND b.rank <= 5",
        5,
    ),
    (
        "SELECT * FROM trawl.best_trials WHERE study LIKE 'small-1%' AND rank = 1",
        112,
    ),
    (
        "SELECT * FROM trawl.fold_metrics WHERE study = 'large' AND trial = 70000",
        2,
    ),
    (
        "SELECT * FROM trawl.fold_metrics WHERE study = 'large' AND trial >= 50000 AND trial < 50100 ORDER BY trial, fold",
        200,
    ),
    (
        "SELECT * FROM trawl.epoch_reports WHERE study = 'large' AND trial = 70000 ORDER BY fold, epoch",
        4,
    ),
    (
        "SELECT * FROM trawl.epoch_reports WHERE study = 'large' AND trial >= 50000 AND trial < 50100 AND epoch = 1",
        200,
    ),
    (
        "SELECT * FROM trawl.epoch_reports e JOIN trawl.best_trials b USING (study, trial)
         WHERE b.study = 'large' AND b.rank <= 5",
        20,
    ),
    ("SELECT * FROM trawl.refits WHERE study = 'large' ORDER BY refit", 3),
    (
        "SELECT * FROM trawl.refit_epoch_reports WHERE study = 'large' AND refit = 1 AND fold = 1 AND epoch < 100 ORDER BY epoch",
        100,
    ),
    ("SELECT * FROM trawl.artifacts WHERE study = 'large' AND refit = 1", 400),
    (
        "SELECT * FROM trawl.artifacts WHERE study = 'large' AND name = 'file-7'",
        3,
    ),
    (
        "SELECT * FROM trawl.rungs WHERE study = 'large' AND generation = 3000",
        2,
    ),
    (
        "SELECT * FROM trawl.pareto WHERE study = 'small-7' ORDER BY value",
        PARETO,
    ),
    (
        "SELECT * FROM trawl.hypervolume WHERE study = 'small-7' ORDER BY trial",
        100,
    ),
    ("SELECT * FROM trawl.workers", 200),
    ("SELECT * FROM trawl.workers ORDER BY last_seen_at DESC LIMIT 10", 10),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_question_reads_a_whole_study_for_one_page() -> anyhow::Result<()> {
    let url = filled().await?;
    // Plans for the values that are asked for, and plans for any: Postgres chooses between them after some calls.
    for plans in ["force_custom_plan", "force_generic_plan"] {
        let options: PgConnectOptions = url.parse()?;
        let options = options.options([("plan_cache_mode", plans)]);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        let reads = Reads { pool: pool.clone() };

        // The counter counts what is read.
        let whole = sqlx::query_scalar::<_, i64>("SELECT count(value_std) FROM trawl.trials").fetch_one(&pool);
        let (read, _) = reads.of(whole).await?;
        assert!(read > 100_000, "{plans}: {read}");

        for (query, rows) in SQL {
            reads
                .page(&format!("{plans}: {query}"), rows, sqlx::query(query).fetch_all(&pool))
                .await?;
        }
        lists(&reads, &app(pool), plans).await?;
    }
    Ok(())
}

/// What users ask of the coordinator.
async fn lists(reads: &Reads, app: &App, plans: &str) -> anyhow::Result<()> {
    let named = |call: &str| format!("{plans}: {call}");
    let (read, view) = reads.of(get_study(app, "large")).await?;
    assert!(read <= READ_MAX, "{}: {read} rows read", named("GetStudy"));
    assert_eq!((view.refits.len(), view.best.is_some()), (3, true));

    let studies = list_studies(app, None, PAGE).await?;
    let last = studies
        .last()
        .map(|view| (view.record.created_at, view.record.study_id));
    for after in [None, last] {
        reads
            .page(&named("ListStudies"), 100, list_studies(app, after, PAGE))
            .await?;
    }
    for first in [0, 50_000] {
        reads
            .page(&named("ListTrials"), 100, list_trials(app, "large", first, PAGE))
            .await?;
    }
    reads
        .page(&named("ListBestTrials"), 100, list_best_trials(app, "large", PAGE))
        .await?;
    let (read, (trial, folds)) = reads.of(get_trial(app, "large", 70_000)).await?;
    assert!(read <= READ_MAX, "{}: {read} rows read", named("GetTrial"));
    assert_eq!((trial.trial, folds.len()), (70_000, 2));

    let trial = list_epoch_reports(app, "large", FitOwner::Trial(70_000), None, PAGE);
    reads.page(&named("ListEpochReports"), 4, trial).await?;
    for after in [None, Some((0, 949)), Some((2, 500))] {
        let refit = list_epoch_reports(app, "large", FitOwner::Refit(1), after, PAGE);
        reads.page(&named("ListEpochReports"), 100, refit).await?;
    }
    let artifacts = list_artifacts(app, "large", None, PAGE).await?;
    let last = artifacts.last().map(|artifact| Position {
        owner: artifact.owner,
        name: artifact.name.clone(),
    });
    for after in [None, last.as_ref()] {
        reads
            .page(&named("ListArtifacts"), 100, list_artifacts(app, "large", after, PAGE))
            .await?;
    }
    reads.page(&named("ListWorkers"), 200, list_workers(app)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_and_column_says_what_it_is() -> anyhow::Result<()> {
    let pool = migrated(&fresh_database().await?).await?;
    let silent: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws('.', c.oid::regclass, a.attname)
         FROM pg_class c
         JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
         WHERE c.relnamespace IN ('trawl'::regnamespace, 'trawl_store'::regnamespace) AND c.relkind IN ('r', 'v')
           AND a.attnum > 0
           AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)
         ORDER BY 1",
    )
    .fetch_all(&pool)
    .await?;
    assert_eq!(silent, Vec::<String>::new());
    Ok(())
}
