//! TLS, mutual TLS, and the errors where the two sides do not fit; the web port under the same rules.

use std::process::Command;

use anyhow::Context;
use reqwest::{Certificate, Client, Identity, StatusCode};
use tempfile::TempDir;
use trawl_e2e::{
    Ask, Authority, CertFiles, Coordinator, Ports, Ran, StoreAt, Up, binary, browser, fresh_database, look_for, ran,
    reader_pool, studies, text, wait_for, worker, written,
};

const OPERATOR: &str = "the-operators-own-token";

/// A coordinator with a token and, maybe, TLS.
struct Site {
    database_url: String,
    coordinator: Coordinator,
    _artifacts: TempDir,
}

impl Site {
    async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let database_url = fresh_database().await?;
        let artifacts = TempDir::new()?;
        let flags = [flags, &["--token", OPERATOR]].concat();
        let coordinator =
            Coordinator::start(&database_url, &StoreAt::folder(artifacts.path()), &flags, "127.0.0.1:0").await?;
        Ok(Self {
            database_url,
            coordinator,
            _artifacts: artifacts,
        })
    }
}

/// Runs `trawl` at this URL as the operator, with these flags.
fn trawl(args: &[&str], url: &str, flags: &[&str]) -> anyhow::Result<Ran> {
    let mut command = Command::new(binary("trawl")?);
    command.args(args).args(["--server", url]).args(flags);
    ran(command.env("TRAWL_TOKEN", OPERATOR))
}

/// The errors of `trawl ls`, which is refused.
fn refused(url: &str, flags: &[&str]) -> anyhow::Result<String> {
    let ran = trawl(&["ls"], url, flags)?;
    assert!(ran.code == Some(1) && ran.stderr.starts_with("error: "), "{ran:?}");
    Ok(ran.stderr)
}

/// What `trawl` prints, which is answered.
fn answered(args: &[&str], url: &str, flags: &[&str]) -> anyhow::Result<String> {
    let ran = trawl(args, url, flags)?;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    Ok(ran.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_knows_its_coordinator_by_the_authority_and_the_name() -> anyhow::Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let (ours_file, theirs_file) = (ours.file(), theirs.file());
    let (ours_ca, theirs_ca) = (text(&ours_file)?, text(&theirs_file)?);
    let site = Site::start(&ours.server("127.0.0.1")?.flags()?).await?;
    let url = &site.coordinator.url;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    answered(&["ls"], url, &["--tls-ca", ours_ca])?;
    let errors = refused(url, &["--tls-ca", theirs_ca])?;
    assert!(errors.contains("invalid peer certificate"), "{errors}");
    let errors = refused(url, &[])?;
    assert!(
        errors.contains("invalid peer certificate: UnknownIssuer") && errors.contains("--tls-ca names"),
        "{errors}"
    );
    let errors = refused(url, &["--tls-ca", ours_ca, "--tls-server-name", "trawl.example.org"])?;
    assert!(errors.contains("not valid for name"), "{errors}");

    let named = Site::start(&ours.server("trawl.example.org")?.flags()?).await?;
    let url = &named.coordinator.url;
    answered(
        &["ls"],
        url,
        &["--tls-ca", ours_ca, "--tls-server-name", "trawl.example.org"],
    )?;
    refused(url, &["--tls-ca", ours_ca])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_that_speaks_tls_alone_is_told_of() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let with = Site::start(&ours.server("127.0.0.1")?.flags()?).await?;
    let plain = with.coordinator.url.replacen("https://", "http://", 1);
    let hint = "if it speaks TLS, its URL begins with https://";
    let errors = refused(&plain, &[])?;
    assert!(errors.contains(hint), "{errors}");
    worker_logs(&plain, hint).await?;

    let without = Site::start(&[]).await?;
    let tls = without.coordinator.url.replacen("http://", "https://", 1);
    let errors = refused(&tls, &[])?;
    assert!(errors.contains("does it speak TLS?"), "{errors}");
    worker_logs(&tls, "does it speak TLS? if not, its URL begins with http://").await
}

/// Waits until a worker that cannot register at this URL logs these words.
async fn worker_logs(url: &str, words: &str) -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let log = folder.path().join("log");
    let stderr = std::fs::File::create(&log)?;
    let _worker = worker(url, |command| {
        command.stderr(stderr);
    })?;
    let started = format!("cannot register; trying again coordinator.url={url} error=");
    look_for(words, async || {
        let log = std::fs::read_to_string(&log)?;
        Ok((log.contains(&started) && log.contains(words)).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_asks_clients_and_workers_for_a_certificate() -> anyhow::Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let ca = ours.file();
    let (server, client, stranger) = (ours.server("127.0.0.1")?, ours.client()?, theirs.client()?);
    let site = Site::start(&[&server.flags()?[..], &["--tls-client-ca", text(&ca)?]].concat()).await?;
    let url = &site.coordinator.url;
    let known = [&["--tls-ca", text(&ca)?][..], &client.flags()?].concat();
    let unknown = [&["--tls-ca", text(&ca)?][..], &stranger.flags()?].concat();
    refused(url, &["--tls-ca", text(&ca)?])?;
    refused(url, &unknown)?;
    answered(&["ls"], url, &known)?;

    // The web port asks for a certificate as well, before it answers anything.
    let web = format!("{}/healthz", site.coordinator.http_url);
    assert!(https(&ours, None)?.get(&web).send().await.is_err(), "no certificate");
    assert!(
        https(&ours, Some(&stranger))?.get(&web).send().await.is_err(),
        "a stranger's"
    );
    let answer = https(&ours, Some(&client))?.get(&web).send().await?;
    assert_eq!(answer.status(), StatusCode::OK);

    // A worker of the role, over all of that, trains a study.
    let sql = reader_pool(&site.database_url).await?;
    let token = answered(&["token", "create", "trainer", "--role", "worker"], url, &known)?;
    let folder = TempDir::new()?;
    let token = written(folder.path(), "token", token)?;
    let content = studies::with_whole_paths(studies::small("over-tls", 2, 1)?);
    let study = written(folder.path(), "study.json", content)?;
    let _worker = worker(url, |command| {
        command.args(["--token-file", &token]).args(&known);
        command.env_remove("TRAWL_TOKEN");
    })?;
    answered(&["submit", &study, "--watch"], url, &known)?;
    let completed: i64 = sql
        .value("SELECT count(*) FROM trawl.trials WHERE state = 'completed'")
        .await?;
    assert_eq!(completed, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn trawl_up_speaks_tls_with_its_own_workers() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let (ca, server) = (ours.file(), ours.server("trawl.example.org")?);
    let known = ["--tls-ca", text(&ca)?, "--tls-server-name", "trawl.example.org"];
    let folder = TempDir::new()?;
    let data_dir = folder.path().join("data");
    let flags = server.flags()?;
    let up = Up::start_with(&data_dir, &Ports::free(), |command| {
        command.args(flags).args(known).env("TRAWL_TOKEN", OPERATOR);
    })
    .await?;
    let content = studies::with_whole_paths(studies::small("over-tls", 2, 1)?);
    let study = written(folder.path(), "study.json", content)?;
    assert!(up.url().starts_with("https://"), "{}", up.url());
    answered(&["submit", &study, "--watch"], up.url(), &known)?;
    assert!(up.stop().await?.success());
    Ok(())
}

/// A client of the web port that trusts an authority, with a certificate or without one.
fn https(authority: &Authority, identity: Option<&CertFiles>) -> anyhow::Result<Client> {
    let root = Certificate::from_pem(&std::fs::read(authority.file())?)?;
    let mut client = Client::builder().tls_certs_only([root]);
    if let Some(files) = identity {
        let pem = [std::fs::read(&files.key)?, std::fs::read(&files.cert)?].concat();
        client = client.identity(Identity::from_pem(&pem)?);
    }
    browser(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_web_port_is_under_the_same_rules() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let site = Site::start(&ours.server("127.0.0.1")?.flags()?).await?;
    let web = &site.coordinator.http_url;
    let client = https(&ours, None)?;
    assert!(web.starts_with("https://"), "{web}");
    let stranger = https(&Authority::new("theirs")?, None)?;
    assert!(
        stranger.get(format!("{web}/healthz")).send().await.is_err(),
        "a wrong authority"
    );
    for path in ["/healthz", "/readyz"] {
        let answer = client.get(format!("{web}{path}")).send().await?;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let metrics = client
        .get(format!("{web}/metrics"))
        .bearer_auth(OPERATOR)
        .send()
        .await?;
    let metrics = metrics.text().await?;
    let ends = metrics
        .lines()
        .find_map(|line| line.strip_prefix("trawl_tls_certificate_end_seconds "));
    // The first moment of the year 4096, where the authority's certificates end.
    assert_eq!(ends.context("no such metric")?.parse::<f64>()?, 67_090_118_400.0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_web_port_take_their_places_under_tls_too() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let server = ours.server("127.0.0.1")?;
    let flags = [&server.flags()?[..], &["--connections-max", "4"]].concat();
    let site = Site::start(&flags).await?;
    let address = site.coordinator.http_url.trim_start_matches("https://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(tokio::net::TcpStream::connect(&address).await?);
    }
    // The next connection is closed at once; the silent ones keep their places for ten seconds.
    let healthz = format!("{}/healthz", site.coordinator.http_url);
    wait_for("a refusal", async {
        while https(&ours, None)?.get(&healthz).send().await.is_ok() {}
        Ok(())
    })
    .await?;
    drop(silent);
    wait_for("a place", async {
        while https(&ours, None)?.get(&healthz).send().await.is_err() {}
        Ok(())
    })
    .await
}
