//! Calls of any RPC, by its path, with bytes as messages and any token: for tests of who may call what.

use std::str::FromStr;

use bytes::{Buf, BufMut};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// Opens a call as a stream in both directions, which is on the wire what every call is.
///
/// # Errors
/// It is refused.
pub async fn open_raw(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    messages: impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static,
) -> Result<Streaming<Vec<u8>>, Status> {
    let path = PathAndQuery::from_str(path).map_err(|error| Status::internal(error.to_string()))?;
    let mut client = Grpc::new(channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(messages);
    if let Some(token) = token {
        let header = MetadataValue::from_str(&format!("Bearer {token}"));
        let header = header.map_err(|error| Status::internal(error.to_string()))?;
        request.metadata_mut().insert("authorization", header);
    }
    Ok(client.streaming(request, path, Raw).await?.into_inner())
}

/// Calls, and waits for the first message of the answer.
///
/// # Errors
/// It is refused, or fails.
pub async fn call_raw(
    channel: &Channel,
    path: &str,
    token: Option<&str>,
    messages: Vec<Vec<u8>>,
) -> Result<Option<Vec<u8>>, Status> {
    open_raw(channel, path, token, tokio_stream::iter(messages))
        .await?
        .message()
        .await
}

/// The same with one message to an RPC of trawl, such as `StudyService/ListStudies`.
///
/// # Errors
/// It is refused, or fails.
pub async fn call(
    channel: &Channel,
    rpc: &str,
    token: Option<&str>,
    message: &impl Message,
) -> Result<Option<Vec<u8>>, Status> {
    call_raw(
        channel,
        &format!("/trawl.v1.{rpc}"),
        token,
        vec![message.encode_to_vec()],
    )
    .await
}

/// The code of an answer.
pub fn code_of<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

/// Messages as they are on the wire.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
