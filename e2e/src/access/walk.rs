//! A walk over every RPC by every role, and by callers without a valid token.

use anyhow::{Context, ensure};
use prost_reflect::DescriptorPool;
use serde_json::json;
use sqlx::PgPool;
use tonic::Code;
use tonic::transport::Channel;

use super::Admin;
use super::effective::{Effective, effective};
use crate::{Client, ScriptedWorker, System, call, call_raw, code_of, look_for, studies, wait_for};

const OPERATOR: &str = "the-operators-own-token";
const ROLES: [&str; 4] = ["admin", "user", "worker", "reader"];
const HOUR_LEASES: [&str; 2] = ["--lease-ttl-ms", "3600000"];

/// What a walk found.
#[derive(Debug, Default)]
pub struct AccessWalk {
    /// Calls that had to be refused.
    pub refused: usize,
    /// The refused calls that would otherwise have changed rows: afterwards each did, for the operator.
    pub effective: usize,
    /// Answers with a code that does not fit the caller's role, in words.
    pub wrong_answers: Vec<String>,
    /// Tables whose rows a refused call changed.
    pub changed_tables: Vec<String>,
}

/// Calls every RPC of the descriptor set by every role and by strangers, with requests that would change something wherever the
/// caller has to be refused, and compares all tables before and after.
///
/// # Errors
/// The system does not start, a call does not end, or a request that would change something is refused to the operator too.
pub async fn walk_every_rpc() -> anyhow::Result<AccessWalk> {
    let stage = Stage::open().await?;
    let callers = stage.callers().await?;
    let rpcs = rpcs()?;
    if let Some((unknown, _)) = stage.effective.iter().find(|(path, _)| !rpcs.contains(path)) {
        anyhow::bail!("{unknown} is not served");
    }
    let mut walk = AccessWalk::default();
    let before = all_tables(&stage.sql).await?;
    for path in &rpcs {
        for caller in &callers {
            stage.call(path, caller, &mut walk).await?;
        }
    }
    let after = all_tables(&stage.sql).await?;
    let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
    walk.changed_tables = changed.map(|((table, _), _)| table.clone()).collect();
    stage.all_are_effective().await?;
    Ok(walk)
}

/// A caller, and the expected answer.
struct Caller {
    name: &'static str,
    token: Option<String>,
    /// A connection of its own: the coordinator ends one with many calls that were refused while their requests came.
    channel: Channel,
}

impl Caller {
    /// The code of the refusal; `None` for a caller who is let in.
    fn refusal(&self, path: &str) -> Option<Code> {
        match (ROLES.contains(&self.name), path.starts_with("/grpc.health.")) {
            (_, true) => None,
            (true, _) => (!may_call(self.name, path)).then_some(Code::PermissionDenied),
            (false, _) => Some(Code::Unauthenticated),
        }
    }
}

/// A study amid its work, and an hour's leases.
struct Stage {
    closed: Client,
    channel: Channel,
    sql: PgPool,
    effective: Effective,
    _system: System,
}

impl Stage {
    /// Prepares it while the door is open, then closes the door.
    async fn open() -> anyhow::Result<Self> {
        let mut system = System::start(&HOUR_LEASES).await?;
        for name in ["target", "ended"] {
            let mut study = studies::small(name, 24, 1)?;
            // With one fold a trial, a job that ends completes trials.
            study["validation"] = json!({ "holdout": 0.2 });
            system.submit(study).await?;
        }
        system.trawl_stdout(&["cancel", "ended"])?;
        let mut worker = ScriptedWorker::register(&system).await?;
        let mut jobs = worker.lease(3).await?.into_iter();
        let mut job = || jobs.next().context("too few jobs");
        let (finished, reported, leased) = (job()?, job()?, job()?);
        worker.report_all(&finished).await?;
        ensure!(worker.finish(&finished).await?, "a job could not be finished");
        worker.report_all(&reported).await?;

        let flags = [&HOUR_LEASES[..], &["--token", OPERATOR]].concat();
        let (coordinator, closed) = system.another_coordinator(&flags).await?;
        system.coordinator = coordinator;
        Ok(Self {
            channel: closed.channel().await?,
            closed,
            sql: system.owner().await?,
            effective: effective(worker.id(), &reported, &leased)?,
            _system: system,
        })
    }

    /// A token for each role, and five kinds of strangers.
    async fn callers(&self) -> anyhow::Result<Vec<Caller>> {
        let mut admin = Admin::new(&self.channel, OPERATOR)?;
        let mut callers = Vec::new();
        for name in ROLES {
            let token = Some(admin.create(name, name, None).await?);
            callers.push(self.caller(name, token).await?);
        }
        let expired = admin.create("expired", "admin", Some(1)).await?;
        until_refused(&self.channel, Some(&expired)).await?;
        // A token that was overheard, and is replayed when its name belongs to another one.
        let replayed = admin.create("replayed", "admin", None).await?;
        call(&self.channel, "AccessService/ListTokens", Some(&replayed), &()).await?;
        admin.revoke("replayed").await?;
        admin.create("replayed", "admin", None).await?;
        let strangers = [
            ("nobody", None),
            ("forged", Some(format!("trawl_{}", "f".repeat(64)))),
            ("expired", Some(expired)),
            ("replayed", Some(replayed)),
            ("malformed", Some(String::new())),
        ];
        for (name, token) in strangers {
            callers.push(self.caller(name, token).await?);
        }
        Ok(callers)
    }

    async fn caller(&self, name: &'static str, token: Option<String>) -> anyhow::Result<Caller> {
        let channel = self.closed.channel().await?;
        Ok(Caller { name, token, channel })
    }

    /// One call; callers who are let in ask for nothing.
    async fn call(&self, path: &str, caller: &Caller, walk: &mut AccessWalk) -> anyhow::Result<()> {
        let refusal = caller.refusal(path);
        let known = self.effective.iter().find(|(rpc, _)| rpc == path);
        let messages = match (refusal, known) {
            (Some(_), Some((_, messages))) => messages.clone(),
            _ => vec![Vec::new()],
        };
        let what = format!("{path} by {}", caller.name);
        let answer = call_raw(&caller.channel, path, caller.token.as_deref(), messages);
        let answer = wait_for(&what, async { Ok(answer.await) }).await?;
        let code = code_of(answer);
        walk.refused += usize::from(refusal.is_some());
        walk.effective += usize::from(refusal.is_some() && known.is_some());
        let is_right = match refusal {
            Some(expected) => code == expected,
            None => ![Code::Unauthenticated, Code::PermissionDenied, Code::Unimplemented].contains(&code),
        };
        if !is_right {
            walk.wrong_answers.push(format!("{what}: {code:?}"));
        }
        Ok(())
    }

    /// For the operator, each of these calls does something.
    async fn all_are_effective(&self) -> anyhow::Result<()> {
        for (path, messages) in &self.effective {
            call_raw(&self.channel, path, Some(OPERATOR), messages.clone())
                .await
                .with_context(|| format!("{path} by the operator"))?;
        }
        Ok(())
    }
}

/// Calls until who has this token, or none, is refused, as they are some time after the token's end.
///
/// # Errors
/// It is not refused in time.
pub async fn until_refused(channel: &Channel, token: Option<&str>) -> anyhow::Result<()> {
    look_for("the end of a token", async || {
        let answer = call(channel, "StudyService/ListStudies", token, &()).await;
        Ok(answer.is_err().then_some(()))
    })
    .await
}

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

/// The documented rights of the roles, apart from the coordinator's own table.
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

/// All rows of all tables of trawl, as text.
async fn all_tables(owner: &PgPool) -> anyhow::Result<Vec<(String, String)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'trawl_store' ORDER BY 1",
    )
    .fetch_all(owner)
    .await?;
    let mut content = Vec::new();
    for table in tables {
        let query =
            format!("SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM trawl_store.{table} t");
        let rows = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(owner).await?;
        content.push((table, rows));
    }
    Ok(content)
}
