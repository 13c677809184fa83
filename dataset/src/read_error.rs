//! Why a file cannot be read, with quotes from the file and without.

use std::fmt::Display;

/// A file that cannot be read as expected; displayed with quotes from it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReadError {
    /// True if the file of the targets is at fault.
    pub in_targets: bool,
    /// The missing or duplicate column, if that is the fault.
    pub column: Option<String>,
    /// The fault, with the line or the offset and a quote: for those who sent the file.
    pub reason: String,
    /// The same without any content of the file: for everybody else.
    pub unquoted: String,
}

impl ReadError {
    pub(super) fn features(reason: impl Into<Reason>) -> Self {
        let Reason { quoting, unquoted } = reason.into();
        Self {
            in_targets: false,
            column: None,
            reason: quoting,
            unquoted,
        }
    }

    pub(super) fn targets(reason: impl Into<Reason>) -> Self {
        Self {
            in_targets: true,
            ..Self::features(reason)
        }
    }

    /// Adds a place in the file, in words without the file's content.
    pub(super) fn within(self, place: &str) -> Self {
        Self {
            reason: format!("{place} {}", self.reason),
            unquoted: format!("{place} {}", self.unquoted),
            ..self
        }
    }
}

/// A fault of a file, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    quoting: String,
    unquoted: String,
}

impl Reason {
    /// `write` produces both forms, and passes all content of the file through the quote.
    pub(super) fn quoting(write: impl Fn(Quote) -> String) -> Self {
        Self {
            quoting: write(Quote { shows: true }),
            unquoted: write(Quote { shows: false }),
        }
    }

    /// Words without any content of the file.
    pub(super) fn plain(words: String) -> Self {
        Self {
            quoting: words.clone(),
            unquoted: words,
        }
    }
}

impl From<&'static str> for Reason {
    fn from(words: &'static str) -> Self {
        Self::plain(words.to_owned())
    }
}

/// Whether a message quotes the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    shows: bool,
}

impl Quote {
    /// True if content is quoted: a guess about content makes no sense without it.
    pub(super) fn shows(self) -> bool {
        self.shows
    }

    /// The beginning of content, or a sign in place of it: a broken file may hold anything.
    pub(super) fn of(self, content: impl Display) -> String {
        const CHARS_MAX: usize = 80;
        if !self.shows {
            return "…".to_owned();
        }
        let text = content.to_string();
        if text.chars().count() <= CHARS_MAX {
            text
        } else {
            text.chars().take(CHARS_MAX).chain("…".chars()).collect()
        }
    }
}
