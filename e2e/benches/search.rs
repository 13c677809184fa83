//! What the search of the paper's regression study costs through `trawl up`: time, CPU by process, and the bytes that an epoch
//! report takes on disk, indexes included, when the study has ended.
//!
//! Each of the `ROUNDS` rounds begins with an empty data folder; the table has medians. CPU counts from the moment at which
//! `trawl up` is ready.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use trawl_e2e::meters::cpu_seconds;
use trawl_e2e::{Process, binary, look_for, processes_below, repository};

const ROUNDS: usize = 5;
const STUDY: &str = "examples/regression.yaml";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round().await?);
    }
    let row = |title: &str, of: fn(&Round) -> f64, unit: &str| {
        println!("{title:<38} {:>8.2} {unit}", median(rounds.iter().map(of).collect()));
    };
    println!();
    println!("The search and refit of {STUDY} through trawl up; fsync on; medians of {ROUNDS} rounds");
    println!();
    row("from submission to the end", |round| round.wall_s, "s");
    row("CPU: coordinator", |round| round.cpu_s[0], "s");
    row("CPU: Postgres", |round| round.cpu_s[1], "s");
    row(
        "CPU: coordinator and Postgres",
        |round| round.cpu_s[0] + round.cpu_s[1],
        "s",
    );
    row("CPU: workers", |round| round.cpu_s[2], "s");
    row("epoch reports", |round| round.reports, "");
    row("disk of an epoch report", |round| round.bytes / round.reports, "bytes");
    Ok(())
}

/// What one search cost.
struct Round {
    wall_s: f64,
    /// Of the coordinator, of Postgres, of the workers.
    cpu_s: [f64; 3],
    reports: f64,
    bytes: f64,
}

async fn round() -> anyhow::Result<Round> {
    let folder = tempfile::tempdir()?;
    let trawl = binary("trawl")?;
    let up = Process::start(
        Command::new(&trawl)
            .args([
                "up",
                "--device",
                "cpu",
                "--listen",
                "127.0.0.1:0",
                "--http-listen",
                "127.0.0.1:0",
            ])
            .arg("--data-dir")
            .arg(folder.path())
            .arg("--dataset-dir")
            .arg(repository())
            .env_remove("DATABASE_URL")
            .env("RUST_LOG", "warn"),
    )?;
    let ready = look_for("trawl up", async || {
        let text = std::fs::read_to_string(folder.path().join("endpoints.json")).unwrap_or_default();
        Ok(serde_json::from_str::<serde_json::Value>(&text).ok())
    })
    .await?;
    let url = |name: &str| ready[name].as_str().context("an endpoint is missing");
    let before = cpu(up.id())?;
    let began = Instant::now();
    let status = tokio::task::spawn_blocking({
        let server = url("grpc")?.to_owned();
        move || submit(&trawl, &server)
    });
    status.await??;
    let wall_s = began.elapsed().as_secs_f64();
    let after = cpu(up.id())?;
    let mut conn = PgConnection::connect(url("database_url")?).await?;
    let reports: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM trawl.epoch_reports) + (SELECT count(*) FROM trawl.refit_epoch_reports)",
    )
    .fetch_one(&mut conn)
    .await?;
    let bytes: i64 = sqlx::query_scalar(
        "SELECT sum(pg_total_relation_size(c.oid))::bigint
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = 'trawl_store' AND c.relkind = 'r' AND c.relname IN ('epoch_reports', 'job_reports', 'curves')",
    )
    .fetch_one(&mut conn)
    .await?;
    conn.close().await?;
    up.stop()?;
    Ok(Round {
        wall_s,
        cpu_s: std::array::from_fn(|process| after[process] - before[process]),
        reports: reports as f64,
        bytes: bytes as f64,
    })
}

fn submit(trawl: &Path, server: &str) -> anyhow::Result<()> {
    let mut submit = Command::new(trawl);
    submit.args(["submit", STUDY, "--watch", "--server", server]);
    let status = submit
        .current_dir(repository())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "the study did not complete");
    Ok(())
}

/// CPU seconds of the coordinator, of Postgres and of the workers below `trawl up`.
fn cpu(up: u32) -> anyhow::Result<[f64; 3]> {
    let mut found = [0.0; 3];
    for process in processes_below(up)? {
        // One that has ended meanwhile has no name, and its parent has its time.
        let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        let place = match name.trim() {
            "trawl-coordinat" => 0,
            "postgres" => 1,
            "trawl-worker" => 2,
            _ => continue,
        };
        found[place] += cpu_seconds(process).unwrap_or(0.0);
    }
    Ok(found)
}

/// At least one value, none of them a NaN.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
