//! The connection to a coordinator: its address, the credential, and the errors when nobody answers.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client;
use trawl_domain::secret::Secret;
use trawl_proto::credential::Bearer;
use trawl_proto::dial::{endpoint, reason, status_message};
use trawl_proto::retry_after;
use trawl_proto::v1::access_service_client::AccessServiceClient;
use trawl_proto::v1::study_service_client::StudyServiceClient;

use crate::args::ServerArgs;
use crate::error::Error;
use crate::private;

/// A coordinator, asked as one user.
pub(crate) type Client = StudyServiceClient<InterceptedService<Channel, Bearer>>;
/// The same for tokens.
pub(crate) type AccessClient = AccessServiceClient<InterceptedService<Channel, Bearer>>;
/// The same for its health, which anybody may ask for.
pub(crate) type HealthClient = health_client::HealthClient<Channel>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Submitting reads the dataset; everything else takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A file may take as long as the coordinator lets it.
pub(crate) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// A page of 500 trials with 64 parameters of the longest names and values stays well below it.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Connects to the coordinator: of several, to the first that answers.
///
/// # Errors
/// A malformed address or token, a broken TLS file, or nobody there.
pub(crate) async fn connect(server: &ServerArgs) -> Result<Client, Error> {
    let (channel, bearer) = dial(server).await?;
    Ok(StudyServiceClient::with_interceptor(channel, bearer).max_decoding_message_size(ANSWER_BYTES_MAX))
}

/// The same, to ask about tokens.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_access(server: &ServerArgs) -> Result<AccessClient, Error> {
    let (channel, bearer) = dial(server).await?;
    Ok(AccessServiceClient::with_interceptor(channel, bearer))
}

/// The same, to ask for its health.
///
/// # Errors
/// As [`connect`].
pub(crate) async fn connect_health(server: &ServerArgs) -> Result<HealthClient, Error> {
    let ways = server.servers.iter().map(|url| Way::new(server, url.clone(), None));
    let (channel, _) = first(ways.collect::<Result<_, _>>()?).await?;
    Ok(HealthClient::new(channel))
}

async fn dial(server: &ServerArgs) -> Result<(Channel, Bearer), Error> {
    let given = server.token()?;
    let ways = server.servers.iter().map(|url| {
        let found = given.is_none().then(|| private::find(url)).flatten();
        match found {
            Some(found) => Way::new(server, found.url, Some(&found.token)),
            None => Way::new(server, url.clone(), given.as_ref()),
        }
    });
    first(ways.collect::<Result<_, _>>()?).await
}

/// A coordinator that can be asked, and as whom.
struct Way {
    url: String,
    endpoint: Endpoint,
    bearer: Bearer,
}

impl Way {
    /// For calls with this token.
    fn new(server: &ServerArgs, url: String, token: Option<&Secret>) -> Result<Self, Error> {
        let endpoint = endpoint(&url, &server.tls()?, token)
            .map_err(|error| Error::Usage(format!("--server {url}: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            // A watch may be silent for hours: only these pings distinguish a quiet coordinator from a vanished machine.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true);
        let bearer = Bearer::new(token).map_err(|error| Error::Usage(error.to_string()))?;
        Ok(Self { url, endpoint, bearer })
    }

    /// A connection, or why there is none.
    async fn open(&self) -> Result<Channel, String> {
        let channel = self.endpoint.connect().await.map_err(|error| reason(&error))?;
        if self.endpoint.uri().scheme_str() != Some("https") {
            let greeted = greet(&channel).await;
            greeted.map_err(|error| format!("{error}; if it speaks TLS, its URL begins with https://"))?;
        }
        Ok(channel)
    }
}

/// A connection to the first coordinator that answers.
async fn first(ways: Vec<Way>) -> Result<(Channel, Bearer), Error> {
    let mut silent = Vec::new();
    for way in ways {
        match way.open().await {
            Ok(channel) => return Ok((channel, way.bearer)),
            Err(reason) => silent.push((way.url, reason)),
        }
    }
    Err(Error::Failed(nobody(&silent)))
}

/// That no coordinator answers, of those with these URLs and for these reasons.
fn nobody(silent: &[(String, String)]) -> String {
    if let [(url, reason)] = silent {
        return match certificate_help(reason) {
            Some(help) => format!("{url} shows a certificate that is refused ({reason}){help}"),
            None => {
                format!("no coordinator answers at {url} ({reason}); `trawl up` starts one, --server names another")
            }
        };
    }
    let lines = silent.iter().map(|(url, reason)| {
        let help = certificate_help(reason).unwrap_or_default();
        format!("\n  {url}: {reason}{help}")
    });
    format!(
        "no coordinator answers; `trawl up` starts one, --server names others{}",
        lines.collect::<String>()
    )
}

/// What helps where a certificate is refused; `None` where none is.
fn certificate_help(reason: &str) -> Option<&'static str> {
    reason.contains("invalid peer certificate").then(|| {
        if reason.contains("CaUsedAsEndEntity") {
            "; a self-signed one has to say basicConstraints=critical,CA:FALSE: deploy/README.md makes such a one"
        } else if reason.contains("UnknownIssuer") {
            "; --tls-ca names a file with the authority that signed it"
        } else if reason.contains("not valid for name") {
            "; --tls-server-name is a name that it is for"
        } else {
            ""
        }
    })
}

/// A connection without TLS exists before the other side has sent anything. Any answer to this call shows that it speaks gRPC; a TLS
/// server would end the connection amid the first real call, which could have any cause.
async fn greet(channel: &Channel) -> Result<(), String> {
    let mut client = HealthClient::new(channel.clone());
    match timeout(CONNECT_TIMEOUT, client.check(HealthCheckRequest::default())).await {
        Ok(Err(status)) if status.source().is_some() => Err(status_message(&status)),
        Ok(_) => Ok(()),
        Err(_) => Err(format!("it says nothing for {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// How long a call is made again and again at the coordinator's word.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes one of many calls that read; after a refusal it waits for as long as the refusal says.
pub(crate) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let began = Instant::now();
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        match retry_after(&status) {
            Some(after) if began.elapsed() < PATIENCE => sleep(after).await,
            _ => return Err(status),
        }
    }
}

/// A request that is answered once, within a time limit.
pub(crate) fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}
