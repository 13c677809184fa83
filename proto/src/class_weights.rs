//! Weights of classes in a study or a job: the word `balanced`, or a mapping from class to weight.

use std::collections::BTreeMap;

use prost_types::value::Kind;
use prost_types::{Struct, Value};
use trawl_domain::loss::ClassWeights;
use trawl_domain::violation::Violations;

const BALANCED: &str = "balanced";

/// Reads the weights at `field`; `Some(None)` if there are none. Notes faults.
pub(crate) fn read(field: &str, written: Option<&Value>, v: &mut Violations) -> Option<Option<ClassWeights>> {
    match written.and_then(|written| written.kind.as_ref()) {
        None | Some(Kind::NullValue(_)) => Some(None),
        Some(Kind::StringValue(word)) if word == BALANCED => Some(Some(ClassWeights::Balanced)),
        Some(Kind::StructValue(Struct { fields })) if !fields.is_empty() => {
            let weights: Vec<_> = fields
                .iter()
                .map(|(class, weight)| Some((class.clone(), one(&format!("{field}.{class}"), weight, v)?)))
                .collect();
            let weights: Option<BTreeMap<String, f64>> = weights.into_iter().collect();
            Some(Some(ClassWeights::Named(weights?)))
        }
        Some(_) => {
            v.add(
                field,
                format!("must be {BALANCED}, or a mapping with the weights of some classes"),
            );
            None
        }
    }
}

fn one(field: &str, weight: &Value, v: &mut Violations) -> Option<f64> {
    match weight.kind {
        Some(Kind::NumberValue(weight)) if ClassWeights::RANGE.contains(&weight) => Some(weight),
        _ => {
            let (least, most) = ClassWeights::RANGE.into_inner();
            v.add(field, format!("must be a number from {least} to {most}"));
            None
        }
    }
}

/// Writes weights in the form that [`read`] reads.
pub(crate) fn write(weights: &ClassWeights) -> Value {
    let kind = match weights {
        ClassWeights::Balanced => Kind::StringValue(BALANCED.to_owned()),
        ClassWeights::Named(weights) => {
            let number = |weight: &f64| Value {
                kind: Some(Kind::NumberValue(*weight)),
            };
            let fields = weights.iter();
            Kind::StructValue(Struct {
                fields: fields.map(|(class, weight)| (class.clone(), number(weight))).collect(),
            })
        }
    };
    Value { kind: Some(kind) }
}
