//! IDX, the format of MNIST and its kin: a magic number, sizes, then plain bytes (<http://yann.lecun.com/exdb/mnist/>).

use super::read_error::Reason;
use super::{Allowance, FeatureRows, Features, ReadError, Samples, TargetKind, Targets, numbered_classes, rows_of};

/// Type code of unsigned bytes, the third byte of the magic number.
const UNSIGNED_BYTE: u8 = 8;

/// Reads images and their labels. `known` names the classes; where it and `classes` are `None`, there are as many as the
/// highest label says.
pub(super) fn read(
    images: &[u8],
    labels: &[u8],
    kind: TargetKind,
    known: Option<&[&str]>,
    classes: Option<&[String]>,
    allowance: &mut Allowance<'_>,
) -> Result<Samples, ReadError> {
    let FeatureRows { rows, shape, features } = read_features(images, allowance)?;
    let (label_dims, labels) = array(labels).map_err(ReadError::targets)?;
    if label_dims != [rows] {
        return Err(ReadError::targets(Reason::quoting(|quote| {
            let (labels, rows) = (quote.of(format!("{label_dims:?}")), quote.of(rows));
            format!("has labels of size {labels}, and there are {rows} images")
        })));
    }
    let targets = match kind {
        TargetKind::Class => numbered_classes(labels.iter().copied().map(u32::from).collect(), known, classes)?,
        TargetKind::Number => Targets::Numbers(labels.iter().copied().map(f32::from).collect()),
    };
    Ok(Samples {
        rows,
        shape,
        features,
        targets,
    })
}

/// Reads images, or vectors, of bytes.
pub(super) fn read_features(images: &[u8], allowance: &mut Allowance<'_>) -> Result<FeatureRows, ReadError> {
    let (dims, pixels) = array(images).map_err(ReadError::features)?;
    let (rows, shape) = rows_of(&dims).ok_or_else(|| {
        ReadError::features(Reason::quoting(|quote| {
            let count = quote.of(dims.len());
            format!("has {count} dimensions; images have 3, or 4 with channels, and vectors 2")
        }))
    })?;
    if rows == 0 || shape.is_empty() {
        return Err(ReadError::features("has no rows"));
    }
    allowance.take(rows, shape)?;
    Ok(FeatureRows {
        rows,
        shape,
        features: Features::Bytes(pixels.to_vec()),
    })
}

/// Sizes and bytes of an array of unsigned bytes.
fn array(bytes: &[u8]) -> Result<(Vec<u32>, &[u8]), Reason> {
    let (&magic, mut rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| Reason::plain(format!("ends within the magic number, after {} bytes", bytes.len())))?;
    let [zero, zero_too, kind, dim_count] = magic;
    if (zero, zero_too) != (0, 0) || !(1..=4).contains(&dim_count) {
        return Err(Reason::quoting(|quote| {
            let magic = quote.of(format!("{:#010x}", u32::from_be_bytes(magic)));
            format!("is no IDX file: its magic number is {magic}")
        }));
    }
    if kind != UNSIGNED_BYTE {
        return Err(Reason::quoting(|quote| {
            let kind = quote.of(format!("{kind:#04x}"));
            format!("holds elements of type {kind}; only unsigned bytes (0x08) are read")
        }));
    }
    let mut dims = Vec::with_capacity(usize::from(dim_count));
    let mut len = 1_u64;
    for dim in 0..dim_count {
        let (&size, after) = rest.split_first_chunk::<4>().ok_or_else(|| {
            Reason::quoting(|quote| {
                let count = quote.of(dim_count);
                format!("ends within its sizes, at number {dim} of {count}")
            })
        })?;
        let size = u32::from_be_bytes(size);
        len = len.saturating_mul(u64::from(size));
        dims.push(size);
        rest = after;
    }
    if rest.len() as u64 != len {
        return Err(Reason::quoting(|quote| {
            let (dims, len) = (quote.of(format!("{dims:?}")), quote.of(len));
            format!("has {} bytes behind its sizes {dims}, which ask for {len}", rest.len())
        }));
    }
    Ok((dims, rest))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Part, TargetShape};
    use super::*;

    fn idx(dims: &[u32], content: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, UNSIGNED_BYTE, dims.len() as u8];
        dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
        file.extend(content);
        file
    }

    fn read_both(images: &[u8], labels: &[u8]) -> Result<Samples, ReadError> {
        let part = Part {
            features: images,
            targets: Some(labels),
        };
        super::super::read(&Format::Idx, TargetKind::Class, part, None, &mut Allowance::whole())
    }

    #[test]
    fn images_and_labels_are_read() {
        let images = idx(&[2, 1, 3], &[0, 1, 2, 253, 254, 255]);
        let samples = read_both(&images, &idx(&[2], &[1, 0])).expect("samples");
        assert_eq!(samples.features, Features::Bytes(vec![0, 1, 2, 253, 254, 255]));
        assert_eq!(samples.shape.dims(), [1, 1, 3]);
        assert_eq!(samples.dataset_shape().target, TargetShape::Classes(2));
        assert_eq!(samples.classes(), Some(&["0".to_owned(), "1".to_owned()][..]));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let (images, labels) = (idx(&[2, 1, 1], &[7, 8]), idx(&[2], &[0, 1]));
        let wrong = |images: &[u8], labels: &[u8]| read_both(images, labels).expect_err("is broken");
        let cut = wrong(&images[..images.len() - 1], &labels);
        assert_eq!(
            (cut.in_targets, cut.reason.as_str()),
            (false, "has 1 bytes behind its sizes [2, 1, 1], which ask for 2")
        );
        assert_eq!(
            wrong(b"\x89PNG\r\n", &labels).reason,
            "is no IDX file: its magic number is 0x89504e47"
        );
        assert_eq!(
            wrong(&[], &labels).reason,
            "ends within the magic number, after 0 bytes"
        );
        assert_eq!(
            wrong(&[0, 0, 0x0d, 1, 0, 0, 0, 0], &labels).reason,
            "holds elements of type 0x0d; only unsigned bytes (0x08) are read"
        );
        let few = wrong(&images, &idx(&[1], &[0]));
        assert_eq!(
            (few.in_targets, few.reason.as_str()),
            (true, "has labels of size [1], and there are 2 images")
        );
        // Sizes whose product overflows are no way to much memory.
        let huge = wrong(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[1]), &labels);
        assert!(
            huge.reason.starts_with("has 1 bytes behind its sizes"),
            "{}",
            huge.reason
        );
    }

    #[test]
    fn a_test_label_beyond_the_training_classes_is_refused() {
        let part = Part {
            features: &idx(&[2, 1, 1], &[7, 8])[..],
            targets: Some(&idx(&[2], &[0, 2])[..]),
        };
        let classes = ["0".to_owned(), "1".to_owned()];
        let mut whole = Allowance::whole();
        let read = super::super::read(&Format::Idx, TargetKind::Class, part, Some(&classes), &mut whole);
        let error = read.expect_err("a label 2");
        assert_eq!(error.reason, "row 1: label 2 is none of the 2 classes");
    }
}
