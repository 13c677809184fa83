//! A stand-in for the coordinator, whose part each test file plays, and the program against it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::{StudyService, StudyServiceServer};

pub(crate) type Watched = Pin<Box<dyn Stream<Item = Result<v1::WatchStudyResponse, Status>> + Send>>;
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<v1::GetArtifactResponse, Status>> + Send>>;

/// The methods that a test file may play: those that it does not are unimplemented.
macro_rules! parts {
    ($($method:ident: $request:ty => $response:ty;)*) => {
        /// A coordinator's part.
        pub(crate) trait Part: Send + Sync + 'static {
            $(fn $method(&self, _: Request<$request>) -> impl Future<Output = Result<$response, Status>> + Send {
                async { Err(Status::unimplemented(stringify!($method))) }
            })*
        }

        #[tonic::async_trait]
        impl<P: Part> StudyService for Played<P> {
            type WatchStudyStream = Watched;
            type GetArtifactStream = Chunks;

            $(async fn $method(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new(self.0.$method(request).await?))
            })*
        }
    };
}

parts! {
    create_study: v1::CreateStudyRequest => v1::CreateStudyResponse;
    get_study: v1::GetStudyRequest => v1::GetStudyResponse;
    list_studies: v1::ListStudiesRequest => v1::ListStudiesResponse;
    watch_study: v1::WatchStudyRequest => Watched;
    pause_study: v1::PauseStudyRequest => v1::PauseStudyResponse;
    resume_study: v1::ResumeStudyRequest => v1::ResumeStudyResponse;
    cancel_study: v1::CancelStudyRequest => v1::CancelStudyResponse;
    delete_study: v1::DeleteStudyRequest => v1::DeleteStudyResponse;
    list_trials: v1::ListTrialsRequest => v1::ListTrialsResponse;
    get_trial: v1::GetTrialRequest => v1::GetTrialResponse;
    list_epoch_reports: v1::ListEpochReportsRequest => v1::ListEpochReportsResponse;
    list_best_trials: v1::ListBestTrialsRequest => v1::ListBestTrialsResponse;
    extend_study: v1::ExtendStudyRequest => v1::ExtendStudyResponse;
    enqueue_trials: v1::EnqueueTrialsRequest => v1::EnqueueTrialsResponse;
    retry_trials: v1::RetryTrialsRequest => v1::RetryTrialsResponse;
    refit_study: v1::RefitStudyRequest => v1::RefitStudyResponse;
    replay_study: v1::ReplayStudyRequest => v1::ReplayStudyResponse;
    list_workers: v1::ListWorkersRequest => v1::ListWorkersResponse;
    list_artifacts: v1::ListArtifactsRequest => v1::ListArtifactsResponse;
    get_artifact: v1::GetArtifactRequest => Chunks;
    put_dataset: Streaming<v1::PutDatasetRequest> => v1::PutDatasetResponse;
}

/// A part on the stage.
struct Played<P>(Arc<P>);

/// Serves on loopback as long as the test's runtime; the address.
pub(crate) async fn serve(part: Arc<impl Part>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder().add_service(StudyServiceServer::new(Played(part)));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// The program, untouched by variables of the shell that runs the tests.
pub(crate) fn trawl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trawl"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TRAWL_")) {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The same against the coordinator at this address.
pub(crate) fn trawl_at(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = trawl(arguments);
    command.env("TRAWL_SERVER", format!("http://{address}"));
    command
}

/// Its status, and what it writes.
pub(crate) async fn output(mut command: Command) -> (Option<i32>, String, String) {
    let ended = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    let Output { status, stdout, stderr } = ended.expect("it ends within a minute").unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}
