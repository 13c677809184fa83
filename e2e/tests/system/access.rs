//! Who may call what: every RPC, by every role, and by callers without a valid token.

use std::time::Duration;

use anyhow::Context;
use prost::Message;
use tokio::task::JoinSet;
use tonic::Code;
use trawl_e2e::{
    Ask, System, call, code_of, fetched, look_for, open_raw, studies, until_refused, wait_for, walk_every_rpc, worker,
    written,
};
use trawl_proto::{retry_after, v1};

const OPERATOR: &str = "the-operators-own-token";
const LIST: &str = "StudyService/ListStudies";

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
    let channel = system.channel().await?;
    for (token, expected) in [(None, Code::Unauthenticated), (Some(OPERATOR), Code::Unimplemented)] {
        let answer = call(&channel, "StudyService/Unheard", token, &()).await;
        assert_eq!(code_of(answer), expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_waits_end_with_their_token() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR]).await?;
    let channel = system.channel().await?;
    let mut admin = system.admin(OPERATOR).await?;
    let user = admin.create("user", "user", None).await?;
    let worker = admin.create("worker", "worker", None).await?;
    let client = system.client(&user).await?;
    client.submit(studies::small("watched", 2, 1)?).await?;
    let study = "watched".to_owned();
    let watch = v1::WatchStudyRequest { study }.encode_to_vec();
    let watch = tokio_stream::iter([watch]);
    let mut watched = open_raw(&channel, "/trawl.v1.StudyService/WatchStudy", Some(&user), watch).await?;
    watched.message().await?.context("no study")?;
    let reports = tokio_stream::pending();
    let mut reports = open_raw(&channel, "/trawl.v1.WorkerService/ReportEpochs", Some(&worker), reports).await?;

    for name in ["user", "worker"] {
        assert_eq!(admin.revoke(name).await?.state, "revoked");
        assert_eq!(admin.revoke(name).await?.state, "revoked", "again is the same");
    }
    for (what, stream) in [("the watch", &mut watched), ("the reports", &mut reports)] {
        let ended = wait_for(what, async { Ok(stream.message().await) }).await?;
        assert_eq!(ended.expect_err(what).code(), Code::Unauthenticated, "{what}");
    }
    // New calls are refused at once where the token was revoked.
    let again = call(&channel, LIST, Some(&user), &()).await;
    assert_eq!(code_of(again), Code::Unauthenticated);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_was_closed_stays_closed() -> anyhow::Result<()> {
    let open = System::start(&[]).await?;
    let channel = open.channel().await?;
    call(&channel, LIST, None, &()).await?;
    // The first token would shut everybody else out, the workers of `trawl up` among them.
    let refused = open.admin("any").await?.create("first", "admin", None).await;
    assert_eq!(code_of(refused), Code::PermissionDenied);

    let (closed, client) = open.another_coordinator(&["--token", OPERATOR]).await?;
    let mut admin = client.admin(OPERATOR).await?;
    let reader = admin.create("reader", "reader", None).await?;
    let taken = admin.create("reader", "user", None).await;
    assert_eq!(code_of(taken), Code::AlreadyExists, "a taken name");
    drop(closed);
    // Without the operator's token, the tokens in the table count; a coordinator that was open has seen them.
    let (_coordinator, client) = open.another_coordinator(&[]).await?;
    let later = client.channel().await?;
    for channel in [&later, &channel] {
        until_refused(channel, None).await?;
        call(channel, LIST, Some(&reader), &()).await?;
        let operator = call(channel, LIST, Some(OPERATOR), &()).await;
        assert_eq!(code_of(operator), Code::Unauthenticated, "unknown here");
    }
    sqlx::query("UPDATE trawl_store.tokens SET revoked_at = clock_timestamp()")
        .execute(&open.owner().await?)
        .await?;
    until_refused(&later, Some(&reader)).await?;
    let nobody = call(&later, LIST, None, &()).await;
    assert_eq!(code_of(nobody), Code::Unauthenticated, "no token is left");
    Ok(())
}

/// Workers of a trawl on a shared machine: what a stranger without a token may not pretend to be.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_is_a_worker_where_workers_have_one() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let token = "the-workers-own-token";
    let file = written(folder.path(), "token", token)?;
    let system = System::start(&["--worker-token-file", &file]).await?;
    let channel = system.channel().await?;
    // An empty request to lease is wrong, and its caller was let in.
    for (token, lists, leases, tokens) in [
        (None, Code::Ok, Code::PermissionDenied, Code::PermissionDenied),
        (Some("any"), Code::Ok, Code::PermissionDenied, Code::PermissionDenied),
        (
            Some(token),
            Code::PermissionDenied,
            Code::InvalidArgument,
            Code::PermissionDenied,
        ),
    ] {
        for (rpc, code) in [
            (LIST, lists),
            ("WorkerService/LeaseJobs", leases),
            ("AccessService/ListTokens", tokens),
        ] {
            assert_eq!(code_of(call(&channel, rpc, token, &()).await), code, "{token:?} {rpc}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_over_its_rate_is_refused_at_once_and_holds_up_no_other() -> anyhow::Result<()> {
    const PER_SECOND: usize = 10;
    let system = System::start(&["--token", OPERATOR, "--requests-per-second", "10"]).await?;
    let channel = system.channel().await?;
    let hasty = system.admin(OPERATOR).await?.create("hasty", "reader", None).await?;
    let mut calls = JoinSet::new();
    for _ in 0..10 * PER_SECOND {
        let (channel, hasty) = (channel.clone(), hasty.clone());
        calls.spawn(async move { call(&channel, LIST, Some(&hasty), &()).await });
    }
    call(&channel, LIST, Some(OPERATOR), &()).await?;
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
        Ok(call(&channel, LIST, Some(&hasty), &()).await.ok())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_told_to_slow_down_lose_no_job() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = written(folder.path(), "token", "the-workers-own-token")?;
    let system = System::start(&[
        "--token",
        OPERATOR,
        "--worker-token-file",
        &file,
        "--requests-per-second",
        "5",
        "--metrics-listen",
        "127.0.0.1:0",
        "--checkpoint-interval-ms",
        "200",
    ])
    .await?;
    let operator = system.client(OPERATOR).await?;
    operator.submit(studies::small("slow", 6, 20)?).await?;
    let start = || {
        worker(&system.coordinator.url, |command| {
            command.args(["--token-file", &file]);
        })
    };
    let _workers = [start()?, start()?, start()?];
    operator.completed("slow").await?;
    let owner = system.owner().await?;
    let lost: Vec<String> = owner
        .values(
            "SELECT format('%s %s %s', outcome, cause, error) FROM trawl_store.job_attempts WHERE outcome <> 'finished'",
        )
        .await?;
    assert_eq!(lost, [""; 0]);
    let metrics = system.coordinator.metrics_url.as_deref().context("no metrics")?;
    let (_, text) = fetched(&format!("{metrics}/metrics"), None).await?;
    let refused = text
        .lines()
        .find_map(|line| line.strip_prefix("trawl_calls_refused_total{reason=\"rate_limited\"} "))
        .context("no such metric")?;
    assert!(refused.parse::<u64>()? > 0, "nobody was told to slow down");
    Ok(())
}
