//! The memory that the largest report takes, in a process of its own: docs/reliability.md adds it up.

#![expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tonic::Status;
use trawl_proto::v1;
use trawl_report::{Report, Source, StudyData};

/// As docs/reliability.md has it.
const MEMORY_MIB_MAX: u64 = 320;
/// As the coordinator's pages have it.
const ARTIFACT_BYTES_MAX: u64 = 16 << 20;
const TRIALS: u32 = 20_000;
const REPORTS: u32 = 100_000;
const PARAMETERS: u32 = 16;

/// A study with more of everything than a report shows.
struct Largest;

fn trial(number: u32) -> v1::Trial {
    let unit = f64::from(number * 7_919 % 10_007) / 10_007.0;
    let value = |parameter: u32| Value {
        kind: Some(Kind::NumberValue(unit * f64::from(parameter + 1))),
    };
    let fields = (0..PARAMETERS).map(|parameter| (format!("parameter_{parameter}"), value(parameter)));
    v1::Trial {
        trial: number,
        state: "completed".into(),
        value: Some(0.1 + unit),
        value_std: Some(0.01),
        params: Some(Struct {
            fields: fields.collect::<BTreeMap<_, _>>(),
        }),
        ..Default::default()
    }
}

fn distribution() -> v1::Distribution {
    let range = v1::FloatRange {
        low: Some(0.0),
        high: Some(f64::from(PARAMETERS)),
        ..Default::default()
    };
    v1::Distribution {
        kind: Some(v1::distribution::Kind::Uniform(range)),
        ..Default::default()
    }
}

/// Where a page begins and ends, and the token of the next one.
fn page(token: &str, size: u32, all: u32) -> (u32, u32, String) {
    let first = token.parse().unwrap_or(0);
    let next = (first + size).min(all);
    (first, next, if next < all { next.to_string() } else { String::new() })
}

impl Source for Largest {
    async fn study(&self, _: v1::GetStudyRequest) -> Result<v1::GetStudyResponse, Status> {
        let refits = (0..5).map(|refit| v1::RefitSummary {
            refit,
            state: "completed".into(),
            artifacts: vec![v1::Artifact {
                kind: "predictions".into(),
                name: "predictions.csv".into(),
                bytes: ARTIFACT_BYTES_MAX * 3 / 4,
                ..Default::default()
            }],
            ..Default::default()
        });
        let space = (0..PARAMETERS).map(|parameter| (format!("parameter_{parameter}"), distribution()));
        Ok(v1::GetStudyResponse {
            study: Some(v1::StudySummary {
                name: "largest".into(),
                state: "completed".into(),
                refits: refits.collect(),
                ..Default::default()
            }),
            spec: Some(v1::Study {
                space: space.collect(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    async fn trials(&self, request: v1::ListTrialsRequest) -> Result<v1::ListTrialsResponse, Status> {
        let (first, next, next_page_token) = page(&request.page_token, request.page_size, TRIALS);
        Ok(v1::ListTrialsResponse {
            trials: (first..next).map(trial).collect(),
            next_page_token,
        })
    }

    async fn best_trials(&self, request: v1::ListBestTrialsRequest) -> Result<v1::ListBestTrialsResponse, Status> {
        Ok(v1::ListBestTrialsResponse {
            trials: (0..request.limit).map(trial).collect(),
        })
    }

    async fn epoch_reports(
        &self,
        request: v1::ListEpochReportsRequest,
    ) -> Result<v1::ListEpochReportsResponse, Status> {
        let (first, next, next_page_token) = page(&request.page_token, request.page_size, REPORTS);
        let reports = (first..next).map(|epoch| v1::EpochReport {
            epoch,
            train_loss: 1.0 / f64::from(epoch + 1),
            val_loss: Some(2.0 / f64::from(epoch + 1)),
            ..Default::default()
        });
        Ok(v1::ListEpochReportsResponse {
            reports: reports.collect(),
            next_page_token,
        })
    }

    async fn artifact(&self, _: v1::GetArtifactRequest) -> Result<Vec<u8>, Status> {
        let row = b"test,1,,0,0\n";
        let rows = ARTIFACT_BYTES_MAX * 3 / 4 / row.len() as u64 - 2;
        let mut text = b"split,row,x,target,prediction\n".to_vec();
        (0..rows).for_each(|_| text.extend_from_slice(row));
        Ok(text)
    }
}

/// Peak of the memory of this process.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn the_largest_report_takes_no_more_memory_than_is_stated() {
    // Nothing of this source waits.
    let mut reading = pin!(StudyData::read(&Largest, "largest", ARTIFACT_BYTES_MAX));
    let Poll::Ready(study) = reading.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits")
    };
    let report = Report::of(&study.unwrap());
    let page = report.page();
    assert!(page.contains("Only the first 10000 trials are drawn"));
    assert!(page.contains("Only the first 40000 epoch reports are drawn"));
    let left_out = "artifact predictions.csv is too large for this page";
    assert_eq!(page.matches(left_out).count(), 4, "one of five fits");
    let peak = peak_mib();
    assert!(
        peak <= MEMORY_MIB_MAX,
        "{peak} MiB, for a page of {} KiB",
        page.len() / 1024
    );
}
