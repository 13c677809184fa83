//! `network.json`: the network in words.

use serde::Serialize;

use super::{Analysis, LeftOut, to_json};
use crate::trainer::describe;

#[derive(Serialize)]
struct Network<'a> {
    input: Input,
    target: Target<'a>,
    layers: serde_json::Value,
    loss: &'a str,
    batch_size: u32,
    parameters: u64,
}

#[derive(Serialize)]
struct Input {
    shape: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Target<'a> {
    Name(&'a str),
    Classes(&'a [String]),
}

pub(super) fn network(analysis: &Analysis<'_>) -> Result<Option<Vec<u8>>, LeftOut> {
    let architecture = analysis.subject.trained.architecture();
    let network = Network {
        input: Input {
            shape: analysis.input().dims(),
            features: analysis.features(),
        },
        target: match analysis.subject.train.classes() {
            None => Target::Name(analysis.target()),
            Some(classes) => Target::Classes(classes),
        },
        layers: describe(architecture, Some(&analysis.subject.dropout)),
        loss: architecture.loss.as_str(),
        batch_size: architecture.batch_size,
        parameters: architecture.params(),
    };
    to_json(&network).map(Some)
}
