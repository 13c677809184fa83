//! Incoming connections: bounds their number, and closes unused ones.
//!
//! A connection costs a file and, while its peer sends what nobody reads yet, up to a window of memory. So their number
//! is bounded over both ports; a connection beyond it is closed at once, which its client sees. A connection also gives
//! its place back if it sends no greeting, has no call for long, or leaves an answer unread.

mod calls;

pub use calls::{CallOf, CallsOf, Sending};

use std::future::Ready;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};
use tokio_stream::Stream;
use tonic::transport::server::Connected;
use tracing::warn;

/// Bytes that a client has sent once it speaks HTTP/2: the preface and an empty frame of settings.
const HELLO_BYTES: usize = 33;
/// Time limit for these bytes. TLS's own greeting counts: it is longer.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A connection without a call for this long is closed; clients connect again by themselves.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Time between two checks of a connection.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a failure to accept, as when files run out: trying again at once would occupy a core until a file is
/// free.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Limits the number of connections on all ports together.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    free: Arc<Semaphore>,
    max: usize,
    /// When refusals were last logged: they are not logged one by one.
    told_at: Arc<Mutex<Option<Instant>>>,
}

/// Time between two log messages about refused connections.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl ConnectionLimiter {
    /// A limit of `max` connections.
    pub fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            told_at: Arc::default(),
        }
    }

    fn take(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok();
        if place.is_none() {
            let mut told_at = lock(&self.told_at);
            if told_at.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                *told_at = Some(Instant::now());
                warn!(
                    connections.max = self.max,
                    "connections are refused: there are as many as there may be"
                );
            }
        }
        place
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a port that axum-server accepts on.
impl<S> Accept<TcpStream, S> for ConnectionLimiter {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = self.take().ok_or_else(|| io::Error::other("there is no place"));
        std::future::ready(place.map(|place| (Connection::new(stream, place), service)))
    }
}

/// A port with a limited number of connections.
#[derive(Debug)]
pub struct LimitedListener {
    listener: TcpListener,
    limiter: ConnectionLimiter,
}

impl LimitedListener {
    /// The port of this listener.
    pub fn new(listener: TcpListener, limiter: ConnectionLimiter) -> Self {
        Self { listener, limiter }
    }

    /// The next connection. A connection without a place is closed.
    async fn next(&self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    let Some(place) = self.limiter.take() else { continue };
                    // Acknowledgements are small and must not be delayed.
                    if stream.set_nodelay(true).is_ok() {
                        return (Connection::new(stream, place), addr);
                    }
                }
                Err(error) => {
                    warn!(error = %error, "a connection cannot be accepted");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// All connections, one after the other.
    pub fn incoming(self) -> Incoming {
        let port = Arc::new(self);
        Incoming {
            next: next_of(Arc::clone(&port)),
            port,
        }
    }
}

impl axum::serve::Listener for LimitedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

type Next = Pin<Box<dyn Future<Output = Connection> + Send>>;

fn next_of(port: Arc<LimitedListener>) -> Next {
    Box::pin(async move { port.next().await.0 })
}

/// All connections of a port.
pub struct Incoming {
    port: Arc<LimitedListener>,
    next: Next,
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let connection = ready!(self.next.as_mut().poll(cx));
        self.next = next_of(Arc::clone(&self.port));
        Poll::Ready(Some(Ok(connection)))
    }
}

/// A connection that holds a place.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    calls: CallsOf,
    /// Bytes received; counts up to [`HELLO_BYTES`] at least.
    heard_bytes: usize,
    /// Time of the next check whether the connection is used.
    look: Pin<Box<Sleep>>,
    limits: Limits,
    _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    hello_within: Duration,
    idle_max: Duration,
    look_every: Duration,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        let limits = Limits {
            hello_within: HELLO_WITHIN,
            idle_max: IDLE_MAX,
            look_every: LOOK_EVERY,
        };
        Self::with_limits(stream, place, limits)
    }

    fn with_limits(stream: TcpStream, place: OwnedSemaphorePermit, limits: Limits) -> Self {
        Self {
            stream,
            calls: CallsOf::new(),
            heard_bytes: 0,
            look: Box::pin(sleep(limits.hello_within)),
            limits,
            _place: place,
        }
    }

    /// Ready once the connection is unused.
    fn poll_useless(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.look.as_mut().poll(cx));
            if self.heard_bytes < HELLO_BYTES {
                return Poll::Ready(());
            }
            let idle = self.calls.idle();
            let Some(left) = self.limits.idle_max.checked_sub(idle).filter(|left| !left.is_zero()) else {
                return Poll::Ready(());
            };
            if self.calls.is_unread() {
                return Poll::Ready(());
            }
            self.look
                .as_mut()
                .reset(Instant::now() + left.min(self.limits.look_every));
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = CallsOf;

    fn connect_info(&self) -> CallsOf {
        self.calls.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.poll_useless(cx).is_ready() {
            // Reported as if the client had closed it: calls under way could finish, but there are none.
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let came = buf.filled().len() - before;
        self.heard_bytes = self.heard_bytes.saturating_add(came);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(3_600);

    async fn pair(hello_within: Duration, idle_max: Duration) -> (TcpStream, Connection, ConnectionLimiter) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let places = ConnectionLimiter::new(1);
        let client = TcpStream::connect(listener.local_addr().expect("an address"))
            .await
            .expect("a way");
        let (stream, _) = listener.accept().await.expect("a connection");
        let place = places.take().expect("a place");
        let limits = Limits {
            hello_within,
            idle_max,
            look_every: SHORT,
        };
        (client, Connection::with_limits(stream, place, limits), places)
    }

    /// Counts bytes until the connection is closed.
    async fn read_all(connection: &mut Connection) -> usize {
        let mut all = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut all));
        read.await.expect("it is closed").expect("it can be read")
    }

    #[tokio::test]
    async fn one_that_does_not_greet_is_closed_and_gives_its_place_back() {
        let (mut client, mut connection, places) = pair(SHORT, LONG).await;
        client.write_all(b"PRI * HTTP/2.0").await.expect("a way");
        assert_eq!(read_all(&mut connection).await, 14);
        assert!(places.take().is_none());
        drop(connection);
        assert!(places.take().is_some());
    }

    #[tokio::test]
    async fn one_without_a_call_is_closed_and_one_with_a_call_is_not() {
        let (mut client, mut connection, _) = pair(SHORT, 2 * SHORT).await;
        let call = connection.connect_info().begin();
        client.write_all(&[0; HELLO_BYTES]).await.expect("a way");
        let read = tokio::time::timeout(6 * SHORT, async { connection.read_to_end(&mut Vec::new()).await });
        assert!(read.await.is_err(), "a call is under way");
        drop(call);
        assert_eq!(read_all(&mut connection).await, 0);
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn one_whose_answer_is_not_read_is_closed() {
        let (mut client, mut connection, _) = pair(SHORT, LONG).await;
        let call = connection.connect_info().begin();
        client.write_all(&[0; HELLO_BYTES]).await.expect("a way");
        drop(call.sends(1));
        let _page = call.sends(4 << 20);
        let minutes = tokio::time::timeout(Duration::from_secs(1_060), async {
            connection.read_to_end(&mut Vec::new()).await
        });
        assert!(minutes.await.is_err(), "it may still be read");
        assert_eq!(read_all(&mut connection).await, 0);
    }

    #[tokio::test]
    async fn one_beyond_the_limit_is_closed_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let port = LimitedListener::new(listener, ConnectionLimiter::new(1));
        let _first = TcpStream::connect(addr).await.expect("a way");
        let (kept, _) = port.next().await;
        let mut second = TcpStream::connect(addr).await.expect("a way");
        let mut byte = [0; 1];
        tokio::select! {
            _ = port.next() => panic!("there is no place"),
            read = second.read(&mut byte) => assert!(matches!(read, Ok(0) | Err(_))),
        }
        drop(kept);
        let (_third, _) = tokio::join!(TcpStream::connect(addr), port.next());
    }
}
