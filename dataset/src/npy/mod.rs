//! NumPy's `.npy` arrays (NEP 1, "A Simple File Format for NumPy Arrays").

mod dictionary;

use std::io::{ErrorKind, Read};

use self::dictionary::Value;
use super::array::{Array, Header};
use super::element::{Element, RECORDS};
use super::reader::{Input, unreadable};
use super::signature::FileKind;
use super::{Content, Reason};

/// Longest header that is read.
const HEADER_BYTES_MAX: u32 = 64 << 10;

/// Opens a file with one array.
pub(super) fn open(content: &dyn Content) -> Result<Array<'_>, Reason> {
    let input = Input::open(content, FileKind::Npy)?;
    let (bytes, bytes_max) = (input.bytes, input.bytes_max);
    array(Box::new(input), bytes, bytes_max)
}

/// Reads the header of an array; `bytes` is the array's number of bytes, if known, and `bytes_max` the largest possible one.
pub(super) fn array<'a>(mut file: Box<dyn Read + 'a>, bytes: Option<u64>, bytes_max: u64) -> Result<Array<'a>, Reason> {
    let magic = first::<6>(&mut file, "is no .npy file: it ends within its magic number")?;
    if magic != *b"\x93NUMPY" {
        return Err("is no .npy file: its magic number is another".into());
    }
    let [major, _minor] = first(&mut file, "ends within its version")?;
    let within = "ends within its header's length";
    let (header_len, len_bytes) = match major {
        1 => (u32::from(u16::from_le_bytes(first(&mut file, within)?)), 2),
        2 | 3 => (u32::from_le_bytes(first(&mut file, within)?), 4),
        other => {
            return Err(Reason::quoting(|quote| {
                format!("is of .npy version {}; 1 to 3 are read", quote.of(other))
            }));
        }
    };
    let mut text = vec![0; header_len.min(HEADER_BYTES_MAX) as usize];
    match file.read_exact(&mut text) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(unreadable(&error)),
        Ok(()) if header_len <= HEADER_BYTES_MAX => {}
        _ => {
            return Err(Reason::quoting(|quote| {
                format!("has a header of {} bytes, which is not there", quote.of(header_len))
            }));
        }
    }
    let before = 8 + len_bytes + u64::from(header_len);
    let header = header(&text)?;
    let bytes = bytes.map(|bytes| bytes.saturating_sub(before));
    Array::new(header, file, bytes, bytes_max.saturating_sub(before))
}

fn header(text: &[u8]) -> Result<Header, Reason> {
    let text = str::from_utf8(text).map_err(|_| "has a header that is no text")?;
    let entries = dictionary::parse(text).ok_or_else(|| {
        Reason::quoting(|quote| {
            format!(
                "has a header that is no Python dictionary: {}",
                quote.of(text.trim_end())
            )
        })
    })?;
    let value = |key: &str| {
        let mut found = entries.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        found
            .next_back()
            .ok_or_else(|| Reason::plain(format!("has a header without '{key}'")))
    };
    let element = match value("descr")? {
        Value::Text(descr) => Element::from_descr(descr)?,
        Value::List(_) => return Err(RECORDS.into()),
        _ => return Err("has a header whose 'descr' names no type".into()),
    };
    let Value::Bool(is_fortran) = *value("fortran_order")? else {
        return Err("has a header whose 'fortran_order' is neither True nor False".into());
    };
    let no_sizes = || Reason::from("has a header whose 'shape' is no list of sizes");
    let Value::List(sizes) = value("shape")? else {
        return Err(no_sizes());
    };
    let size = |size: &Value| match size {
        Value::Int(size) => Ok(*size),
        _ => Err(no_sizes()),
    };
    Ok(Header {
        sizes: sizes.iter().map(size).collect::<Result<_, _>>()?,
        element,
        is_fortran,
        is_picture: false,
    })
}

/// The next bytes of a file, or the message `at_end` if the file ends.
fn first<const N: usize>(file: &mut impl Read, at_end: &'static str) -> Result<[u8; N], Reason> {
    let mut bytes = [0; N];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(at_end.into()),
        Err(error) => Err(unreadable(&error)),
    }
}

#[cfg(test)]
mod tests;
