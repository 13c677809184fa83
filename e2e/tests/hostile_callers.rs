//! Callers with a token, or without one, who take all that they can get: calls, streams, memory, uploads. Others are served
//! meanwhile, and the attackers' share is bounded.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::body::Body;
use prost::Message;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tower::ServiceExt;
use trawl_e2e::meters::{Beats, Heartbeats, peak_memory_bytes, present_memory_bytes};
use trawl_e2e::{
    Admin, Ask, Client, ScriptedWorker, System, call, call_raw, dataset_messages, look_for, open_raw, studies, wait_for,
};
use trawl_proto::v1;

const OPERATOR: &str = "the-operators-own-token";
const GET_STUDY: &str = "/trawl.v1.StudyService/GetStudy";
const WATCH_STUDY: &str = "/trawl.v1.StudyService/WatchStudy";
const PUT_DATASET: &str = "/trawl.v1.StudyService/PutDataset";
const REPORT_EPOCHS: &str = "/trawl.v1.WorkerService/ReportEpochs";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Calls of a user's or reader's token at once, as docs/reliability.md says.
const SHARE: usize = 256;
const PUT_ARTIFACT: &str = "/trawl.v1.WorkerService/PutArtifact";
/// Sooner than a silent upload ends, so that none had to end for it.
const UPLOAD_AT_ONCE: Duration = Duration::from_secs(8);
/// A worker that is renewed less often may lose its lease.
const HEARTBEAT_WITHIN: Duration = Duration::from_secs(2);

/// An attacked coordinator with a study.
struct Attacked {
    system: System,
    operator: Client,
    admin: Admin,
}

impl Attacked {
    async fn start() -> anyhow::Result<Self> {
        // A rate so high that no call is refused for its mere number before it reaches its aim.
        let system = System::start(&["--token", OPERATOR, "--requests-per-second", "4000000"]).await?;
        let operator = system.client(OPERATOR).await?;
        let mut attacked = Self {
            admin: system.admin(OPERATOR).await?,
            system,
            operator,
        };
        attacked.operator.submit(studies::one_job("watched", 2, 2)?).await?;
        // First calls take memory for good: the tests measure the attacks on top of it.
        attacked.heartbeats().await?.end().await?;
        Ok(attacked)
    }

    async fn heartbeats(&mut self) -> anyhow::Result<Heartbeats> {
        Heartbeats::begin(&self.operator).await
    }

    async fn channels(&self, count: usize) -> anyhow::Result<Vec<Channel>> {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(self.system.channel().await?);
        }
        Ok(channels)
    }

    /// Prints the cost of an attack, and compares it with the limits.
    fn assert_well(&self, what: &str, beats: Beats, before: u64, more_max: u64) -> anyhow::Result<()> {
        let peak = peak_memory_bytes(self.system.coordinator.process.id())?;
        eprintln!(
            "{what}: peak {} MiB, {} MiB before; longest of {} heartbeats {} ms",
            peak >> 20,
            before >> 20,
            beats.count,
            beats.longest.as_millis()
        );
        ensure!(beats.longest < HEARTBEAT_WITHIN, "{beats:?}");
        ensure!(peak < before + more_max, "{peak} bytes, {before} before");
        Ok(())
    }

    fn memory(&self) -> anyhow::Result<u64> {
        present_memory_bytes(self.system.coordinator.process.id())
    }
}

/// Opens so many streams of a token, over connections, and keeps those that are answered; the rest is refused. Without a request
/// they say nothing and do not end.
async fn open_all(
    channels: &[Channel],
    rpc: &'static str,
    token: &str,
    request: Option<Vec<u8>>,
    count: usize,
) -> anyhow::Result<(Vec<Streaming<Vec<u8>>>, Vec<Status>)> {
    let mut opening = JoinSet::new();
    for number in 0..count {
        let (channel, token) = (channels[number % channels.len()].clone(), token.to_owned());
        let request = request.clone();
        opening.spawn(async move {
            match request {
                Some(request) => open_raw(&channel, rpc, Some(&token), tokio_stream::iter([request])).await,
                None => open_raw(&channel, rpc, Some(&token), tokio_stream::pending()).await,
            }
        });
    }
    let (mut held, mut refused) = (Vec::new(), Vec::new());
    let opened = wait_for("all streams", async { Ok(opening.join_all().await) }).await?;
    for opened in opened {
        match opened {
            Ok(stream) => held.push(stream),
            Err(status) => refused.push(status),
        }
    }
    Ok((held, refused))
}

/// Begins a call whose request ends amid a message; its status, if one comes.
async fn unfinished(
    channel: Channel,
    rpc: &'static str,
    token: Option<String>,
    bytes: Vec<u8>,
) -> anyhow::Result<Code> {
    let pieces = tokio_stream::iter([Ok::<_, Infallible>(bytes)]).chain(tokio_stream::pending());
    let mut request = Request::post(rpc).body(tonic::body::Body::new(Body::from_stream(pieces)))?;
    let headers = request.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    if let Some(token) = token {
        headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}"))?);
    }
    let answer = channel.oneshot(request).await?;
    let status = answer.headers().get("grpc-status").context("no status")?;
    Ok(Code::from_bytes(status.as_bytes()))
}

/// A message of so many bytes in the one text that it has, but for the last of them, with the head that announces all.
fn all_but_the_last_byte(text_bytes: usize) -> Vec<u8> {
    let message = v1::GetStudyRequest {
        study: "n".repeat(text_bytes),
    }
    .encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(&message[..message.len() - 1]);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_with_thousands_of_streams_is_in_nobodys_way_and_is_revoked() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let reader = attacked.admin.create("reader", "reader", None).await?;
    let other = attacked.admin.create("other", "reader", None).await?;
    let channels = attacked.channels(33).await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    let watch = v1::WatchStudyRequest {
        study: "watched".into(),
    }
    .encode_to_vec();
    let (mut held, refused) = open_all(&channels, WATCH_STUDY, &reader, Some(watch), 4_096).await?;
    assert_eq!(held.len(), SHARE);
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("with this token"), "{status}");
    }
    // Everybody else is served: another reader, a new worker, the operator.
    let get = v1::GetStudyRequest {
        study: "watched".into(),
    };
    call(&channels[0], "StudyService/GetStudy", Some(&other), &get).await?;
    ScriptedWorker::register(&attacked.operator).await?;
    assert_eq!(attacked.admin.list().await?.len(), 2);
    assert_eq!(attacked.admin.revoke("reader").await?.state, "revoked");
    for stream in &mut held {
        let ended = wait_for("the end of a stream", async {
            loop {
                if let Err(status) = stream.message().await {
                    return Ok(status);
                }
            }
        });
        assert_eq!(ended.await?.code(), Code::Unauthenticated);
    }
    attacked.assert_well("4,096 watches of one reader", beats.end().await?, before, 128 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_worker_token_leave_places_for_other_workers() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let worker = attacked.admin.create("worker", "worker", None).await?;
    let channels = attacked.channels(36).await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    let (held, refused) = open_all(&channels, REPORT_EPOCHS, &worker, None, 4_400).await?;
    assert_eq!(held.len(), 2_048, "half of the places of workers");
    assert!(refused.iter().all(|status| status.code() == Code::ResourceExhausted));
    let mut other = ScriptedWorker::register(&attacked.operator).await?;
    let job = other.lease_one().await?;
    other.train(&job).await?;
    attacked.assert_well(
        "4,400 streams of reports of one token",
        beats.end().await?,
        before,
        384 << 20,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_jobs_hold_up_nobodys_heartbeat() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let worker = attacked.admin.create("worker", "worker", None).await?;
    let channels = attacked.channels(16).await?;
    let worker_id = uuid::Uuid::from_u128(7).to_string();
    let register = ScriptedWorker::registration(&worker_id);
    call(&channels[0], "WorkerService/RegisterWorker", Some(&worker), &register).await?;
    let ask = v1::LeaseJobsRequest {
        worker_id,
        slots: 1,
        wait: None,
    };
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    let mut calls = JoinSet::new();
    for number in 0..1_500 {
        let (channel, worker, ask) = (channels[number % 16].clone(), worker.clone(), ask.clone());
        calls.spawn(async move { call(&channel, "WorkerService/LeaseJobs", Some(&worker), &ask).await });
    }
    for answer in wait_for("all answers", async { Ok(calls.join_all().await) }).await? {
        answer?;
    }
    attacked.assert_well("1,500 who ask for jobs", beats.end().await?, before, 128 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_an_end_hold_no_more_than_a_small_message() -> anyhow::Result<()> {
    const CALLS: usize = 2_291;
    let mut attacked = Attacked::start().await?;
    let reader = attacked.admin.create("reader", "reader", None).await?;
    let channels = attacked.channels(30).await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    for text_bytes in [1_040_000, 4_000] {
        let request = all_but_the_last_byte(text_bytes);
        let mut calls = JoinSet::new();
        for number in 0..CALLS {
            let channel = channels[number % channels.len()].clone();
            calls.spawn(unfinished(channel, GET_STUDY, Some(reader.clone()), request.clone()));
        }
        // A message announced as too long is refused although it never comes; so is one beyond the token's share.
        let refused = if text_bytes > 4_096 { CALLS } else { CALLS - SHARE };
        for _ in 0..refused {
            let code = wait_for("a refusal", async { calls.join_next().await.context("none")?? }).await?;
            assert_eq!(code, Code::ResourceExhausted, "{text_bytes} bytes");
        }
    }
    attacked.assert_well("2,291 requests without an end", beats.end().await?, before, 160 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_uploads_hold_up_nobody_elses_and_end_soon() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let silent = attacked.admin.create("silent", "user", None).await?;
    let other = attacked.admin.create("other", "user", None).await?;
    let channel = attacked.system.channel().await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    let mut worker = ScriptedWorker::register(&attacked.operator).await?;
    let job = worker.lease_one().await?;

    let sql = attacked.system.owner().await?;
    let mut uploads = JoinSet::new();
    for number in 0..17_u32 {
        // A file that is announced, and does not come.
        let announced = dataset_messages(&number.to_be_bytes()).remove(0).encode_to_vec();
        let messages = tokio_stream::iter([announced]).chain(tokio_stream::pending());
        let (channel, silent) = (channel.clone(), silent.clone());
        uploads.spawn(async move { open_raw(&channel, PUT_DATASET, Some(&silent), messages).await.map(drop) });
    }
    look_for("the first of them", async || {
        let begun: i64 = sql
            .value("SELECT count(*) FROM trawl_store.pending_objects WHERE object_key LIKE 'datasets/%'")
            .await?;
        Ok((begun >= 2).then_some(()))
    })
    .await?;

    let content = vec![7; 200 << 10];
    let artifact = worker.leave(&job, 0, "fold-0.safetensors", &content);
    let artifact = timeout(UPLOAD_AT_ONCE, artifact).await;
    assert!(artifact.context("an artifact waits")??);
    let checkpoint = ScriptedWorker::checkpoint_messages(&job, 0, &content);
    let checkpoint = timeout(UPLOAD_AT_ONCE, worker.put_checkpoint(tokio_stream::iter(checkpoint))).await;
    assert!(checkpoint.context("a checkpoint waits")??);
    let other = attacked.system.client(&other).await?;
    let dataset = timeout(UPLOAD_AT_ONCE, other.put_dataset(b"another user's")).await;
    dataset.context("another user's file waits")??;

    // Beyond their token's places they are refused, and those who have a turn end for their silence.
    let ended = wait_for("the end of a silent upload", async {
        loop {
            let ended = uploads.join_next().await.context("all were refused")??;
            let status = ended.err().context("a file that did not come was kept")?;
            match status.code() {
                Code::ResourceExhausted => {}
                _ => return Ok(status),
            }
        }
    })
    .await?;
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    assert!(ended.message().contains("too slowly"), "{ended}");
    attacked.assert_well("17 silent uploads", beats.end().await?, before, 64 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_uploads_of_one_worker_token_leave_turns_for_other_workers() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let token = attacked.admin.create("silent", "worker", None).await?;
    let mut worker = ScriptedWorker::register(&attacked.operator).await?;
    let job = worker.lease_one().await?;
    attacked.operator.submit(studies::one_job("hostile", 2, 2)?).await?;
    let hostile = attacked.system.client(&token).await?;
    let its_job = ScriptedWorker::register(&hostile).await?.lease_one().await?;
    let channel = attacked.system.channel().await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;

    let sql = attacked.system.owner().await?;
    let first = ScriptedWorker::artifact_messages(&its_job, Some(0), "fold-0.safetensors", &[7; 1 << 20]);
    let first = first.into_iter().next().context("no message")?.encode_to_vec();
    let mut uploads = JoinSet::new();
    for _ in 0..20 {
        let messages = tokio_stream::iter([first.clone()]).chain(tokio_stream::pending());
        let (channel, token) = (channel.clone(), token.clone());
        uploads.spawn(async move { open_raw(&channel, PUT_ARTIFACT, Some(&token), messages).await.map(drop) });
    }
    look_for("those that have a turn", async || {
        let begun: i64 = sql
            .value("SELECT count(*) FROM trawl_store.pending_objects WHERE object_key LIKE 'artifacts/%'")
            .await?;
        Ok((begun >= 8).then_some(()))
    })
    .await?;
    let content = vec![7; 200 << 10];
    for _ in 0..3 {
        let put = worker.leave(&job, 0, "fold-0.safetensors", &content);
        let put = timeout(UPLOAD_AT_ONCE, put);
        assert!(put.await.context("another worker's artifact waits")??);
    }
    drop(uploads);
    attacked.assert_well("20 silent uploads of a worker", beats.end().await?, before, 64 << 20)
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_keep_a_probe_from_its_answer() -> anyhow::Result<()> {
    let mut attacked = Attacked::start().await?;
    let channels = attacked.channels(5).await?;
    let before = attacked.memory()?;
    let beats = attacked.heartbeats().await?;
    let mut watches = JoinSet::new();
    for number in 0..256 {
        let channel = channels[number % 3].clone();
        watches.spawn(async move { open_raw(&channel, HEALTH_WATCH, None, tokio_stream::iter([Vec::new()])).await });
    }
    let watches = wait_for("all watches", async { Ok(watches.join_all().await) }).await?;
    assert_eq!(watches.iter().filter(|watch| watch.is_ok()).count(), 64);
    let mut questions = JoinSet::new();
    for number in 0..300 {
        let channel = channels[number % 3].clone();
        questions.spawn(unfinished(channel, HEALTH_CHECK, None, all_but_the_last_byte(100)));
    }
    // They are there, and more than there are places: the oldest make room.
    let made_room = wait_for("one that makes room", async {
        questions.join_next().await.context("none")??
    })
    .await?;
    assert_eq!(made_room, Code::ResourceExhausted);
    for _ in 0..10 {
        let answer = call_raw(&channels[4], HEALTH_CHECK, None, vec![Vec::new()]).await?;
        // Serving is 1, in the field 1.
        assert_eq!(answer, Some(vec![8, 1]));
        assert_eq!(attacked.system.trawl_stdout(&["health"])?, "serving\n");
    }
    drop(watches);
    attacked.assert_well("strangers who watch and ask", beats.end().await?, before, 64 << 20)
}
