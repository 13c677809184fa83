//! docs/study-file.md has every field of a study, and every word that fields take.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Kind, MessageDescriptor};
use trawl_domain::layer::Activation;
use trawl_domain::loss::Loss;
use trawl_domain::metric::Metric;
use trawl_domain::optimizer::Optimizer;
use trawl_domain::schedule::Schedule;

use crate::json::POOL;

const REFERENCE: &str = include_str!("../../../docs/study-file.md");

/// Names of the fields of a message at any depth, each with the first message that has it.
fn fields(message: &MessageDescriptor, seen: &mut BTreeSet<String>, found: &mut BTreeMap<String, String>) {
    if message.full_name().starts_with("google.protobuf.") || !seen.insert(message.full_name().to_owned()) {
        return;
    }
    for field in message.fields() {
        // Entries of a map are named by the user.
        if !message.is_map_entry() {
            let first = found.entry(field.name().to_owned());
            first.or_insert_with(|| message.name().to_owned());
        }
        if let Kind::Message(inner) = field.kind() {
            fields(&inner, seen, found);
        }
    }
}

/// True if the reference has this name, and not only as a part of another one.
fn has(name: &str) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    REFERENCE.match_indices(name).any(|(start, _)| {
        let (before, after) = (&REFERENCE[..start], &REFERENCE[start + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[test]
fn the_reference_has_every_field_of_a_study() {
    let study = POOL.get_message_by_name("trawl.v1.Study").expect("the study");
    let mut found = BTreeMap::new();
    fields(&study, &mut BTreeSet::new(), &mut found);
    assert!(found.len() > 100, "{}", found.len());
    let missing: Vec<String> = found
        .iter()
        .filter(|(name, _)| !has(name))
        .map(|(name, message)| format!("{message}.{name}"))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "docs/study-file.md lacks them");
}

#[test]
fn the_reference_has_every_word() {
    let words = [
        Loss::WORDS,
        Optimizer::WORDS,
        Schedule::WORDS,
        Metric::WORDS,
        Activation::WORDS,
    ]
    .concat();
    let missing: Vec<&str> = words.into_iter().filter(|word| !has(word)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "docs/study-file.md lacks them");
}
