//! `network.json`: the network in words.

use trawl_domain::dataset::{Format, Header, Layout, SampleShape};
use trawl_domain::layer::WrittenLayer;

use super::{Analysis, LeftOut, to_json};
use crate::network_file::{Input, NetworkFile, Target};
use crate::{Networks, Table};

pub(super) fn network(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, LeftOut> {
    let architecture = analysis.networks.architecture();
    let format = &analysis.subject.format;
    let file = NetworkFile {
        input: Input {
            shape: analysis.input().dims(),
            features: analysis.features(),
            header: header(format),
            layout: layout(format, analysis.input()).map(|layout| layout.to_string()),
        },
        target: match analysis.subject.train.classes() {
            None => Target::Name(analysis.target().to_owned()),
            Some(classes) => Target::Classes(classes.to_vec()),
        },
        layers: WrittenLayer::list(&architecture.layers, &analysis.subject.dropout),
        loss: architecture.loss.to_string(),
        batch_size: architecture.batch_size,
        parameters: architecture.params(),
    };
    to_json(&file).map(Some)
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
fn layout(format: &Format, input: SampleShape) -> Option<Layout> {
    let layout = match (format, input) {
        (Format::Npy(layout) | Format::Npz(_, layout) | Format::Idx(layout), SampleShape::Image { .. }) => layout,
        _ => return None,
    };
    Some(layout.unwrap_or(Layout::ChannelsFirst))
}
