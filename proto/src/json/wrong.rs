//! Faults of JSON that should be a message, in words for its author.

use serde_json::Value;
use trawl_domain::limits::VIOLATIONS_MAX;

/// Length up to which a message quotes a text.
const TEXT_CHARS_MAX: usize = 40;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{reason}", .field, if .field.is_empty() { "" } else { ": " })]
pub struct JsonError {
    /// Path of the field, as in `training.epochs`; empty for the message itself.
    pub field: String,
    /// The fault.
    pub reason: String,
    /// The remedy, if it is known.
    pub help: Option<String>,
    /// True if the field's name is wrong, not its value.
    pub is_name: bool,
}

impl JsonError {
    pub(super) fn new(field: String, reason: String) -> Self {
        Self {
            field,
            reason,
            help: None,
            is_name: false,
        }
    }
}

/// All faults, in the order of the fields' names; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.summary())]
pub struct JsonErrors(Vec<JsonError>);

impl JsonErrors {
    /// Adds a fault. Beyond [`VIOLATIONS_MAX`] nothing is added.
    pub(super) fn add(&mut self, error: JsonError) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(error);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The faults, in order.
    pub fn iter(&self) -> impl Iterator<Item = &JsonError> {
        self.0.iter()
    }

    fn summary(&self) -> String {
        match &self.0[..] {
            [] => "nothing is wrong".to_owned(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        }
    }
}

/// Describes the value found in place of the expected one.
pub(super) fn what(json: &Value) -> String {
    match json {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text '{}'", shortened(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// The beginning of a text, on one line.
pub(super) fn shortened(text: &str) -> String {
    let mut shown = trawl_domain::text::shown(text, TEXT_CHARS_MAX);
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
