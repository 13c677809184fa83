//! What commands print on standard output: listings as tables, JSON or CSV, from one description of their columns.

mod cell;
mod listing;
mod shown;
mod spreadsheet;
mod table;
mod whole;

use std::io::{self, BufWriter, IsTerminal, Write};

pub(crate) use cell::{Cell, line_up};
pub(crate) use listing::{Column, Listing, Page, csv_error};
pub(crate) use shown::{shown, shown_lines};
pub(crate) use spreadsheet::copy as copy_for_spreadsheet;
pub(crate) use table::draw;
pub(crate) use trawl_report::words::{
    alike, baselines_text, data_text, duration_text, elapsed_text, number, percent, spread, time_text, trial_list,
    trials_text,
};
pub(crate) use whole::write_whole;

use crate::args::FormatArgs;
use crate::error::Error;
use shown::shown_json;

/// How a listing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: numbers with a few digits, fitted to the terminal.
    Table,
    /// One document, full precision.
    Json,
    /// A header line and one line per item, full precision.
    Csv {
        /// With no text that a spreadsheet would take for a formula.
        for_spreadsheet: bool,
    },
}

impl From<FormatArgs> for Format {
    fn from(args: FormatArgs) -> Self {
        let for_spreadsheet = args.spreadsheet;
        match (args.json, args.csv || for_spreadsheet) {
            (true, _) => Self::Json,
            (_, true) => Self::Csv { for_spreadsheet },
            _ => Self::Table,
        }
    }
}

/// Standard output, buffered; a reader that went away is an error here and not a panic.
pub(crate) struct Output {
    sink: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self {
            sink: Box::new(BufWriter::with_capacity(64 << 10, stdout)),
            terminal,
        }
    }

    /// True if a person looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Error> {
        self.sink.write_all(text.as_bytes()).map_err(Error::output)
    }

    /// Writes a line for people.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Error> {
        writeln!(self.sink, "{}", shown(line)).map_err(Error::output)
    }

    /// Hands everything on to the reader.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.sink.flush().map_err(Error::output)
    }

    /// Writes a JSON document for people and programs.
    pub(crate) fn json(&mut self, value: &serde_json::Value) -> Result<(), Error> {
        self.text(&shown_json(&format!("{value:#}\n")))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
impl Output {
    /// An output that a test can read.
    pub(crate) fn to_memory() -> (Self, std::rc::Rc<std::cell::RefCell<Vec<u8>>>) {
        struct Memory(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
        impl Write for Memory {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.borrow_mut().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = std::rc::Rc::default();
        (
            Self {
                sink: Box::new(Memory(std::rc::Rc::clone(&bytes))),
                terminal: false,
            },
            bytes,
        )
    }
}
