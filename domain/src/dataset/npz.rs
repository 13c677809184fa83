//! `.npz` archives of NumPy's arrays.

use std::io::Cursor;

use super::npy::{Array, samples};
use super::read_error::Reason;
use super::{Allowance, ReadError, Samples, TargetKind};
use crate::limits::{ARCHIVE_DIRECTORY_BYTES_MAX, DATASET_BYTES_MAX};

/// Names of the arrays in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrays {
    /// Array that goes into the network.
    pub features: String,
    /// Array to be predicted.
    pub target: String,
}

type Archive<'a> = zip::ZipArchive<Cursor<&'a [u8]>>;

/// Reads two arrays of an archive, one after the other.
pub(super) fn read(
    bytes: &[u8],
    arrays: &Arrays,
    kind: TargetKind,
    classes: Option<&[String]>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    check_directory(bytes)?;
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let named = |name: &str, error: ReadError| ReadError {
        in_targets: false,
        ..error.within(&format!("array '{name}'"))
    };
    let name = &arrays.features;
    let array = array(&mut archive, name)?.map_err(|error| named(name, error))?;
    let rows = array.rows(allowance).map_err(|error| named(name, error))?;
    let name = &arrays.target;
    let array = self::array(&mut archive, name)?.map_err(|error| named(name, error))?;
    let targets = array.targets(rows.rows, kind, classes, allowance);
    Ok(samples(rows, targets.map_err(|error| named(name, error))?))
}

fn broken(error: zip::result::ZipError) -> ReadError {
    ReadError::features(Reason::quoting(|quote| {
        format!("is no .npz archive: {}", quote.of(&error))
    }))
}

/// An array of the archive, as far as its header; the outer error is the archive's.
#[expect(clippy::type_complexity, reason = "an array in a member of an archive")]
fn array<'a, 'b>(
    archive: &'a mut Archive<'b>,
    name: &str,
) -> Result<Result<Array<zip::read::ZipFile<'a, Cursor<&'b [u8]>>>, ReadError>, ReadError> {
    let Some(index) = archive.index_for_name(&format!("{name}.npy")) else {
        let present: Vec<_> = archive.file_names().flatten().take(80).collect();
        let reason =
            Reason::quoting(|quote| format!("has no array '{name}'; its files are {}", quote.of(present.join(", "))));
        return Err(ReadError {
            column: Some(name.to_owned()),
            ..ReadError::features(reason)
        });
    };
    let file = archive.by_index(index).map_err(broken)?;
    // The archive's word for it: as many bytes are read, and there have to be neither more nor fewer.
    let bytes = file.size();
    if bytes > DATASET_BYTES_MAX {
        let reason = format!("is larger than {DATASET_BYTES_MAX} bytes");
        return Ok(Err(ReadError::features(Reason::plain(reason))));
    }
    Ok(Array::open(file, bytes).map_err(ReadError::features))
}

/// Refuses an archive whose directory would take much more memory than it has bytes. Members are counted by the signature that
/// each has in the directory, so that no other field of the archive has to be believed.
fn check_directory(bytes: &[u8]) -> Result<(), ReadError> {
    /// What a member takes beside its name, its comment and what else goes with it.
    const MEMBER_BYTES: usize = 512;
    const HEADER_BYTES: usize = 46;
    /// The record at the end with its comment, and what points to a larger one before it.
    const END_BYTES_MAX: usize = 20 + 22 + u16::MAX as usize;
    let len = |header: &[u8], at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let needed: usize = bytes
        .windows(HEADER_BYTES)
        .filter(|header| header.starts_with(b"PK\x01\x02"))
        .map(|header| MEMBER_BYTES + len(header, 28) + len(header, 30) + len(header, 32))
        .sum();
    // For each of these a reader copies all that stands before it. An archive of this size needs none.
    let tail = &bytes[bytes.len().saturating_sub(END_BYTES_MAX)..];
    let locators = tail.windows(4).filter(|mark| *mark == b"PK\x06\x07").count();
    if locators > 1 {
        return Err(ReadError::features("is no .npz archive: it has more than one end"));
    }
    if needed > ARCHIVE_DIRECTORY_BYTES_MAX {
        return Err(ReadError::features("has too many arrays, or too long names of them"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::tests::npy;
    use super::super::{Features, Targets};
    use super::*;

    fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in members {
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
            archive.start_file(*name, options).expect("a file");
            archive.write_all(content).expect("written");
        }
        archive.finish().expect("an archive").into_inner()
    }

    fn read_xy(bytes: &[u8], features: &str) -> Result<Samples, ReadError> {
        let arrays = Arrays {
            features: features.into(),
            target: "y".into(),
        };
        read(bytes, &arrays, TargetKind::Class, None, &mut Allowance::whole())
    }

    #[test]
    fn an_archive_is_read_by_the_names_of_its_arrays() {
        let (x, y) = (
            [1.0_f32, 2.0].map(f32::to_le_bytes).concat(),
            [0_i64, 1].map(i64::to_le_bytes).concat(),
        );
        let bytes = archive(&[("x.npy", npy("<f4", "(2, 1)", &x)), ("y.npy", npy("<i8", "(2,)", &y))]);
        let samples = read_xy(&bytes, "x").expect("samples");
        assert_eq!(samples.features, Features::Floats(vec![1.0, 2.0]));
        assert!(matches!(samples.targets, Targets::Classes { labels, .. } if labels == [0, 1]));
        let error = read_xy(&bytes, "z").expect_err("no z");
        assert_eq!(error.reason, "has no array 'z'; its files are x.npy, y.npy");
        assert_eq!(error.unquoted, "has no array 'z'; its files are …");
        let error = read_xy(&bytes, "y").expect_err("labels as features");
        assert!(error.reason.starts_with("array 'y' has shape [2]"), "{error}");
    }

    #[test]
    fn a_member_that_is_not_what_its_checksum_says_is_refused() {
        let content = npy("|u1", "(2, 1)", &[7, 8]);
        let labels = npy("|u1", "(2,)", &[0, 1]);
        let mut stored = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in [("x.npy", &content), ("y.npy", &labels)] {
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
            stored.start_file(name, options).expect("a file");
            stored.write_all(content).expect("written");
        }
        let mut bytes = stored.finish().expect("an archive").into_inner();
        assert!(read_xy(&bytes, "x").is_ok());
        let place = bytes.windows(2).position(|pair| pair == [7, 8]).expect("the elements");
        bytes[place] = 9;
        let error = read_xy(&bytes, "x").expect_err("another content");
        assert!(error.reason.starts_with("array 'x' cannot be read"), "{error}");
    }
}
