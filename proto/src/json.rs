//! Messages in the canonical JSON of protobuf, by the same descriptors that serve reflection. Field names are those of the
//! `.proto` files, as contract and SQL have them; camelCase is read as well.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions};
use serde::Deserializer;
use serde::de::DeserializeSeed;
use serde_json::Value;

use crate::DESCRIPTOR_SET;

pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptors are made by this crate's build"));

/// A JSON value that is no such message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct JsonError {
    /// Path of the field, as in `study.training.epochs`; `.` for the message itself.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a message from any source of its JSON form.
///
/// # Errors
/// An unknown field, or a value that its field does not take; the first one.
pub fn from_json<'de, M, D>(source: D) -> Result<M, JsonError>
where
    M: prost::Message + prost::Name + Default,
    D: Deserializer<'de>,
{
    let mut track = serde_path_to_error::Track::new();
    let descriptor = descriptor::<M>();
    // Unknown fields are errors: a misspelt setting must not be left at its default.
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let seed = MessageSeed { descriptor, options };
    match seed.deserialize(serde_path_to_error::Deserializer::new(source, &mut track)) {
        Ok(message) => message.transcode_to().map_err(|error| JsonError {
            field: ".".into(),
            reason: error.to_string(),
        }),
        Err(error) => Err(JsonError {
            field: track.path().to_string(),
            reason: error.to_string(),
        }),
    }
}

struct MessageSeed {
    descriptor: prost_reflect::MessageDescriptor,
    options: DeserializeOptions,
}

impl<'de> DeserializeSeed<'de> for MessageSeed {
    type Value = DynamicMessage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<DynamicMessage, D::Error> {
        DynamicMessage::deserialize_with_options(self.descriptor, deserializer, &self.options)
    }
}

/// The JSON form of a message. Fields that are absent are left out, those that are 0 or empty are not; whole numbers are
/// written as such, whatever their type.
///
/// # Errors
/// A google.protobuf.Value without a kind, or with a number that is not finite: JSON has none. A time beyond the year 9999.
pub fn to_json<M: prost::Message + prost::Name>(message: &M) -> Result<Value, JsonError> {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic
        .transcode_from(message)
        .expect("a message agrees with its own descriptor");
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut json = dynamic
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| JsonError {
            field: ".".into(),
            reason: error.to_string(),
        })?;
    shorten_whole_numbers(&mut json);
    Ok(json)
}

/// A batch size of 4 is a double on the wire; people read 4, not 4.0.
fn shorten_whole_numbers(json: &mut Value) {
    /// Up to here every whole number is a double of its own.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    match json {
        Value::Number(number) => {
            let whole = number
                .as_f64()
                .filter(|x| number.is_f64() && x.fract() == 0.0 && x.abs() <= WHOLE_MAX);
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(shorten_whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(shorten_whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn descriptor<M: prost::Name>() -> prost_reflect::MessageDescriptor {
    POOL.get_message_by_name(&M::full_name())
        .expect("every message of this crate is in its descriptors")
}
