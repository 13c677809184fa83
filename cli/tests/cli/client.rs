//! The program against a fake coordinator: its requests, its output, and how it ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_stream::{StreamExt, pending};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};
use trawl_proto::v1;

use crate::stage::{Part, Watched, output, serve, trawl, trawl_at};

/// A coordinator with a study of 1,200 trials, of which every watch sees a little more.
#[derive(Default)]
struct Stage {
    submitted: Mutex<Option<v1::CreateStudyRequest>>,
    /// The bytes of the received dataset files, each after its announced hash.
    datasets: Mutex<Vec<(String, Vec<u8>)>>,
    watches: AtomicU32,
    /// Told of each of them.
    watched: Notify,
    /// The first watch then stays open instead of breaking.
    first_watch_is_silent: AtomicBool,
    /// How the study ends.
    end: &'static str,
}

fn summary(state: &str, completed: u32) -> v1::StudySummary {
    v1::StudySummary {
        study_id: "57362ccc-9322-400a-af31-e9b73fb49a14".into(),
        name: "played".into(),
        state: state.into(),
        trials_total: 1200,
        trials_completed: completed,
        ..Default::default()
    }
}

impl Part for Stage {
    async fn create_study(&self, request: Request<v1::CreateStudyRequest>) -> Result<v1::CreateStudyResponse, Status> {
        if request
            .metadata()
            .get("authorization")
            .is_none_or(|bearer| bearer != "Bearer sesame")
        {
            return Err(Status::unauthenticated("a token is needed"));
        }
        let request = request.into_inner();
        if request.study.as_ref().unwrap().max_trials == 0 {
            let mut details = ErrorDetails::new();
            details.add_bad_request_violation("max_trials", "must be at least 1");
            details.add_bad_request_violation("model", "must have at least one layer");
            return Err(Status::with_error_details(
                Code::InvalidArgument,
                "the study was rejected",
                details,
            ));
        }
        *self.submitted.lock().unwrap() = Some(request);
        Ok(v1::CreateStudyResponse {
            study: Some(summary("running", 0)),
            ..Default::default()
        })
    }

    async fn get_study(&self, _: Request<v1::GetStudyRequest>) -> Result<v1::GetStudyResponse, Status> {
        let space = ["b", "a"].map(|name| (name.to_owned(), v1::Distribution::default()));
        let spec = v1::Study {
            space: space.into(),
            ..Default::default()
        };
        Ok(v1::GetStudyResponse {
            study: Some(summary("running", 3)),
            spec: Some(spec),
            ..Default::default()
        })
    }

    async fn list_trials(&self, request: Request<v1::ListTrialsRequest>) -> Result<v1::ListTrialsResponse, Status> {
        let request = request.into_inner();
        let start: u32 = if request.page_token.is_empty() {
            0
        } else {
            request.page_token.parse().unwrap()
        };
        let end = (start + request.page_size).min(1200);
        let trials = (start..end).map(|trial| v1::Trial {
            trial,
            state: "queued".into(),
            ..Default::default()
        });
        let next_page_token = if end < 1200 { end.to_string() } else { String::new() };
        Ok(v1::ListTrialsResponse {
            trials: trials.collect(),
            next_page_token,
        })
    }

    /// The first stream breaks, the second one stops in good order before the end, the third one reaches the end.
    async fn watch_study(&self, _: Request<v1::WatchStudyRequest>) -> Result<Watched, Status> {
        let seen = |state, completed| {
            Ok(v1::WatchStudyResponse {
                study: Some(summary(state, completed)),
            })
        };
        self.watched.notify_one();
        let answers = match self.watches.fetch_add(1, Ordering::SeqCst) {
            0 if self.first_watch_is_silent.load(Ordering::SeqCst) => {
                let forever = tokio_stream::iter([seen("running", 1)]).chain(pending());
                return Ok(Box::pin(forever));
            }
            0 => vec![seen("running", 1), Err(Status::unavailable("going down"))],
            1 => vec![seen("running", 600)],
            _ => vec![seen("running", 1199), seen(self.end, 1200)],
        };
        Ok(Box::pin(tokio_stream::iter(answers)))
    }

    /// Knows a file of no bytes, and answers it before it came.
    async fn put_dataset(
        &self,
        request: Request<Streaming<v1::PutDatasetRequest>>,
    ) -> Result<v1::PutDatasetResponse, Status> {
        let mut inbound = request.into_inner();
        let head = inbound.message().await?.unwrap();
        let already_there = head.bytes == 0;
        let mut bytes = Vec::new();
        if !already_there {
            while let Some(piece) = inbound.message().await? {
                bytes.extend_from_slice(&piece.chunk);
            }
            assert_eq!(bytes.len() as u64, head.bytes);
        }
        self.datasets.lock().unwrap().push((head.sha256, bytes));
        Ok(v1::PutDatasetResponse { already_there })
    }
}

/// A stage, and its address.
struct Theatre {
    stage: Arc<Stage>,
    address: SocketAddr,
}

impl Theatre {
    async fn open(end: &'static str) -> Self {
        let stage = Arc::new(Stage {
            end,
            ..Default::default()
        });
        let address = serve(Arc::clone(&stage)).await;
        Self { stage, address }
    }

    fn trawl(&self, arguments: &[&str]) -> Command {
        trawl_at(self.address, arguments)
    }
}

#[tokio::test]
async fn a_study_is_submitted_with_the_token_and_its_files() {
    let theatre = Theatre::open("completed").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("study.yaml");
    std::fs::write(
        &file,
        "name: played\nmax_trials: 1200\ndataset: { csv: { train: data/train.csv, test: data/empty.csv } }\n",
    )
    .unwrap();
    let content: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/train.csv"), &content).unwrap();
    std::fs::write(folder.path().join("data/empty.csv"), "").unwrap();
    let file = file.to_str().unwrap();

    let (status, stdout, stderr) = output(theatre.trawl(&["submit", file, "--token", "sesame"])).await;
    assert_eq!(
        (status, stdout.as_str()),
        (Some(0), "study played 57362ccc-9322-400a-af31-e9b73fb49a14\n"),
        "{stderr}"
    );
    let submitted = theatre.stage.submitted.lock().unwrap().take().unwrap();
    let names: HashMap<String, String> = [("train", "data/train.csv"), ("test", "data/empty.csv")]
        .map(|(part, path)| (format!("dataset.csv.{part}"), path.to_owned()))
        .into();
    assert_eq!(submitted.file_names, names);
    let Some(v1::dataset::Kind::Csv(csv)) = submitted.study.unwrap().dataset.unwrap().kind else {
        panic!("no CSV")
    };
    let datasets = std::mem::take(&mut *theatre.stage.datasets.lock().unwrap());
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(csv.train, format!("sha256:{}", datasets[0].0));
    assert_eq!(csv.test, format!("sha256:{empty}"));
    assert!(datasets[0].1 == content, "the file came as it is");
    assert_eq!(datasets[1].0, empty);

    let (status, _, stderr) = output(theatre.trawl(&["submit", file])).await;
    assert_eq!(status, Some(1));
    assert!(stderr.starts_with("error: a token is needed"), "{stderr}");
}

#[tokio::test]
async fn a_rejected_study_lists_its_violations_and_exits_with_2() {
    let theatre = Theatre::open("completed").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("study.yaml");
    std::fs::write(&file, "name: played\n").unwrap();
    let mut command = theatre.trawl(&["submit", file.to_str().unwrap()]);
    command.env("TRAWL_TOKEN", "sesame");
    let (status, stdout, stderr) = output(command).await;
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    let want = "\
error: the study was rejected: 2 fields are wrong

max_trials: must be at least 1
 --> study.yaml:1:1
  |
1 | name: played
  | ^

model: must have at least one layer
 --> study.yaml:1:1
  |
1 | name: played
  | ^
";
    assert_eq!(stderr.replace(&format!("{}/", folder.path().display()), ""), want);
}

#[tokio::test]
async fn a_watch_outlives_broken_streams_and_exits_with_0_only_for_a_completed_study() {
    for (end, want) in [("completed", 0), ("failed", 1)] {
        let theatre = Theatre::open(end).await;
        let (status, stdout, stderr) = output(theatre.trawl(&["watch", "played"])).await;
        assert_eq!(status, Some(want), "{stdout}{stderr}");
        assert_eq!(theatre.stage.watches.load(Ordering::SeqCst), 3);
        let last = stdout.lines().last().unwrap();
        assert_eq!(last, format!("study played {end}; 1200 trials: 1200 completed"));
        assert_eq!(stderr.matches("trying again").count(), 2, "{stderr}");
    }
}

#[tokio::test]
async fn all_pages_are_printed_in_every_format() {
    let theatre = Theatre::open("completed").await;
    let (status, csv, _) = output(theatre.trawl(&["trials", "played", "--csv"])).await;
    assert_eq!(status, Some(0));
    assert!(
        csv.starts_with("trial,state,value,value_std,params.a,params.b,epochs,"),
        "{csv:.200}"
    );
    assert_eq!(csv.lines().count(), 1201);
    let (_, json, _) = output(theatre.trawl(&["trials", "played", "--json"])).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1200);
    assert_eq!(json[1199]["trial"], 1199);
    let (_, table, _) = output(theatre.trawl(&["trials", "played"])).await;
    assert_eq!(table.lines().count(), 1201);
    let (status, _, stderr) = output(theatre.trawl(&["trials", "played", "--csv", "--json"])).await;
    assert_eq!(status, Some(2), "{stderr}");
}

#[tokio::test]
async fn a_reader_that_had_enough_is_no_failure() {
    let theatre = Theatre::open("completed").await;
    let mut child = theatre
        .trawl(&["trials", "played", "--csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_slice()),
        (Some(0), b"".as_slice())
    );

    // A watch must not say that the study completed when it did not see that.
    let mut child = theatre
        .trawl(&["watch", "played"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait_with_output().await.unwrap().status.code(), Some(1));
}

#[tokio::test]
async fn where_nobody_listens_the_error_says_what_was_tried_and_what_would_help() {
    let dead = nowhere().await;
    let (status, stdout, stderr) = output(trawl(&["ls", "--server", &dead])).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with(&format!("error: no coordinator answers at {dead} (")),
        "{stderr}"
    );
    assert!(stderr.contains("`trawl up` starts one"), "{stderr}");
}

/// An address at which nobody listens.
async fn nowhere() -> String {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    format!("http://{free}")
}

#[tokio::test]
async fn of_several_coordinators_the_first_that_answers_is_asked() {
    let theatre = Theatre::open("completed").await;
    let (dead, alive) = (nowhere().await, format!("http://{}", theatre.address));
    let mut command = trawl(&["trials", "played", "--csv"]);
    command.env("TRAWL_SERVER", format!("{dead},{alive}"));
    let (status, csv, stderr) = output(command).await;
    assert_eq!(
        (status, csv.lines().count(), stderr.as_str()),
        (Some(0), 1201, ""),
        "it says nothing of the others"
    );

    let other = nowhere().await;
    let servers = format!("{dead},{other}");
    let (status, stdout, stderr) = output(trawl(&["ls", "--server", &servers])).await;
    assert_eq!((status, stdout.as_str()), (Some(1), ""));
    let lines: Vec<&str> = stderr.lines().collect();
    let [first, of_dead, of_other] = lines[..] else {
        panic!("{stderr}")
    };
    assert!(first.starts_with("error: no coordinator answers; "), "{stderr}");
    assert!(of_dead.starts_with(&format!("  {dead}: ")), "{stderr}");
    assert!(of_other.starts_with(&format!("  {other}: ")), "{stderr}");

    let servers = format!("{alive},ftp://x");
    let (status, _, stderr) = output(trawl(&["ls", "--server", &servers])).await;
    assert_eq!(status, Some(2), "{stderr}");
    assert!(stderr.starts_with("error: --server ftp://x: "), "{stderr}");
}

#[tokio::test]
async fn a_watch_whose_coordinator_dies_goes_on_at_the_next_one() {
    let theatre = Theatre::open("completed").await;
    theatre.stage.first_watch_is_silent.store(true, Ordering::SeqCst);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = listener.local_addr().unwrap();
    let (stage, address) = (Arc::clone(&theatre.stage), theatre.address);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        // Nobody else finds it there.
        drop(listener);
        let mut server = TcpStream::connect(address).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            () = stage.watched.notified() => {}
        }
    });
    let mut command = trawl(&["watch", "played"]);
    command.env("TRAWL_SERVER", format!("http://{first},http://{address}"));
    let (status, stdout, stderr) = output(command).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert_eq!(theatre.stage.watches.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_is_cut_counts_as_a_broken_stream() {
    let theatre = Theatre::open("completed").await;
    theatre.stage.first_watch_is_silent.store(true, Ordering::SeqCst);
    let address = theatre.address;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // The first connection is cut while its stream is open, as kill -9 of a coordinator does.
        for patience in [300, 60_000, 60_000, 60_000].map(Duration::from_millis) {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::time::timeout(patience, tokio::io::copy_bidirectional(&mut client, &mut server)).await;
            });
        }
    });
    let mut command = trawl(&["watch", "played"]);
    command.env("TRAWL_SERVER", format!("http://{proxy}"));
    let (status, stdout, stderr) = output(command).await;
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(
        stderr.starts_with("the connection to the coordinator broke: "),
        "{stderr}"
    );
    assert_eq!(theatre.stage.watches.load(Ordering::SeqCst), 3);
}
