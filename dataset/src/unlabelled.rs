//! Features alone: rows without known targets, which a trained network predicts.

use super::read_error::Reason;
use super::{Allowance, Content, Dialect, Features, Inputs, Layout, ReadError, Replaced, SampleShape, csv, idx, npy};

/// Rows without targets.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRows {
    /// Rows.
    pub rows: u32,
    /// Size of one row's features.
    pub shape: SampleShape,
    /// Rows × features, row by row; images channel by channel.
    pub features: Features,
    /// Cells that go in as something else, for each column of a CSV file; empty for other files.
    pub replaced: Vec<Replaced>,
}

/// How a file of features is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureFormat<'a> {
    /// CSV.
    Csv {
        /// These columns. Others, such as the target's, are ignored.
        inputs: &'a Inputs,
        /// Its format.
        dialect: &'a Dialect,
    },
    /// Bytes in an IDX file. If the layout is omitted, it is the one that gives rows the wanted shape, if only one does.
    Idx(Option<Layout>),
    /// One array in a `.npy` file; the layout as for IDX.
    Npy(Option<Layout>),
}

/// Reads a file of features, whose rows must have this shape.
///
/// # Errors
/// The first fault of the file: it is too large, broken, of another format, lacks a column, has rows of another shape,
/// or has numbers that are not finite, that float32 merges, or that are too many.
pub fn read_features(
    format: FeatureFormat<'_>,
    shape: SampleShape,
    content: &dyn Content,
) -> Result<FeatureRows, ReadError> {
    let mut allowance = Allowance::whole();
    let rows = match format {
        FeatureFormat::Csv { inputs, dialect } => csv::read_features(content, inputs, dialect, &mut allowance)?,
        FeatureFormat::Idx(layout) => {
            let open = || idx::open(content).map_err(ReadError::features);
            open()?.rows(layout, Some(shape), &open, &mut allowance)?
        }
        FeatureFormat::Npy(layout) => {
            let open = || npy::open(content).map_err(ReadError::features);
            open()?.rows(layout, Some(shape), &open, &mut allowance)?
        }
    };
    if rows.shape != shape {
        return Err(ReadError::features(Reason::quoting(|quote| {
            format!(
                "has rows of {} features, and {shape} are asked for",
                quote.of(rows.shape)
            )
        })));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
