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
use tonic::Status;
use trawl_proto::v1;
use trawl_proto::v1::study_service_server::{StudyService, StudyServiceServer};

pub(crate) type Watched = Pin<Box<dyn Stream<Item = Result<v1::WatchStudyResponse, Status>> + Send>>;
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<v1::GetArtifactResponse, Status>> + Send>>;

/// Methods that a test file does not need.
macro_rules! not_played {
    ($($method:ident: $request:ident -> $response:ident;)*) => {
        // As `async_trait` would write it: that sees the macro's name alone.
        $(fn $method<'a, 'async_trait>(
            &'a self,
            _: tonic::Request<v1::$request>,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = Result<tonic::Response<v1::$response>, tonic::Status>> + Send + 'async_trait>,
        >
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(tonic::Status::unimplemented(stringify!($method))) })
        })*
    };
}
pub(crate) use not_played;

/// Serves on loopback as long as the test's runtime; the address.
pub(crate) async fn serve(stage: Arc<impl StudyService>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder().add_service(StudyServiceServer::from_arc(stage));
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
