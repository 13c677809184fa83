//! `trawl report` against a fake coordinator: all pages and chunks are fetched, and the files are whole.

use std::path::Path;
use std::sync::Arc;

use tonic::{Request, Status};
use trawl_proto::v1;
use trawl_proto::v1::list_epoch_reports_request::Of;

use crate::stage::{Chunks, Part, output, serve, trawl_at};

const ID: &str = "57362ccc-9322-400a-af31-e9b73fb49a14";
const MATRIX: &[u8] = br#"{"classes": ["cat", "dog"], "counts": [[95, 5], [7, 93]]}"#;

/// A coordinator with a study of 700 trials, whose refit left a confusion matrix.
struct Stage;

fn artifact() -> v1::Artifact {
    v1::Artifact {
        kind: "confusion_matrix".into(),
        name: "confusion_matrix.json".into(),
        bytes: MATRIX.len() as u64,
        ..Default::default()
    }
}

fn trial(number: u32) -> v1::Trial {
    v1::Trial {
        trial: number,
        state: "completed".into(),
        value: Some(1.0 / f64::from(number + 1)),
        ..Default::default()
    }
}

impl Part for Stage {
    async fn get_study(&self, request: Request<v1::GetStudyRequest>) -> Result<v1::GetStudyResponse, Status> {
        if request.into_inner().study != "played" {
            return Err(Status::not_found("there is no such study"));
        }
        let refit = v1::RefitSummary {
            state: "completed".into(),
            artifacts: vec![artifact()],
            ..Default::default()
        };
        Ok(v1::GetStudyResponse {
            study: Some(v1::StudySummary {
                study_id: ID.into(),
                name: "played".into(),
                state: "paused".into(),
                refits: vec![refit],
                ..Default::default()
            }),
            spec: Some(v1::Study::default()),
            ..Default::default()
        })
    }

    async fn list_trials(&self, request: Request<v1::ListTrialsRequest>) -> Result<v1::ListTrialsResponse, Status> {
        let request = request.into_inner();
        assert_eq!(request.study, ID, "by id: the name could be another study's by now");
        let start: u32 = request.page_token.parse().unwrap_or(0);
        let end = (start + request.page_size).min(700);
        Ok(v1::ListTrialsResponse {
            trials: (start..end).map(trial).collect(),
            next_page_token: if end < 700 { end.to_string() } else { String::new() },
        })
    }

    async fn list_best_trials(
        &self,
        _: Request<v1::ListBestTrialsRequest>,
    ) -> Result<v1::ListBestTrialsResponse, Status> {
        let trials = vec![trial(699)];
        Ok(v1::ListBestTrialsResponse { trials })
    }

    async fn list_epoch_reports(
        &self,
        request: Request<v1::ListEpochReportsRequest>,
    ) -> Result<v1::ListEpochReportsResponse, Status> {
        let request = request.into_inner();
        let reports = match (request.of, request.page_token.as_str()) {
            (Some(Of::Trial(699) | Of::Refit(0)), page) => {
                let epochs = if page.is_empty() { 0..2 } else { 2..4 };
                let report = |epoch| v1::EpochReport {
                    fold: Some(0),
                    epoch,
                    train_loss: 0.5,
                    val_loss: Some(0.75),
                    ..Default::default()
                };
                epochs.map(report).collect()
            }
            (other, _) => return Err(Status::not_found(format!("{other:?}"))),
        };
        let next_page_token = if request.page_token.is_empty() { "2" } else { "" };
        Ok(v1::ListEpochReportsResponse {
            reports,
            next_page_token: next_page_token.into(),
        })
    }

    async fn get_artifact(&self, request: Request<v1::GetArtifactRequest>) -> Result<Chunks, Status> {
        assert_eq!(request.into_inner().name, "confusion_matrix.json");
        let (first, second) = MATRIX.split_at(20);
        let chunk = |artifact, chunk: &[u8]| {
            Ok(v1::GetArtifactResponse {
                artifact,
                chunk: chunk.to_vec(),
            })
        };
        let chunks = [chunk(Some(artifact()), first), chunk(None, second)];
        Ok(Box::pin(tokio_stream::iter(chunks)))
    }
}

/// Runs the program in this folder.
async fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = trawl_at(serve(Arc::new(Stage)).await, arguments);
    command.current_dir(folder);
    output(command).await
}

#[tokio::test]
async fn a_report_is_made_of_all_pages_and_all_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["report", "played", "-o", "report.html", "--png", "figures"];
    let (status, stdout, stderr) = run(folder.path(), &arguments).await;
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, "report report.html\nfigures figures: 6\n");
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("This study is paused: the report shows what there is so far."));
    assert!(page.contains("700 trials completed, 0 failed."));
    assert!(page.contains("188 of 200 test rows are taken for their own class (94 %)."));
    for figure in ["value-by-trial", "learning-curves-loss", "refit-0-confusion-matrix"] {
        assert!(
            folder.path().join(format!("figures/{figure}.png")).is_file(),
            "{figure}"
        );
    }
    // The draft that became the page is gone.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn an_unknown_study_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (status, stdout, stderr) = run(folder.path(), &["report", "other", "-o", "report.html"]).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert_eq!(stderr, "error: there is no such study\n");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
