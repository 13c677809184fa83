//! Connections as they come in: no more of them than there are files and memory for, and none that stays without a use.
//!
//! A connection costs a file and, while its other end sends what nobody reads yet, up to a window of memory. So their number is
//! bounded, over both ports; one beyond it is closed at once, which its client sees. One that says nothing at its beginning, has no
//! call for long, or leaves an answer where it is, gives its place back.

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
/// How long a client may take for them. TLS's own greeting counts: it is longer.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// A connection that has had no call for so long is closed; clients connect again by themselves.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a failure to accept, as for want of files, this is how long nothing is accepted: trying again at once would take a
/// whole core until there is one.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How many connections there may be, on all ports together.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    free: Arc<Semaphore>,
    max: usize,
    /// When refusals were last told in the log: not one by one.
    told_at: Arc<Mutex<Option<Instant>>>,
}

/// Time between two words in the log about connections that are refused.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl ConnectionLimiter {
    /// So many.
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

/// Of a port that is accepted on by axum-server.
impl<S> Accept<TcpStream, S> for ConnectionLimiter {
    type Stream = Connection;
    type Service = S;
    type Future = Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = self.take().ok_or_else(|| io::Error::other("there is no place"));
        std::future::ready(place.map(|place| (Connection::new(stream, place), service)))
    }
}

/// A port with no more connections than there may be.
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

    /// The next connection. Those that find no place are closed.
    async fn next(&self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    let Some(place) = self.limiter.take() else { continue };
                    // Acknowledgements are small and must not wait for more to come.
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

/// A connection with its place.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    calls: CallsOf,
    /// Bytes that came, up to those of a greeting.
    heard_bytes: usize,
    /// When it is looked at again whether the connection has a use.
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

    /// Ready once the connection has no use any more.
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
            // As if its client had closed it: what is under way comes to its end, and here that is nothing.
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

    /// Bytes that come until the connection is closed.
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
