//! Why a file cannot be read, with what stands in the file and without it.

use std::fmt::Display;

/// A file that cannot be read as what it should be; shown with what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ReadError {
    /// True if it is the file of the targets.
    pub in_targets: bool,
    /// The column that is missing or there twice, if that is what is wrong.
    pub column: Option<String>,
    /// What is wrong, with the line or the offset and with what stands there: for those who have sent the file.
    pub reason: String,
    /// The same without anything that stands in the file: for everybody else.
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

    /// The same of a place in the file, in words in which nothing of the file is.
    pub(super) fn within(self, place: &str) -> Self {
        Self {
            reason: format!("{place} {}", self.reason),
            unquoted: format!("{place} {}", self.unquoted),
            ..self
        }
    }
}

/// What is wrong with a file, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    quoting: String,
    unquoted: String,
}

impl Reason {
    /// `write` is asked for both forms, and puts all that stands in the file through the quote.
    pub(super) fn quoting(write: impl Fn(Quote) -> String) -> Self {
        Self {
            quoting: write(Quote { shows: true }),
            unquoted: write(Quote { shows: false }),
        }
    }

    /// Words in which nothing of the file is.
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

/// Whether a message shows what stands in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quote {
    shows: bool,
}

impl Quote {
    /// Whether what stands in the file is shown: a guess at it is no message without.
    pub(super) fn shows(self) -> bool {
        self.shows
    }

    /// The beginning of what stands in the file, or a sign in place of it: a file that is broken may hold anything.
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
