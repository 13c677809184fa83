//! Makes files for tests.

use std::io::{Cursor, Write};

use super::{Allowance, Content, Format, Known, Part, ReadError, Role, Samples, TargetKind};

/// In the format of `numpy.save`.
pub(super) fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
    npy_with(
        &format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"),
        content,
    )
}

/// With any header.
pub(super) fn npy_with(header: &str, content: &[u8]) -> Vec<u8> {
    let mut header = header.to_owned();
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(content);
    file
}

pub(super) fn idx(sizes: &[u32], content: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(content);
    file
}

pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(content).expect("written");
    packed.finish().expect("packed")
}

/// An archive of these arrays.
pub(super) fn npz(arrays: &[(&str, Vec<u8>)], is_packed: bool) -> Vec<u8> {
    let method = if is_packed {
        zip::CompressionMethod::Deflated
    } else {
        zip::CompressionMethod::Stored
    };
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in arrays {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        archive.start_file(format!("{name}.npy"), options).expect("a file");
        archive.write_all(content).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

pub(super) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn longs(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Reads a training part.
pub(super) fn read(
    format: &Format,
    kind: TargetKind,
    features: &dyn Content,
    targets: Option<&dyn Content>,
) -> Result<Samples, ReadError> {
    let part = Part { features, targets };
    super::read(format, kind, Role::Train, part, &mut Allowance::whole())
}

/// Reads a test part.
pub(super) fn read_test(
    format: &Format,
    kind: TargetKind,
    classes: Option<&[String]>,
    features: &dyn Content,
    targets: Option<&dyn Content>,
) -> Result<Samples, ReadError> {
    let part = Part { features, targets };
    let known = Known {
        classes: classes.map(<[_]>::to_vec),
        inputs: None,
    };
    super::read(format, kind, Role::Test(&known), part, &mut Allowance::whole())
}
