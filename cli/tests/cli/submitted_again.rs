//! The program submits a study that is there already: its output, and how it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};
use trawl_proto::v1;

use crate::stage::{Part, Watched, output, serve, trawl_at};

/// A coordinator that starts one study, in which state it then is; one of seven trials is another one of that name.
#[derive(Default)]
struct Stage {
    state: &'static str,
    is_there: AtomicBool,
    is_watched: AtomicBool,
}

fn summary(state: &str) -> v1::StudySummary {
    v1::StudySummary {
        study_id: "57362ccc-9322-400a-af31-e9b73fb49a14".into(),
        name: "played".into(),
        state: state.into(),
        ..Default::default()
    }
}

impl Part for Stage {
    async fn create_study(&self, request: Request<v1::CreateStudyRequest>) -> Result<v1::CreateStudyResponse, Status> {
        if request.into_inner().study.unwrap().max_trials == 7 {
            let mut details = ErrorDetails::new();
            details.add_bad_request_violation("max_trials", "3 here, 7 in this file");
            details.add_bad_request_violation("dataset.csv.train", "another file");
            return Err(Status::with_error_details(
                Code::AlreadyExists,
                "there is another study 'played'",
                details,
            ));
        }
        let already_there = self.is_there.swap(true, Ordering::SeqCst);
        Ok(v1::CreateStudyResponse {
            study: Some(summary(if already_there { self.state } else { "running" })),
            already_there,
            notes: vec!["rows are few".into()],
            outline: None,
        })
    }

    async fn watch_study(&self, _: Request<v1::WatchStudyRequest>) -> Result<Watched, Status> {
        self.is_watched.store(true, Ordering::SeqCst);
        let ended = v1::WatchStudyResponse {
            study: Some(summary("completed")),
        };
        Ok(Box::pin(tokio_stream::iter([Ok(ended)])))
    }
}

#[tokio::test]
async fn a_study_that_is_there_is_no_start_and_what_would_help_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("study.yaml");
    std::fs::write(&file, "name: played\nmax_trials: 1200\n").unwrap();
    let path = file.to_str().unwrap();
    let here = |state: &str| format!("study played is already here: {state}");
    let nothing = |state: &str| format!("note: {}; nothing was started\n", here(state));
    let anew = "`trawl delete played` makes room for it; under another name it is another study";
    for (state, status, said) in [
        ("running", 0, nothing("running")),
        (
            "paused",
            0,
            nothing("paused") + "help: `trawl resume played` lets it go on\n",
        ),
        (
            "completed",
            0,
            nothing("completed") + &format!("help: to run it anew, {anew}\n"),
        ),
        ("cancelled", 1, format!("error: {}\nhelp: {anew}\n", here("cancelled"))),
        ("failed", 1, format!("error: {}\nhelp: {anew}\n", here("failed"))),
    ] {
        let stage = Arc::new(Stage {
            state,
            ..Default::default()
        });
        let address = serve(Arc::clone(&stage)).await;
        let submit = async |flags: &[&str]| {
            let arguments = [&["submit", path], flags].concat();
            output(trawl_at(address, &arguments)).await
        };
        let (first, stdout, stderr) = submit(&[]).await;
        assert_eq!((first, stderr.as_str()), (Some(0), "note: rows are few\n"));
        for flags in [&[][..], &["--dry-run"]] {
            let (again, repeated, stderr) = submit(flags).await;
            assert_eq!(
                (again, stderr),
                (Some(status), format!("note: rows are few\n{said}")),
                "{state}"
            );
            assert_eq!(repeated, if status == 0 { stdout.as_str() } else { "" }, "{state}");
        }
        // A paused study would be watched until somebody resumes it.
        if state != "paused" {
            submit(&["--watch"]).await;
            assert_eq!(stage.is_watched.load(Ordering::SeqCst), status == 0, "{state}");
        }
    }
}

#[tokio::test]
async fn another_study_of_the_name_is_told_apart_field_by_field() {
    let address = serve(Arc::new(Stage::default())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("study.yaml");
    std::fs::write(&file, "name: played\nmax_trials: 7\n").unwrap();
    let (status, stdout, stderr) = output(trawl_at(address, &["submit", file.to_str().unwrap()])).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert_eq!(
        stderr,
        "\
error: there is another study 'played'
  max_trials: 3 here, 7 in this file
  dataset.csv.train: another file
help: under another `name` it is a study of its own
"
    );
}
