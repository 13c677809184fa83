//! A layer in the words of a study file, as `network.json` and files of weights have it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Layer, LayerKind};
use crate::space::{ParamValue, Params};
use crate::violation::Violation;

/// One layer: its kind with its settings, as in `{"linear": {"units": 10}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrittenLayer(BTreeMap<String, Params>);

impl WrittenLayer {
    /// The layers, from the input on. `own` gives the settings that are each network's own, from the input on; where it ends they are
    /// left out.
    pub fn list(layers: &[Layer], own: &[f64]) -> Vec<Self> {
        let mut own = own.iter();
        let written = layers.iter().map(|layer| {
            let kind = layer.kind();
            let mut settings: Params = layer.settings().map(|(name, value)| (name.to_owned(), value)).collect();
            let owned = kind.settings.iter().filter(|rule| rule.is_members_own);
            settings.extend(
                owned
                    .zip(&mut own)
                    .map(|(rule, value)| (rule.name.to_owned(), ParamValue::Float(*value))),
            );
            Self(BTreeMap::from([(kind.name.to_owned(), settings)]))
        });
        written.collect()
    }

    /// The layer at this place of the list `layers`.
    ///
    /// # Errors
    /// It is of no known kind, or a setting is missing or does not follow its rule.
    pub fn read(&self, index: usize) -> Result<Layer, Violation> {
        let mut kinds = self.0.iter();
        let (Some((name, settings)), None) = (kinds.next(), kinds.next()) else {
            return Err(unknown(index, "must name one kind of layer"));
        };
        let kind = LayerKind::named(name).ok_or_else(|| {
            let kinds = LayerKind::ALL.map(|kind| kind.name).join(", ");
            unknown(
                index,
                &format!("'{name}' is no kind of layer: it must be one of {kinds}"),
            )
        })?;
        kind.layer(|rule| settings.get(rule.name).cloned())
            .map_err(|misfit| misfit.at("layers", index, kind))
    }
}

fn unknown(index: usize, description: &str) -> Violation {
    Violation {
        field: format!("layers[{index}]"),
        description: description.to_owned(),
    }
}
