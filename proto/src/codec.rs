//! The codec of messages: protobuf, with a check of each request's texts before they are used.
//!
//! All generated services use this codec, so that every RPC, also a future one, has this check.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::{Message, Name};
use prost_reflect::MessageDescriptor;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::status::invalid;
use crate::texts;

/// Decoding a longer message may occupy a thread for milliseconds.
const LONG_BYTES: usize = 64 << 10;

/// Protobuf; a request with control characters in a text is refused.
#[derive(Debug)]
pub struct CheckedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for CheckedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for CheckedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CheckedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CheckedDecoder {
            request: texts::request(&U::full_name()),
            decodes: PhantomData,
        }
    }
}

/// Decodes messages.
#[derive(Debug)]
pub struct CheckedDecoder<U> {
    /// The type of a request; `None` for answers, which are not checked.
    request: Option<&'static MessageDescriptor>,
    decodes: PhantomData<U>,
}

impl<U: Message + Name + Default> Decoder for CheckedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let Some(request) = self.request else {
            return U::decode(bytes)
                .map(Some)
                .map_err(|error| Status::internal(error.to_string()));
        };
        let decode = || {
            let broken = texts::check(request, &bytes);
            if !broken.is_empty() {
                return Err(invalid(&broken));
            }
            U::decode(bytes.clone())
                .map(Some)
                .map_err(|error| Status::invalid_argument(format!("this is no {}: {error}", U::NAME)))
        };
        if bytes.len() > LONG_BYTES {
            beside_others(decode)
        } else {
            decode()
        }
    }
}

/// Works without blocking the other tasks of this thread, if another thread can run them.
fn beside_others<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}
