//! The allowed content of requests, field by field of the descriptors, so that new fields are included.

mod binary;
mod dataset;
mod documented;
mod fields;
mod images_and_classes;
mod networks;
mod spaces;
mod training;
mod validation;

use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::json::POOL;
use crate::{from_json, study, texts, to_json, v1};

/// A map's key that is a parameter of the example.
const KEY: &str = "l2";
/// Messages of a google.protobuf.Value may be nested without end.
const DEPTH_MAX: usize = 9;

/// A field somewhere in a message, and the message with only that field.
struct Probe {
    path: String,
    message: DynamicMessage,
}

/// All fields of a message that `leaf` has a value for, at any depth.
fn probes(message: &MessageDescriptor, leaf: &dyn Fn(&FieldDescriptor) -> Option<Value>, depth: usize) -> Vec<Probe> {
    let mut found = Vec::new();
    for field in message.fields() {
        for (path, value) in values(&field, leaf, depth) {
            let mut message = DynamicMessage::new(message.clone());
            message.set_field(&field, value);
            found.push(Probe { path, message });
        }
    }
    found
}

/// Possible values of a field, each with its path.
fn values(
    field: &FieldDescriptor,
    leaf: &dyn Fn(&FieldDescriptor) -> Option<Value>,
    depth: usize,
) -> Vec<(String, Value)> {
    let message = field.parent_message();
    let is_silent = message.is_map_entry()
        || message.full_name().starts_with("google.protobuf.")
        || (message.full_name() == "trawl.v1.CreateStudyRequest" && field.name() == "study");
    let name = if is_silent { "" } else { field.name() };
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return Vec::new();
        };
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let map = |key: &str, value: Value| Value::Map([(MapKey::String(key.to_owned()), value)].into());
        let of_values = values(&value, leaf, depth)
            .into_iter()
            .map(|(path, value)| (joined(name, &joined(KEY, &path)), map(KEY, value)));
        let of_key = leaf(&key).map(|key| {
            let key = key.as_str().unwrap_or_default().to_owned();
            let shown = key.replace(char::is_control, "\u{fffd}");
            (joined(name, &shown), map(&key, Value::default_value_for_field(&value)))
        });
        return of_values.chain(of_key).collect();
    }
    let name = if field.is_list() {
        format!("{name}[0]")
    } else {
        name.to_owned()
    };
    let single = match field.kind() {
        _ if depth == 0 => Vec::new(),
        Kind::Message(message) => probes(&message, leaf, depth - 1)
            .into_iter()
            .map(|probe| (joined(&name, &probe.path), Value::Message(probe.message)))
            .collect(),
        _ => leaf(field).map(|value| (name, value)).into_iter().collect(),
    };
    let many = |(path, value)| {
        if field.is_list() {
            (path, Value::List(vec![value]))
        } else {
            (path, value)
        }
    };
    single.into_iter().map(many).collect()
}

fn joined(first: &str, second: &str) -> String {
    let between = if first.is_empty() || second.is_empty() || second.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("{first}{between}{second}")
}

fn text(text: &str) -> impl Fn(&FieldDescriptor) -> Option<Value> {
    move |field| (field.kind() == Kind::String).then(|| Value::String(text.to_owned()))
}

#[test]
fn every_text_of_every_request_is_refused_with_a_control_character_in_it() {
    let mut fields = 0;
    for method in POOL
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let request = texts::request(method.input().full_name()).expect("an RPC takes it");
        for control in ["\0", "\u{1b}]0;x\u{7}", "a\nb", "\t", "\u{7f}", "é\u{85}", "\u{9b}31m"] {
            for probe in probes(request, &text(control), DEPTH_MAX) {
                let violations = texts::check(request, &probe.message.encode_to_vec());
                let refused: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
                if (request.name(), probe.path.as_str()) == ("ReleaseJobRequest", "error") {
                    assert_eq!(refused, [""; 0], "an error may have several lines");
                } else {
                    assert_eq!(
                        refused,
                        [probe.path.as_str()],
                        "{} with {control:?}",
                        method.full_name()
                    );
                }
                fields += 1;
            }
        }
        for harmless in ["", "Größe", "寸法", "\u{a0}", "â\u{80a}", "$name", "אב"] {
            for probe in probes(request, &text(harmless), DEPTH_MAX) {
                let violations = texts::check(request, &probe.message.encode_to_vec());
                assert!(violations.is_empty(), "{}: {violations}", probe.path);
            }
        }
    }
    assert!(fields > 7 * 100, "{fields}");
}

#[test]
fn texts_are_named_by_the_paths_that_users_write() {
    let request = texts::request("trawl.v1.CreateStudyRequest").expect("an RPC takes it");
    let paths: Vec<String> = probes(request, &text("\0"), DEPTH_MAX)
        .into_iter()
        .map(|probe| probe.path)
        .collect();
    for path in [
        "name",
        "dataset.csv.features[0]",
        "model[0].activation.kind",
        "space.l2.choice[0]",
        "refit.set.l2",
        "refit.inputs[0][0]",
    ] {
        assert!(paths.contains(&path.to_owned()), "{path}: {paths:?}");
    }
    let name = |name: &str| prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(name.to_owned())),
    };
    let names = prost_types::ListValue {
        values: ["a", "b\0", "c\n"].map(name).into(),
    };
    let two = v1::Dataset {
        kind: Some(v1::dataset::Kind::Csv(v1::CsvDataset {
            features: Some(prost_types::Value {
                kind: Some(prost_types::value::Kind::ListValue(names)),
            }),
            ..Default::default()
        })),
        ..Default::default()
    };
    let study = v1::Study {
        dataset: Some(two),
        ..Default::default()
    };
    let bytes = v1::CreateStudyRequest {
        study: Some(study),
        dry_run: true,
        ..Default::default()
    }
    .encode_to_vec();
    let refused = texts::check(request, &bytes);
    let refused: Vec<&str> = refused.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(refused, ["dataset.csv.features[1]", "dataset.csv.features[2]"]);
    // Malformed protobuf is left to the decoder, wherever it is cut off.
    for end in 0..bytes.len() {
        let _ = texts::check(request, &bytes[..end]);
    }
}

/// A path without indices: values merged into the example's lists come after the present ones.
fn without_places(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[test]
fn a_number_of_a_study_that_is_not_finite_is_named_by_its_field() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/regression.json");
    let request: serde_json::Value = serde_json::from_slice(&std::fs::read(file).expect("the example")).expect("JSON");
    let example: v1::Study = from_json(&request["study"]).expect("a study");
    let descriptor = POOL.get_message_by_name("trawl.v1.Study").expect("it is there");
    let mut fields = 0;
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let leaf = |field: &FieldDescriptor| (field.kind() == Kind::Double).then_some(Value::F64(number));
        for probe in probes(&descriptor, &leaf, DEPTH_MAX) {
            // Concatenated messages are one message, with the fields of both.
            let bytes = [example.encode_to_vec(), probe.message.encode_to_vec()].concat();
            let study = v1::Study::decode(&bytes[..]).expect("a study");
            // It may have a JSON form or not; only a panic would be wrong.
            let _ = to_json(&study);
            let violations = study::check(&study, None).expect_err("a number that is none");
            // A list or an object is no setting: the field is refused, and its content is not checked.
            let path = without_places(&probe.path);
            let named = violations.iter().any(|violation| {
                let field = without_places(&violation.field);
                path == field
                    || path
                        .strip_prefix(&field)
                        .is_some_and(|rest| rest.starts_with('[') || rest.starts_with('.'))
            });
            assert!(named, "{number} at {}: {violations:?}", probe.path);
            fields += 1;
        }
    }
    assert!(fields > 3 * 20, "{fields}");
}

#[test]
fn a_value_without_a_json_form_is_an_error() {
    let kind = Some(prost_types::value::Kind::NumberValue(f64::NAN));
    let units = Some(prost_types::Value { kind });
    assert!(to_json(&v1::LinearLayer { units }).is_err());
}

#[test]
fn a_request_has_so_many_parts_and_no_more() {
    let request = texts::request("trawl.v1.CreateStudyRequest").expect("an RPC takes it");
    let with_layers = |layers: usize| {
        let study = v1::Study {
            model: vec![v1::Layer::default(); layers],
            ..Default::default()
        };
        let request = v1::CreateStudyRequest {
            study: Some(study),
            dry_run: false,
            ..Default::default()
        };
        request.encode_to_vec()
    };
    // The study itself counts as one.
    let fits = texts::check(request, &with_layers(texts::PARTS_MAX - 1));
    assert!(fits.is_empty(), "{fits}");
    let refused = texts::check(request, &with_layers(texts::PARTS_MAX));
    let fields: Vec<&str> = refused.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [format!("model[{}]", texts::PARTS_MAX - 1)]);
}
