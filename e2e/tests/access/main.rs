//! Who may call what: every RPC, by every role, and by those who have no token that is valid.

mod effective;

use anyhow::Context;
use effective::{Effective, effective};
use prost::Message;
use prost_reflect::DescriptorPool;
use serde_json::json;
use sqlx::PgPool;
use tonic::Code;
use tonic::transport::Channel;
use trawl_e2e::{
    Admin, Coordinator, ScriptedWorker, StoreAt, System, all_tables, call_raw, look_for, owner_pool, studies, wait_for,
};
use trawl_proto::v1;

const OPERATOR: &str = "the-operators-own-token";
const ROLES: [&str; 4] = ["admin", "user", "worker", "reader"];
const HOUR_LEASES: [&str; 2] = ["--lease-ttl-ms", "3600000"];

/// Paths of all RPCs that are served.
fn rpcs() -> anyhow::Result<Vec<String>> {
    let pool = DescriptorPool::decode(trawl_proto::DESCRIPTOR_SET)?;
    let of_trawl = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()));
    let others = [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
    ];
    Ok(of_trawl.chain(others.map(str::to_owned)).collect())
}

/// What the roles are said to be for. Not the coordinator's own table: this is what users are told.
fn may_call(role: &str, path: &str) -> bool {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let reads = ["Get", "List", "Watch"].iter().any(|verb| method.starts_with(verb));
    match service {
        "trawl.v1.StudyService" => role == "admin" || role == "user" || (role == "reader" && reads),
        "trawl.v1.WorkerService" => role == "admin" || role == "worker",
        "trawl.v1.AccessService" => role == "admin",
        _ => true,
    }
}

/// A study amid its work, and an hour's leases.
struct Stage {
    system: System,
    channel: Channel,
    sql: PgPool,
    effective: Effective,
}

impl Stage {
    /// Prepares it while the door is open, then closes the door.
    async fn open() -> anyhow::Result<Self> {
        let mut system = System::start(&HOUR_LEASES).await?;
        for name in ["target", "ended"] {
            let mut study = studies::small(name, 24, 1)?;
            // With one fold a trial, a job that ends completes trials.
            study["validation"] = json!({ "holdout": 0.2 });
            system.submit(studies::from_json(&study)?).await?;
        }
        let study = "ended".to_owned();
        system
            .studies()
            .await?
            .cancel_study(v1::CancelStudyRequest { study })
            .await?;
        let mut worker = ScriptedWorker::register(&system).await?;
        let mut jobs = worker.lease(3).await?.into_iter();
        let mut job = || jobs.next().context("too few jobs");
        let (finished, reported, leased) = (job()?, job()?, job()?);
        worker.report_all(&finished).await?;
        assert!(worker.finish(&finished).await?);
        worker.report_all(&reported).await?;

        let flags = [&HOUR_LEASES[..], &["--token", OPERATOR]].concat();
        let folder = system.artifacts.path();
        system.coordinator =
            Coordinator::start(&system.database_url, &StoreAt::folder(folder), &flags, "127.0.0.1:0").await?;
        Ok(Self {
            channel: Channel::from_shared(system.coordinator.url.clone())?.connect().await?,
            sql: owner_pool(&system.database_url).await?,
            effective: effective(worker.id(), &reported, &leased)?,
            system,
        })
    }

    fn messages(&self, path: &str) -> Vec<Vec<u8>> {
        let known = self.effective.iter().find(|(rpc, _)| rpc == path);
        known.map_or_else(|| vec![Vec::new()], |(_, messages)| messages.clone())
    }
}

/// Calls until the token is refused, as it is some time after its end.
async fn until_refused(channel: &Channel, token: &str) -> anyhow::Result<()> {
    let list = "/trawl.v1.StudyService/ListStudies";
    look_for("the end of a token", async || {
        let answer = call_raw(channel, list, Some(token), vec![Vec::new()]).await;
        Ok(answer.is_err().then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_is_for_its_roles_and_a_refused_call_changes_nothing() -> anyhow::Result<()> {
    let stage = Stage::open().await?;
    let channel = &stage.channel;
    let mut admin = Admin::new(channel, OPERATOR)?;
    let mut callers = Vec::new();
    for role in ROLES {
        callers.push((role, Some(admin.create(role, role, None).await?)));
    }
    let expired = admin.create("expired", "admin", Some(1)).await?;
    until_refused(channel, &expired).await?;
    // One that was seen, and is played again when its name belongs to another.
    let replayed = admin.create("replayed", "admin", None).await?;
    call_raw(
        channel,
        "/trawl.v1.AccessService/ListTokens",
        Some(&replayed),
        vec![Vec::new()],
    )
    .await?;
    admin.revoke("replayed").await?;
    admin.create("replayed", "admin", None).await?;
    let strangers = [
        ("nobody", None),
        ("forged", Some(format!("trawl_{}", "f".repeat(64)))),
        ("expired", Some(expired)),
        ("replayed", Some(replayed)),
        ("malformed", Some(String::new())),
    ];
    callers.extend(strangers);

    let rpcs = rpcs()?;
    assert!(stage.effective.iter().all(|(path, _)| rpcs.contains(path)));
    let before = all_tables(&stage.sql).await?;
    let mut refused = 0;
    for path in &rpcs {
        for (who, token) in &callers {
            let expected = match (ROLES.contains(who), path.starts_with("/grpc.health.")) {
                (_, true) => None,
                (true, _) => (!may_call(who, path)).then_some(Code::PermissionDenied),
                (false, _) => Some(Code::Unauthenticated),
            };
            // Those who are let in ask for nothing.
            let messages = match expected {
                Some(_) => stage.messages(path),
                None => vec![Vec::new()],
            };
            let answer = call_raw(channel, path, token.as_deref(), messages);
            let answer = wait_for(&format!("{path} by {who}"), async { Ok(answer.await) }).await?;
            let code = answer.err().map_or(Code::Ok, |status| status.code());
            match expected {
                Some(expected) => assert_eq!(code, expected, "{path} by {who}"),
                None => assert!(
                    ![Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented].contains(&code),
                    "{path} by {who}: {code:?}"
                ),
            }
            refused += usize::from(expected.is_some());
        }
    }
    assert!(refused > 150, "{refused}");
    let after = all_tables(&stage.sql).await?;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after, "a call that was refused changed a row");
    }
    // Had they been let in, each of these calls would have done something.
    for (path, messages) in &stage.effective {
        let answer = call_raw(channel, path, Some(OPERATOR), messages.clone()).await;
        assert!(answer.is_ok(), "{path}: {answer:?}");
    }
    let unheard = "/trawl.v1.StudyService/Unheard";
    for (token, expected) in [(None, Code::Unauthenticated), (Some(OPERATOR), Code::Unimplemented)] {
        let status = call_raw(channel, unheard, token, vec![Vec::new()])
            .await
            .expect_err(unheard);
        assert_eq!(status.code(), expected);
    }
    drop(stage.system);
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
    assert_eq!(refused.expect_err("an open door").code(), Code::FailedPrecondition);

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
    // Without the operator's token, those in the table count; and one that was open has seen them.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_calls_too_often_waits_and_holds_up_no_other() -> anyhow::Result<()> {
    let system = System::start(&["--token", OPERATOR, "--requests-per-second", "10"]).await?;
    let channel = Channel::from_shared(system.coordinator.url.clone())?.connect().await?;
    let reader = Admin::new(&channel, OPERATOR)?.create("reader", "reader", None).await?;
    let list = "/trawl.v1.StudyService/ListStudies";
    let refused = wait_for("a refusal", async {
        loop {
            if let Err(status) = call_raw(&channel, list, Some(&reader), vec![Vec::new()]).await {
                return Ok(status);
            }
        }
    })
    .await?;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("more than 10 a second"), "{refused}");
    call_raw(&channel, list, Some(OPERATOR), vec![Vec::new()]).await?;
    Ok(())
}
