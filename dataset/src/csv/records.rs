//! The records of a CSV file, one after the other.
//!
//! The parser gets fixed memory for a record, and so cannot take more.

use std::io::BufRead;

use csv_core::ReadRecordResult;

use super::super::columns::{Dialect, Encoding, Quoting};
use super::super::read_error::Quote;
use super::super::reader::{Input, unreadable};
use super::super::signature::FileKind;
use super::super::{Content, ReadError, Reason};
use super::{encoding, first_line};
use crate::limits::{CSV_COLUMNS_MAX, CSV_RECORD_BYTES_MAX};

/// The records of a file, with memory for the longest possible one.
pub(super) struct Records<'a> {
    parser: csv_core::Reader,
    delimiter: u8,
    quoting: Quoting,
    encoding: Encoding,
    input: Input<'a>,
    lines: Lines,
    /// The concatenated fields of a record.
    text: Vec<u8>,
    /// The end of each field in it.
    ends: Vec<usize>,
    /// The last record's text and ends in UTF-8, if the file has another encoding.
    decoded: (String, Vec<usize>),
    /// Lengths of `text` and `ends`, and the first line of their record.
    last: (usize, usize, u64),
    /// True if the last record is returned once more.
    is_held: bool,
}

impl<'a> Records<'a> {
    pub(super) fn open(content: &'a dyn Content, dialect: &Dialect) -> Result<Self, ReadError> {
        let mut input = Input::open(content, FileKind::Csv).map_err(ReadError::features)?;
        let first = input
            .fill_buf()
            .map_err(|error| ReadError::features(unreadable(&error)))?;
        let mark_len = encoding::check_beginning(first, dialect.encoding).map_err(ReadError::features)?;
        let (quoting, delimiter) = first_line::look(&first[mark_len..], dialect);
        input.consume(mark_len);
        let bytes_max = usize::try_from(input.bytes_max).unwrap_or(usize::MAX);
        let mut parser = csv_core::ReaderBuilder::new();
        parser.delimiter(delimiter);
        match quoting {
            Quoting::Character(quote) => parser.quote(quote),
            Quoting::Absent => parser.quoting(false),
        };
        Ok(Self {
            parser: parser.build(),
            delimiter,
            quoting,
            encoding: dialect.encoding,
            decoded: Default::default(),
            input,
            lines: Lines::default(),
            // A record has no more text or fields than the file has bytes; one extra byte shows that the memory is full.
            text: vec![0; bytes_max.min(CSV_RECORD_BYTES_MAX) + 1],
            ends: vec![0; bytes_max.min(CSV_COLUMNS_MAX) + 1],
            last: (0, 0, 0),
            is_held: false,
        })
    }

    /// What stands between cells.
    pub(super) fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// What stands around cells.
    pub(super) fn quoting(&self) -> Quoting {
        self.quoting
    }

    /// Makes [`Self::next`] return the last record once more.
    pub(super) fn hold(&mut self) {
        self.is_held = true;
    }

    /// The next record; `None` at the end. Skips blank lines.
    pub(super) fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if !std::mem::take(&mut self.is_held) && !self.advance()? {
            return Ok(None);
        }
        let (text_len, ends_len, line) = self.last;
        let (bytes, ends) = (&self.text[..text_len], &self.ends[..ends_len]);
        let (text, ends) = if self.encoding == Encoding::Utf8 || bytes.is_ascii() {
            (encoding::text(bytes, line).map_err(ReadError::features)?, ends)
        } else {
            let (text, text_ends) = &mut self.decoded;
            let decoded = encoding::decode((bytes, ends), self.encoding, line, (text, text_ends));
            decoded.map_err(ReadError::features)?;
            (text.as_str(), text_ends.as_slice())
        };
        Ok(Some(Record {
            text,
            ends,
            line,
            quoting: self.quoting,
        }))
    }

    fn advance(&mut self) -> Result<bool, ReadError> {
        self.skip_breaks()?;
        let line = self.lines.line();
        let refuse = |reason: String| Err(ReadError::features(Reason::plain(reason)));
        let (mut text_len, mut ends_len) = (0, 0);
        loop {
            let bytes = self.input.fill_buf();
            let bytes = bytes.map_err(|error| ReadError::features(unreadable(&error)))?;
            let (text, ends) = (&mut self.text[text_len..], &mut self.ends[ends_len..]);
            let (result, read, text, ends) = self.parser.read_record(bytes, text, ends);
            self.lines.pass(&bytes[..read]);
            self.input.consume(read);
            text_len += text;
            ends_len += ends;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::Record if ends_len <= CSV_COLUMNS_MAX => break,
                ReadRecordResult::End => return Ok(false),
                ReadRecordResult::OutputFull => {
                    return refuse(format!(
                        "line {line} is longer than {CSV_RECORD_BYTES_MAX} bytes: {}",
                        open_quote(self.quoting)
                    ));
                }
                ReadRecordResult::Record | ReadRecordResult::OutputEndsFull => {
                    return refuse(format!("line {line} has more than {CSV_COLUMNS_MAX} columns"));
                }
            }
        }
        self.last = (text_len, ends_len, line);
        Ok(true)
    }

    /// Skips blank lines, because the parser does not report the line of the record after them.
    fn skip_breaks(&mut self) -> Result<(), ReadError> {
        loop {
            let bytes = self.input.fill_buf();
            let bytes = bytes.map_err(|error| ReadError::features(unreadable(&error)))?;
            let breaks = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.lines.pass(&bytes[..breaks]);
            let is_over = breaks < bytes.len() || bytes.is_empty();
            self.input.consume(breaks);
            if is_over {
                return Ok(());
            }
        }
    }
}

/// Counts lines as editors do: each of `\n`, `\r\n` and `\r` ends one.
#[derive(Default)]
struct Lines {
    ended: u64,
    after_cr: bool,
}

impl Lines {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.ended += u64::from(*byte == b'\r' || (*byte == b'\n' && !self.after_cr));
            self.after_cr = *byte == b'\r';
        }
    }

    /// The line of the next byte, from 1.
    fn line(&self) -> u64 {
        self.ended + 1
    }
}

/// The number of line ends in a text.
pub(super) fn breaks(text: &[u8]) -> u64 {
    let mut lines = Lines::default();
    lines.pass(text);
    lines.ended
}

/// The message about a record that is too long.
fn open_quote(quoting: Quoting) -> String {
    match quoting {
        Quoting::Character(_) => {
            format!("a quote may be open; if {quoting} has no meaning in the file, set csv.quote: none")
        }
        Quoting::Absent => "it may be no table".to_owned(),
    }
}

/// A record.
pub(super) struct Record<'r> {
    text: &'r str,
    ends: &'r [usize],
    /// Its first line.
    pub(super) line: u64,
    quoting: Quoting,
}

impl<'r> Record<'r> {
    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field that exists, trimmed.
    pub(super) fn field(&self, index: usize) -> Result<&'r str, ReadError> {
        let field = self.text.get(self.start(index)..self.ends[index]);
        // A delimiter may have split a character's bytes.
        field.map(str::trim).ok_or_else(|| {
            let reason = format!("line {} is not UTF-8: a delimiter is amid a character", self.line);
            ReadError::features(Reason::plain(reason))
        })
    }

    /// The first line of a field: earlier fields may contain line breaks in quotes.
    pub(super) fn line_of(&self, index: usize) -> u64 {
        self.line + breaks(&self.text.as_bytes()[..self.start(index)])
    }

    /// A likely reason for a wrong number of fields.
    pub(super) fn hint(&self, quote: Quote) -> String {
        let (quoting, last) = (self.quoting, self.line + breaks(self.text.as_bytes()));
        if quoting != Quoting::Absent && last > self.line {
            let last = quote.of(last);
            return format!(
                "; it goes on to line {last}, so a quote may be open: if {quoting} has no meaning in the file, set csv.quote: none"
            );
        }
        if quote.shows() && quoting != Quoting::Character(b'\'') && self.text.contains('\'') {
            return "; if apostrophes stand around cells, set csv.quote: \"'\"".to_owned();
        }
        String::new()
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}
