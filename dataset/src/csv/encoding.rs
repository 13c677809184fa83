//! Text encodings of files: UTF-8, unless a study sets another one. An error names the likely encoding, and the remedy.

use std::io::BufRead as _;

use super::super::columns::Encoding;
use super::super::reader::{Input, unreadable};
use super::super::signature::FileKind;
use super::super::{Content, ReadError, Reason};
use super::records::breaks;

/// The byte order mark that some programs write before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes at the beginning from which an encoding without a mark is guessed.
const LOOKED_AT: usize = 64;
/// Windows-1252's characters from 0x80 to 0x9f, where Latin-1 has control characters; 0 where it has none.
const WINDOWS_1252: [u16; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0, 0,
    0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];

/// Bytes of a mark at the beginning, which are not text.
pub(super) fn check_beginning(first: &[u8], encoding: Encoding) -> Result<usize, Reason> {
    let said = match encoding {
        Encoding::Utf8 => "UTF-8",
        other => other.as_str(),
    };
    let utf_16 = |name: &str| {
        Err(Reason::plain(format!(
            "line 1 is not {said}: it seems to be UTF-16; convert it with iconv -f {name} -t UTF-8 FILE > NEW"
        )))
    };
    let is_zero = |parity: usize| {
        let some = first.get(..LOOKED_AT.min(first.len() & !1)).unwrap_or_default();
        some.len() >= 4 && some.iter().skip(parity).step_by(2).all(|byte| *byte == 0)
    };
    match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => utf_16("UTF-16"),
        _ if is_zero(0) && !is_zero(1) => utf_16("UTF-16BE"),
        _ if is_zero(1) && !is_zero(0) => utf_16("UTF-16LE"),
        _ if !first.starts_with(MARK) => Ok(0),
        _ if encoding == Encoding::Utf8 => Ok(MARK.len()),
        _ => Err(Reason::plain(format!(
            "line 1 begins with the mark of UTF-8, and encoding is {encoding}: leave encoding out"
        ))),
    }
}

/// The text of a record in UTF-8; `line` is the record's first line.
pub(super) fn text(bytes: &[u8], line: u64) -> Result<&str, Reason> {
    str::from_utf8(bytes).map_err(|error| {
        let line = line + breaks(&bytes[..error.valid_up_to()]);
        let Some(seems) = one_byte_encoding(bytes) else {
            return Reason::plain(format!(
                "line {line} is not UTF-8, and no text in Latin-1 or Windows-1252 either"
            ));
        };
        let iconv = match seems {
            Encoding::Windows1252 => "WINDOWS-1252",
            Encoding::Latin1 | Encoding::Utf8 => "ISO-8859-1",
        };
        Reason::plain(format!(
            "line {line} is not UTF-8: it seems to be {seems}; set csv.encoding: {seems}, or convert it with iconv -f {iconv} -t UTF-8 FILE > NEW"
        ))
    })
}

/// Decodes the text of a record from an encoding with one byte a character, and adjusts the ends of its fields. `line` is the record's first line.
pub(super) fn decode(
    (bytes, ends): (&[u8], &[usize]),
    encoding: Encoding,
    line: u64,
    (text, text_ends): (&mut String, &mut Vec<usize>),
) -> Result<(), Reason> {
    text.clear();
    text_ends.clear();
    let mut ends = ends.iter().peekable();
    for (place, byte) in bytes.iter().enumerate() {
        while ends.next_if(|end| **end <= place).is_some() {
            text_ends.push(text.len());
        }
        text.push(character(*byte, encoding).ok_or_else(|| {
            let line = line + breaks(&bytes[..place]);
            Reason::plain(format!(
                "line {line} has the byte 0x{byte:02x}, which {encoding} has not: set csv.encoding to what the file is in, or convert it \
                 with iconv -f ENCODING -t UTF-8 FILE > NEW and leave encoding out"
            ))
        })?);
    }
    text_ends.extend(ends.map(|_| text.len()));
    Ok(())
}

fn character(byte: u8, encoding: Encoding) -> Option<char> {
    match (encoding, byte) {
        (Encoding::Windows1252, 0x80..0xa0) => match WINDOWS_1252[usize::from(byte - 0x80)] {
            0 => None,
            code => char::from_u32(u32::from(code)),
        },
        _ => Some(char::from(byte)),
    }
}

/// The likely encoding of text that is not UTF-8: Latin-1, unless a character exists only in Windows-1252.
fn one_byte_encoding(bytes: &[u8]) -> Option<Encoding> {
    // No text has these control characters.
    let is_other =
        |byte: &u8| character(*byte, Encoding::Windows1252).is_none() || (*byte < b' ' && !byte.is_ascii_whitespace());
    if bytes.iter().any(is_other) {
        return None;
    }
    let is_of_windows = bytes.iter().any(|byte| (0x80..0xa0).contains(byte));
    Some(if is_of_windows {
        Encoding::Windows1252
    } else {
        Encoding::Latin1
    })
}

/// The likely encoding of a whole file: UTF-8 unless another one fits.
pub(super) fn guess(content: &dyn Content) -> Result<Encoding, ReadError> {
    let mut input = Input::open(content, FileKind::Csv).map_err(ReadError::features)?;
    let (mut is_utf_8, mut seems) = (true, Some(Encoding::Latin1));
    // The beginning of a character that ends in the next buffer.
    let mut begun = Vec::new();
    loop {
        let bytes = input.fill_buf();
        let bytes = bytes.map_err(|error| ReadError::features(unreadable(&error)))?;
        if bytes.is_empty() {
            break;
        }
        seems = match (seems, one_byte_encoding(bytes)) {
            (Some(Encoding::Latin1), seems) | (seems, Some(Encoding::Latin1)) => seems,
            (Some(_), Some(seems)) => Some(seems),
            _ => None,
        };
        begun.extend_from_slice(bytes);
        let len = bytes.len();
        input.consume(len);
        let rest = match str::from_utf8(&begun) {
            Ok(_) => begun.len(),
            Err(error) => {
                is_utf_8 &= error.error_len().is_none();
                error.valid_up_to()
            }
        };
        begun.drain(..rest);
        if !is_utf_8 {
            begun.clear();
        }
    }
    let is_utf_8 = is_utf_8 && begun.is_empty();
    Ok(seems.filter(|_| !is_utf_8).unwrap_or_default())
}
