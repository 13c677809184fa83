//! The path of a field, built only when needed, since most fields are right.

use std::fmt;

/// A place within a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path<'a> {
    within: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// The message itself.
    Whole,
    /// A field, or a key of a map.
    Name(&'a str),
    /// An element of a list.
    Index(usize),
}

impl Path<'static> {
    /// The path of the message itself.
    pub(super) const WHOLE: Self = Path {
        within: None,
        step: Step::Whole,
    };
}

impl Path<'_> {
    /// The path of a field, or of a key's value.
    pub(super) fn name<'a>(&'a self, name: &'a str) -> Path<'a> {
        Path {
            within: Some(self),
            step: Step::Name(name),
        }
    }

    /// The path of an element.
    pub(super) fn index(&self, index: usize) -> Path<'_> {
        Path {
            within: Some(self),
            step: Step::Index(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = self.within {
            within.fmt(f)?;
            if matches!(
                (within.step, self.step),
                (Step::Name(_) | Step::Index(_), Step::Name(_))
            ) {
                f.write_str(".")?;
            }
        }
        match self.step {
            Step::Whole => Ok(()),
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}
