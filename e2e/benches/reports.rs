//! How many epoch reports a second become durable and acknowledged: scripted workers stream them to a real coordinator on a
//! real Postgres with fsync on, beside the same rows that a plain client inserts in batches of 100.
//!
//! Everything is measured in turn, `ROUNDS` times over, and the plain inserts before every other measurement, so that what
//! else happens on the machine touches both; the table has medians and their ratios. Workers, coordinator and Postgres share
//! the machine.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use trawl_e2e::{Postgres, ScriptedWorker, System, epochs_report, studies};
use trawl_proto::v1;

const ROUNDS: usize = 5;
/// So short that no job comes to its last epoch.
const MEASURED_FOR: Duration = Duration::from_millis(400);
/// What only the first reports pay for.
const WARMED_UP_FOR: Duration = Duration::from_millis(300);
const STREAMS: [usize; 3] = [1, 4, 16];
/// Messages of a stream that are sent before the first of them is acknowledged, and epochs of a message: one as a worker whose epochs
/// take longer than an acknowledgement, as many as the coordinator takes from one stream, and these with what a worker gathers of
/// small networks in a tenth of a second.
const SENDING: [(usize, u32); 3] = [(1, 1), (64, 1), (64, 10)];
const MEMBERS: usize = 64;
const REFERENCE_BATCH_ROWS: usize = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let postgres = Postgres::start_durable()?;
    // Nobody sends heartbeats, and nobody has to.
    let system = System::start_on(postgres.fresh_database().await?, &["--lease-ttl-ms", "3600000"]).await?;
    system.submit(studies::from_json(&study()?)?).await?;
    let mut workers = Vec::new();
    for _ in 0..STREAMS[STREAMS.len() - 1] {
        workers.push(Arc::new(Mutex::new(Reporter::lease(&system).await?)));
    }
    let mut reference = Reference::connect(&system.database_url).await?;

    reference.measure(WARMED_UP_FOR).await?;
    measure(&workers, SENDING[1], WARMED_UP_FOR).await?;
    let cases: Vec<(usize, (usize, u32))> = STREAMS
        .iter()
        .flat_map(|streams| SENDING.map(|sending| (*streams, sending)))
        .collect();
    let mut plain = Vec::new();
    let mut trawl = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((streams, sending), figures) in cases.iter().zip(&mut trawl) {
            plain.push(reference.measure(MEASURED_FOR).await?);
            figures.push(measure(&workers[..*streams], *sending, MEASURED_FOR).await?);
        }
        // Others come first in the next round: a job has only so many epochs.
        workers.rotate_left(1);
    }
    ensure_stored(&system, &workers).await?;

    println!();
    println!("Epoch reports: acknowledged per second (a message has one or more epochs of each of {MEMBERS} folds)");
    println!("workers, coordinator and Postgres on this machine; fsync on; medians of {ROUNDS} rounds");
    println!();
    println!(
        "{:>29} {:>10} {:>10} {:>10} {:>7} {:>10} {:>10}",
        "", "in flight", "epochs", "reports/s", "ratio", "ack. p50", "ack. p99"
    );
    let title = format!("plain inserts of {REFERENCE_BATCH_ROWS} rows");
    let plain = Figures::medians(&plain);
    println!("{}", plain.row(&title, (1, 1), plain));
    for ((streams, sending), figures) in cases.iter().zip(&trawl) {
        let title = format!("trawl, {streams} stream{}", if *streams == 1 { "" } else { "s" });
        println!("{}", Figures::medians(figures).row(&title, *sending, plain));
    }
    Ok(())
}

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
struct Figures {
    rows_per_second: f64,
    /// From sending a message to its acknowledgement, in milliseconds.
    p50_ms: f64,
    p99_ms: f64,
}

impl Figures {
    fn of(rows: usize, took: Duration, mut latencies: Vec<Duration>) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let percentile = |percent: usize| latencies.get(latencies.len() * percent / 100);
        let ms = |latency: &Duration| latency.as_secs_f64() * 1e3;
        Ok(Self {
            rows_per_second: rows as f64 / took.as_secs_f64(),
            p50_ms: percentile(50).map(ms).context("nothing was acknowledged")?,
            p99_ms: percentile(99).map(ms).context("nothing was acknowledged")?,
        })
    }

    fn medians(figures: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| median(figures.iter().map(value).collect());
        Self {
            rows_per_second: of(|figures| figures.rows_per_second),
            p50_ms: of(|figures| figures.p50_ms),
            p99_ms: of(|figures| figures.p99_ms),
        }
    }

    fn row(self, title: &str, (in_flight, epochs): (usize, u32), reference: Self) -> String {
        let Self {
            rows_per_second,
            p50_ms,
            p99_ms,
        } = self;
        let ratio = rows_per_second / reference.rows_per_second;
        format!(
            "{title:<29} {in_flight:>10} {epochs:>10} {rows_per_second:>10.0} {ratio:>6.2}× {p50_ms:>7.2} ms {p99_ms:>7.2} ms"
        )
    }
}

/// At least one value, none of them a NaN.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Jobs of as many members as there may be, with more epochs than can be reported meanwhile.
fn study() -> anyhow::Result<serde_json::Value> {
    let jobs = STREAMS[STREAMS.len() - 1];
    let mut study = studies::regression_json("reports")?;
    study["validation"] = json!({ "k_fold": 4 });
    study["max_trials"] = json!(jobs * MEMBERS / 4);
    study["training"]["epochs"] = json!(100_000);
    study["space"]["activation"] = json!({ "choice": ["relu"] });
    study["space"]["batch_size"] = json!({ "choice": [8] });
    study.as_object_mut().map(|study| study.remove("refit"));
    Ok(study)
}

/// A worker with one job.
struct Reporter {
    worker: ScriptedWorker,
    job: v1::LeasedJob,
    next_epoch: u32,
}

impl Reporter {
    async fn lease(system: &System) -> anyhow::Result<Self> {
        let mut worker = ScriptedWorker::register(system).await?;
        let job = worker.lease_one().await?;
        let members = job.job.as_ref().map_or(0, |job| job.members.len());
        ensure!(members == MEMBERS, "a job of {members} members");
        Ok(Self {
            worker,
            job,
            next_epoch: 0,
        })
    }

    /// Reports epoch after epoch on one stream until `end`, and waits for what is acknowledged after it; how long each
    /// acknowledgement took.
    async fn report_until(&mut self, end: Instant, (in_flight, epochs): (usize, u32)) -> anyhow::Result<Vec<Duration>> {
        let (reports, mut answers) = self.worker.open_reports(in_flight).await?;
        let mut unacknowledged = VecDeque::new();
        let mut latencies = Vec::new();
        loop {
            while unacknowledged.len() < in_flight && Instant::now() < end {
                let next = self.next_epoch + epochs;
                let report = epochs_report(&self.job, self.next_epoch..next, 0.0);
                unacknowledged.push_back((self.next_epoch, Instant::now()));
                reports.send(report).await?;
                self.next_epoch = next;
            }
            let Some((epoch, sent)) = unacknowledged.pop_front() else {
                return Ok(latencies);
            };
            let answer = answers.message().await?.context("the stream ended")?;
            ensure!(
                answer.first_epoch == epoch && answer.status == i32::from(v1::LeaseStatus::Held),
                "epoch {epoch} was answered with {answer:?}"
            );
            latencies.push(sent.elapsed());
        }
    }
}

/// All these workers at once.
async fn measure(
    workers: &[Arc<Mutex<Reporter>>],
    sending: (usize, u32),
    measured_for: Duration,
) -> anyhow::Result<Figures> {
    let start = Instant::now();
    let end = start + measured_for;
    let mut streams = JoinSet::new();
    for worker in workers {
        let worker = Arc::clone(worker);
        streams.spawn(async move { worker.lock().await.report_until(end, sending).await });
    }
    let mut latencies = Vec::new();
    while let Some(stream) = streams.join_next().await {
        latencies.append(&mut stream??);
    }
    Figures::of(
        latencies.len() * MEMBERS * sending.1 as usize,
        start.elapsed(),
        latencies,
    )
}

/// The same rows from one connection, each batch in a transaction of its own, into a table with a row for each.
struct Reference {
    conn: PgConnection,
    rows: usize,
}

impl Reference {
    async fn connect(database_url: &str) -> anyhow::Result<Self> {
        let mut conn = PgConnection::connect(database_url).await?;
        conn.execute(
            "CREATE SCHEMA bench;
             CREATE TABLE bench.reports (
                 fold_id bigint NOT NULL, epoch integer NOT NULL, train_loss double precision NOT NULL,
                 val_loss double precision, reported_at timestamptz NOT NULL, PRIMARY KEY (fold_id, epoch))",
        )
        .await?;
        Ok(Self { conn, rows: 0 })
    }

    async fn measure(&mut self, measured_for: Duration) -> anyhow::Result<Figures> {
        let start = Instant::now();
        let (mut inserted, mut latencies) = (0, Vec::new());
        while start.elapsed() < measured_for {
            let rows = self.rows..self.rows + REFERENCE_BATCH_ROWS;
            let folds: Vec<i64> = rows.clone().map(|row| (row % MEMBERS) as i64).collect();
            let epochs: Vec<i32> = rows.clone().map(|row| (row / MEMBERS) as i32).collect();
            let losses: Vec<f64> = rows.map(|row| row as f64 / 1e3).collect();
            let sent = Instant::now();
            sqlx::query(
                "INSERT INTO bench.reports (fold_id, epoch, train_loss, val_loss, reported_at)
                 SELECT fold_id, epoch, train_loss, val_loss, clock_timestamp()
                 FROM unnest($1::bigint[], $2::integer[], $3::double precision[], $4::double precision[])
                      AS r (fold_id, epoch, train_loss, val_loss)",
            )
            .bind(&folds)
            .bind(&epochs)
            .bind(&losses)
            .bind(&losses)
            .execute(&mut self.conn)
            .await?;
            latencies.push(sent.elapsed());
            self.rows += REFERENCE_BATCH_ROWS;
            inserted += REFERENCE_BATCH_ROWS;
        }
        Figures::of(inserted, start.elapsed(), latencies)
    }
}

/// What was acknowledged is there, once.
async fn ensure_stored(system: &System, workers: &[Arc<Mutex<Reporter>>]) -> anyhow::Result<()> {
    let mut acknowledged = 0;
    for worker in workers {
        acknowledged += i64::from(worker.lock().await.next_epoch) * MEMBERS as i64;
    }
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.epoch_reports WHERE study = 'reports'")
        .fetch_one(&system.sql)
        .await?;
    ensure!(
        stored == acknowledged,
        "{acknowledged} epoch reports were acknowledged, {stored} are stored"
    );
    Ok(())
}
