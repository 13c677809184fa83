//! TLS, mutual TLS, and the errors where the two sides do not fit; the web port under the same rules.

use std::process::{Command, Output};

use anyhow::Context;
use reqwest::{Certificate, Client, Identity, StatusCode};
use tempfile::TempDir;
use tonic::transport::Channel;
use trawl_e2e::{
    Admin, Authority, CertFiles, Coordinator, Ports, Process, StoreAt, System, Up, binary, fresh_database, reader_pool,
    studies, wait_for,
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

    /// Runs `trawl ls` there, with these flags.
    fn ls(&self, url: &str, flags: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(binary("trawl")?);
        command
            .args(["ls", "--server", url])
            .args(flags)
            .env("TRAWL_TOKEN", OPERATOR);
        Ok(command.output()?)
    }

    fn refused(&self, url: &str, flags: &[&str]) -> anyhow::Result<String> {
        let output = self.ls(url, flags)?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with("error: "), "{errors}");
        Ok(errors)
    }

    fn answered(&self, url: &str, flags: &[&str]) -> anyhow::Result<()> {
        let output = self.ls(url, flags)?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

fn borrowed(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn text(path: &std::path::Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_knows_its_coordinator_by_the_authority_and_the_name() -> anyhow::Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let (ours_ca, theirs_ca) = (ours.file(), theirs.file());
    let site = Site::start(&ours.server("127.0.0.1")?.flags()?).await?;
    let url = &site.coordinator.url;
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    site.answered(url, &["--tls-ca", text(&ours_ca)?])?;
    let errors = site.refused(url, &["--tls-ca", text(&theirs_ca)?])?;
    assert!(errors.contains("invalid peer certificate"), "{errors}");
    let errors = site.refused(url, &[])?;
    assert!(
        errors.contains("invalid peer certificate: UnknownIssuer") && errors.contains("--tls-ca names"),
        "{errors}"
    );
    let errors = site.refused(
        url,
        &["--tls-ca", text(&ours_ca)?, "--tls-server-name", "trawl.example.org"],
    )?;
    assert!(errors.contains("not valid for name"), "{errors}");

    let named = Site::start(&ours.server("trawl.example.org")?.flags()?).await?;
    let url = &named.coordinator.url;
    named.answered(
        url,
        &["--tls-ca", text(&ours_ca)?, "--tls-server-name", "trawl.example.org"],
    )?;
    named.refused(url, &["--tls-ca", text(&ours_ca)?])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_side_that_speaks_tls_alone_is_told_of() -> anyhow::Result<()> {
    let ours = Authority::new("ours")?;
    let with = Site::start(&ours.server("127.0.0.1")?.flags()?).await?;
    let plain = with.coordinator.url.replacen("https://", "http://", 1);
    let errors = with.refused(&plain, &[])?;
    assert!(
        errors.contains("if it speaks TLS, its URL begins with https://"),
        "{errors}"
    );

    let without = Site::start(&[]).await?;
    let tls = without.coordinator.url.replacen("http://", "https://", 1);
    let errors = without.refused(&tls, &[])?;
    assert!(errors.contains("does it speak TLS?"), "{errors}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_asks_clients_and_workers_for_a_certificate() -> anyhow::Result<()> {
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let ca = ours.file();
    let (server, client, stranger) = (ours.server("127.0.0.1")?, ours.client()?, theirs.client()?);
    let site = Site::start(&[&server.flags()?[..], &["--tls-client-ca", text(&ca)?]].concat()).await?;
    let url = &site.coordinator.url;
    let with = |files: &CertFiles| -> anyhow::Result<Vec<String>> {
        let flags = [&["--tls-ca", text(&ca)?][..], &files.flags()?].concat();
        Ok(flags.into_iter().map(str::to_owned).collect())
    };
    let (known, unknown) = (with(&client)?, with(&stranger)?);
    site.refused(url, &["--tls-ca", text(&ca)?])?;
    site.refused(url, &borrowed(&unknown))?;
    site.answered(url, &borrowed(&known))?;

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
    let mut create = Command::new(binary("trawl")?);
    create.args(["token", "create", "trainer", "--role", "worker", "--server", url]);
    let created = create.args(&known).env("TRAWL_TOKEN", OPERATOR).output()?;
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let folder = TempDir::new()?;
    let file = folder.path().join("token");
    std::fs::write(&file, created.stdout)?;
    let study = folder.path().join("study.json");
    let content = studies::with_whole_paths(studies::small("over-tls", 2, 1)?);
    std::fs::write(&study, content.to_string())?;
    let _worker = Process::start(
        Command::new(binary("trawl-worker")?)
            .args(["--coordinator", url, "--device", "cpu", "--token-file", text(&file)?])
            .args(&known)
            .env_remove("TRAWL_TOKEN")
            .env("RUST_LOG", "warn"),
    )?;
    let submitted = wait_for("the study", async {
        let mut submit = tokio::process::Command::new(binary("trawl")?);
        submit
            .args(["submit", text(&study)?, "--watch", "--server", url])
            .args(&known);
        Ok(submit.env("TRAWL_TOKEN", OPERATOR).output().await?)
    })
    .await?;
    assert!(
        submitted.status.success(),
        "{}",
        String::from_utf8_lossy(&submitted.stderr)
    );
    let completed: i64 = sqlx::query_scalar("SELECT count(*) FROM trawl.trials WHERE state = 'completed'")
        .fetch_one(&sql)
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
    let (data_dir, study) = (folder.path().join("data"), folder.path().join("study.json"));
    let flags = server.flags()?;
    let up = Up::start_with(&data_dir, &Ports::free(), |command| {
        command.args(flags).args(known).env("TRAWL_TOKEN", OPERATOR);
    })
    .await?;
    let content = studies::with_whole_paths(studies::small("over-tls", 2, 1)?);
    std::fs::write(&study, content.to_string())?;
    let endpoints: serde_json::Value = serde_json::from_slice(&std::fs::read(data_dir.join("endpoints.json"))?)?;
    let url = endpoints["grpc"].as_str().context("no endpoint")?;
    assert!(url.starts_with("https://"), "{url}");
    let submitted = wait_for("the study", async {
        let mut submit = tokio::process::Command::new(binary("trawl")?);
        submit
            .args(["submit", text(&study)?, "--watch", "--server", url])
            .args(known);
        Ok(submit.env("TRAWL_TOKEN", OPERATOR).output().await?)
    })
    .await?;
    assert!(
        submitted.status.success(),
        "{}",
        String::from_utf8_lossy(&submitted.stderr)
    );
    assert!(up.stop().await?.success());
    Ok(())
}

/// A client of the web port that trusts an authority, with a certificate or without one.
fn https(authority: &Authority, identity: Option<&CertFiles>) -> anyhow::Result<Client> {
    // One is there already where another test came first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate::from_pem(&std::fs::read(authority.file())?)?;
    let mut client = Client::builder().tls_certs_only([root]);
    if let Some(files) = identity {
        let pem = [std::fs::read(&files.key)?, std::fs::read(&files.cert)?].concat();
        client = client.identity(Identity::from_pem(&pem)?);
    }
    Ok(client.build()?)
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

    let plain = System::start(&["--token", OPERATOR]).await?;
    let channel = Channel::from_shared(plain.coordinator.url.clone())?.connect().await?;
    let mut admin = Admin::new(&channel, OPERATOR)?;
    let web = &plain.coordinator.http_url;
    let mut callers = vec![
        (None, StatusCode::UNAUTHORIZED),
        (Some(format!("trawl_{}", "0".repeat(64))), StatusCode::UNAUTHORIZED),
        (Some(OPERATOR.to_owned()), StatusCode::NOT_FOUND),
    ];
    for (role, status) in [
        ("admin", StatusCode::NOT_FOUND),
        ("user", StatusCode::NOT_FOUND),
        ("reader", StatusCode::NOT_FOUND),
        ("worker", StatusCode::FORBIDDEN),
    ] {
        callers.push((Some(admin.create(role, role, None).await?), status));
    }
    for (token, status) in callers {
        let mut request = client.get(format!("{web}/anything"));
        if let Some(token) = &token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await?;
        assert_eq!(answer.status(), status);
        assert!(!answer.text().await?.contains("trawl_"), "a token in an error text");
    }
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
