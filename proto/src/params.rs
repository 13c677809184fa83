//! Values of parameters: `google.protobuf.Value` and `Struct` on the wire, [`ParamValue`] and [`Params`] inside.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use trawl_domain::space::{ParamValue, Params};
use trawl_domain::study_draft::RawValue;

/// What was written where a value of a parameter or a setting stands.
pub(crate) fn raw_value(value: Value) -> RawValue {
    match value.kind {
        Some(Kind::BoolValue(value)) => RawValue::Scalar(ParamValue::Bool(value)),
        Some(Kind::NumberValue(value)) => RawValue::Scalar(ParamValue::number(value)),
        Some(Kind::StringValue(value)) => RawValue::Scalar(ParamValue::Text(value)),
        Some(Kind::NullValue(_)) | None => RawValue::Other("null"),
        Some(Kind::ListValue(_)) => RawValue::Other("a list"),
        Some(Kind::StructValue(_)) => RawValue::Other("an object"),
    }
}

/// A value on the wire.
pub(crate) fn value(value: &ParamValue) -> Value {
    let kind = match value {
        ParamValue::Bool(value) => Kind::BoolValue(*value),
        // Whole numbers in a space are at most 2^53, so a double holds each of them.
        ParamValue::Int(value) => Kind::NumberValue(*value as f64),
        ParamValue::Float(value) => Kind::NumberValue(*value),
        ParamValue::Text(value) => Kind::StringValue(value.clone()),
    };
    Value { kind: Some(kind) }
}

/// Parameters as a JSON object on the wire.
pub fn params_to_struct(params: &Params) -> Struct {
    Struct {
        fields: params
            .iter()
            .map(|(name, param)| (name.clone(), value(param)))
            .collect(),
    }
}

/// Parameters from a JSON object on the wire; entries that are no values of parameters are left out.
pub fn params_from_struct(params: Struct) -> Params {
    let fields = params.fields.into_iter();
    scalars(fields.map(|(name, value)| (name, raw_value(value))))
}

/// What is a value of a parameter, without the rest.
pub(crate) fn scalars(values: impl IntoIterator<Item = (String, RawValue)>) -> Params {
    let values = values.into_iter().filter_map(|(name, value)| match value {
        RawValue::Scalar(value) => Some((name, value)),
        RawValue::Other(_) => None,
    });
    values.collect()
}
