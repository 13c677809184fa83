//! A layer in a study file's words, as in `network.json` and files of weights.

use std::collections::BTreeMap;
use std::slice::Iter;

use serde::{Deserialize, Serialize};

use super::{Layer, LayerKind, RESIDUAL};
use crate::space::ParamValue;
use crate::violation::Violation;

/// The field of a residual's layers.
const LAYERS: &str = "layers";

/// One layer: its kind with its settings, as in `{"linear": {"units": 10}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrittenLayer(BTreeMap<String, BTreeMap<String, Written>>);

/// The value of a name in a layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    /// The value of a setting.
    Value(ParamValue),
    /// The layers of a residual.
    Layers(Vec<WrittenLayer>),
}

impl WrittenLayer {
    /// The layers, from the input on. `own` has the settings of each network's own, from the input on; settings beyond
    /// its end are omitted.
    pub fn list(layers: &[Layer], own: &[f64]) -> Vec<Self> {
        Self::write(layers, &mut own.iter())
    }

    fn write(mut layers: &[Layer], own: &mut Iter<'_, f64>) -> Vec<Self> {
        let mut list = Vec::new();
        while let Some((layer, behind)) = layers.split_first() {
            let kind = layer.kind();
            let settings = layer.settings().map(|(name, value)| (name, Written::Value(value)));
            let mut settings: BTreeMap<_, _> = settings.map(|(name, value)| (name.to_owned(), value)).collect();
            let owned = kind.settings.iter().filter(|rule| rule.is_members_own);
            settings.extend(owned.zip(&mut *own).map(|(rule, value)| {
                let value = Written::Value(ParamValue::Float(*value));
                (rule.name.to_owned(), value)
            }));
            let (inner, rest) = behind.split_at(layer.inner().min(behind.len()));
            if matches!(layer, Layer::Residual { .. }) {
                settings.insert(LAYERS.to_owned(), Written::Layers(Self::write(inner, own)));
            }
            list.push(Self(BTreeMap::from([(kind.name.to_owned(), settings)])));
            layers = rest;
        }
        list
    }

    /// The list `layers` as a flat list.
    ///
    /// # Errors
    /// A layer's kind is unknown, or a setting is missing or breaks its rule.
    pub fn read(list: &[Self]) -> Result<Vec<Layer>, Violation> {
        let mut layers = Vec::with_capacity(list.len());
        Self::read_list(list, LAYERS, &mut layers)?;
        Ok(layers)
    }

    fn read_list(list: &[Self], field: &str, layers: &mut Vec<Layer>) -> Result<(), Violation> {
        for (index, layer) in list.iter().enumerate() {
            let wrong = |description: String| Violation {
                field: format!("{field}[{index}]"),
                description,
            };
            let mut kinds = layer.0.iter();
            let (Some((name, settings)), None) = (kinds.next(), kinds.next()) else {
                return Err(wrong("must name one kind of layer".to_owned()));
            };
            if name == RESIDUAL.name {
                let field = format!("{field}[{index}].{name}.{LAYERS}");
                let Some(Written::Layers(inner)) = settings.get(LAYERS) else {
                    return Err(Violation {
                        field,
                        description: "is missing".to_owned(),
                    });
                };
                Layer::read_residual(&field, layers, |layers| Self::read_list(inner, &field, layers))?;
                continue;
            }
            let kind = LayerKind::named(name).ok_or_else(|| {
                let kinds = LayerKind::ALL.map(|kind| kind.name).join(", ");
                wrong(format!(
                    "'{name}' is no kind of layer: it must be one of {kinds}, {}",
                    RESIDUAL.name
                ))
            })?;
            let value = |name: &str| match settings.get(name)? {
                Written::Value(value) => Some(value.clone()),
                Written::Layers(_) => None,
            };
            let layer = kind.layer(|rule| value(rule.name));
            layers.push(layer.map_err(|misfit| misfit.at(field, index, kind))?);
        }
        Ok(())
    }
}
