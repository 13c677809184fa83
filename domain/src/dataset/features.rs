//! Features alone: rows whose targets nobody knows yet, for a trained network to predict.

use super::read_error::Reason;
use super::{Allowance, Features, ReadError, SampleShape, check_bytes, csv, idx, npy};

/// Rows without targets.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRows {
    /// Rows.
    pub rows: u32,
    /// Size of one row's features.
    pub shape: SampleShape,
    /// Rows × features, row by row.
    pub features: Features,
}

/// How a file of features is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureFormat<'a> {
    /// CSV with a header line: these columns, in this order. Others, as that of the target, are left alone.
    Csv(&'a [String]),
    /// Bytes in an IDX file.
    Idx,
    /// One array in a `.npy` file.
    Npy,
}

/// Reads a file of features, whose rows have to be of this shape.
///
/// # Errors
/// The first thing that is wrong with the file: it is too large, broken, of another format, without a column, of rows of another
/// shape, or has numbers that are not finite, or too many.
pub fn read_features(format: FeatureFormat<'_>, shape: SampleShape, bytes: &[u8]) -> Result<FeatureRows, ReadError> {
    check_bytes(bytes)?;
    let mut allowance = Allowance::whole();
    let rows = match format {
        FeatureFormat::Csv(columns) => csv::read_features(bytes, columns, &mut allowance)?,
        FeatureFormat::Idx => idx::read_features(bytes, &mut allowance)?,
        FeatureFormat::Npy => npy::read_features(bytes, &mut allowance)?,
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
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn csv(columns: &[&str], text: &str) -> Result<FeatureRows, String> {
        let shape = SampleShape::Vector(columns.len() as u32);
        read_features(FeatureFormat::Csv(&names(columns)), shape, text.as_bytes()).map_err(|error| error.reason)
    }

    #[test]
    fn columns_are_taken_by_name_and_need_no_target() {
        let expected = FeatureRows {
            rows: 2,
            shape: SampleShape::Vector(2),
            features: Features::Floats(vec![3.0, 1.0, 6.0, 4.0]),
        };
        assert_eq!(csv(&["b", "a"], "a,b\n1,3\n4,6\n"), Ok(expected.clone()));
        // What is not asked for may hold anything.
        assert_eq!(csv(&["b", "a"], "a,y,b\n1,unknown,3\n4,,6\n"), Ok(expected));
    }

    #[test]
    fn a_broken_table_says_where() {
        for (text, reason) in [
            ("a,c\n1,2\n", "has no column 'b'; its columns are a, c"),
            ("a,b,b\n1,2,3\n", "has the column 'b' more than once"),
            ("a,b\n1,2\n3,inf\n", "line 3, column 'b': 'inf' is not a finite number"),
            ("a,b\n,2\n", "line 2, column 'a': '' is not a finite number"),
            ("a,b\n", "has no rows"),
        ] {
            assert_eq!(csv(&["a", "b"], text), Err(reason.to_owned()));
        }
        let ragged = csv(&["a", "b"], "a,b\n1,2\n3\n").expect_err("a short line");
        assert_eq!(ragged, "line 3 has 1 fields, and the header has 2");
    }

    #[test]
    fn rows_have_to_be_of_the_shape_asked_for() {
        let image = |channels| SampleShape::Image {
            channels,
            height: 1,
            width: 2,
        };
        let file = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 7, 8, 9, 10];
        let rows = read_features(FeatureFormat::Idx, image(1), &file).expect("images");
        assert_eq!((rows.rows, rows.features), (2, Features::Bytes(vec![7, 8, 9, 10])));
        let error = read_features(FeatureFormat::Idx, image(3), &file).expect_err("one channel");
        assert_eq!(error.reason, "has rows of 1x1x2 features, and 3x1x2 are asked for");
    }

    #[test]
    fn an_array_needs_no_targets() {
        let npy = |values: [f32; 2]| {
            let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }\n";
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((header.len() as u16).to_le_bytes());
            file.extend(header.as_bytes());
            file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            file
        };
        let read = |file: &[u8], width| {
            let rows = read_features(FeatureFormat::Npy, SampleShape::Vector(width), file);
            rows.map(|rows| rows.features).map_err(|error| error.reason)
        };
        assert_eq!(read(&npy([0.5, -1.0]), 2), Ok(Features::Floats(vec![0.5, -1.0])));
        assert_eq!(
            read(&npy([0.5, -1.0]), 3),
            Err("has rows of 2 features, and 3 are asked for".to_owned())
        );
        assert_eq!(
            read(&npy([0.5, f32::NAN]), 2),
            Err("element 1: NaN is not a finite number".to_owned())
        );
    }
}
