//! Layers and settings in messages, read and written by their descriptors: a new layer or setting in `study.proto`
//! needs no line here.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, ReflectMessage as _, Value};
use trawl_domain::layer::{Layer, LayerKind, RESIDUAL};
use trawl_domain::violation::Violation;

use crate::json::dynamic;
use crate::params::{scalars, value};
use crate::v1;

/// Settings as written, by name.
pub(crate) type Settings = BTreeMap<String, prost_types::Value>;

/// The settings of a message: its present fields that are values.
pub(crate) fn settings<M: prost::Message + prost::Name>(message: &M) -> Settings {
    of_fields(&dynamic(message))
}

fn of_fields(message: &DynamicMessage) -> Settings {
    let fields = message.fields();
    fields
        .filter_map(|(field, value)| Some((field.name().to_owned(), value.as_message()?.transcode_to().ok()?)))
        .collect()
}

/// A layer's kind and settings, as written; `None` without a kind.
pub(crate) fn written(layer: &v1::Layer) -> Option<(String, Settings)> {
    let message = dynamic(layer);
    let (field, value) = message.fields().next()?;
    Some((field.name().to_owned(), of_fields(value.as_message()?)))
}

/// A flat list of layers with fixed settings, in a job's form.
pub(crate) fn layers_to_wire(mut layers: &[Layer]) -> Vec<v1::Layer> {
    let mut list = Vec::with_capacity(layers.len());
    while let Some((layer, behind)) = layers.split_first() {
        let (inner, rest) = behind.split_at(layer.inner().min(behind.len()));
        list.push(match layer {
            Layer::Residual { .. } => v1::Layer {
                kind: Some(v1::layer::Kind::Residual(v1::ResidualLayer {
                    layers: layers_to_wire(inner),
                })),
            },
            layer => layer_to_wire(layer),
        });
        layers = rest;
    }
    list
}

/// A layer that settings alone determine.
fn layer_to_wire(layer: &Layer) -> v1::Layer {
    let mut message = dynamic(&v1::Layer::default());
    let mut settings = nested(&message, layer.kind().name);
    for (name, param) in layer.settings() {
        let mut setting = nested(&settings, name);
        setting
            .transcode_from(&value(&param))
            .expect("settings are google.protobuf.Value");
        settings.set_field_by_name(name, Value::Message(setting));
    }
    message.set_field_by_name(layer.kind().name, Value::Message(settings));
    message.transcode_to().expect("it is a layer")
}

/// An empty message for a field.
fn nested(message: &DynamicMessage, field: &str) -> DynamicMessage {
    let field = message.descriptor().get_field_by_name(field);
    let kind = field.map(|field| field.kind());
    let kind = kind.as_ref().and_then(prost_reflect::Kind::as_message).cloned();
    DynamicMessage::new(kind.expect("a test holds the messages of layers against their descriptions"))
}

/// A job's layers as a flat list.
///
/// # Errors
/// A layer's kind is unknown, or a setting is missing or breaks its rule.
pub(crate) fn layers_from_wire(list: &[v1::Layer]) -> Result<Vec<Layer>, Violation> {
    let mut layers = Vec::with_capacity(list.len());
    read_list("layers", list, &mut layers)?;
    Ok(layers)
}

fn read_list(field: &str, list: &[v1::Layer], layers: &mut Vec<Layer>) -> Result<(), Violation> {
    for (index, layer) in list.iter().enumerate() {
        if let Some(v1::layer::Kind::Residual(residual)) = &layer.kind {
            let field = format!("{field}[{index}].{}.layers", RESIDUAL.name);
            Layer::read_residual(&field, layers, |layers| read_list(&field, &residual.layers, layers))?;
            continue;
        }
        let (name, settings) = written(layer).unwrap_or_default();
        let kind = LayerKind::named(&name).ok_or_else(|| Violation {
            field: format!("{field}[{index}]"),
            description: "is of no known kind".to_owned(),
        })?;
        let settings = scalars(settings);
        let layer = kind.layer(|rule| settings.get(rule.name).cloned());
        layers.push(layer.map_err(|misfit| misfit.at(field, index, kind))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost_reflect::ReflectMessage as _;
    use trawl_domain::layer::{Activation, Conv, Layer, LayerKind};

    use super::{layers_from_wire, layers_to_wire};
    use crate::json::dynamic;
    use crate::v1;

    #[test]
    fn every_layer_goes_over_the_wire() {
        let conv = Conv {
            filters: 8,
            kernel: 3,
            stride: 2,
            padding: 1,
        };
        let layers = [
            Layer::Linear { units: 7 },
            Layer::Embedding { dim: 8 },
            Layer::Sequence { channels: 3 },
            Layer::Conv1d(conv),
            Layer::MaxPool1d { kernel: 4 },
            Layer::AvgPool1d { kernel: 5 },
            Layer::Conv2d(conv),
            Layer::MaxPool2d { kernel: 2 },
            Layer::AvgPool2d { kernel: 3 },
            Layer::AdaptiveAvgPool2d { size: 6 },
            Layer::AdaptiveMaxPool2d { size: 7 },
            Layer::GlobalAvgPool,
            Layer::Flatten,
            Layer::Activation(Activation::Tanh),
            Layer::Dropout,
            Layer::Dropout2d,
            Layer::BatchNorm,
            Layer::LayerNorm,
        ];
        assert_eq!(
            layers.map(|layer| layer.kind().name),
            LayerKind::ALL.map(|kind| kind.name)
        );
        assert_eq!(layers_from_wire(&layers_to_wire(&layers)), Ok(layers.to_vec()));
    }

    #[test]
    fn residuals_go_over_the_wire_with_their_layers_in_them() {
        let linear = Layer::Linear { units: 7 };
        let layers = [
            linear,
            Layer::Residual { layers: 4 },
            Layer::LayerNorm,
            Layer::Residual { layers: 1 },
            Layer::Dropout,
            linear,
            Layer::Residual { layers: 1 },
            linear,
        ];
        let wire = layers_to_wire(&layers);
        assert_eq!(wire.len(), 3);
        assert_eq!(layers_from_wire(&wire), Ok(layers.to_vec()));
        let empty = v1::Layer {
            kind: Some(v1::layer::Kind::Residual(v1::ResidualLayer::default())),
        };
        let wrong = layers_from_wire(&[wire[0].clone(), empty]).expect_err("nothing in it");
        assert_eq!(
            wrong.to_string(),
            "layers[1].residual.layers: is empty: a residual has at least one layer"
        );
    }

    #[test]
    fn messages_and_descriptions_have_the_same_layers_and_settings() {
        let message = dynamic(&v1::Layer::default());
        let of_message = |name: &str| {
            let field = message.descriptor().get_field_by_name(name).expect(name);
            let kind = field.kind();
            let settings = kind.as_message().expect(name).fields();
            settings.map(|field| field.name().to_owned()).collect::<Vec<_>>()
        };
        for kind in LayerKind::ALL {
            let mut rules: Vec<_> = kind.settings.iter().map(|rule| rule.name).collect();
            let mut fields = of_message(kind.name);
            rules.sort_unstable();
            fields.sort_unstable();
            assert_eq!(fields, rules, "{}", kind.name);
        }
        // Kinds with inner layers.
        for name in ["residual", "repeat", "choice"] {
            assert!(LayerKind::named(name).is_none() && message.descriptor().get_field_by_name(name).is_some());
        }
        assert_eq!(message.descriptor().fields().count(), LayerKind::ALL.len() + 3);
    }

    #[test]
    fn a_layer_that_breaks_a_rule_is_refused() {
        let wrong = |layer: &v1::Layer| {
            let list = [layers_to_wire(&[Layer::Flatten; 3]), vec![layer.clone()]].concat();
            layers_from_wire(&list).map_err(|violation| (violation.field, violation.description))
        };
        let error = |field: &str, description: &str| Err((field.to_owned(), description.to_owned()));
        assert_eq!(wrong(&v1::Layer::default()), error("layers[3]", "is of no known kind"));
        let linear = layers_to_wire(&[Layer::Linear { units: 0 }]).remove(0);
        assert_eq!(
            wrong(&linear),
            error("layers[3].linear.units", "must be from 1 to 65536, and 0 is not")
        );
        let pool = v1::Layer {
            kind: Some(v1::layer::Kind::MaxPool2d(v1::MaxPool2dLayer::default())),
        };
        assert_eq!(wrong(&pool), error("layers[3].max_pool2d.kernel", "is missing"));
    }
}
