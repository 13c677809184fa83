//! The connection to the coordinator: a channel that reconnects by itself, the token on every call, what the log says of failures, and
//! pauses between tries.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tokio::time::Instant;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tracing::{info, warn};
use trawl_domain::id::WorkerId;
use trawl_domain::secret::Secret;
use trawl_proto::credential::Bearer;
use trawl_proto::dial::{TlsChoice, endpoint, status_message};
use trawl_proto::retry_after;
use trawl_proto::v1::worker_service_client::WorkerServiceClient;

/// Time limit of a call that waits for nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Time limit for connecting, on calls that wait for a job or live as a stream.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A job has up to 64 members, each well under 1 KiB; a piece of a file 64 KiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Least time with one coordinator before turning to another one.
const TURN_AT_LEAST: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A client that sends the token, and the trace context of each call.
pub type Client = WorkerServiceClient<InterceptedService<Channel, Headers>>;

/// Headers of every call.
#[derive(Clone, Debug)]
pub struct Headers {
    token: Bearer,
}

impl Interceptor for Headers {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.token.call(request)?;
        trawl_telemetry::inject(request.metadata_mut());
        Ok(request)
    }
}

/// A connection to the coordinators of one database: all calls go to one of them, until it does not answer.
#[derive(Clone, Debug)]
pub struct Connection {
    ways: Arc<[Way]>,
    turn: Arc<Mutex<Turn>>,
    headers: Headers,
}

/// A connection to one coordinator.
#[derive(Debug)]
struct Way {
    url: String,
    brief: Channel,
    patient: Channel,
}

/// The coordinator in use.
#[derive(Debug, Default)]
struct Turn {
    way: usize,
    since: Option<Instant>,
    /// True once a coordinator answered.
    has_answered: bool,
    /// True from a failure of the connection until a coordinator answers.
    is_away: bool,
}

impl Connection {
    /// A connection that opens on first use, to the first of these URLs that answers.
    ///
    /// # Errors
    /// No URL or a malformed one, an unreadable TLS file, or a token that does not fit in a header or would go in the clear.
    pub fn new(urls: &[String], tls: &TlsChoice, token: Option<&Secret>) -> anyhow::Result<Self> {
        Self::opened_by(urls, tls, token, &|endpoint| endpoint.connect_lazy())
    }

    /// The same with channels that `open` makes: for networks other than the machine's.
    ///
    /// # Errors
    /// As [`Connection::new`].
    pub fn opened_by(
        urls: &[String],
        tls: &TlsChoice,
        token: Option<&Secret>,
        open: &dyn Fn(Endpoint) -> Channel,
    ) -> anyhow::Result<Self> {
        let way = |url: &String| {
            let endpoint = endpoint(url, tls, token)?
                .connect_timeout(CONNECT_WITHIN)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(10))
                .keep_alive_while_idle(true)
                .tcp_nodelay(true);
            anyhow::Ok(Way {
                url: url.clone(),
                brief: open(endpoint.clone().timeout(ANSWER_WITHIN)),
                patient: open(endpoint),
            })
        };
        let ways: Arc<[Way]> = urls.iter().map(way).collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(!ways.is_empty(), "--coordinator names no URL");
        Ok(Self {
            ways,
            turn: Arc::default(),
            headers: Headers {
                token: Bearer::new(token)?,
            },
        })
    }

    /// For calls that get an immediate answer.
    pub fn client(&self) -> Client {
        self.client_on(&self.way().brief)
    }

    /// For calls that wait, and for streams: without a time limit.
    pub fn patient_client(&self) -> Client {
        self.client_on(&self.way().patient)
    }

    fn client_on(&self, channel: &Channel) -> Client {
        WorkerServiceClient::with_interceptor(channel.clone(), self.headers.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn way(&self) -> &Way {
        &self.ways[self.turn.lock().unwrap_or_else(PoisonError::into_inner).way]
    }

    /// URL of the coordinator in use.
    pub fn url(&self) -> &str {
        &self.way().url
    }

    /// Notes that a call failed that will be made again. If the connection was at fault, calls turn to
    /// another coordinator, if there is one.
    pub fn failed(&self, what: &str, status: &Status) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // When a coordinator ends, all calls to it fail at once; they count as one failure.
        if turn.since.is_some_and(|since| now - since < TURN_AT_LEAST) {
            return;
        }
        let url = &self.ways[turn.way].url;
        let reason = reason(status, url, turn.has_answered);
        let is_of_connection = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown
        );
        warn!(coordinator.url = %url, error = %reason, "{what}; trying again");
        turn.is_away |= is_of_connection;
        if is_of_connection && self.ways.len() > 1 {
            turn.way = (turn.way + 1) % self.ways.len();
            turn.since = Some(now);
        }
    }

    /// Notes that a call was answered.
    pub fn answered(&self) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.has_answered = true;
        if std::mem::take(&mut turn.is_away) {
            info!(coordinator.url = %self.ways[turn.way].url, "a coordinator answers again");
        }
    }
}

/// Why a call to this URL failed, and what helps where that is known.
fn reason(status: &Status, url: &str, has_answered: bool) -> String {
    let reason = status_message(status);
    if status.code() == Code::Unauthenticated {
        return format!("{reason}; `trawl token create NAME --role worker` makes one, and --token-file names its file");
    }
    // Without TLS, there is a connection before the other side has said anything.
    let broke = status.source().is_some() && !causes(status).any(is_of_connecting);
    if broke && !has_answered && !url.starts_with("https://") {
        return format!("{reason}; if it speaks TLS, its URL begins with https://");
    }
    reason
}

/// The causes of a status that was made on this side.
fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

/// True for what hyper says where there is no connection.
fn is_of_connecting(cause: &(dyn Error + 'static)) -> bool {
    let text = cause.to_string();
    ["tcp connect error", "dns error", "deadline has elapsed", "timed out"]
        .iter()
        .any(|said| text.contains(said))
}

/// Pauses that double, each shortened by a random share, so that workers do not retry all at once.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    jitter: ChaCha8Rng,
}

impl Backoff {
    /// Begins at the shortest pause; workers differ in their jitter.
    pub fn new(worker_id: WorkerId) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(worker_id.0.as_bytes());
        Self {
            pause: PAUSE_MIN,
            jitter: ChaCha8Rng::from_seed(seed),
        }
    }

    /// After a success, returns to the shortest pause.
    pub fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// After a failure, pauses between half and all of the present pause, and doubles it. A wait that the coordinator
    /// asked for comes first: it is the same for all workers, and only the pauses differ.
    pub async fn wait(&mut self, failed: &Status) {
        let share = 0.5 + 0.5 * f64::from(self.jitter.next_u32()) / f64::from(u32::MAX);
        let told = retry_after(failed).unwrap_or_default();
        tokio::time::sleep(told + self.pause.mul_f64(share)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use trawl_proto::retry_later;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_token_that_is_not_known_comes_with_what_helps() {
        let refused = Status::unauthenticated("the token is unknown here");
        assert_eq!(
            reason(&refused, "http://a:1", false),
            "the token is unknown here; `trawl token create NAME --role worker` makes one, and --token-file names its file"
        );
        // What the coordinator itself says needs no help.
        assert_eq!(
            reason(&Status::unavailable("the database is unavailable"), "http://a:1", false),
            "the database is unavailable"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_no_shorter_than_the_coordinator_says() {
        let mut backoff = Backoff::new(WorkerId(Uuid::from_u128(1)));
        let began = Instant::now();
        backoff.wait(&Status::unavailable("away")).await;
        assert!(began.elapsed() <= PAUSE_MIN, "{:?}", began.elapsed());
        let told = Duration::from_secs(7);
        let began = Instant::now();
        backoff.wait(&retry_later("too many calls", told)).await;
        assert!(began.elapsed() > told, "{:?}", began.elapsed());
    }
}
