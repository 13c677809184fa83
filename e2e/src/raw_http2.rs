//! HTTP/2 by hand, for requests that no client library would send, and for answers that nobody reads.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// As large as a frame may be without agreement.
const FRAME_BYTES_MAX: usize = 16 << 10;
/// An answer comes sooner, or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const INITIAL_WINDOW_SIZE: u16 = 4;
const WINDOW_AT_FIRST: u32 = 65_535;
const WINDOW_MAX: u32 = (1 << 31) - 1;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection on which a test says what it likes.
#[derive(Debug)]
pub struct RawHttp2 {
    stream: TcpStream,
    next_stream: u32,
}

/// A request: its headers as given, and its body.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// `POST` or another one.
    pub method: &'static str,
    /// As `/package.Service/Rpc`.
    pub path: String,
    /// All other headers.
    pub headers: Vec<(&'static str, String)>,
    /// Whatever the body is.
    pub body: Vec<u8>,
}

impl RawRequest {
    /// A call by gRPC whose one message has these bytes.
    pub fn grpc(path: &str, message: &[u8]) -> Self {
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend(message);
        Self {
            method: "POST",
            path: path.to_owned(),
            headers: vec![("content-type", "application/grpc".into()), ("te", "trailers".into())],
            body,
        }
    }

    /// The same call with a token.
    #[must_use]
    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.headers
            .extend(token.map(|token| ("authorization", format!("Bearer {token}"))));
        self
    }
}

impl RawHttp2 {
    /// Connects to a URL such as `http://127.0.0.1:50051`.
    ///
    /// # Errors
    /// There is nobody.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Self { stream, next_stream: 1 })
    }

    /// Opens the windows of the connection and of each stream as far as possible, so that answers wait in the other end's memory.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn open_windows(&mut self) -> anyhow::Result<()> {
        let initial_window = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &WINDOW_MAX.to_be_bytes()].concat();
        let mut bytes = frame(SETTINGS, 0, 0, &initial_window);
        bytes.extend(frame(
            WINDOW_UPDATE,
            0,
            0,
            &(WINDOW_MAX - WINDOW_AT_FIRST).to_be_bytes(),
        ));
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends a request, as a whole, and waits for nothing.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn send(&mut self, request: &RawRequest) -> anyhow::Result<()> {
        let bytes = self.encode(request);
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends requests at once and waits until each has come to its end, however; false if the connection was closed before.
    ///
    /// # Errors
    /// No answer comes.
    pub async fn call_all(&mut self, requests: &[RawRequest]) -> anyhow::Result<bool> {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| self.encode(request)).collect();
        if self.stream.write_all(&bytes).await.is_err() {
            return Ok(false);
        }
        timeout(ANSWER_WITHIN, self.ends(requests.len()))
            .await
            .context("requests without an answer")?
    }

    fn encode(&mut self, request: &RawRequest) -> Vec<u8> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut block = Vec::new();
        let all = [
            (":method", request.method),
            (":scheme", "http"),
            (":path", &request.path),
        ];
        let others = request.headers.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in all.into_iter().chain(others) {
            // A literal without indexing, with a literal name.
            block.push(0);
            for text in [name, value] {
                push_text(&mut block, text);
            }
        }
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &block);
        let pieces: Vec<&[u8]> = request.body.chunks(FRAME_BYTES_MAX).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let flags = if index + 1 == pieces.len() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, flags, stream, piece));
        }
        if pieces.is_empty() {
            bytes.extend(frame(DATA, END_STREAM, stream, &[]));
        }
        bytes
    }

    /// Reads until so many streams have ended; false if the connection does first.
    async fn ends(&mut self, count: usize) -> anyhow::Result<bool> {
        let mut ended = 0;
        while ended < count {
            let mut head = [0; FRAME_HEAD_BYTES];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Ok(false);
            }
            let len = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            ensure!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes");
            let mut payload = vec![0; len];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return Ok(false);
            }
            let (kind, flags) = (head[3], head[4]);
            match kind {
                DATA | HEADERS if flags & END_STREAM != 0 => ended += 1,
                RESET => ended += 1,
                GO_AWAY => return Ok(false),
                SETTINGS if flags & ACK == 0 => self.answer(&frame(SETTINGS, ACK, 0, &[])).await?,
                PING if flags & ACK == 0 => self.answer(&frame(PING, ACK, 0, &payload)).await?,
                _ => {}
            }
        }
        Ok(true)
    }

    async fn answer(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.stream.write_all(bytes).await.is_err() {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A text of a header, as it is, with its length in HPACK's way: 7 bits, and more bytes beyond 126.
fn push_text(block: &mut Vec<u8>, text: &str) {
    let len = text.len();
    if len < 127 {
        block.push(len as u8);
    } else {
        block.push(127);
        let mut left = len - 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 128);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend(text.as_bytes());
}
