//! Who may call what: every RPC, by every role, and by callers without a valid token.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use trawl_e2e::{
    Admin, Client, Coordinator, StoreAt, System, binary, call_raw, look_for, owner_pool, studies, until_refused,
    wait_for, walk_every_rpc, worker,
};
use trawl_proto::{retry_after, v1};

const OPERATOR: &str = "the-operators-own-token";

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_for_its_roles_and_a_refused_call_changes_nothing() -> anyhow::Result<()> {
    let walk = walk_every_rpc().await?;
    assert_eq!(walk.wrong_answers, [""; 0]);
    assert_eq!(walk.changed_tables, [""; 0], "a call that was refused changed a row");
    assert!(walk.refused > 150 && walk.effective > 100, "{walk:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpc_that_nobody_knows_is_unimplemented_for_those_with_a_token_alone() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let unheard = "/trawl.v1.StudyService/Unheard";
    for (token, expected) in [(None, Code::Unauthenticated), (Some(OPERATOR), Code::Unimplemented)] {
        let status = call_raw(&channel, unheard, token, vec![Vec::new()])
            .await
            .expect_err(unheard);
        assert_eq!(status.code(), expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_waits_end_with_their_token() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let mut admin = Admin::new(&channel, OPERATOR)?;
    let (user, worker) = (
        admin.create("user", "user", None).await?,
        admin.create("worker", "worker", None).await?,
    );
    let created = v1::CreateStudyRequest {
        study: Some(studies::from_json(&studies::small("watched", 2, 1)?)?),
        dry_run: false,
    };
    let create = "/trawl.v1.StudyService/CreateStudy";
    call_raw(&channel, create, Some(&user), vec![created.encode_to_vec()]).await?;
    let study = "watched".to_owned();
    let watch = v1::WatchStudyRequest { study }.encode_to_vec();
    let mut watched = trawl_e2e::open_raw(
        &channel,
        "/trawl.v1.StudyService/WatchStudy",
        Some(&user),
        tokio_stream::iter([watch]),
    )
    .await?;
    watched.message().await?.context("no study")?;
    let mut reports = trawl_e2e::open_raw(
        &channel,
        "/trawl.v1.WorkerService/ReportEpochs",
        Some(&worker),
        tokio_stream::pending(),
    )
    .await?;

    for name in ["user", "worker"] {
        assert_eq!(admin.revoke(name).await?.state, "revoked");
        assert_eq!(admin.revoke(name).await?.state, "revoked", "again is the same");
    }
    for (what, stream) in [("the watch", &mut watched), ("the reports", &mut reports)] {
        let ended = wait_for(what, async { Ok(stream.message().await) }).await?;
        assert_eq!(ended.expect_err(what).code(), Code::Unauthenticated, "{what}");
    }
    // New calls are refused at once where the token was revoked.
    let again = call_raw(&channel, create, Some(&user), vec![created.encode_to_vec()]).await;
    assert_eq!(again.expect_err("revoked").code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_was_closed_stays_closed() -> anyhow::Result<()> {
    let list = "/trawl.v1.StudyService/ListStudies";
    let open = System::start(&[]).await?;
    let channel = Channel::from_shared(open.coordinator.url.clone())?.connect().await?;
    call_raw(&channel, list, None, vec![Vec::new()]).await?;
    // The first token would shut everybody else out, the workers of `trawl up` among them.
    let refused = Admin::new(&channel, "any")?.create("first", "admin", None).await;
    assert_eq!(refused.expect_err("an open door").code(), Code::PermissionDenied);

    let folder = tempfile::tempdir()?;
    let start = async |flags: &[&str]| -> anyhow::Result<(Coordinator, Channel)> {
        let coordinator = Coordinator::start(
            &open.database_url,
            &StoreAt::folder(folder.path()),
            flags,
            "127.0.0.1:0",
        )
        .await?;
        let channel = Channel::from_shared(coordinator.url.clone())?.connect().await?;
        Ok((coordinator, channel))
    };
    let (closed, closed_channel) = start(&["--token", OPERATOR]).await?;
    let mut admin = Admin::new(&closed_channel, OPERATOR)?;
    let reader = admin.create("reader", "reader", None).await?;
    let taken = admin.create("reader", "user", None).await.expect_err("a taken name");
    assert_eq!(taken.code(), Code::AlreadyExists);
    drop(closed);
    // Without the operator's token, the tokens in the table count; a coordinator that was open has seen them.
    let (_coordinator, later) = start(&[]).await?;
    for channel in [&later, &channel] {
        look_for("the door to close", async || {
            let answer = call_raw(channel, list, None, vec![Vec::new()]).await;
            Ok(answer.is_err().then_some(()))
        })
        .await?;
        call_raw(channel, list, Some(&reader), vec![Vec::new()]).await?;
        let operator = call_raw(channel, list, Some(OPERATOR), vec![Vec::new()]).await;
        assert_eq!(operator.expect_err("unknown here").code(), Code::Unauthenticated);
    }
    sqlx::query("UPDATE trawl_store.tokens SET revoked_at = clock_timestamp()")
        .execute(&owner_pool(&open.database_url).await?)
        .await?;
    until_refused(&later, &reader).await?;
    let nobody = call_raw(&later, list, None, vec![Vec::new()]).await;
    assert_eq!(nobody.expect_err("no token is left").code(), Code::Unauthenticated);
    Ok(())
}

/// Workers of a trawl on a shared machine: what a stranger without a token may not pretend to be.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_is_a_worker_where_workers_have_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, token) = (folder.path().join("token"), "the-workers-own-token");
    std::fs::write(&file, token)?;
    let file = file.to_str().context("a path that is no text")?;
    let system = System::start(&["--worker-token-file", file]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let code = async |path: &str, token: Option<&str>| {
        let answer = call_raw(&channel, path, token, vec![Vec::new()]).await;
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    let (list, lease, tokens) = (
        "/trawl.v1.StudyService/ListStudies",
        "/trawl.v1.WorkerService/LeaseJobs",
        "/trawl.v1.AccessService/ListTokens",
    );
    for stranger in [None, Some("any")] {
        assert_eq!(code(list, stranger).await, Code::Ok);
        assert_eq!(code(lease, stranger).await, Code::PermissionDenied);
        assert_eq!(code(tokens, stranger).await, Code::PermissionDenied);
    }
    assert_eq!(
        code(lease, Some(token)).await,
        Code::InvalidArgument,
        "an empty request, let in"
    );
    assert_eq!(code(list, Some(token)).await, Code::PermissionDenied);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_over_its_rate_is_refused_at_once_and_holds_up_no_other() -> anyhow::Result<()> {
    const PER_SECOND: usize = 10;
    let system = System::start(&["--token", OPERATOR, "--requests-per-second", "10"]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let hasty = Admin::new(&channel, OPERATOR)?.create("hasty", "reader", None).await?;
    let list = "/trawl.v1.StudyService/ListStudies";
    let mut calls = JoinSet::new();
    for _ in 0..10 * PER_SECOND {
        let (channel, hasty) = (channel.clone(), hasty.clone());
        calls.spawn(async move { call_raw(&channel, list, Some(&hasty), vec![Vec::new()]).await });
    }
    call_raw(&channel, list, Some(OPERATOR), vec![Vec::new()]).await?;
    let (served, refused): (Vec<_>, Vec<_>) = calls.join_all().await.into_iter().partition(Result::is_ok);
    assert!(served.len() >= PER_SECOND, "{} served", served.len());
    assert!(!refused.is_empty(), "all {} served", served.len());
    for refused in refused {
        let status = refused.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("more than 10 a second"), "{status}");
        let after = retry_after(&status).context("it is not said when to come again")?;
        assert!(!after.is_zero() && after <= Duration::from_secs(1), "{after:?}");
    }
    look_for("a call after its time", async || {
        Ok(call_raw(&channel, list, Some(&hasty), vec![Vec::new()]).await.ok())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_told_to_slow_down_lose_no_job() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, "the-workers-own-token")?;
    let file = file.to_str().context("a path that is no text")?;
    let system = System::start(&[
        "--token",
        OPERATOR,
        "--worker-token-file",
        file,
        "--requests-per-second",
        "5",
        "--metrics-listen",
        "127.0.0.1:0",
        "--checkpoint-interval-ms",
        "200",
    ])
    .await?;
    let operator = Client::with_token(&system.coordinator.url, &system.database_url, Some(OPERATOR)).await?;
    operator
        .submit(studies::from_json(&studies::small("slow", 6, 20)?)?)
        .await?;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let mut program = Command::new(binary("trawl-worker")?);
        program.args(["--token-file", file]);
        workers.push(worker(program, &system.coordinator.url)?);
    }
    assert_eq!(operator.watch_to_end("slow").await?.state, "completed");
    let owner = owner_pool(&system.database_url).await?;
    let lost: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s %s %s', outcome, cause, error) FROM trawl_store.job_attempts WHERE outcome <> 'finished'",
    )
    .fetch_all(&owner)
    .await?;
    assert_eq!(lost, [""; 0]);
    // The cryptography is set for the whole process, and may be there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = system.coordinator.metrics_url.as_deref().context("no metrics")?;
    let text = reqwest::get(format!("{metrics}/metrics")).await?.text().await?;
    let refused = text
        .lines()
        .find_map(|line| line.strip_prefix("trawl_calls_refused_total{reason=\"rate_limited\"} "))
        .context("no such metric")?;
    assert!(refused.parse::<u64>()? > 0, "nobody was told to slow down");
    Ok(())
}
