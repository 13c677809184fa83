//! Checks a network: its layers, and whether they fit together for all values of the searched parameters.
//!
//! Searched sizes are followed as ranges, so the cost does not depend on the number of combinations.

mod fit;
mod read;

use std::collections::BTreeMap;

use trawl_dataset::DatasetShape;
use trawl_domain::block::{Block, LayerSpec};
use trawl_domain::layer::{LayerKind, Range};
use trawl_domain::limits::LAYERS_MAX;
use trawl_domain::study::Setting;
use trawl_domain::violation::Violations;

use super::settings::Settings;
use crate::v1;

/// The model, if it is valid.
pub(super) fn check(
    model: &[v1::Layer],
    shape: Option<DatasetShape>,
    settings: &mut Settings<'_>,
    v: &mut Violations,
) -> Option<Vec<Block>> {
    let wrong = |has: &str, count: u64| format!("must have 1 to {LAYERS_MAX} layers, and {has} {count}");
    if model.is_empty() || model.len() > LAYERS_MAX {
        v.add("model", wrong("has", model.len() as u64));
        return None;
    }
    let parts = read::model(model, settings, v)?;
    let deepest = layers_max(&parts);
    if deepest > LAYERS_MAX as u64 {
        v.add("model", wrong("can have", deepest));
        return None;
    }
    if let Some(shape) = shape {
        fit::check(&parts, shape, settings, v);
    }
    blocks(parts)
}

/// True if it has a batch norm anywhere.
pub(super) fn has_batch_norm(model: &[Block]) -> bool {
    model.iter().any(|block| match block {
        Block::Layer(spec) => spec.kind.name == "batch_norm",
        Block::Residual(blocks) => has_batch_norm(blocks),
        Block::Repeat { lists, .. } => lists.iter().any(|blocks| has_batch_norm(blocks)),
        Block::Choice { of, .. } => of.values().any(|blocks| has_batch_norm(blocks)),
    })
}

/// The valid parts of a model's entry.
struct Part {
    /// Its path, as in `model[2]`.
    field: String,
    what: What,
}

enum What {
    Layer {
        kind: Option<&'static LayerKind>,
        spec: Option<LayerSpec>,
    },
    Residual(Vec<Part>),
    Repeat {
        times: Option<Setting>,
        /// Possible numbers of repetitions.
        range: Range,
        lists: Vec<Vec<Part>>,
    },
    Choice {
        pick: Option<Setting>,
        of: BTreeMap<String, Vec<Part>>,
    },
}

/// Largest possible number of layers.
fn layers_max(parts: &[Part]) -> u64 {
    let each = parts.iter().map(|part| match &part.what {
        What::Layer { .. } => 1,
        What::Residual(parts) => 1 + layers_max(parts),
        What::Repeat { lists, .. } => lists.iter().map(|parts| layers_max(parts)).sum(),
        What::Choice { of, .. } => of.values().map(|parts| layers_max(parts)).max().unwrap_or(0),
    });
    each.sum()
}

/// `None` if a part is invalid.
fn blocks(parts: Vec<Part>) -> Option<Vec<Block>> {
    let block = |part: Part| {
        Some(match part.what {
            What::Layer { spec, .. } => Block::Layer(spec?),
            What::Residual(parts) => Block::Residual(blocks(parts)?),
            What::Repeat { times, lists, .. } => Block::Repeat {
                times: times?,
                lists: lists.into_iter().map(blocks).collect::<Option<_>>()?,
            },
            What::Choice { pick, of } => Block::Choice {
                pick: pick?,
                of: of
                    .into_iter()
                    .map(|(name, parts)| Some((name, blocks(parts)?)))
                    .collect::<Option<_>>()?,
            },
        })
    };
    parts.into_iter().map(block).collect()
}
