//! A file being read: from its beginning, in pieces, and unpacked if it is gzip.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek};

use flate2::read::MultiGzDecoder;

use super::signature::{self, FileKind};
use super::{Content, Reason, TOO_LARGE};
use crate::limits::DATASET_BYTES_MAX;

/// First bytes that suffice to recognise a file: a tar archive's signature is at 257.
const FIRST_BYTES: usize = 512;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Most bytes that one byte of gzip unpacks to.
const UNPACKED_BYTES_MAX: u64 = 1_032;

/// The plain bytes of a file.
pub(super) struct Input<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    /// Their number, if the file is not compressed.
    pub(super) bytes: Option<u64>,
    /// Their largest possible number.
    pub(super) bytes_max: u64,
}

impl<'a> Input<'a> {
    /// Opens a file of this kind. Its first bytes are checked: another kind is refused by name.
    pub(super) fn open(content: &'a dyn Content, kind: FileKind) -> Result<Self, Reason> {
        let bytes = content.bytes();
        let mut file = open(content)?;
        let mut first = beginning(&mut file)?;
        let is_packed = first.starts_with(signature::GZIP) && kind != FileKind::Npz;
        let reader: Box<dyn Read + 'a> = if is_packed {
            file.rewind().map_err(|error| unreadable(&error))?;
            let mut unpacked = Limited {
                inner: Named {
                    inner: MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file)),
                    trouble: Trouble::Gzip,
                },
                left: DATASET_BYTES_MAX,
            };
            first = beginning(&mut unpacked)?;
            Box::new(unpacked)
        } else {
            Box::new(file)
        };
        signature::check(&first, kind)?;
        Ok(Self {
            reader: BufReader::with_capacity(BUFFER_BYTES, Box::new(Cursor::new(first).chain(reader))),
            bytes: (!is_packed).then_some(bytes),
            bytes_max: if is_packed {
                bytes.saturating_mul(UNPACKED_BYTES_MAX).min(DATASET_BYTES_MAX)
            } else {
                bytes
            },
        })
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.reader.consume(len);
    }
}

/// Opens a file, if it is not too large, at its beginning.
pub(super) fn open(content: &dyn Content) -> Result<Box<dyn super::ReadSeek + '_>, Reason> {
    if content.bytes() > DATASET_BYTES_MAX {
        return Err(TOO_LARGE.into());
    }
    content.open().map_err(|error| unreadable(&error))
}

/// A file's first bytes, unpacked if it is gzip; they identify its kind.
///
/// # Errors
/// The file cannot be read.
pub fn first_bytes(content: &dyn Content) -> io::Result<Vec<u8>> {
    let (mut first, mut unpacked) = (Vec::new(), Vec::new());
    content.open()?.take(FIRST_BYTES as u64).read_to_end(&mut first)?;
    if !first.starts_with(signature::GZIP) {
        return Ok(first);
    }
    let read = MultiGzDecoder::new(BufReader::new(content.open()?))
        .take(FIRST_BYTES as u64)
        .read_to_end(&mut unpacked);
    // Damaged gzip stays as it is; reading it gives the error.
    Ok(if read.is_ok() { unpacked } else { first })
}

fn beginning(file: &mut impl Read) -> Result<Vec<u8>, Reason> {
    let mut first = Vec::with_capacity(FIRST_BYTES);
    file.take(FIRST_BYTES as u64)
        .read_to_end(&mut first)
        .map_err(|error| unreadable(&error))?;
    Ok(first)
}

/// Errors below a reader of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It unpacks to more than the limit for a file.
    #[error("{TOO_LARGE}")]
    TooLarge,
    /// The gzip data cannot be unpacked.
    #[error("cannot be unpacked: its gzip data is damaged or cut off")]
    Gzip,
    /// A file of an archive cannot be unpacked, or its checksum differs.
    #[error("cannot be unpacked: the archive is damaged here")]
    Archive,
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        Self::other(trouble)
    }
}

/// Why bytes cannot be read, as text.
pub(super) fn unreadable(error: &io::Error) -> Reason {
    let trouble = error.get_ref().and_then(|error| error.downcast_ref::<Trouble>());
    match (trouble, error.kind()) {
        (Some(trouble), _) => Reason::plain(trouble.to_string()),
        (None, ErrorKind::UnexpectedEof) => "ends too early".into(),
        (None, _) => Reason::quoting(|quote| format!("cannot be read: {}", quote.of(error))),
    }
}

/// A reader that fails if there are more bytes than its limit.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(Trouble::TooLarge)?;
        Ok(read)
    }
}

/// A reader of compressed data that replaces the decompressor's error messages, but not the disk's.
pub(super) struct Named<R> {
    pub(super) inner: R,
    pub(super) trouble: Trouble,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof
                if error.raw_os_error().is_none() =>
            {
                self.trouble.into()
            }
            _ => error,
        })
    }
}
