//! The connection to a coordinator: where, with which credential, and what is said when nobody is there.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use trawl_proto::v1::study_service_client::StudyServiceClient;

use crate::args::ServerArgs;
use crate::error::Error;

/// A coordinator, asked as one user.
pub(crate) type Client = StudyServiceClient<InterceptedService<Channel, Credential>>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Submitting reads the dataset; everything else takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A file may take as long as the coordinator lets it.
pub(crate) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// A page of 500 trials with 64 parameters of the longest names and values stays well below it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Adds the token, if there is one, to every request.
#[derive(Clone)]
pub(crate) struct Credential(Option<MetadataValue<Ascii>>);

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// Connects to the coordinator.
///
/// # Errors
/// A malformed address or token, or nobody there.
pub(crate) async fn connect(server: &ServerArgs) -> Result<Client, Error> {
    let credential = credential(server.token.as_deref())?;
    let url = server_url(&server.server)?;
    let endpoint = Endpoint::from_shared(url.clone())
        .map_err(|error| Error::Usage(format!("--server {}: {error}", server.server)))?
        .connect_timeout(CONNECT_TIMEOUT)
        // A watch may be silent for hours: only these pings tell a quiet coordinator from a vanished machine.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|error| {
        let reason = innermost(&error);
        Error::Failed(format!(
            "no coordinator answers at {url} ({reason}); `trawl up` starts one, --server names another"
        ))
    })?;
    Ok(StudyServiceClient::with_interceptor(channel, credential).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// A request that is answered once, within a time limit.
pub(crate) fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

fn server_url(server: &str) -> Result<String, Error> {
    match server.split_once("://") {
        Some(("http", _)) => Ok(server.to_owned()),
        Some((scheme, _)) => Err(Error::Usage(format!(
            "--server {server}: cannot speak {scheme}, only http"
        ))),
        None => Ok(format!("http://{server}")),
    }
}

fn credential(token: Option<&str>) -> Result<Credential, Error> {
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Ok(Credential(None));
    };
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Error::Usage("--token: only visible ASCII characters can be sent".into()))?;
    bearer.set_sensitive(true);
    Ok(Credential(Some(bearer)))
}

/// The first cause: tonic's own message is a bare "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_be_named_without_a_scheme() {
        assert_eq!(server_url("10.0.0.1:50051").unwrap(), "http://10.0.0.1:50051");
        assert_eq!(server_url("http://[::1]:50051").unwrap(), "http://[::1]:50051");
        assert!(matches!(server_url("https://x"), Err(Error::Usage(_))));
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_wrong_usage() {
        assert!(matches!(credential(Some("a\nb")), Err(Error::Usage(_))));
        assert!(credential(Some("")).unwrap().0.is_none());
        assert!(credential(Some("secret")).unwrap().0.unwrap().is_sensitive());
    }
}
