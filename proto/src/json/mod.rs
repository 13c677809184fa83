//! Messages in protobuf's canonical JSON, by the descriptors that also serve reflection. Field names are as in the
//! `.proto` files, like in documents and SQL; camelCase is also read.

mod path;
mod read;
#[cfg(test)]
mod tests;
mod wrong;

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::DESCRIPTOR_SET;

pub use read::from_json;
pub use wrong::{JsonError, JsonErrors};

pub(crate) static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTOR_SET).expect("the descriptors are made by this crate's build"));

/// The JSON form of a message. Absent fields are omitted, but not fields that are 0 or empty; whole numbers are written without a
/// point, whatever their type.
///
/// # Errors
/// A google.protobuf.Value without a kind, or with a non-finite number, which JSON cannot express. A time beyond the year 9999.
pub fn to_json<M: prost::Message + prost::Name>(message: &M) -> Result<Value, JsonError> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut json = dynamic(message)
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|error| JsonError::new(String::new(), error.to_string()))?;
    shorten_whole_numbers(&mut json);
    Ok(json)
}

/// A batch size of 4 is a double on the wire; people read 4, not 4.0.
fn shorten_whole_numbers(json: &mut Value) {
    /// Up to this size doubles represent every whole number.
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

/// The message by its descriptor, so that its fields can be walked.
pub(crate) fn dynamic<M: prost::Message + prost::Name>(message: &M) -> DynamicMessage {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    dynamic
        .transcode_from(message)
        .expect("a message agrees with its own descriptor");
    dynamic
}

fn descriptor<M: prost::Name>() -> prost_reflect::MessageDescriptor {
    POOL.get_message_by_name(&M::full_name())
        .expect("every message of this crate is in its descriptors")
}
