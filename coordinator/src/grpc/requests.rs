//! Counts the messages of a request as they arrive: refuses a message before it arrives if its announced length is too
//! long for the RPC, and holds no more than the announced bytes of an incomplete one.

use tonic::Status;

/// A message begins with a byte for its compression and four bytes for its length.
const HEAD_BYTES: usize = 5;

/// The position in a request's messages.
#[derive(Debug)]
pub(super) struct Messages {
    bytes_max: usize,
    is_stream: bool,
    /// The part of a message's head that has arrived.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Bytes of the message that have yet to arrive.
    left: usize,
    announced: u64,
    whole: u64,
}

impl Messages {
    /// A request with messages of at most `bytes_max` bytes; unless it is a stream, with at most one.
    pub(super) fn new(bytes_max: usize, is_stream: bool) -> Self {
        Self {
            bytes_max,
            is_stream,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            left: 0,
            announced: 0,
            whole: 0,
        }
    }

    /// Counts arrived bytes.
    ///
    /// # Errors
    /// They exceed the RPC's limits.
    pub(super) fn count(&mut self, mut came: &[u8]) -> Result<(), Status> {
        while !came.is_empty() {
            if self.head_bytes < HEAD_BYTES {
                let (head, rest) = came.split_at(came.len().min(HEAD_BYTES - self.head_bytes));
                self.head[self.head_bytes..][..head.len()].copy_from_slice(head);
                self.head_bytes += head.len();
                came = rest;
                if self.head_bytes == HEAD_BYTES {
                    self.announce()?;
                }
            } else {
                let message = came.len().min(self.left);
                self.left -= message;
                came = &came[message..];
            }
            if self.head_bytes == HEAD_BYTES && self.left == 0 {
                self.head_bytes = 0;
                self.whole += 1;
            }
        }
        Ok(())
    }

    fn announce(&mut self) -> Result<(), Status> {
        let [_, length @ ..] = self.head;
        self.left = u32::from_be_bytes(length) as usize;
        if self.left > self.bytes_max {
            return Err(Status::resource_exhausted(format!(
                "a message of {} bytes, and this call takes at most {}",
                self.left, self.bytes_max
            )));
        }
        self.announced += 1;
        if self.announced > 1 && !self.is_stream {
            return Err(Status::invalid_argument("this call takes one message"));
        }
        Ok(())
    }

    /// True once the first message is complete.
    pub(super) fn has_first(&self) -> bool {
        self.whole > 0
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(bytes).expect("short").to_be_bytes());
        message.resize(HEAD_BYTES + bytes, 7);
        message
    }

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let all = [message(10), message(0), message(3)].concat();
        for piece in 1..=all.len() {
            let mut messages = Messages::new(10, true);
            for piece in all.chunks(piece) {
                messages.count(piece).expect("each is short enough");
            }
            assert_eq!(
                (messages.whole, messages.left, messages.head_bytes),
                (3, 0, 0),
                "by {piece}"
            );
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_refused_as_soon_as_it_is_announced() {
        let mut messages = Messages::new(10, true);
        messages.count(&message(10)).expect("it is short enough");
        let refused = messages.count(&message(11)[..HEAD_BYTES]).expect_err("too long");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(Messages::new(10, false).count(&[0, 255, 255, 255, 255]).is_err());
    }

    #[test]
    fn a_request_that_is_no_stream_is_one_message() {
        let mut messages = Messages::new(10, false);
        messages.count(&message(10)[..14]).expect("a part of the first");
        assert!(!messages.has_first());
        messages.count(&[7]).expect("its end");
        assert!(messages.has_first());
        assert!(messages.count(&message(1)).is_err());
    }
}
