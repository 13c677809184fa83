//! IDX, the format of MNIST and its kin: a magic number, sizes, then plain bytes (<http://yann.lecun.com/exdb/mnist/>).

use std::io::{ErrorKind, Read};

use super::array::{Array, Header};
use super::element::Element;
use super::reader::{Input, unreadable};
use super::signature::FileKind;
use super::{Content, Reason};

/// Opens a file with one array of unsigned bytes.
pub(super) fn open(content: &dyn Content) -> Result<Array<'_>, Reason> {
    let mut input = Input::open(content, FileKind::Idx)?;
    let mut magic = Vec::with_capacity(4);
    let read = (&mut input).take(4).read_to_end(&mut magic);
    read.map_err(|error| unreadable(&error))?;
    let &[zero, zero_too, kind, size_count] = magic.as_slice() else {
        return Err(Reason::plain(format!(
            "ends within the magic number, after {} bytes",
            magic.len()
        )));
    };
    if (zero, zero_too) != (0, 0) || !(1..=4).contains(&size_count) {
        return Err(Reason::quoting(|quote| {
            let magic = quote.of(format!(
                "{:#010x}",
                u32::from_be_bytes([zero, zero_too, kind, size_count])
            ));
            format!("is no IDX file: its magic number is {magic}")
        }));
    }
    let other = match kind {
        8 => None,
        9 => Some("signed bytes"),
        0x0b => Some("16-bit integers"),
        0x0c => Some("32-bit integers"),
        0x0d => Some("32-bit floats"),
        0x0e => Some("64-bit floats"),
        _ => {
            return Err(Reason::quoting(|quote| {
                let kind = quote.of(format!("{kind:#04x}"));
                format!("holds elements of type {kind}, which is not known; unsigned bytes (0x08) are read")
            }));
        }
    };
    if let Some(other) = other {
        return Err(Reason::plain(format!(
            "holds {other}, and IDX files of unsigned bytes are read: save the array with numpy.save, for dataset.npy"
        )));
    }
    let mut sizes = Vec::with_capacity(usize::from(size_count));
    for number in 0..size_count {
        let mut size = [0; 4];
        input.read_exact(&mut size).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Reason::quoting(|quote| {
                let count = quote.of(size_count);
                format!("ends within its sizes, at number {number} of {count}")
            }),
            _ => unreadable(&error),
        })?;
        sizes.push(u64::from(u32::from_be_bytes(size)));
    }
    let before = 4 + 4 * u64::from(size_count);
    let (bytes, bytes_max) = (input.bytes, input.bytes_max);
    let header = Header {
        sizes,
        element: Element::BYTE,
        is_fortran: false,
        is_picture: true,
    };
    let bytes = bytes.map(|bytes| bytes.saturating_sub(before));
    Array::new(header, Box::new(input), bytes, bytes_max.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{gzip, idx, read, read_test};
    use super::super::{ArrayRules, Features, Format, ReadError, Samples, Scale, TargetKind, TargetShape, Targets};

    fn read_both(images: &[u8], labels: &[u8]) -> Result<Samples, ReadError> {
        read(
            &Format::Idx(ArrayRules::default()),
            TargetKind::Class,
            &images,
            Some(&labels),
        )
    }

    #[test]
    fn images_and_labels_are_read() {
        let (images, labels) = (idx(&[2, 1, 3], &[0, 1, 2, 253, 254, 255]), idx(&[2], &[1, 0]));
        let samples = read_both(&images, &labels).expect("samples");
        assert_eq!(samples.features, Features::Bytes(vec![0, 1, 2, 253, 254, 255]));
        assert_eq!(samples.shape.dims(), [1, 1, 3]);
        assert_eq!(
            samples.dataset_shape().map(|shape| shape.target),
            Some(TargetShape::Classes(2))
        );
        assert_eq!(samples.classes(), Some(&["0".to_owned(), "1".to_owned()][..]));
        assert_eq!(read_both(&gzip(&images), &gzip(&labels)), Ok(samples));
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let (images, labels) = (idx(&[2, 1, 1], &[7, 8]), idx(&[2], &[0, 1]));
        let wrong = |images: &[u8], labels: &[u8]| read_both(images, labels).expect_err("is broken");
        let cut = wrong(&images[..images.len() - 1], &labels);
        assert_eq!(
            (cut.in_targets, cut.reason.as_str()),
            (false, "has 1 bytes behind its header, and sizes [2, 1, 1] ask for 2")
        );
        assert!(
            wrong(b"\x89PNG\r\n\x1a\n", &labels)
                .reason
                .starts_with("is a PNG picture")
        );
        assert_eq!(
            wrong(b"\0\x01\x08\x03", &labels).reason,
            "is no IDX file: its magic number is 0x00010803"
        );
        assert_eq!(
            wrong(&[], &labels).reason,
            "ends within the magic number, after 0 bytes"
        );
        assert!(
            wrong(&[0, 0, 0x0d, 1, 0, 0, 0, 0], &labels)
                .reason
                .starts_with("holds 32-bit floats")
        );
        let few = wrong(&images, &idx(&[1], &[0]));
        assert_eq!(
            (few.in_targets, few.reason.as_str()),
            (true, "has shape [1], and there are 2 rows of features")
        );
        // Sizes whose product overflows take no memory.
        let huge = wrong(&idx(&[u32::MAX, u32::MAX, u32::MAX], &[1]), &labels);
        assert!(
            huge.reason.starts_with("has 1 bytes behind its header"),
            "{}",
            huge.reason
        );
    }

    #[test]
    fn labels_of_fashion_mnist_have_names() {
        let (images, labels) = (idx(&[2, 1, 1], &[7, 8]), idx(&[2], &[9, 0]));
        let samples = read(
            &Format::FashionMnist(Scale::None),
            TargetKind::Class,
            &images,
            Some(&labels),
        )
        .expect("samples");
        assert_eq!(samples.classes().map(<[_]>::len), Some(10));
        assert!(matches!(&samples.targets, Some(Targets::Classes { labels, .. }) if *labels == [9, 0]));
        let error = read(
            &Format::FashionMnist(Scale::None),
            TargetKind::Class,
            &images,
            Some(&idx(&[2], &[9, 10])),
        );
        assert_eq!(
            error.expect_err("no 10").reason,
            "row 1: 10 is none of the 10 labels from 0 on"
        );
        let classes = samples.classes();
        let test = read_test(
            &Format::FashionMnist(Scale::None),
            TargetKind::Class,
            classes,
            &images,
            Some(&labels),
        );
        assert_eq!(test.expect("samples").targets, samples.targets);
    }

    #[test]
    fn a_test_label_beyond_the_training_classes_is_refused() {
        let classes = ["0".to_owned(), "1".to_owned()];
        let (images, labels) = (idx(&[2, 1, 1], &[7, 8]), idx(&[2], &[0, 2]));
        let read = read_test(
            &Format::Idx(ArrayRules::default()),
            TargetKind::Class,
            Some(&classes),
            &images,
            Some(&labels),
        );
        assert_eq!(
            read.expect_err("a label 2").reason,
            "row 1: '2' is no class of the training rows"
        );
    }
}
