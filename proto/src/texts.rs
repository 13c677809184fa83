//! Checks a request's bytes: every field that the descriptors call a string, at any depth, and the number of parts.
//!
//! Postgres cannot store NUL, and terminals obey other control characters: neither belongs in a name, a word or a path.
//! An empty part takes a hundred times its bytes in memory, so the number of parts is limited before any is decoded.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use trawl_domain::limits::VIOLATIONS_MAX;
use trawl_domain::violation::Violations;

use crate::json::POOL;

/// Texts that may have several lines, each with its message. The code that reads them makes them safe to store and show.
const OF_LINES: [(&str, &str); 1] = [("trawl.v1.ReleaseJobRequest", "error")];
/// Nested messages; no decoder here reads more levels.
const DEPTH_MAX: u32 = 100;
/// Texts and messages in a request: enough for the largest study, with all possible columns, layers and choices.
pub(crate) const PARTS_MAX: usize = 1 << 17;
/// Length up to which a field's path shows a map's key: the sender chooses the key's length.
const KEY_CHARS_MAX: usize = 64;

/// The request messages of all RPCs, by full name.
static REQUESTS: LazyLock<HashMap<String, MessageDescriptor>> = LazyLock::new(|| {
    let services = POOL.services().collect::<Vec<_>>();
    let methods = services
        .iter()
        .flat_map(|service| service.methods().collect::<Vec<_>>());
    methods
        .map(|method| (method.input().full_name().to_owned(), method.input()))
        .collect()
});

/// The message of this full name, if it is a request of some RPC.
pub(crate) fn request(full_name: &str) -> Option<&'static MessageDescriptor> {
    REQUESTS.get(full_name)
}

/// Violations for texts with control characters, and for the field at which a message has too many parts. Malformed
/// protobuf is left to its decoder.
pub(crate) fn check(message: &MessageDescriptor, bytes: &[u8]) -> Violations {
    let mut look = Look::new();
    let _ = look.at(message, bytes, None, DEPTH_MAX);
    look.violations
}

/// The place of a field: the field, and everything around it.
struct Place<'a> {
    within: Option<&'a Place<'a>>,
    field: &'a FieldDescriptor,
    /// Its index, if the field is repeated.
    index: usize,
    /// Its bytes.
    bytes: &'a [u8],
}

/// The state of a check.
struct Look {
    violations: Violations,
    /// Number of texts and messages still allowed.
    parts_left: usize,
    /// Number of parts that may still be refused: each path needs a look at everything around the part.
    refusals_left: usize,
}

impl Look {
    fn new() -> Self {
        Self {
            violations: Violations::new(),
            parts_left: PARTS_MAX,
            refusals_left: VIOLATIONS_MAX,
        }
    }

    /// Checks one message; `None` if it is malformed, or has too many parts.
    fn at(
        &mut self,
        message: &MessageDescriptor,
        mut bytes: &[u8],
        within: Option<&Place<'_>>,
        depth: u32,
    ) -> Option<()> {
        let mut counts: Vec<(u32, usize)> = Vec::new();
        while !bytes.is_empty() {
            let (number, wire_type) = decode_key(&mut bytes).ok()?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
                continue;
            }
            let len = usize::try_from(decode_varint(&mut bytes).ok()?).ok()?;
            let (content, rest) = bytes.split_at_checked(len)?;
            bytes = rest;
            let Some(field) = message.get_field(number) else {
                continue;
            };
            let kind = field.kind();
            if !matches!(kind, Kind::String | Kind::Message(_)) {
                continue;
            }
            let place = Place {
                within,
                field: &field,
                index: if field.is_list() {
                    counted(&mut counts, number)
                } else {
                    0
                },
                bytes: content,
            };
            let Some(parts_left) = self.parts_left.checked_sub(1) else {
                self.refuse(&place, format!("is beyond {PARTS_MAX} parts of one request"))?;
                return None;
            };
            self.parts_left = parts_left;
            match kind {
                Kind::Message(_) if depth == 0 => self.refuse(&place, "is nested too deeply")?,
                Kind::Message(message) => self.at(&message, content, Some(&place), depth - 1)?,
                _ if has_control(content) && !place.is_of_lines() => {
                    self.refuse(&place, "must have no control characters")?;
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Notes a part's violation; `None` if no more can be noted.
    fn refuse(&mut self, place: &Place<'_>, why: impl Into<String>) -> Option<()> {
        self.violations.add(place.path(), why);
        self.refusals_left = self.refusals_left.checked_sub(1).filter(|left| *left > 0)?;
        Some(())
    }
}

/// The number of earlier fields with this number.
fn counted(counts: &mut Vec<(u32, usize)>, number: u32) -> usize {
    match counts.iter_mut().find(|(known, _)| *known == number) {
        Some((_, count)) => {
            *count += 1;
            *count
        }
        None => {
            counts.push((number, 0));
            0
        }
    }
}

/// True if a text in UTF-8 has a character below 32, 127, or one from 128 to 159, whose first byte is 0xc2.
fn has_control(text: &[u8]) -> bool {
    let first = text.iter().any(|byte| *byte < 0x20 || *byte == 0x7f);
    first || text.windows(2).any(|pair| pair[0] == 0xc2 && pair[1] < 0xa0)
}

impl Place<'_> {
    fn is_of_lines(&self) -> bool {
        let message = self.field.parent_message();
        OF_LINES.contains(&(message.full_name(), self.field.name()))
    }

    /// As users write it: `space.l2.choice[0]`. A study's paths begin within the study.
    fn path(&self) -> String {
        let mut path = self.within.map(Place::path).unwrap_or_default();
        let message = self.field.parent_message();
        if message.is_map_entry() {
            return path;
        }
        let is_json = message.full_name().starts_with("google.protobuf.");
        let is_study = message.full_name() == "trawl.v1.CreateStudyRequest" && self.field.name() == "study";
        if !is_json && !is_study {
            push(&mut path, self.field.name());
        }
        if self.field.is_map() {
            push(&mut path, &key(self.bytes));
        } else if self.field.is_list() {
            path.push_str(&format!("[{}]", self.index));
        }
        path
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// The key of a map's entry, in a form that can be shown.
fn key(mut entry: &[u8]) -> String {
    let mut read = || -> Option<&[u8]> {
        loop {
            let (number, wire_type) = decode_key(&mut entry).ok()?;
            if (number, wire_type) != (1, WireType::LengthDelimited) {
                skip_field(wire_type, number, &mut entry, DecodeContext::default()).ok()?;
                continue;
            }
            let len = usize::try_from(decode_varint(&mut entry).ok()?).ok()?;
            return entry.get(..len);
        }
    };
    let key = String::from_utf8_lossy(read().unwrap_or_default()).into_owned();
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    key.chars().take(KEY_CHARS_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_with_the_last_refusal_that_is_told() {
        let field = |number: u8, content: &[u8]| {
            let mut bytes = vec![number << 3 | 2];
            prost::encoding::encode_varint(content.len() as u64, &mut bytes);
            [bytes, content.to_vec()].concat()
        };
        // The paths of 60,000 words begin in an entry whose key is missing, and is searched for among 300,000 fields.
        let words = field(1, &[0x0a, 3, 0x1a, 1, 1].repeat(60_000));
        let entry = [field(2, &words), [0x18, 0].repeat(300_000)].concat();
        let bytes = field(1, &field(8, &entry));
        let mut look = Look::new();
        let request = request("trawl.v1.CreateStudyRequest").expect("an RPC takes it");
        assert!(look.at(request, &bytes, None, DEPTH_MAX).is_none());
        assert!(!look.violations.is_empty());
        let looked_at = PARTS_MAX - look.parts_left;
        assert!(looked_at < 3 * VIOLATIONS_MAX, "{looked_at} parts");
    }
}
