//! CSV for spreadsheets, which take some texts for formulas; formulas may fetch, send and run things.

use std::borrow::Cow;
use std::io;

/// A cell that a spreadsheet takes literally: a `'` stands before a text that would begin a formula.
pub(crate) fn harmless(cell: &str) -> Cow<'_, str> {
    // Characters of other widths count as well, in languages of spreadsheets that have them.
    let begins = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    if begins && !is_number(cell) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// Copies CSV with all of its cells harmless.
pub(crate) fn copy(from: impl io::Read, to: impl io::Write) -> Result<(), csv::Error> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(from);
    let mut writer = csv::Writer::from_writer(to);
    for record in reader.records() {
        writer.write_record(record?.iter().map(|cell| harmless(cell).into_owned()))?;
    }
    Ok(writer.flush()?)
}

fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok_and(f64::is_finite) && cell.contains(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_a_formula_gets_an_apostrophe_and_a_number_none() {
        for formula in [
            "=1+1",
            "+A1",
            "-A1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "-1+1",
            "-inf",
            "=",
            "－1",
            "+cmd|' /C calc'!A0",
        ] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for plain in ["", "a=b", "-0.5", "+3", "-1e-7", "1", "'=", "a-b", "https://x"] {
            assert_eq!(harmless(plain), plain);
        }
    }

    #[test]
    fn whole_files_are_made_harmless_header_and_all() {
        let mut copied = Vec::new();
        copy("row,=x\n0,\"-a,\"\"b\"\"\"\n1,-2.5\n".as_bytes(), &mut copied).unwrap();
        assert_eq!(
            String::from_utf8(copied).unwrap(),
            "row,'=x\n0,\"'-a,\"\"b\"\"\"\n1,-2.5\n"
        );
    }
}
