//! `network.json`: the network in words.

use serde::Serialize;
use trawl_domain::dataset::{Format, Header, Layout, SampleShape};

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
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Target<'a> {
    Name(&'a str),
    Classes(&'a [String]),
}

pub(super) fn network(analysis: &Analysis<'_>) -> Result<Option<Vec<u8>>, LeftOut> {
    let architecture = analysis.subject.trained.architecture();
    let format = &analysis.subject.format;
    let network = Network {
        input: Input {
            shape: analysis.input().dims(),
            features: analysis.features(),
            header: header(format),
            layout: layout(format, analysis.input()),
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

/// What the study says of the header line of a table's files; nothing where it was left out.
fn header(format: &Format) -> Option<bool> {
    match format {
        Format::Csv(columns) => match columns.header {
            Header::Checked => None,
            Header::Present => Some(true),
            Header::Absent => Some(false),
        },
        _ => None,
    }
}

/// The order of the axes of an array that images came in.
fn layout(format: &Format, input: SampleShape) -> Option<&'static str> {
    let layout = match (format, input) {
        (Format::Npy(layout) | Format::Npz(_, layout) | Format::Idx(layout), SampleShape::Image { .. }) => layout,
        _ => return None,
    };
    Some(layout.unwrap_or(Layout::ChannelsFirst).as_str())
}
