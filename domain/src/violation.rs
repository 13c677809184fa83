//! Violations of a request's rules, field by field.

use crate::limits::{VIOLATION_CHARS_MAX, VIOLATION_FIELD_CHARS_MAX, VIOLATIONS_BYTES_MAX, VIOLATIONS_MAX};

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {description}")]
pub struct Violation {
    /// Path of the field, as in `space.learning_rate.log_uniform.low`.
    pub field: String,
    /// The fault, and the remedy.
    pub description: String,
}

impl Violation {
    /// The same for a field within another one.
    #[must_use]
    pub fn within(self, field: &str) -> Self {
        Self {
            field: format!("{field}.{}", self.field),
            ..self
        }
    }

    fn bytes(&self) -> usize {
        self.field.len() + self.description.len()
    }
}

/// Shortens a text to `chars_max` characters: its beginning names the subject, and its end the fault.
fn shortened(text: String, chars_max: usize) -> String {
    // No text has more characters than bytes.
    if text.len() <= chars_max || text.chars().count() <= chars_max {
        return text;
    }
    let first = chars_max / 2;
    let last: Vec<char> = text.chars().rev().take(chars_max - first - 1).collect();
    let last = last.into_iter().rev();
    text.chars().take(first).chain(['…']).chain(last).collect()
}

/// Collects every broken rule of a request, so that its author can correct all of them at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// No violations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a violation. A field has only its first one: further faults often follow from it. Beyond [`VIOLATIONS_MAX`]
    /// or [`VIOLATIONS_BYTES_MAX`] nothing is added. Both texts may quote the request at any length: then their middles
    /// are left out.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        let violation = Violation {
            field: shortened(field.into(), VIOLATION_FIELD_CHARS_MAX),
            description: shortened(description.into(), VIOLATION_CHARS_MAX),
        };
        let is_new = self.0.iter().all(|known| known.field != violation.field);
        let bytes: usize = self.0.iter().map(Violation::bytes).sum();
        if is_new && self.0.len() < VIOLATIONS_MAX && bytes + violation.bytes() <= VIOLATIONS_BYTES_MAX {
            self.0.push(violation);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_has_a_bound_whatever_was_sent() {
        let mut violations = Violations::new();
        violations.add("name", format!("'{}' is not known", "x".repeat(1 << 20)));
        let told = violations.to_string();
        assert!(
            told.starts_with("name: 'xxx") && told.ends_with("xxx' is not known"),
            "{told}"
        );
        assert_eq!(told.chars().count(), "name: ".len() + VIOLATION_CHARS_MAX);
        for number in 0..1_000 {
            violations.add(format!("{number}{}", "𝔘".repeat(1_000)), "ü".repeat(5_000));
        }
        let bytes: usize = violations.iter().map(Violation::bytes).sum();
        assert!(
            violations.iter().count() > 2 && bytes <= VIOLATIONS_BYTES_MAX,
            "{bytes}"
        );
        let short = "ü".repeat(VIOLATION_CHARS_MAX);
        assert_eq!(shortened(short.clone(), VIOLATION_CHARS_MAX), short);
    }
}
