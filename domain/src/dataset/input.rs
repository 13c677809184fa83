//! A file as it is read: from its beginning, in pieces, and unpacked where it is gzip.

use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek};

use flate2::read::MultiGzDecoder;

use super::signature::{self, FileKind};
use super::{Content, Reason, TOO_LARGE};
use crate::limits::DATASET_BYTES_MAX;

/// So many bytes at the beginning show what a file is: a tar archive says so behind 257.
const FIRST_BYTES: usize = 512;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// One byte of gzip unpacks to so many at most.
const UNPACKED_BYTES_MAX: u64 = 1_032;

/// The plain bytes of a file.
pub(super) struct Input<'a> {
    reader: BufReader<Box<dyn Read + 'a>>,
    /// How many there are, where the file is not compressed.
    pub(super) bytes: Option<u64>,
    /// How many there can be.
    pub(super) bytes_max: u64,
}

impl<'a> Input<'a> {
    /// Opens a file that should be of this kind. Its first bytes are looked at: another kind is refused by its name.
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

/// A file that is not too large, from its beginning.
pub(super) fn open(content: &dyn Content) -> Result<Box<dyn super::ReadSeek + '_>, Reason> {
    if content.bytes() > DATASET_BYTES_MAX {
        return Err(TOO_LARGE.into());
    }
    content.open().map_err(|error| unreadable(&error))
}

/// What a file begins with, unpacked where it is gzip: it shows what the file is.
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
    // What is damaged is gzip, and whoever reads it is told so.
    Ok(if read.is_ok() { unpacked } else { first })
}

fn beginning(file: &mut impl Read) -> Result<Vec<u8>, Reason> {
    let mut first = Vec::with_capacity(FIRST_BYTES);
    file.take(FIRST_BYTES as u64)
        .read_to_end(&mut first)
        .map_err(|error| unreadable(&error))?;
    Ok(first)
}

/// What may be wrong below a reader of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It unpacks to more than a file may have.
    #[error("{TOO_LARGE}")]
    TooLarge,
    /// What is compressed cannot be unpacked.
    #[error("cannot be unpacked: its gzip data is damaged or cut off")]
    Gzip,
    /// The same in an archive, or its checksum is another.
    #[error("cannot be unpacked: the archive is damaged here")]
    Archive,
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        Self::other(trouble)
    }
}

/// Why bytes cannot be read, in words.
pub(super) fn unreadable(error: &io::Error) -> Reason {
    let trouble = error.get_ref().and_then(|error| error.downcast_ref::<Trouble>());
    match (trouble, error.kind()) {
        (Some(trouble), _) => Reason::plain(trouble.to_string()),
        (None, ErrorKind::UnexpectedEof) => "ends too early".into(),
        (None, _) => Reason::quoting(|quote| format!("cannot be read: {}", quote.of(error))),
    }
}

/// A reader that ends with trouble where it has more bytes than it may have.
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

/// A reader of something compressed, whose own words for what is wrong are replaced; those of the disk are not.
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
