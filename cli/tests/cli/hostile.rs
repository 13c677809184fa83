//! The program against a coordinator whose answers hold hostile texts of workers: no terminal obeys them, no spreadsheet takes them for a
//! formula, and no file is written outside its folder.

use std::sync::Arc;

use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};
use trawl_dataset::FileHash;
use trawl_proto::v1;

use crate::stage::{Chunks, Part, Watched, output, serve, trawl_at};

/// Sets a terminal's title, erases the line, and writes another one.
const TITLE: &str = "\x1b]0;PWNED\x07\x1b[2K\rfine\u{9b}31m\u{202e}";
const CONTENT: &[u8] = b"weights";

struct Hostile;

fn worker(host: &str) -> v1::Worker {
    v1::Worker {
        worker_id: "57362ccc-9322-400a-af31-e9b73fb49a14".into(),
        host: host.into(),
        device: "cpu".into(),
        state: "idle".into(),
        ..Default::default()
    }
}

impl Part for Hostile {
    async fn list_workers(&self, _: Request<v1::ListWorkersRequest>) -> Result<v1::ListWorkersResponse, Status> {
        let workers = vec![worker(TITLE), worker("=HYPERLINK(\"http://evil\")")];
        Ok(v1::ListWorkersResponse { workers })
    }

    async fn get_study(&self, _: Request<v1::GetStudyRequest>) -> Result<v1::GetStudyResponse, Status> {
        let study = v1::StudySummary {
            name: "played".into(),
            state: "failed".into(),
            error: TITLE.into(),
            ..Default::default()
        };
        Ok(v1::GetStudyResponse {
            study: Some(study),
            ..Default::default()
        })
    }

    async fn watch_study(&self, _: Request<v1::WatchStudyRequest>) -> Result<Watched, Status> {
        let study = v1::StudySummary {
            name: TITLE.into(),
            state: "failed".into(),
            error: TITLE.into(),
            ..Default::default()
        };
        let answers = [Ok(v1::WatchStudyResponse { study: Some(study) })];
        Ok(Box::pin(tokio_stream::iter(answers)))
    }

    async fn pause_study(&self, _: Request<v1::PauseStudyRequest>) -> Result<v1::PauseStudyResponse, Status> {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation(TITLE, TITLE);
        Err(Status::with_error_details(Code::InvalidArgument, TITLE, details))
    }

    async fn list_studies(&self, _: Request<v1::ListStudiesRequest>) -> Result<v1::ListStudiesResponse, Status> {
        // A time that no calendar has: its JSON form does not exist.
        let created_at = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: i32::MAX,
        });
        let studies = vec![v1::StudySummary {
            created_at,
            ..Default::default()
        }];
        Ok(v1::ListStudiesResponse {
            studies,
            next_page_token: String::new(),
        })
    }

    async fn list_artifacts(&self, _: Request<v1::ListArtifactsRequest>) -> Result<v1::ListArtifactsResponse, Status> {
        let long = "n".repeat(256);
        let names = [
            "..", "a.json", ".", ".bashrc", "-rf", "../up", "/tmp/x", "n\0", TITLE, "", &long, "b.json",
        ];
        let artifacts = names.map(|name| v1::Artifact {
            name: name.into(),
            refit: Some(0),
            bytes: CONTENT.len() as u64,
            sha256: FileHash::of(CONTENT).to_string(),
            ..Default::default()
        });
        Ok(v1::ListArtifactsResponse {
            artifacts: artifacts.into(),
            next_page_token: String::new(),
        })
    }

    async fn get_artifact(&self, _: Request<v1::GetArtifactRequest>) -> Result<Chunks, Status> {
        let piece = v1::GetArtifactResponse {
            artifact: None,
            chunk: CONTENT.to_vec(),
        };
        Ok(Box::pin(tokio_stream::iter([Ok(piece)])))
    }
}

/// What a terminal would obey; a line break is the program's own.
fn is_obeyed(c: char) -> bool {
    (c.is_control() && c != '\n') || c == '\u{202e}'
}

#[tokio::test]
async fn no_text_of_others_reaches_a_terminal_as_an_escape_sequence() {
    let address = serve(Arc::new(Hostile)).await;
    for (arguments, status) in [
        (&["workers"][..], 0),
        (&["workers", "--json"], 0),
        (&["show", "played"], 0),
        (&["show", "played", "--json"], 0),
        (&["watch", "played"], 1),
        (&["pause", "played"], 2),
        (&["artifacts", "played"], 0),
    ] {
        let (ended, stdout, stderr) = output(trawl_at(address, arguments)).await;
        assert_eq!(ended, Some(status), "{arguments:?}: {stderr:?}");
        let said = format!("{stdout}{stderr}");
        assert!(!said.contains(is_obeyed), "{arguments:?}: {said:?}");
        assert!(said.contains("PWNED"), "{arguments:?}: {said:?}");
    }
    let (_, json, _) = output(trawl_at(address, &["workers", "--json"])).await;
    let workers: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(workers[0]["host"], TITLE, "programs get what is there");
}

#[tokio::test]
async fn csv_is_exact_and_for_a_spreadsheet_without_formulas() {
    let address = serve(Arc::new(Hostile)).await;
    for (flag, cell) in [
        ("--csv", "\"=HYPERLINK(\"\"http://evil\"\")\""),
        ("--spreadsheet", "\"'=HYPERLINK(\"\"http://evil\"\")\""),
    ] {
        let (status, csv, stderr) = output(trawl_at(address, &["workers", flag])).await;
        assert_eq!(status, Some(0), "{stderr}");
        assert!(csv.contains(&format!(",{cell},")), "{flag}: {csv}");
        assert!(csv.contains(TITLE), "{flag}: {csv}");
    }
    let (status, _, stderr) = output(trawl_at(address, &["workers", "--spreadsheet", "--json"])).await;
    assert_eq!(status, Some(2), "{stderr}");
}

#[tokio::test]
async fn an_answer_without_a_json_form_is_an_error_and_no_panic() {
    let address = serve(Arc::new(Hostile)).await;
    let (status, _, stderr) = output(trawl_at(address, &["ls", "--json"])).await;
    assert_eq!(status, Some(1), "{stderr}");
    assert!(
        stderr.contains("an answer of the coordinator has no JSON form"),
        "{stderr}"
    );
    let (status, _, stderr) = output(trawl_at(address, &["ls"])).await;
    assert_eq!(status, Some(0), "{stderr}");
}

#[tokio::test]
async fn artifacts_whose_names_are_none_for_a_file_are_left_out_and_the_others_written() {
    let address = serve(Arc::new(Hostile)).await;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("artifacts");
    let arguments = ["artifacts", "played", "--refit", "0", "-o", folder.to_str().unwrap()];
    let (status, stdout, stderr) = output(trawl_at(address, &arguments)).await;
    assert_eq!(status, Some(1), "{stderr}");
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
    assert!(
        stderr.ends_with("error: 10 of 12 artifacts were left out\n"),
        "{stderr}"
    );
    assert!(stderr.contains("artifact .bashrc is left out"), "{stderr}");
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&folder), ["a.json", "b.json"]);
    assert_eq!(names(parent.path()), ["artifacts"]);
    assert_eq!(std::fs::read(folder.join("b.json")).unwrap(), CONTENT);
}
