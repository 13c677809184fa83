//! `network.json`: a description of the network.

use trawl_dataset::{Dialect, Encoding, FittedTable, Format, Header, Layout, Resize, SampleShape};
use trawl_domain::layer::WrittenLayer;

use super::{Analysis, MEMBER, SkippedArtifact, predictions, to_json};
use crate::network_file::{FoldFitted, Input, NetworkFile, Target};
use crate::{Networks, Table};

pub(super) fn network(analysis: &Analysis<'_, impl Networks>) -> Result<Option<Vec<u8>>, SkippedArtifact> {
    let architecture = analysis.networks.architecture();
    let format = &analysis.subject.format;
    let dialect = match format {
        Format::Csv(columns) => Some(&columns.dialect),
        _ => None,
    };
    let networks = analysis.ensemble.networks().iter();
    let mut fitted = networks
        .map(|network| Ok(network.fitted(MEMBER)?.cloned().unwrap_or_default()))
        .collect::<Result<Vec<_>, SkippedArtifact>>()?;
    let (fitted, folds) = match analysis.ensemble.only() {
        Some(_) => (fitted.pop().unwrap_or_default(), None),
        None => (
            FittedTable::default(),
            Some(fitted.into_iter().map(FoldFitted::from).collect()),
        ),
    };
    let inputs = analysis.subject.train.known().inputs;
    let file = NetworkFile {
        input: Input {
            shape: analysis.input().dims(),
            features: analysis.features(),
            columns: inputs
                .filter(|inputs| !inputs.is_plain() && !matches!(analysis.input(), SampleShape::Image { .. })),
            fitted: fitted.inputs,
            header: dialect.and_then(header),
            delimiter: dialect.and_then(|dialect| dialect.delimiter).map(char::from),
            quote: dialect
                .and_then(|dialect| dialect.quoting)
                .map(|quoting| quoting.to_string()),
            encoding: dialect
                .map(|dialect| dialect.encoding)
                .filter(|encoding| *encoding != Encoding::default())
                .map(|encoding| encoding.to_string()),
            decimal: dialect.and_then(|dialect| dialect.has_decimal_comma.then_some(',')),
            missing: dialect.and_then(|dialect| dialect.missing.clone()),
            resize: matches!(format, Format::Pictures(..)).then_some(Resize::Crop),
            layout: layout(format, analysis.input()).map(|layout| layout.to_string()),
        },
        target: match analysis.subject.train.classes() {
            None => Target::of_numbers(predictions::of_subject(analysis.subject, analysis.outputs())),
            Some(classes) => Target::Classes(classes.to_vec()),
        },
        target_fitted: fitted.targets,
        folds,
        temperature: match &analysis.calibrated {
            Some(Ok((temperature, _))) => Some(*temperature),
            Some(Err(_)) | None => None,
        },
        layers: WrittenLayer::list(&architecture.layers, &analysis.subject.dropout),
        loss: architecture.loss.to_string(),
        batch_size: architecture.batch_size,
        parameters: architecture.params(),
    };
    to_json(&file).map(Some)
}

/// The study's setting for the header line of a table's files; `None` if it was left out.
fn header(dialect: &Dialect) -> Option<bool> {
    match dialect.header {
        Header::Checked => None,
        Header::Present => Some(true),
        Header::Absent => Some(false),
    }
}

/// The order of the axes of an array that images came in.
fn layout(format: &Format, input: SampleShape) -> Option<Layout> {
    let layout = match (format, input) {
        (Format::Npy(rules) | Format::Npz(_, rules) | Format::Idx(rules), SampleShape::Image { .. }) => rules.layout,
        _ => return None,
    };
    Some(layout.unwrap_or(Layout::ChannelsFirst))
}
