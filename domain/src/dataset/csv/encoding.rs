//! Text is UTF-8. What is not says what it seems to be, and how it becomes so.

use super::super::Reason;
use super::records::breaks;

/// What some programs write at the beginning of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes at the beginning that are looked at for an encoding without a mark.
const LOOKED_AT: usize = 64;

/// Bytes of a mark at the beginning, which are no text.
pub(super) fn check_beginning(first: &[u8]) -> Result<usize, Reason> {
    let utf_16 = |encoding: &str| {
        Err(Reason::plain(format!(
            "line 1 is not UTF-8: it seems to be UTF-16; convert it with iconv -f {encoding} -t UTF-8 FILE > NEW"
        )))
    };
    let is_zero = |parity: usize| {
        let some = first.get(..LOOKED_AT.min(first.len() & !1)).unwrap_or_default();
        some.len() >= 4 && some.iter().skip(parity).step_by(2).all(|byte| *byte == 0)
    };
    match first {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => utf_16("UTF-16"),
        _ if is_zero(0) == is_zero(1) => Ok(if first.starts_with(MARK) { MARK.len() } else { 0 }),
        _ if is_zero(1) => utf_16("UTF-16LE"),
        _ => utf_16("UTF-16BE"),
    }
}

/// The text of a record that begins in a line.
pub(super) fn text(bytes: &[u8], line: u64) -> Result<&str, Reason> {
    str::from_utf8(bytes).map_err(|error| {
        let line = line + breaks(&bytes[..error.valid_up_to()]);
        // These have no character in Windows-1252, of which Latin-1 is a part as far as it can be seen.
        let is_other = |byte: &u8| {
            matches!(byte, 0x81 | 0x8d | 0x8f | 0x90 | 0x9d) || (*byte < b' ' && !byte.is_ascii_whitespace())
        };
        if bytes.iter().any(is_other) {
            return Reason::plain(format!(
                "line {line} is not UTF-8, and no text in Latin-1 or Windows-1252 either"
            ));
        }
        let (name, encoding) = if bytes.iter().any(|byte| (0x80..0xa0).contains(byte)) {
            ("Windows-1252", "WINDOWS-1252")
        } else {
            ("Latin-1 (ISO-8859-1)", "ISO-8859-1")
        };
        Reason::plain(format!(
            "line {line} is not UTF-8: it seems to be {name}; convert it with iconv -f {encoding} -t UTF-8 FILE > NEW"
        ))
    })
}
