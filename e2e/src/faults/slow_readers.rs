//! Clients that send reports and never read an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use trawl_proto::v1;
use trawl_proto::v1::worker_service_client::WorkerServiceClient;

use super::{FaultFixture, FixtureSettings, Outcome, Settings};
use crate::scripted_worker::member_epochs;
use crate::system::look_for;

/// Streams on which nobody reads.
const READERS: usize = 40;
/// What a client lets the coordinator send ahead on a stream: the least that HTTP/2 begins with.
const WINDOW_BYTES: u32 = 65_535;
/// A job and a token that do not exist.
const NOBODYS: &str = "77777777-7777-4777-8777-777777777777";
const FOR: Duration = Duration::from_secs(10);
/// A stream that takes nothing for so long is not read any more.
const STILL_FOR: Duration = Duration::from_secs(1);
const UNDISTURBED_FOR: Duration = Duration::from_secs(8);
/// Reports that a stream may take until it is not read any more: the windows and queues of both sides hold as many.
const TAKEN_MAX: usize = 10_000;
/// What they may cost the coordinator in memory.
const PEAK_MORE_KIB_MAX: u64 = 128 << 10;
const OTHERS_RATIO_MAX: f64 = 2.0;
const OTHERS_SLACK: Duration = Duration::from_millis(50);

/// Opens streams, and sends for as long as anything is taken.
pub(super) async fn never_read(settings: &Settings) -> anyhow::Result<Outcome> {
    let fixture = FaultFixture::start(FixtureSettings::new("slow-reader"), settings).await?;
    let history = fixture.load.history();
    let from = history.now();
    sleep(UNDISTURBED_FOR).await;
    let to = history.now();
    let undisturbed = history.acknowledgements(from..to);
    let before = fixture.coordinator_peak_kib()?;

    let mut readers = JoinSet::new();
    let taken: Vec<Arc<AtomicUsize>> = (0..READERS).map(|_| Arc::default()).collect();
    for taken in &taken {
        let channel = Channel::from_shared(fixture.url.clone())?.initial_stream_window_size(WINDOW_BYTES);
        let client = WorkerServiceClient::new(channel.connect().await?);
        readers.spawn(send_only(client, Arc::clone(taken)));
    }
    // All windows and queues fill first, which is load and no fault.
    let sum = || taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum::<usize>();
    let (mut before_look, mut looks) = (0, interval(STILL_FOR));
    look_for("streams that take no more", async || {
        looks.tick().await;
        let now = sum();
        let is_still = now > 0 && std::mem::replace(&mut before_look, now) == now;
        Ok(is_still.then_some(()))
    })
    .await?;
    let still_from = history.now();
    sleep(FOR).await;
    let during = history.acknowledgements(still_from..history.now());
    let peak = fixture.coordinator_peak_kib()?;
    readers.shutdown().await;
    let most = taken
        .iter()
        .map(|taken| taken.load(Ordering::Relaxed))
        .max()
        .unwrap_or(0);
    let mut row = fixture.end(READERS).await?.row;
    row.see(format!(
        "{READERS} streams; the coordinator took at most {most} reports of one, and {} MiB more memory ({} in all); others' \
         acknowledgements undisturbed {undisturbed}, during it {during}",
        (peak - before) >> 10,
        peak >> 10
    ));
    row.expect((1..TAKEN_MAX).contains(&most), || {
        format!("a stream was read for {most} reports")
    });
    row.expect(peak - before < PEAK_MORE_KIB_MAX, || "too much memory".into());
    let limit = undisturbed.p99.mul_f64(OTHERS_RATIO_MAX) + OTHERS_SLACK;
    row.expect(during.p99 < limit, || {
        format!("others were acknowledged late: {during}")
    });
    Ok(Outcome::Done(row))
}

/// Sends reports under a lease that does not exist, each of which is answered, and counts how many were taken.
async fn send_only(mut client: WorkerServiceClient<Channel>, taken: Arc<AtomicUsize>) {
    let (reports, receiver) = mpsc::channel(1);
    let Ok(answers) = client.report_epochs(ReceiverStream::new(receiver)).await else {
        return;
    };
    let report = v1::ReportEpochsRequest {
        lease: Some(v1::Lease {
            job_id: NOBODYS.into(),
            token: NOBODYS.into(),
        }),
        first_epoch: 0,
        metrics: vec!["val_loss".into()],
        members: (0..64).map(|member| member_epochs(member, vec![1.0])).collect(),
    };
    while reports.send(report.clone()).await.is_ok() {
        taken.fetch_add(1, Ordering::Relaxed);
    }
    drop(answers);
}
