//! Secrets are in no log, no argument and no error text; and no port is open that nobody asked for.

use std::fs::File;
use std::process::{Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;
use tonic::Code;
use trawl_e2e::{Client, Ports, System, Up, binary, call, findings, fresh_database, ran, studies, text, written};
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
    let channel = up.channel().await?;
    let mut admin = up.admin(&operator).await?;
    let user = admin.create("user", "user", None).await?;
    let forged = format!("trawl_{}", "f0".repeat(32));
    let list = "StudyService/ListStudies";
    let refused = call(&channel, list, Some(&forged), &()).await.expect_err("forged");
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(!refused.message().contains(&forged), "{refused}");
    call(&channel, list, Some(&user), &()).await?;
    // A user who takes a token for its name.
    let mistaken = admin.revoke(&user).await.expect_err("no name").to_string();
    assert!(!mistaken.contains(&user), "{mistaken}");

    // A study that trains to its end, so that the worker has used its token for all that it does.
    let client = Client::with_token(up.url(), up.database_url(), Some(&user)).await?;
    client.complete(studies::small("secretive", 2, 1)?).await?;
    let lines = up.command_lines()?;
    let file = |name: &str| std::fs::read_to_string(data_dir.join(name)).map(|text| text.trim().to_owned());
    let (owner, worker) = (file("postgres-password")?, file("worker-token")?);
    let reader = password(up.database_url())?.to_owned();
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
    assert_ne!(owner, reader);
    for password in [&owner, &reader] {
        assert!(password.len() >= 16, "a password of the database can be guessed");
    }
    for (what, secret) in [
        ("the operator's token", operator.as_str()),
        ("a user's token", &user),
        ("a forged token", &forged),
        ("the password of the database's owner", &owner),
        ("the password of its reader", &reader),
        ("the workers' token", &worker),
    ] {
        assert!(!logged.contains(secret), "the log has {what}");
        for line in &lines {
            assert!(!line.contains(secret), "arguments have {what}: {line}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_revoked_by_commands() -> anyhow::Result<()> {
    let operator = "the-operators-own-token";
    let system = System::start(&["--token", operator]).await?;
    let folder = TempDir::new()?;
    let file = written(folder.path(), "token", format!("{operator}\n"))?;
    let as_operator = ["--token-file", &file];
    let run = |args: &[&str]| system.trawl_stdout(&[&as_operator[..], args].concat());

    let printed = run(&["token", "create", "ci", "--role", "reader", "--expires", "30d"])?;
    let token = printed.strip_suffix('\n').context("no line")?;
    assert!(
        token.starts_with("trawl_") && token.len() == 70,
        "it is printed alone: {printed:?}"
    );
    system.trawl_stdout(&["--token", token, "ls"])?;
    let refused = system.trawl(&["--token", token, "cancel", "any"])?;
    assert_eq!(
        (refused.code, refused.stderr.as_str()),
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
    let refused = system.trawl(&["--token", token, "ls"])?;
    assert!(
        refused.code == Some(1) && !refused.stderr.contains(token),
        "{refused:?}"
    );

    let create = |args: &[&str]| system.refused(&[&as_operator[..], &["token", "create"], args].concat());
    let errors = create(&["C I", "--role", "reader"])?;
    assert!(errors.starts_with("error: name: "), "{errors}");
    for wrong in [
        &["--expires", "soon"][..],
        &["--role", "root"],
        &["--role", "user", "--token", "other"],
    ] {
        create(&[&["x"][..], wrong].concat())?;
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
            let mut command = Command::new(binary(start[0])?);
            command.args(&start[1..]).args(flags).env_remove("TRAWL_INSECURE");
            let ran = ran(command.env("DATABASE_URL", &database_url).env("TRAWL_TOKEN", token))?;
            let first = ran.stderr.lines().next().unwrap_or_default();
            assert!(
                ran.code == Some(2) && first.starts_with("error: ") && first.contains(missing),
                "{ran:?}"
            );
        }
    }
    let mut metrics = Command::new(binary("trawl-coordinator")?);
    metrics.args(["--metrics-listen", "0.0.0.0:0", "--token", "secret"]);
    let refused = ran(metrics.env("DATABASE_URL", &database_url))?;
    let told = "--metrics-listen 0.0.0.0:0 is reached from other machines and asks for no token";
    assert!(refused.code == Some(2) && refused.stderr.contains(told), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_about_the_database_does_not_tell_its_password() -> anyhow::Result<()> {
    for url in [
        "postgres://trawl:hunter2@127.0.0.1:notaport/trawl",
        "postgres://trawl:hunter2@127.0.0.1:9/trawl?sslmode=never",
        "trawl://trawl:hunter2@[nohost/trawl",
    ] {
        let mut command = Command::new(binary("trawl-coordinator")?);
        command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        let refused = ran(command.env("DATABASE_URL", url).env("RUST_LOG", "debug"))?;
        assert!(
            refused.code == Some(1) && !refused.stderr.contains("hunter2"),
            "{refused:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_a_token_is_told_field_by_field() -> anyhow::Result<()> {
    let operator = "the-operators-own-token";
    let system = System::start(&["--token", operator]).await?;
    let channel = system.channel().await?;
    let request = v1::CreateTokenRequest {
        name: String::new(),
        role: "root".into(),
        lifetime_seconds: Some(0),
    };
    let refused = call(&channel, "AccessService/CreateToken", Some(operator), &request).await;
    let refused = refused.expect_err("three broken rules");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let fields: Vec<String> = findings(&refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["name", "role", "lifetime_seconds"]);
    Ok(())
}
