//! What the lists of the program hold: the same names and units in JSON and CSV, and no column or worker that tells nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tonic::{Request, Status};
use trawl_proto::v1;

use crate::stage::{Part, output, serve, trawl_at};

/// A coordinator with a study of two trials, and with workers of which most ended.
struct Stage;

fn trial(number: u32, value: f64, value_std: f64) -> v1::Trial {
    v1::Trial {
        trial: number,
        state: "completed".into(),
        value: Some(value),
        value_std: Some(value_std),
        worker_time: Some(prost_types::Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
        ..Default::default()
    }
}

fn trials() -> Vec<v1::Trial> {
    vec![trial(1, 0.300_423, 0.053_4), trial(0, 0.304_167, 0.110_319)]
}

impl Part for Stage {
    async fn get_study(&self, _: Request<v1::GetStudyRequest>) -> Result<v1::GetStudyResponse, Status> {
        Ok(v1::GetStudyResponse {
            spec: Some(v1::Study::default()),
            ..Default::default()
        })
    }

    async fn list_trials(&self, _: Request<v1::ListTrialsRequest>) -> Result<v1::ListTrialsResponse, Status> {
        Ok(v1::ListTrialsResponse {
            trials: trials(),
            ..Default::default()
        })
    }

    async fn list_best_trials(
        &self,
        _: Request<v1::ListBestTrialsRequest>,
    ) -> Result<v1::ListBestTrialsResponse, Status> {
        Ok(v1::ListBestTrialsResponse { trials: trials() })
    }

    async fn list_studies(&self, _: Request<v1::ListStudiesRequest>) -> Result<v1::ListStudiesResponse, Status> {
        let refit = v1::RefitSummary {
            artifacts: vec![v1::Artifact::default()],
            ..Default::default()
        };
        let study = v1::StudySummary {
            name: "played".into(),
            state: "paused".into(),
            pause_reason: "the disk is full".into(),
            refits: vec![refit],
            ..Default::default()
        };
        Ok(v1::ListStudiesResponse {
            studies: vec![study],
            ..Default::default()
        })
    }

    async fn list_epoch_reports(
        &self,
        _: Request<v1::ListEpochReportsRequest>,
    ) -> Result<v1::ListEpochReportsResponse, Status> {
        let report = v1::EpochReport {
            fold: Some(0),
            val_loss: Some(0.5),
            ..Default::default()
        };
        Ok(v1::ListEpochReportsResponse {
            reports: vec![report],
            ..Default::default()
        })
    }

    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Result<v1::ListWorkersResponse, Status> {
        let workers = ["stopped", "online", "lost", "stopped"].map(|state| v1::Worker {
            state: state.into(),
            ..Default::default()
        });
        Ok(v1::ListWorkersResponse {
            workers: workers.into(),
        })
    }
}

/// What a command writes on standard output, and what on standard error.
async fn written(address: SocketAddr, arguments: &[&str]) -> (String, String) {
    let (status, stdout, stderr) = output(trawl_at(address, arguments)).await;
    assert_eq!(status, Some(0), "{arguments:?}: {stderr}");
    (stdout, stderr)
}

async fn json(address: SocketAddr, arguments: &[&str]) -> Value {
    let (text, _) = written(address, &[arguments, &["--json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// The cells of the first line by the names of their columns.
async fn csv(address: SocketAddr, arguments: &[&str]) -> Vec<(String, String)> {
    let (text, _) = written(address, &[arguments, &["--csv"]].concat()).await;
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
    let (names, cells) = (lines.next().unwrap(), lines.next().unwrap());
    names.zip(cells).collect()
}

fn cell<'a>(line: &'a [(String, String)], name: &str) -> &'a str {
    let found = line.iter().find(|(of, _)| of == name);
    found.map(|(_, cell)| cell.as_str()).unwrap()
}

#[tokio::test]
async fn json_and_csv_have_the_same_names_and_units() {
    let address = serve(Arc::new(Stage)).await;
    for command in [&["trials", "played"][..], &["best", "played"]] {
        let listed = json(address, command).await;
        assert_eq!(listed[0]["worker_seconds"], 1.5, "{command:?}");
        assert!(listed[0].get("worker_time").is_none() && listed[0].get("folds").is_none());
    }
    assert_eq!(
        cell(&csv(address, &["trials", "played"]).await, "worker_seconds"),
        "1.5"
    );
    let ranks = json(address, &["best", "played"]).await;
    assert_eq!([&ranks[0]["rank"], &ranks[1]["rank"]], [1, 2]);
    assert_eq!(cell(&csv(address, &["best", "played"]).await, "rank"), "1");

    let studies = json(address, &["ls"]).await;
    assert_eq!(studies[0]["pause_reason"], "the disk is full");
    assert_eq!(cell(&csv(address, &["ls"]).await, "pause_reason"), "the disk is full");
    let refit = &studies[0]["refits"][0];
    assert!(refit.is_object() && refit.get("artifacts").is_none(), "{refit}");
}

#[tokio::test]
async fn tables_line_up_and_have_no_column_without_a_value() {
    let address = serve(Arc::new(Stage)).await;
    let (table, _) = written(address, &["best", "played"]).await;
    let want = "\
rank  trial  value
   1      1  0.300 ± 0.053
   2      0  0.304 ± 0.110
";
    assert_eq!(table, want);
    let (table, _) = written(address, &["curves", "played", "0"]).await;
    assert!(table.contains("val loss") && !table.contains("val accuracy"), "{table}");
}

#[tokio::test]
async fn workers_that_ended_are_counted_and_listed_at_the_users_word() {
    let address = serve(Arc::new(Stage)).await;
    let (table, stderr) = written(address, &["workers"]).await;
    assert_eq!(table.lines().count(), 2, "{table}");
    assert_eq!(stderr, "3 ended workers, 1 of them lost: --all lists them\n");
    assert_eq!(json(address, &["workers"]).await.as_array().unwrap().len(), 1);
    assert_eq!(cell(&csv(address, &["workers"]).await, "state"), "online");

    let (table, stderr) = written(address, &["workers", "--all"]).await;
    assert_eq!((table.lines().count(), stderr.as_str()), (5, ""));
    assert_eq!(json(address, &["workers", "--all"]).await.as_array().unwrap().len(), 4);
}
