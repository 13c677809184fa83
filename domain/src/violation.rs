//! What is wrong with a request, field by field.

use crate::limits::VIOLATIONS_MAX;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as in `space.learning_rate.log_uniform.low`.
    pub field: String,
    /// What is wrong with it and what would be right.
    pub description: String,
}

/// Gathers every broken rule of a request, so that its author can mend all of them at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// Nothing is wrong so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a broken rule. A field has one violation, the first: what else is wrong with it often follows from that. Beyond
    /// [`VIOLATIONS_MAX`] nothing is added.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let field = field.into();
        if self.0.len() < VIOLATIONS_MAX && self.0.iter().all(|violation| violation.field != field) {
            self.0.push(Violation {
                field,
                description: description.into(),
            });
        }
    }

    /// True if no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The broken rules, in the order of the request's fields.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// The value, if no rule is broken.
    ///
    /// # Errors
    /// All broken rules.
    pub fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => {
                debug_assert!(!self.is_empty(), "a value that is missing without a violation");
                Err(self)
            }
        }
    }

    fn summary(&self) -> String {
        let mut lines = self.0.iter().map(|v| format!("{}: {}", v.field, v.description));
        match (lines.next(), self.0.len()) {
            (None, _) => "no violation".to_owned(),
            (Some(first), 1) => first,
            (Some(first), n) => format!("{first} (and {} more)", n - 1),
        }
    }
}
