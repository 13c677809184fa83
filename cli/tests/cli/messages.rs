//! The errors of broken study files: `messages.txt` has them for each file in `messages/`, for readers of this repository.
//! TRAWL_WRITE_MESSAGES=1 writes it anew.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use trawl_domain::dataset::{DatasetShape, SampleShape, TargetShape};
use trawl_domain::violation::Violations;
use trawl_proto::study::TrainingRows;
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::StudyService;

use crate::stage::{Chunks, Watched, not_played, output, serve, trawl_at};

/// A coordinator that checks studies as a real one does, of files of 16 rows.
struct Checking;

#[tonic::async_trait]
impl StudyService for Checking {
    type WatchStudyStream = Watched;
    type GetArtifactStream = Chunks;

    async fn put_dataset(
        &self,
        request: Request<Streaming<v1::PutDatasetRequest>>,
    ) -> Result<Response<v1::PutDatasetResponse>, Status> {
        let mut inbound = request.into_inner();
        while inbound.message().await?.is_some() {}
        Ok(Response::new(v1::PutDatasetResponse { already_there: false }))
    }

    async fn create_study(
        &self,
        request: Request<v1::CreateStudyRequest>,
    ) -> Result<Response<v1::CreateStudyResponse>, Status> {
        let wire = request.into_inner().study.unwrap();
        let source = trawl_proto::study::source(&wire);
        let Some(v1::dataset::Kind::Csv(csv)) = wire.dataset.clone().unwrap().kind else {
            panic!("no CSV")
        };
        let file = &csv.train;
        let why = match wire.name.as_str() {
            "missing-cell" => Some(format!("{file}: line 3, column 'x': '' is not a finite number")),
            "no-such-file" => Some(format!("'{file}' is a path, and this coordinator reads none")),
            _ => None,
        };
        let shape = match why {
            Some(why) => {
                let mut violations = Violations::new();
                violations.add("dataset.csv.train", why);
                Err(violations)
            }
            None => Ok(TrainingRows::from(DatasetShape {
                train_rows: 16,
                sample: SampleShape::Vector(1),
                target: TargetShape::Numbers(1),
            })),
        };
        let shape = source.map(|_| shape);
        let refused = trawl_proto::study::check(&wire, shape).expect_err("it is broken");
        Err(trawl_proto::invalid(&refused))
    }

    async fn watch_study(&self, _: Request<v1::WatchStudyRequest>) -> Result<Response<Watched>, Status> {
        Err(Status::unimplemented("watch_study"))
    }

    async fn get_artifact(&self, _: Request<v1::GetArtifactRequest>) -> Result<Response<Chunks>, Status> {
        Err(Status::unimplemented("get_artifact"))
    }

    not_played! {
        get_study: GetStudyRequest -> GetStudyResponse;
        list_studies: ListStudiesRequest -> ListStudiesResponse;
        list_trials: ListTrialsRequest -> ListTrialsResponse;
        pause_study: PauseStudyRequest -> PauseStudyResponse;
        resume_study: ResumeStudyRequest -> ResumeStudyResponse;
        cancel_study: CancelStudyRequest -> CancelStudyResponse;
        delete_study: DeleteStudyRequest -> DeleteStudyResponse;
        get_trial: GetTrialRequest -> GetTrialResponse;
        list_epoch_reports: ListEpochReportsRequest -> ListEpochReportsResponse;
        list_best_trials: ListBestTrialsRequest -> ListBestTrialsResponse;
        refit_study: RefitStudyRequest -> RefitStudyResponse;
        extend_study: ExtendStudyRequest -> ExtendStudyResponse;
        enqueue_trials: EnqueueTrialsRequest -> EnqueueTrialsResponse;
        retry_trials: RetryTrialsRequest -> RetryTrialsResponse;
        replay_study: ReplayStudyRequest -> ReplayStudyResponse;
        list_workers: ListWorkersRequest -> ListWorkersResponse;
        list_artifacts: ListArtifactsRequest -> ListArtifactsResponse;
    }
}

#[tokio::test]
async fn broken_study_files_are_answered_as_the_repository_shows() {
    let address = serve(Arc::new(Checking)).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let entries = std::fs::read_dir(folder.join("messages")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut studies: Vec<String> = names.filter(|name| !name.ends_with(".csv")).collect();
    studies.sort();
    let mut messages = String::new();
    for study in studies {
        let mut command = trawl_at(address, &["submit", &study]);
        command.current_dir(folder.join("messages"));
        let (status, stdout, stderr) = output(command).await;
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{study}: {stderr}");
        write!(messages, "$ trawl submit {study}\n{stderr}\n").unwrap();
    }
    let file = folder.join("messages.txt");
    if std::env::var_os("TRAWL_WRITE_MESSAGES").is_some() {
        std::fs::write(&file, &messages).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap();
    assert!(messages == committed, "{} shows others:\n{messages}", file.display());
}
