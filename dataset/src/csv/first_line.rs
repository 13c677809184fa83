//! The format of a file, as far as its first line determines it.

use super::super::columns::{Dialect, Quoting};
use super::names::DELIMITERS;

/// Quoting and delimiter of a file. The study's settings take precedence over what the first line shows.
pub(super) fn look(text: &[u8], dialect: &Dialect) -> (Quoting, u8) {
    let line = line(text);
    let quoting = dialect.quoting.unwrap_or_else(|| quoting(line, dialect.delimiter));
    let delimiter = dialect.delimiter.unwrap_or_else(|| delimiter(line, quoting));
    (quoting, delimiter)
}

/// The first line that is not blank, as far as it is in `text`.
fn line(text: &[u8]) -> &[u8] {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let text = &text[text.iter().take_while(|byte| is_break(byte)).count()..];
    let end = text.iter().position(is_break);
    &text[..end.unwrap_or(text.len())]
}

/// The quoting: apostrophes if each cell of the line has them, otherwise quotation marks.
fn quoting(line: &[u8], delimiter: Option<u8>) -> Quoting {
    let apostrophes = Quoting::Character(b'\'');
    let delimiter = delimiter.unwrap_or_else(|| self::delimiter(line, apostrophes));
    let mut is_quoted = false;
    let cells = line.split(|byte| {
        is_quoted ^= *byte == b'\'';
        *byte == delimiter && !is_quoted
    });
    let mut cells = cells.map(<[u8]>::trim_ascii);
    if cells.all(|cell| cell.len() > 1 && cell.starts_with(b"'") && cell.ends_with(b"'")) {
        apostrophes
    } else {
        Quoting::default()
    }
}

/// The most frequent delimiter outside quotes; a comma if there is none.
fn delimiter(line: &[u8], quoting: Quoting) -> u8 {
    let mut counts = [0; DELIMITERS.len()];
    let mut is_quoted = false;
    for byte in line {
        is_quoted ^= quoting == Quoting::Character(*byte);
        let place = DELIMITERS
            .iter()
            .position(|delimiter| u32::from(*delimiter) == u32::from(*byte));
        if let Some(place) = place.filter(|_| !is_quoted) {
            counts[place] += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let place = counts.iter().position(|count| *count == most).unwrap_or_default();
    DELIMITERS[place] as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_delimiters_are_those_of_the_first_line() {
        let quotation = Quoting::Character(b'"');
        let apostrophes = Quoting::Character(b'\'');
        for (text, quoting, delimiter) in [
            ("a,b\n'1';'2'\n", quotation, b','),
            ("\r\n'a, or;so';'b'\n1;2\n", apostrophes, b';'),
            ("\"a;b;c\",d\n", quotation, b','),
            ("'a\n", quotation, b','),
            ("'a',b\n", quotation, b','),
            ("'a' , 'b'\n", apostrophes, b','),
            ("'a'", apostrophes, b','),
            ("", quotation, b','),
        ] {
            assert_eq!(
                look(text.as_bytes(), &Dialect::default()),
                (quoting, delimiter),
                "{text:?}"
            );
        }
        let said = Dialect {
            quoting: Some(Quoting::Absent),
            ..Dialect::default()
        };
        assert_eq!(look(b"\"a;b;c\",d", &said), (Quoting::Absent, b';'));
    }
}
