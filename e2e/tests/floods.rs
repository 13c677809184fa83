//! Floods of requests: what they may take is bounded, nothing panics, and others are served meanwhile and afterwards.

use std::path::PathBuf;

use anyhow::Context;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;
use trawl_e2e::{
    Ask, Authorized, RawHttp2, RawRequest, ScriptedWorker, StoreAt, System, epoch_report, fresh_database, look_for,
    studies, wait_for,
};
use trawl_e2e::{flood, meters};
use trawl_proto::v1;
use trawl_proto::v1::study_service_client::StudyServiceClient;

/// The coordinator's memory under any of these floods, at most: one message of nothing but empty parts takes half of it.
const MEMORY_BYTES_MAX: u64 = 384 << 20;
/// A rate so high that no flood is refused for its mere number before it reaches its aim.
const NO_RATE_LIMIT: [&str; 2] = ["--requests-per-second", "4000000"];

/// A coordinator whose log is checked afterwards.
struct Flooded {
    system: System,
    log: PathBuf,
    _folder: TempDir,
}

impl Flooded {
    async fn start(flags: &[&str]) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let log = folder.path().join("coordinator.log");
        let artifacts = TempDir::new()?;
        let mut store = StoreAt::folder(artifacts.path());
        store.wrapper = ["sh", "-c", r#"log=$1; shift; exec "$@" 2> "$log""#, "sh"]
            .map(str::to_owned)
            .to_vec();
        store.wrapper.push(log.display().to_string());
        let flags = [&NO_RATE_LIMIT, flags].concat();
        let system = System::start_with(fresh_database().await?, artifacts, store, &flags).await?;
        Ok(Self {
            system,
            log,
            _folder: folder,
        })
    }

    fn url(&self) -> &str {
        &self.system.coordinator.url
    }

    fn process(&self) -> u32 {
        self.system.coordinator.process.id()
    }

    fn memory(&self) -> anyhow::Result<u64> {
        meters::peak_memory_bytes(self.process())
    }

    /// Waits until a new connection is served: a refused one is connected, too, for a moment.
    async fn somebody_served(&self) -> anyhow::Result<StudyServiceClient<Authorized>> {
        look_for("a connection that is served", async || {
            let Ok(mut client) = self.system.studies().await else {
                return Ok(None);
            };
            let served = client.list_studies(v1::ListStudiesRequest::default()).await;
            Ok(served.is_ok().then_some(client))
        })
        .await
    }

    /// Others are served, memory is bounded, and nothing panicked.
    async fn assert_well(&mut self) -> anyhow::Result<()> {
        let client = self.system.studies().await?;
        self.assert_well_for(client).await
    }

    /// The same for somebody who is connected already.
    async fn assert_well_for(&mut self, mut client: StudyServiceClient<Authorized>) -> anyhow::Result<()> {
        let request = v1::ListStudiesRequest::default();
        let answer = wait_for("an answer to others", async { Ok(client.list_studies(request).await?) }).await;
        let log = || std::fs::read_to_string(&self.log);
        let answer = answer.with_context(|| format!("the coordinator's log: {}", log().unwrap_or_default()));
        answer?;
        assert!(self.system.coordinator.process.is_running());
        let memory = self.memory()?;
        eprintln!("memory at most: {} MiB", memory >> 20);
        assert!(memory < MEMORY_BYTES_MAX, "{memory} bytes");
        let log = log()?;
        assert!(!log.contains("panicked"), "{log}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_streams_leave_room_for_work() -> anyhow::Result<()> {
    let mut flooded = Flooded::start(&[]).await?;
    let before = flooded.memory()?;
    let idle = flood::idle_streams(flooded.url(), None, 1_000).await?;
    assert_eq!(idle.streams.len(), 1_000);
    flooded.system.submit(studies::one_job("beside", 2, 2)?).await?;
    let mut worker = ScriptedWorker::register(&flooded.system).await?;
    let job = worker.lease_one().await?;
    worker.train(&job).await?;
    flooded.system.completed("beside").await?;
    let taken = flooded.memory()? - before;
    assert!(taken < 128 << 20, "{taken} bytes for 1,000 streams that say nothing");
    flooded.assert_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn message_bombs_and_deep_nesting_are_refused_in_bounded_memory() -> anyhow::Result<()> {
    let mut flooded = Flooded::start(&[]).await?;
    let limit = 1_000_000;
    let messages = [
        ("layers", flood::bomb(limit)),
        ("values", flood::bomb_of_values(limit)),
        ("as many layers as a request may have parts", flood::bomb(260_000)),
    ];
    for (what, message) in messages {
        let codes = flood::submit_at_once(flooded.url(), None, &message, 12).await?;
        assert!(
            codes.iter().all(|code| matches!(
                code,
                Code::InvalidArgument | Code::ResourceExhausted | Code::DeadlineExceeded
            )),
            "{what}: {codes:?}"
        );
        assert!(codes.contains(&Code::InvalidArgument), "{what}: {codes:?}");
        flooded.assert_well().await?;
    }
    // Beyond the limit of a message, nothing of it is read.
    let codes = flood::submit_at_once(flooded.url(), None, &flood::bomb(4 << 20), 4).await?;
    assert!(codes.iter().all(|code| *code == Code::ResourceExhausted), "{codes:?}");
    let codes = flood::submit_at_once(flooded.url(), None, &flood::nesting(100_000), 4).await?;
    assert!(codes.iter().all(|code| *code == Code::InvalidArgument), "{codes:?}");
    // No compression was agreed on: the message is refused before it is unpacked.
    let mut connection = RawHttp2::connect(flooded.url()).await?;
    let mut request = RawRequest::grpc("/trawl.v1.StudyService/CreateStudy", &[31, 139, 8, 0]);
    request.body[0] = 1;
    request.headers.push(("grpc-encoding", "gzip".into()));
    assert!(connection.call_all(&[request]).await?);
    assert_eq!(flooded.system.rows(trawl_e2e::View::Trials, "x").await?.len(), 0);
    flooded.assert_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_by_the_thousand_change_nothing() -> anyhow::Result<()> {
    let mut flooded = Flooded::start(&[]).await?;
    flooded.system.submit(studies::one_job("stays", 2, 2)?).await?;
    let before = flooded.system.all_rows("stays").await?;
    let floods = (0..4).map(|part| {
        let url = flooded.url().to_owned();
        tokio::spawn(async move { flood::malformed_requests(&url, None, part * 8_000..(part + 1) * 8_000).await })
    });
    for flood in floods.collect::<Vec<_>>() {
        let closed = flood.await??;
        assert_eq!(closed, 0, "requests are refused, connections are not");
    }
    // No HTTP/2 at all.
    for garbage in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes(),
        &[0xff; 4_096],
        b"\x16\x03\x01\x02\x00\x01\x00",
    ] {
        let mut stream = TcpStream::connect(flooded.url().trim_start_matches("http://")).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, garbage).await?;
        let mut answer = Vec::new();
        wait_for("the end of the connection", async {
            Ok(stream.read_to_end(&mut answer).await.unwrap_or(0))
        })
        .await?;
    }
    trawl_e2e::assert_same_rows(&before, &flooded.system.all_rows("stays").await?, "after the flood");
    let studies: i64 = flooded.system.value("SELECT count(*) FROM trawl.studies").await?;
    assert_eq!(studies, 1);
    flooded.assert_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_take_bounded_memory() -> anyhow::Result<()> {
    const STUDY: &str = "read";
    let mut flooded = Flooded::start(&[]).await?;
    flooded.system.submit(studies::one_job(STUDY, 1, 3_400)?).await?;
    let mut worker = ScriptedWorker::register(&flooded.system).await?;
    let job = worker.lease_one().await?;
    let (reports, mut acknowledged) = worker.open_reports(256).await?;
    for epoch in 0..3_400 {
        reports.send(epoch_report(&job, epoch, 0.0)).await?;
        if epoch >= 64 {
            wait_for("an acknowledgement", async { Ok(acknowledged.message().await?) }).await?;
        }
    }
    drop(reports);
    while wait_for("an acknowledgement", async { Ok(acknowledged.message().await?) })
        .await?
        .is_some()
    {}
    // Reports under a lease that runs out go with it.
    assert!(worker.finish(&job).await?);
    let unread = flood::unread_pages(flooded.url(), None, STUDY, 20, 120).await?;
    // Once a client that reads has this answer, all of the others have been asked for.
    let rows = look_for("a page for somebody who reads", async || {
        let request = v1::ListEpochReportsRequest {
            study: STUDY.into(),
            page_size: 10_000,
            of: Some(v1::list_epoch_reports_request::Of::Trial(0)),
            ..Default::default()
        };
        match flooded.system.studies().await?.list_epoch_reports(request).await {
            Ok(page) => Ok(Some(page.into_inner().reports.len())),
            // As many answers wait as may, or calls for the database; they go with time.
            Err(status) if status.code() == Code::ResourceExhausted => Ok(None),
            Err(status) => Err(status.into()),
        }
    })
    .await?;
    assert_eq!(rows, 10_000);
    assert_eq!(unread.len(), 20);
    flooded.assert_well().await
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_there_may_be_are_closed_at_once() -> anyhow::Result<()> {
    let mut flooded = Flooded::start(&["--connections-max", "40"]).await?;
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        let mut stream = TcpStream::connect(flooded.url().trim_start_matches("http://")).await?;
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .ok();
        // The coordinator's settings come, or its end.
        let mut first = [0; 1];
        match wait_for("a word", async { Ok(stream.read(&mut first).await) }).await? {
            Ok(1) => held.push(stream),
            _ => refused += 1,
        }
    }
    assert!((20..=40).contains(&refused), "{refused} of 60 refused");
    assert!(held.len() >= 20);
    drop(held);
    let client = flooded.somebody_served().await?;
    flooded.assert_well_for(client).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_with_few_files_refuses_connections_and_goes_on() -> anyhow::Result<()> {
    let mut flooded = Flooded::start(&[]).await?;
    // As if the system had given it so few files from the beginning, and they were used up.
    let pid = Pid::from_raw(i32::try_from(flooded.process())?);
    let few = Rlimit {
        current: Some(48),
        maximum: Some(4_096),
    };
    prlimit(pid, Resource::Nofile, few)?;
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(TcpStream::connect(flooded.url().trim_start_matches("http://")).await?);
    }
    drop(streams);
    let client = flooded.somebody_served().await?;
    flooded.assert_well_for(client).await
}
