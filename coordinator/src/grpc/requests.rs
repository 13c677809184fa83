//! The messages of a request, counted as they come: one that is announced to be longer than its RPC takes is refused before it
//! comes, and a caller that sends half a message holds no more than that.

use tonic::Status;

/// A message is announced by a byte that tells its compression, and four that tell its length.
const HEAD_BYTES: usize = 5;

/// Where in its messages a request is.
#[derive(Debug)]
pub(super) struct Messages {
    bytes_max: usize,
    is_stream: bool,
    /// Of the announcement that comes.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Of the message that comes, what is still to come.
    left: usize,
    announced: u64,
    whole: u64,
}

impl Messages {
    /// Of a request for messages of so many bytes, and no more than one of them if it is no stream.
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

    /// Counts what came.
    ///
    /// # Errors
    /// It is more than the RPC takes.
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

    /// True once the first message came.
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
