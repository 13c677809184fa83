//! Secrets are in no log, no argument and no error text; and no port is open that nobody asked for.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;
use trawl_e2e::{Admin, Ports, System, Up, binary, call_raw, fresh_database, studies};
use trawl_proto::v1;

/// The password of a database's URL.
fn password(database_url: &str) -> anyhow::Result<&str> {
    let (_, rest) = database_url.split_once("://").context("no URL")?;
    let (user, _) = rest.split_once('@').context("no user")?;
    Ok(user.split_once(':').context("no password")?.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_logs_nor_arguments_hold_a_secret() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let (data_dir, log) = (folder.path().join("data"), folder.path().join("log"));
    let operator = format!("trawl_{}", "5e".repeat(32));
    let file = File::create(&log)?;
    let up = Up::start_with(&data_dir, &Ports::free(), |command| {
        command.stderr(Stdio::from(file));
        // The most verbose level that is of use.
        command.env("TRAWL_TOKEN", &operator).env("RUST_LOG", "debug");
    })
    .await?;
    let endpoints: serde_json::Value = serde_json::from_slice(&std::fs::read(data_dir.join("endpoints.json"))?)?;
    let url = |name: &str| endpoints[name].as_str().context("an endpoint is missing");
    let database_url = url("database_url")?.to_owned();
    let channel = Channel::from_shared(url("grpc")?.to_owned())?.connect().await?;

    let mut admin = Admin::new(&channel, &operator)?;
    let user = admin.create("user", "user", None).await?;
    let forged = format!("trawl_{}", "f0".repeat(32));
    let list = "/trawl.v1.StudyService/ListStudies";
    let refused = call_raw(&channel, list, Some(&forged), vec![Vec::new()])
        .await
        .expect_err("forged");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(!refused.message().contains(&forged), "{refused}");
    call_raw(&channel, list, Some(&user), vec![Vec::new()]).await?;
    // A user who takes a token for its name.
    let mistaken = admin.revoke(&user).await.expect_err("no name").to_string();
    assert!(!mistaken.contains(&user), "{mistaken}");

    // A study that trains to its end, so that the worker has used its token for all that it does.
    let study = folder.path().join("study.json");
    let content = studies::with_whole_paths(studies::small("secretive", 2, 1)?);
    std::fs::write(&study, content.to_string())?;
    let submitted = trawl(&["submit", text(&study)?, "--watch"], url("grpc")?, &user)?;
    assert!(
        submitted.status.success(),
        "{}",
        String::from_utf8_lossy(&submitted.stderr)
    );
    let lines = up.command_lines()?;
    let file = |name: &str| std::fs::read_to_string(data_dir.join(name)).map(|text| text.trim().to_owned());
    let (owner, worker) = (file("postgres-password")?, file("worker-token")?);
    let stopped = up.stop().await?;
    assert!(stopped.success(), "{stopped}");

    let logged = std::fs::read_to_string(&log)?;
    for expected in ["coordinator ready", "worker registered", "token created"] {
        assert!(
            logged.contains(expected),
            "the log is not that of all processes: {expected}"
        );
    }
    for program in ["trawl-coordinator", "trawl-worker", "postgres"] {
        assert!(lines.iter().any(|line| line.contains(program)), "{program}: {lines:?}");
    }
    let reader = password(&database_url)?;
    assert_ne!(owner, reader);
    for password in [&owner, reader] {
        assert!(password.len() >= 16, "a password of the database can be guessed");
    }
    for (what, secret) in [
        ("the operator's token", operator.as_str()),
        ("a user's token", &user),
        ("a forged token", &forged),
        ("the password of the database's owner", &owner),
        ("the password of its reader", reader),
        ("the workers' token", &worker),
    ] {
        assert!(!logged.contains(secret), "the log has {what}");
        for line in &lines {
            assert!(!line.contains(secret), "arguments have {what}: {line}");
        }
    }
    Ok(())
}

fn trawl(args: &[&str], server: &str, token: &str) -> anyhow::Result<std::process::Output> {
    let mut command = Command::new(binary("trawl")?);
    command.args(args).env("TRAWL_SERVER", server).env("TRAWL_TOKEN", token);
    Ok(command.current_dir(trawl_e2e::repository()).output()?)
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("a path that is no text")
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_revoked_by_commands() -> anyhow::Result<()> {
    let operator = "the-operators-own-token";
    let system = System::start(&["--token", operator]).await?;
    let folder = TempDir::new()?;
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{operator}\n"))?;
    let as_operator = ["--token-file", text(&file)?];
    let run = |args: &[&str]| system.trawl_stdout(&[&as_operator[..], args].concat());

    let printed = run(&["token", "create", "ci", "--role", "reader", "--expires", "30d"])?;
    let token = printed.strip_suffix('\n').context("no line")?;
    assert!(
        token.starts_with("trawl_") && token.len() == 70,
        "it is printed alone: {printed:?}"
    );
    system.trawl_stdout(&["--token", token, "ls"])?;
    let output = system.trawl(&["--token", token, "cancel", "any"])?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), errors.as_str()),
        (Some(1), "error: a token of the role reader may not call CancelStudy\n")
    );

    let listed: serde_json::Value = serde_json::from_str(&run(&["token", "list", "--json"])?)?;
    assert_eq!(
        (&listed[0]["name"], &listed[0]["role"], &listed[0]["state"]),
        (&"ci".into(), &"reader".into(), &"active".into())
    );
    let csv = run(&["token", "list", "--csv"])?;
    assert!(
        csv.starts_with("name,role,state,created_at,expires_at,revoked_at,token_id\nci,reader,active,"),
        "{csv}"
    );
    assert!(!csv.contains(token) && !listed.to_string().contains(token));
    assert_eq!(run(&["token", "revoke", "ci"])?, "token ci revoked\n");
    assert!(run(&["token", "list"])?.contains("revoked"));
    let output = system.trawl(&["--token", token, "ls"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stderr)?.contains(token));

    let output = system.trawl(&[&as_operator[..], &["token", "create", "C I", "--role", "reader"]].concat())?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.starts_with("error: name: "), "{errors}");
    for wrong in [
        &["--expires", "soon"][..],
        &["--role", "root"],
        &["--role", "user", "--token", "other"],
    ] {
        let output = system.trawl(&[&as_operator[..], &["token", "create", "x"], wrong].concat())?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_port_is_open_that_is_not_told_to_be() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    let data_dir = folder.path().join("data");
    let database_url = fresh_database().await?;
    let coordinator = [
        "trawl-coordinator",
        "--http-listen",
        "127.0.0.1:0",
        "--listen",
        "0.0.0.0:0",
    ];
    let up = [
        "trawl",
        "up",
        "--http-listen",
        "127.0.0.1:0",
        "--listen",
        "0.0.0.0:0",
        "--data-dir",
        text(&data_dir)?,
    ];
    let web = [
        "trawl-coordinator",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        "[::]:0",
    ];
    let tls = ["--tls-cert", "any.pem", "--tls-key", "any.key"];
    for start in [&coordinator[..], &up, &web] {
        for (flags, token, missing) in [
            (&[][..], "", "a token (--token-file) and TLS (--tls-cert, --tls-key)"),
            (&[], "secret", "needs TLS (--tls-cert, --tls-key)"),
            (&tls, "", "needs a token (--token-file)"),
        ] {
            let output = Command::new(binary(start[0])?)
                .args(&start[1..])
                .args(flags)
                .env("DATABASE_URL", &database_url)
                .env("TRAWL_TOKEN", token)
                .env_remove("TRAWL_INSECURE")
                .output()?;
            let errors = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(2), "{errors}");
            let first = errors.lines().next().unwrap_or_default();
            assert!(first.starts_with("error: ") && first.contains(missing), "{errors}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_the_database_does_not_tell_its_password() -> anyhow::Result<()> {
    for url in [
        "postgres://trawl:hunter2@127.0.0.1:notaport/trawl",
        "postgres://trawl:hunter2@127.0.0.1:9/trawl?sslmode=never",
        "trawl://trawl:hunter2@[nohost/trawl",
    ] {
        let output = Command::new(binary("trawl-coordinator")?)
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .env("DATABASE_URL", url)
            .env("RUST_LOG", "debug")
            .output()?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_token_is_told_field_by_field() -> anyhow::Result<()> {
    use prost::Message;
    let operator = "the-operators-own-token";
    let system = System::start(&["--token", operator]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let request = v1::CreateTokenRequest {
        name: String::new(),
        role: "root".into(),
        lifetime_seconds: Some(0),
    };
    let create = "/trawl.v1.AccessService/CreateToken";
    let refused = call_raw(&channel, create, Some(operator), vec![request.encode_to_vec()]).await;
    let refused = refused.expect_err("three broken rules");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = tonic_types::StatusExt::get_details_bad_request(&refused).context("no details")?;
    let fields: Vec<&str> = details.field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["name", "role", "lifetime_seconds"]);
    Ok(())
}
