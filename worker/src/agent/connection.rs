//! The way to the coordinator: a channel that connects by itself, the token on every call, and pauses between tries.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use trawl_domain::id::WorkerId;
use trawl_domain::secret::Secret;
use trawl_proto::credential::Bearer;
use trawl_proto::dial::{TlsChoice, endpoint};
use trawl_proto::v1::worker_service_client::WorkerServiceClient;

/// How long a call that waits for nothing may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a call that waits for a job, or lives as a stream, may take to begin.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A job has up to 64 members, each well under 1 KiB; a piece of a file 64 KiB.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A client that carries the token.
pub type Client = WorkerServiceClient<InterceptedService<Channel, Bearer>>;

/// The way to the coordinator.
#[derive(Clone, Debug)]
pub struct Connection {
    brief: Channel,
    patient: Channel,
    token: Bearer,
}

impl Connection {
    /// A connection that is made when it is first used.
    ///
    /// # Errors
    /// A URL that is none, a file of TLS that cannot be read, or a token that does not fit in a header.
    pub fn new(url: &str, tls: &TlsChoice, token: Option<&Secret>) -> anyhow::Result<Self> {
        let endpoint = endpoint(url, tls)?
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        Ok(Self {
            brief: endpoint.clone().timeout(ANSWER_WITHIN).connect_lazy(),
            patient: endpoint.connect_lazy(),
            token: Bearer::new(token)?,
        })
    }

    /// For calls that are answered at once.
    pub fn client(&self) -> Client {
        WorkerServiceClient::with_interceptor(self.brief.clone(), self.token.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// For calls that wait, and streams: without a limit in time.
    pub fn patient_client(&self) -> Client {
        WorkerServiceClient::with_interceptor(self.patient.clone(), self.token.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

/// Pauses that double, each shortened by a random share, so that workers do not come back all at once.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
    jitter: ChaCha8Rng,
}

impl Backoff {
    /// From the shortest pause on; workers differ in their jitter.
    pub fn new(worker_id: WorkerId) -> Self {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(worker_id.0.as_bytes());
        Self {
            pause: PAUSE_MIN,
            jitter: ChaCha8Rng::from_seed(seed),
        }
    }

    /// It worked: the next pause is the shortest one.
    pub fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    /// Pauses between half and all of the present pause, and doubles it.
    pub async fn wait(&mut self) {
        let share = 0.5 + 0.5 * f64::from(self.jitter.next_u32()) / f64::from(u32::MAX);
        tokio::time::sleep(self.pause.mul_f64(share)).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
