//! How messages go over the wire: as protobuf, and a request with a look at its texts before anybody reads them.
//!
//! The generated services have this codec and no other, so that no RPC, and none that is added, is without that look.

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

/// A message that is longer may take a thread for milliseconds.
const LONG_BYTES: usize = 64 << 10;

/// Protobuf; a message that some RPC takes is refused where a text of it has control characters.
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

/// Reads one message after the other.
#[derive(Debug)]
pub struct CheckedDecoder<U> {
    /// What the message is, if an RPC takes it; answers are read as they are.
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

/// Works without holding up the other tasks of this thread, where there is another thread for them.
fn beside_others<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}
