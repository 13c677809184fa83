//! Values of parameters: `google.protobuf.Value` and `Struct` on the wire, [`ParamValue`] and [`Params`] inside.

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use trawl_domain::space::{ParamValue, Params};

/// A boolean, a number or a word; the error names the other kind.
pub(crate) fn scalar(value: &Value) -> Result<ParamValue, &'static str> {
    match &value.kind {
        Some(Kind::BoolValue(value)) => Ok(ParamValue::Bool(*value)),
        Some(Kind::NumberValue(value)) => Ok(ParamValue::number(*value)),
        Some(Kind::StringValue(value)) => Ok(ParamValue::Text(value.clone())),
        Some(Kind::NullValue(_)) | None => Err("null"),
        Some(Kind::ListValue(_)) => Err("a list"),
        Some(Kind::StructValue(_)) => Err("an object"),
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

/// Parameters from a JSON object on the wire; omits entries that are no parameter values.
pub fn params_from_struct(params: Struct) -> Params {
    scalars(params.fields)
}

/// The entries that are parameter values.
pub(crate) fn scalars(values: impl IntoIterator<Item = (String, Value)>) -> Params {
    let values = values.into_iter();
    values
        .filter_map(|(name, value)| Some((name, scalar(&value).ok()?)))
        .collect()
}
