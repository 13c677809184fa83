//! Prometheus gets the numbers that SQL has; who may scrape; and dashboard and alert rules use metrics that are there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use reqwest::StatusCode;
use sqlx::{Connection, Executor, PgConnection};
use trawl_e2e::{Ask, Coordinator, System, fetched, look_for, repository, studies};

const OPERATOR: &str = "the-operators-own-token";

/// Samples by their name with labels, as they stand in the text.
type Samples = BTreeMap<String, f64>;

async fn get(coordinator: &Coordinator, token: Option<&str>) -> anyhow::Result<(StatusCode, String)> {
    fetched(&format!("{}/metrics", coordinator.http_url), token).await
}

fn samples(text: &str) -> anyhow::Result<Samples> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

async fn scrape(coordinator: &Coordinator) -> anyhow::Result<Samples> {
    let (status, text) = get(coordinator, None).await?;
    assert_eq!(status, StatusCode::OK, "{text}");
    samples(&text)
}

/// Scrapes until the database's gauges are that new.
async fn scrape_until(coordinator: &Coordinator, name: &str, value: f64) -> anyhow::Result<Samples> {
    look_for(&format!("{name} {value}"), async || {
        let samples = scrape(coordinator).await?;
        Ok((samples.get(name) == Some(&value)).then_some(samples))
    })
    .await
}

fn name_of(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

/// Sum over all samples of that name with these labels.
fn sum(samples: &Samples, name: &str, labels: &[&str]) -> f64 {
    let of_name = samples.iter().filter(|(sample, _)| name_of(sample) == name);
    let fitting = of_name.filter(|(sample, _)| labels.iter().all(|label| sample.contains(label)));
    fitting.map(|(_, value)| value).sum()
}

async fn count(system: &System, query: &'static str) -> anyhow::Result<f64> {
    Ok(system.owner().await?.value::<i64>(query).await? as f64)
}

/// Words of a file that begin as metrics do.
fn metrics_in(file: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(repository().join(file)).with_context(|| file.to_owned())?;
    let is_of_name = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter| !is_of_name(letter));
    Ok(words
        .filter(|word| word.starts_with("trawl_"))
        .map(str::to_owned)
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_what_sql_says() -> anyhow::Result<()> {
    let mut system = System::with_workers(&[], 1).await?;
    system.complete(studies::small("measured", 6, 20)?).await?;
    let found = scrape_until(&system.coordinator, "trawl_studies{state=\"completed\"}", 1.0).await?;

    let value = |name: &str, labels: &[&str]| sum(&found, name, labels);
    let reports = count(&system, "SELECT count(*) FROM trawl_store.epochs").await?;
    assert!(reports > 0.0);
    assert_eq!(value("trawl_epoch_reports_total", &[]), reports);
    assert_eq!(value("trawl_report_commit_rows_sum", &[]), reports);
    let jobs = count(&system, "SELECT count(*) FROM trawl_store.job_attempts").await?;
    assert_eq!(value("trawl_jobs_leased_total", &[]), jobs);
    assert_eq!(value("trawl_leases_ended_total", &["\"finished\""]), jobs);
    assert_eq!(value("trawl_leases_ended_total", &[]), jobs);
    assert_eq!(value("trawl_attempts_failed_total", &[]), 0.0);
    assert_eq!(value("trawl_grpc_calls_total", &["\"FinishJob\"", "\"OK\""]), jobs);
    let mistakes = |sample: &String| sample.contains("\"INTERNAL\"") && sample.contains("\"FinishJob\"");
    assert!(found.keys().any(mistakes), "the first mistake would be no increase");
    assert!(value("trawl_claim_seconds_count", &[]) >= 1.0);
    let messages = value("trawl_report_messages_total", &["\"durable\""]);
    assert!(messages > 0.0 && messages <= reports, "{messages}");
    assert_eq!(value("trawl_report_acknowledgement_seconds_count", &[]), messages);
    let kept = count(&system, "SELECT sum(bytes)::bigint FROM trawl.artifacts").await?;
    assert!(value("trawl_upload_bytes_total", &["\"artifacts\""]) >= kept);
    for (name, labels, expected) in [
        ("trawl_jobs", "", 0.0),
        ("trawl_leases", "", 0.0),
        ("trawl_trials_open", "", 0.0),
        ("trawl_studies", "", 1.0),
        ("trawl_studies_self_paused", "", 0.0),
        ("trawl_quota_used", "\"studies\"", 1.0),
        ("trawl_quota_limit", "\"studies\"", 10_000.0),
        ("trawl_workers", "online", 1.0),
        ("trawl_workers", "", 1.0),
        ("trawl_worker_slots", "", 1.0),
        ("trawl_worker_slots_busy", "", 0.0),
        ("trawl_database_up", "", 1.0),
        ("trawl_build_info", env!("CARGO_PKG_VERSION"), 1.0),
        // The worker's stream.
        ("trawl_grpc_calls_open", "ReportEpochs", 1.0),
        ("trawl_grpc_calls_open", "WatchStudy", 0.0),
    ] {
        assert_eq!(value(name, &[labels]), expected, "{name} {labels}");
    }
    let budget = count(&system, "SELECT sum(epoch_budget)::bigint FROM trawl_store.studies").await?;
    assert_eq!(value("trawl_quota_used", &["\"epoch_reports\""]), budget);
    assert!(value("trawl_quota_used", &["\"bytes\""]) >= kept);
    assert!(
        value("trawl_tls_certificate_end_seconds", &[]).is_nan(),
        "there is no TLS"
    );
    assert!(value("trawl_database_pool_idle", &[]) + value("trawl_database_pool_used", &[]) >= 1.0);
    assert!(value("trawl_database_wait_seconds_count", &[]) > 0.0);

    // Every metric that they use is there.
    let names: BTreeSet<&str> = found.keys().map(|sample| name_of(sample)).collect();
    for file in ["deploy/grafana/trawl.json", "deploy/prometheus/rules.yml"] {
        let asked = metrics_in(file)?;
        assert!(asked.len() > 8, "{file} asks for {asked:?}");
        let missing: Vec<&String> = asked.iter().filter(|name| !names.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }

    // Further studies, trials, workers and jobs are no further series; other calls may be.
    system.add_workers(1)?;
    system.complete(studies::small("again", 12, 5)?).await?;
    let more = scrape_until(&system.coordinator, "trawl_studies{state=\"completed\"}", 2.0).await?;
    let new: Vec<&String> = more
        .keys()
        .filter(|sample| !found.contains_key(*sample) && !sample.starts_with("trawl_grpc_calls_"))
        .collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(more.len() < 400, "{} samples", more.len());
    let (_, text) = get(&system.coordinator, None).await?;
    assert!(!text.contains("measured"), "a study's name is a label");
    let mut described = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).unwrap_or_default();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} says not what it is");
        described.insert(name.to_owned());
    }
    assert_eq!(metrics_in("docs/observability.md")?, described);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_worker_and_waiting_work_are_seen() -> anyhow::Result<()> {
    let mut system = System::start(&["--lease-ttl-ms", "1500"]).await?;
    system.submit(studies::one_job("waits", 4, 100_000)?).await?;
    let found = scrape_until(&system.coordinator, "trawl_jobs{state=\"queued\"}", 1.0).await?;
    assert_eq!(sum(&found, "trawl_trials_open", &[]), 4.0);
    assert_eq!(sum(&found, "trawl_workers", &[]), 0.0);
    // By the query with which the chart scales workers, as a reader.
    let query = std::fs::read_to_string(repository().join("deploy/helm/trawl/files/open_trials.sql"))?;
    let open: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(&system.sql)
        .await?;
    assert_eq!(open, 4);

    system.add_workers(1)?;
    let found = scrape_until(&system.coordinator, "trawl_jobs{state=\"leased\"}", 1.0).await?;
    assert_eq!(sum(&found, "trawl_worker_slots_busy", &[]), 1.0);
    system.workers.remove(0).crash()?;
    let found = scrape_until(
        &system.coordinator,
        "trawl_leases_ended_total{outcome=\"expired\"}",
        1.0,
    )
    .await?;
    assert_eq!(sum(&found, "trawl_attempts_failed_total", &["\"worker_lost\""]), 1.0);
    scrape_until(&system.coordinator, "trawl_workers{state=\"lost\"}", 1.0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_web_port_are_for_readers() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let coordinator = &system.coordinator;
    let mut admin = system.admin(OPERATOR).await?;
    let mut tokens = BTreeMap::new();
    for role in ["reader", "user", "worker", "admin"] {
        tokens.insert(role, admin.create(role, role, None).await?);
    }
    for (token, expected) in [
        (None, StatusCode::UNAUTHORIZED),
        (Some("trawl_forged"), StatusCode::UNAUTHORIZED),
        (Some(tokens["worker"].as_str()), StatusCode::FORBIDDEN),
        (Some(tokens["user"].as_str()), StatusCode::OK),
        (Some(tokens["admin"].as_str()), StatusCode::OK),
        (Some(OPERATOR), StatusCode::OK),
    ] {
        let (status, text) = get(coordinator, token).await?;
        assert_eq!(status, expected, "{token:?}");
        assert_eq!(text.contains("trawl_"), status == StatusCode::OK, "{token:?}: {text}");
    }
    let (_, text) = get(coordinator, Some(&tokens["reader"])).await?;
    let found = samples(&text)?;
    for (reason, times) in [
        ("no_token", 1.0),
        ("bad_token", 1.0),
        ("role", 1.0),
        ("rate_limited", 0.0),
    ] {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(sum(&found, "trawl_calls_refused_total", &[&label]), times, "{reason}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_own_port_asks_for_no_token_and_tells_that_the_database_is_away() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR, "--metrics-listen", "127.0.0.1:0"]).await?;
    let coordinator = &system.coordinator;
    let url = coordinator.metrics_url.clone().context("no port of their own")?;
    // The web port asks for a token all the same, and this port has nothing else.
    assert_eq!(get(coordinator, None).await?.0, StatusCode::UNAUTHORIZED);
    for path in ["/", "/healthz", "/readyz"] {
        let (status, _) = fetched(&format!("{url}{path}"), None).await?;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let up = async |expected: f64| {
        look_for(&format!("trawl_database_up {expected}"), async || {
            let (status, text) = fetched(&format!("{url}/metrics"), None).await?;
            assert_eq!(status, StatusCode::OK, "{text}");
            let found = samples(&text)?;
            Ok((found.get("trawl_database_up") == Some(&expected)).then_some(found))
        })
        .await
    };
    up(1.0).await?;
    let reader = system.admin(OPERATOR).await?.create("reader", "reader", None).await?;
    assert_eq!(get(coordinator, Some(&reader)).await?.0, StatusCode::OK);

    // Postgres throws the coordinator out, and lets it in again.
    let (address, options) = system.database_url.split_once('?').context("no options")?;
    let (server, database) = address.rsplit_once('/').context("no database")?;
    let mut owner = PgConnection::connect(&format!("{server}/postgres?{options}")).await?;
    let allow = |allow: bool| format!("ALTER DATABASE {database} ALLOW_CONNECTIONS {allow}");
    owner.execute(sqlx::AssertSqlSafe(allow(false))).await?;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(database)
        .execute(&mut owner)
        .await?;
    let found = up(0.0).await?;
    assert!(
        found["trawl_jobs{state=\"queued\"}"].is_nan(),
        "an old count is told as if it were new"
    );
    // Tokens of the table end soon, and tokens with which the coordinator was started do not.
    look_for("the end of what is known of tokens", async || {
        let (status, _) = get(coordinator, Some(&reader)).await?;
        Ok((status == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    })
    .await?;
    assert_eq!(
        get(coordinator, Some("trawl_forged")).await?.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(get(coordinator, Some(OPERATOR)).await?.0, StatusCode::OK);
    owner.execute(sqlx::AssertSqlSafe(allow(true))).await?;
    let found = up(1.0).await?;
    assert_eq!(found["trawl_jobs{state=\"queued\"}"], 0.0);
    look_for("the reader to be known again", async || {
        let (status, _) = get(coordinator, Some(&reader)).await?;
        Ok((status == StatusCode::OK).then_some(()))
    })
    .await
}
