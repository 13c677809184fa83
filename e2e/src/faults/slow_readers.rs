//! Clients that send reports and never read an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use trawl_proto::v1;

use super::{Outcome, Scene, SceneSettings, Settings};
use crate::history::{Operation, Percentiles};
use crate::scripted_worker::ScriptedWorker;
use crate::system::Client;

/// Streams on which nobody reads.
const READERS: usize = 40;
const FOR: Duration = Duration::from_secs(15);
const UNDISTURBED_FOR: Duration = Duration::from_secs(8);
/// Reports that a stream may take until it is not read any more: what fits in the windows and queues of both sides.
const TAKEN_MAX: usize = 10_000;
/// What they may cost the coordinator in memory.
const PEAK_MORE_KIB_MAX: u64 = 128 << 10;
const OTHERS_RATIO_MAX: f64 = 2.0;
const OTHERS_SLACK: Duration = Duration::from_millis(50);

/// Opens streams, and sends for as long as anything is taken.
pub(super) async fn never_read(settings: &Settings) -> anyhow::Result<Outcome> {
    let scene = Scene::start(SceneSettings::new("slow-reader"), settings).await?;
    let history = scene.load.history();
    let acknowledged_in = |from: Duration, to: Duration| {
        let is_meant = |operation: &Operation| {
            operation.is_report() && operation.is_ok() && (from..to).contains(&operation.invoked)
        };
        Percentiles::of(&history.latencies(is_meant))
    };
    let from = history.now();
    sleep(UNDISTURBED_FOR).await;
    let to = history.now();
    let undisturbed = acknowledged_in(from, to);
    let before = scene.coordinator_peak_kib()?;

    let client = Client::new(&scene.url, &scene.database_url).await?;
    let mut readers = JoinSet::new();
    let taken: Vec<Arc<AtomicUsize>> = (0..READERS).map(|_| Arc::default()).collect();
    for taken in &taken {
        let worker = ScriptedWorker::register(&client).await?;
        readers.spawn(send_only(worker, Arc::clone(taken)));
    }
    sleep(FOR).await;
    let during = acknowledged_in(to, history.now());
    let peak = scene.coordinator_peak_kib()?;
    readers.shutdown().await;
    let most = taken
        .iter()
        .map(|taken| taken.load(Ordering::Relaxed))
        .max()
        .unwrap_or(0);
    let mut row = scene.end(READERS).await?.row;
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

/// Sends reports under a lease that is none, each of which is answered, and counts how many were taken.
async fn send_only(mut worker: ScriptedWorker, taken: Arc<AtomicUsize>) {
    let Ok((reports, answers)) = worker.open_reports(1).await else {
        return;
    };
    let report = v1::ReportEpochsRequest {
        lease: Some(v1::Lease {
            job_id: worker.id().to_owned(),
            token: worker.id().to_owned(),
        }),
        epoch: 0,
        members: (0..64).collect(),
        train_loss: vec![1.0; 64],
        val_loss: vec![1.0; 64],
        ..Default::default()
    };
    while reports.send(report.clone()).await.is_ok() {
        taken.fetch_add(1, Ordering::Relaxed);
    }
    drop(answers);
}
