//! Zip archives in the form that NumPy writes: files that are stored or deflated, found by the directory at the end
//! (PKWARE's APPNOTE.TXT, 4.3). The limit on the directory bounds the memory used, whatever an archive claims.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Take};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::reader::{Named, Trouble, open, unreadable};
use super::{Content, ReadSeek, Reason, TOO_LARGE};
use crate::limits::{ARCHIVE_DIRECTORY_BYTES_MAX, DATASET_BYTES_MAX};

/// Bytes of a name in a message.
const NAME_BYTES_SHOWN: usize = 80;
const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
/// The end may have a comment, whose length is a number of two bytes.
const TAIL_BYTES_MAX: u64 = END_BYTES as u64 + u16::MAX as u64;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_BYTES: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: u64 = 30;
/// Tag of the extra field with sizes and place that do not fit into the entry.
const LARGE: u16 = 1;
/// Most bytes that one deflated byte unpacks to.
const UNPACKED_BYTES_MAX: u64 = 1_032;

/// An archive with its directory.
pub(super) struct Archive<'a> {
    file: Box<dyn ReadSeek + 'a>,
    /// The bytes in the file.
    directory: Vec<u8>,
    directory_at: u64,
}

/// A file's entry in the directory.
struct Entry<'d> {
    name: &'d [u8],
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    bytes: u64,
    at: u64,
}

impl<'a> Archive<'a> {
    /// Opens an archive and reads its directory.
    pub(super) fn open(content: &'a dyn Content) -> Result<Self, Reason> {
        let mut file = open(content)?;
        let len = content.bytes();
        let tail = read_at(&mut file, len.saturating_sub(TAIL_BYTES_MAX), len.min(TAIL_BYTES_MAX))?;
        let end_at = (0..=tail.len().saturating_sub(END_BYTES)).rev().find(|at| {
            let rest = &tail[*at..];
            rest.starts_with(END) && rest.len() == END_BYTES + usize::from(short(rest, 20))
        });
        let end_at = end_at.ok_or("is no .npz archive, or its end is cut off")?;
        let end = &tail[end_at..];
        let (size, directory_at) = (u64::from(long(end, 12)), u64::from(long(end, 16)));
        if size > ARCHIVE_DIRECTORY_BYTES_MAX as u64 || short(end, 10) == u16::MAX {
            return Err("has too many arrays, or too long names of them".into());
        }
        let end_at = len - (tail.len() - end_at) as u64;
        if directory_at.checked_add(size) != Some(end_at) {
            return Err("is no .npz archive: its directory is not where its end says".into());
        }
        let directory = read_at(&mut file, directory_at, size)?;
        Ok(Self {
            file,
            directory,
            directory_at,
        })
    }

    /// The beginnings of the files' names, as far as the directory is readable.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let shown = |name: &[u8]| String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_SHOWN)]).into_owned();
        entries(&self.directory).map(move |entry| shown(entry.name))
    }

    /// A file of the archive and its number of bytes; `None` if there is none of this name.
    pub(super) fn member(mut self, name: &str) -> Result<Option<(Member<'a>, u64)>, Reason> {
        let Some(entry) = entries(&self.directory).find(|entry| entry.name == name.as_bytes()) else {
            return Ok(None);
        };
        if entry.flags & 1 != 0 {
            return Err("is encrypted: save it without a password".into());
        }
        let is_deflated = match entry.method {
            0 => false,
            8 => true,
            _ => return Err("is compressed in a way that NumPy does not: save it with numpy.savez_compressed".into()),
        };
        if entry.bytes > DATASET_BYTES_MAX {
            return Err(TOO_LARGE.into());
        }
        let damaged = || Reason::plain(Trouble::Archive.to_string());
        let header_end = entry
            .at
            .checked_add(LOCAL_BYTES)
            .filter(|end| *end <= self.directory_at);
        let header_end = header_end.ok_or_else(damaged)?;
        let header = read_at(&mut self.file, entry.at, LOCAL_BYTES)?;
        let start = header_end + u64::from(short(&header, 26)) + u64::from(short(&header, 28));
        let fits = start
            .checked_add(entry.packed)
            .is_some_and(|end| end <= self.directory_at);
        let can_be = if is_deflated {
            entry.bytes <= entry.packed.saturating_mul(UNPACKED_BYTES_MAX)
        } else {
            entry.bytes == entry.packed
        };
        if !header.starts_with(LOCAL) || !fits || !can_be {
            return Err(damaged());
        }
        let (packed, bytes, crc) = (entry.packed, entry.bytes, entry.crc);
        let at = self.file.seek(SeekFrom::Start(start));
        at.map_err(|error| unreadable(&error))?;
        let packed = self.file.take(packed);
        let inner: Box<dyn Read + 'a> = if is_deflated {
            Box::new(DeflateDecoder::new(BufReader::new(packed)))
        } else {
            Box::new(BufReader::<Take<_>>::new(packed))
        };
        let member = Checked {
            inner,
            left: bytes,
            sum: Crc::new(),
            crc,
        };
        let trouble = Trouble::Archive;
        Ok(Some((Named { inner: member, trouble }, bytes)))
    }
}

/// A file of an archive; its end is an error if it does not match the directory.
pub(super) type Member<'a> = Named<Checked<'a>>;

/// Compares size and checksum at the end.
pub(super) struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    sum: Crc,
    crc: u32,
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(Trouble::Archive)?;
        self.sum.update(&buffer[..read]);
        let is_end = read == 0 && !buffer.is_empty();
        if is_end && (self.left > 0 || self.sum.sum() != self.crc) {
            return Err(Trouble::Archive.into());
        }
        Ok(read)
    }
}

/// The entries of a directory, up to the first broken one.
fn entries(directory: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut rest = directory;
    std::iter::from_fn(move || {
        let (entry, after) = entry(rest)?;
        rest = after;
        Some(entry)
    })
}

fn entry(directory: &[u8]) -> Option<(Entry<'_>, &[u8])> {
    let (fixed, rest) = directory.split_at_checked(ENTRY_BYTES)?;
    if !fixed.starts_with(ENTRY) {
        return None;
    }
    let (name, rest) = rest.split_at_checked(usize::from(short(fixed, 28)))?;
    let (extra, rest) = rest.split_at_checked(usize::from(short(fixed, 30)))?;
    let (_comment, rest) = rest.split_at_checked(usize::from(short(fixed, 32)))?;
    let mut large = large(extra);
    // Only numbers that did not fit are there, in this order.
    let mut wide = |number: u32| {
        if number != u32::MAX {
            return Some(u64::from(number));
        }
        let (first, after) = large.split_first_chunk::<8>()?;
        large = after;
        Some(u64::from_le_bytes(*first))
    };
    let bytes = wide(long(fixed, 24))?;
    let packed = wide(long(fixed, 20))?;
    let at = wide(long(fixed, 42))?;
    let entry = Entry {
        name,
        flags: short(fixed, 8),
        method: short(fixed, 10),
        crc: long(fixed, 16),
        packed,
        bytes,
        at,
    };
    Some((entry, rest))
}

/// An entry's extra field for numbers of eight bytes.
fn large(mut extra: &[u8]) -> &[u8] {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let Some((field, after)) = rest.split_at_checked(usize::from(short(head, 2))) else {
            break;
        };
        if short(head, 0) == LARGE {
            return field;
        }
        extra = after;
    }
    &[]
}

fn read_at(file: &mut Box<dyn ReadSeek + '_>, at: u64, len: u64) -> Result<Vec<u8>, Reason> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| TOO_LARGE)?];
    let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
    read.map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from(short(bytes, at)) | u32::from(short(bytes, at + 2)) << 16
}
