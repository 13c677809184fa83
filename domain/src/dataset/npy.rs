//! NumPy's `.npy` arrays, and `.npz` archives of them (NEP 1, "A Simple File Format for NumPy Arrays").

use std::io::{Cursor, Read};

use super::{
    FeatureRows, Features, ReadError, SampleShape, Samples, TargetKind, Targets, excerpt, numbered_classes, rows_of,
};
use crate::limits::DATASET_BYTES_MAX;

/// Names of the arrays in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrays {
    /// Array that goes into the network.
    pub features: String,
    /// Array to be predicted.
    pub target: String,
}

/// Longest header that is read.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Reads a file of features and one of targets.
pub(super) fn read_pair(
    features: &[u8],
    targets: &[u8],
    kind: TargetKind,
    classes: Option<&[String]>,
) -> Result<Samples, ReadError> {
    let features = Array::parse(features).map_err(ReadError::features)?;
    let targets = Array::parse(targets).map_err(ReadError::targets)?;
    samples(&features, &targets, kind, classes)
}

/// Reads a file of features.
pub(super) fn read_features(features: &[u8]) -> Result<FeatureRows, ReadError> {
    Array::parse(features).map_err(ReadError::features)?.rows()
}

/// Reads two arrays of an archive.
pub(super) fn read_archive(
    bytes: &[u8],
    arrays: &Arrays,
    kind: TargetKind,
    classes: Option<&[String]>,
) -> Result<Samples, ReadError> {
    let broken = |error: zip::result::ZipError| ReadError::features(format!("is no .npz archive: {error}"));
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    let mut member = |name: &str| -> Result<Vec<u8>, ReadError> {
        let names: Vec<String> = archive.file_names().flatten().map(Into::into).collect();
        let present = excerpt(&names.join(", "));
        let file = archive.by_name(&format!("{name}.npy")).map_err(|error| match error {
            zip::result::ZipError::FileNotFound => ReadError {
                column: Some(name.to_owned()),
                ..ReadError::features(format!("has no array '{name}'; its files are {present}"))
            },
            error => broken(error),
        })?;
        let mut content = Vec::new();
        // What is announced may be a lie: so much is read and no more.
        file.take(DATASET_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .map_err(|error| ReadError::features(format!("array '{name}': {error}")))?;
        if content.len() as u64 > DATASET_BYTES_MAX {
            return Err(ReadError::features(format!(
                "array '{name}' is larger than {DATASET_BYTES_MAX} bytes"
            )));
        }
        Ok(content)
    };
    let (features, targets) = (member(&arrays.features)?, member(&arrays.target)?);
    let in_array = |name: &str, reason: String| ReadError::features(format!("array '{name}' {reason}"));
    let features = Array::parse(&features).map_err(|reason| in_array(&arrays.features, reason))?;
    let targets = Array::parse(&targets).map_err(|reason| in_array(&arrays.target, reason))?;
    samples(&features, &targets, kind, classes).map_err(|error| {
        let name = if error.in_targets {
            &arrays.target
        } else {
            &arrays.features
        };
        in_array(name, error.reason)
    })
}

fn samples(
    features: &Array<'_>,
    targets: &Array<'_>,
    kind: TargetKind,
    classes: Option<&[String]>,
) -> Result<Samples, ReadError> {
    let FeatureRows { rows, shape, features } = features.rows()?;
    let is_column = matches!(*targets.shape.as_slice(), [len] | [len, 1] if len == u64::from(rows));
    if !is_column {
        return Err(ReadError::targets(format!(
            "has shape {:?}, and there are {rows} rows of features",
            targets.shape
        )));
    }
    let targets = match kind {
        TargetKind::Number => Targets::Numbers(targets.floats().map_err(ReadError::targets)?),
        TargetKind::Class => numbered_classes(targets.labels().map_err(ReadError::targets)?, None, classes)?,
    };
    Ok(Samples {
        rows,
        shape,
        features,
        targets,
    })
}

/// Types of elements that are read, all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    U1,
    I1,
    I2,
    I4,
    I8,
    F4,
    F8,
}

impl Element {
    fn from_descr(descr: &str) -> Option<Self> {
        Some(match descr {
            "|u1" | "|b1" => Self::U1,
            "|i1" => Self::I1,
            "<i2" => Self::I2,
            "<i4" => Self::I4,
            "<i8" => Self::I8,
            "<f4" => Self::F4,
            "<f8" => Self::F8,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U1 | Self::I1 => 1,
            Self::I2 => 2,
            Self::I4 | Self::F4 => 4,
            Self::I8 | Self::F8 => 8,
        }
    }

    fn read(self, bytes: &[u8]) -> f64 {
        fn of<const N: usize>(bytes: &[u8]) -> [u8; N] {
            // A chunk of this element's size: other lengths do not come here.
            bytes.try_into().unwrap_or([0; N])
        }
        match self {
            Self::U1 => f64::from(of::<1>(bytes)[0]),
            Self::I1 => f64::from(i8::from_le_bytes(of(bytes))),
            Self::I2 => f64::from(i16::from_le_bytes(of(bytes))),
            Self::I4 => f64::from(i32::from_le_bytes(of(bytes))),
            Self::I8 => i64::from_le_bytes(of(bytes)) as f64,
            Self::F4 => f64::from(f32::from_le_bytes(of(bytes))),
            Self::F8 => f64::from_le_bytes(of(bytes)),
        }
    }
}

/// One array, in C order.
struct Array<'a> {
    shape: Vec<u64>,
    kind: Element,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    fn parse(file: &'a [u8]) -> Result<Self, String> {
        let rest = file
            .strip_prefix(b"\x93NUMPY")
            .ok_or("is no .npy file: its magic number is another")?;
        let (&[major, _minor], rest) = rest.split_first_chunk::<2>().ok_or("ends within its version")?;
        let (header_len, rest) = match major {
            1 => {
                let (len, rest) = rest.split_first_chunk::<2>().ok_or("ends within its header's length")?;
                (usize::from(u16::from_le_bytes(*len)), rest)
            }
            2 | 3 => {
                let (len, rest) = rest.split_first_chunk::<4>().ok_or("ends within its header's length")?;
                (u32::from_le_bytes(*len) as usize, rest)
            }
            other => return Err(format!("is of .npy version {other}; 1 to 3 are read")),
        };
        if header_len > HEADER_BYTES_MAX || header_len > rest.len() {
            return Err(format!("has a header of {header_len} bytes, which is not there"));
        }
        let (header, bytes) = rest.split_at(header_len);
        let header = str::from_utf8(header).map_err(|_| "has a header that is no text")?;
        let descr = text_of(header, "descr")?;
        let kind = Element::from_descr(descr).ok_or_else(|| {
            format!(
                "holds elements of type '{}'; |u1, |i1, <i2, <i4, <i8, <f4 and <f8 are read",
                excerpt(descr)
            )
        })?;
        if !value_of(header, "fortran_order")?.starts_with("False") {
            return Err("is in Fortran order; save it with numpy.ascontiguousarray".to_owned());
        }
        let shape = shape_of(header)?;
        let len = shape
            .iter()
            .try_fold(kind.bytes() as u64, |product, len| product.checked_mul(*len));
        if len != Some(bytes.len() as u64) {
            return Err(format!(
                "has {} bytes behind its header, which says shape {shape:?} of '{descr}'",
                bytes.len()
            ));
        }
        Ok(Self { shape, kind, bytes })
    }

    /// As features, row by row.
    fn rows(&self) -> Result<FeatureRows, ReadError> {
        let size = |len: u64| u32::try_from(len).map_err(|_| ReadError::features("has a size beyond 2^32"));
        let dims = self.shape.iter().map(|len| size(*len)).collect::<Result<Vec<_>, _>>()?;
        let (rows, shape) = rows_of(&dims).ok_or_else(|| {
            ReadError::features(format!(
                "has shape {dims:?}; [rows, features], [rows, height, width] and [rows, channels, height, width] are read"
            ))
        })?;
        if rows == 0 || shape.is_empty() {
            return Err(ReadError::features("has no rows"));
        }
        let is_image = matches!(shape, SampleShape::Image { .. });
        let features = match self.kind {
            // Bytes of images are pixels; bytes of tables are small numbers.
            Element::U1 if is_image => Features::Bytes(self.bytes.to_vec()),
            _ => Features::Floats(self.floats().map_err(ReadError::features)?),
        };
        Ok(FeatureRows { rows, shape, features })
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.bytes
            .chunks_exact(self.kind.bytes())
            .map(|bytes| self.kind.read(bytes))
    }

    fn floats(&self) -> Result<Vec<f32>, String> {
        self.values()
            .enumerate()
            .map(|(index, value)| {
                let float = value as f32;
                if float.is_finite() {
                    Ok(float)
                } else {
                    Err(format!("element {index}: {value} is not a finite number"))
                }
            })
            .collect()
    }

    fn labels(&self) -> Result<Vec<u32>, String> {
        self.values()
            .enumerate()
            .map(|(row, value)| {
                if value >= 0.0 && value < crate::limits::CLASSES_MAX as f64 && value.fract() == 0.0 {
                    Ok(value as u32)
                } else {
                    Err(format!(
                        "row {row}: {value} is no label: labels are whole numbers from 0 on"
                    ))
                }
            })
            .collect()
    }
}

/// What follows `'key':` in the header, which is a Python dictionary.
fn value_of<'h>(header: &'h str, key: &str) -> Result<&'h str, String> {
    header
        .split_once(&format!("'{key}':"))
        .map(|(_, value)| value.trim_start())
        .ok_or_else(|| format!("has a header without '{key}'"))
}

fn text_of<'h>(header: &'h str, key: &str) -> Result<&'h str, String> {
    value_of(header, key)?
        .strip_prefix('\'')
        .and_then(|value| value.split_once('\''))
        .map(|(text, _)| text)
        .ok_or_else(|| format!("has a header whose '{key}' is no text; records are not read"))
}

fn shape_of(header: &str) -> Result<Vec<u64>, String> {
    let broken = || "has a header whose 'shape' is no list of sizes".to_owned();
    let (shape, _) = value_of(header, "shape")?
        .strip_prefix('(')
        .and_then(|value| value.split_once(')'))
        .ok_or_else(broken)?;
    shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| broken()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// As `numpy.save` writes it.
    fn npy(descr: &str, shape: &str, content: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.as_bytes());
        file.extend(content);
        file
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn longs(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn tables_and_images_are_read() {
        let table = npy("<f4", "(2, 3)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let targets = npy("<f8", "(2,)", &[0.5_f64, 1.5].map(f64::to_le_bytes).concat());
        let samples = read_pair(&table, &targets, TargetKind::Number, None).expect("samples");
        assert_eq!(samples.shape, SampleShape::Vector(3));
        assert_eq!(samples.targets, Targets::Numbers(vec![0.5, 1.5]));

        let images = npy("|u1", "(2, 1, 2)", &[0, 255, 1, 2]);
        let labels = npy("<i8", "(2, 1)", &longs(&[1, 0]));
        let samples = read_pair(&images, &labels, TargetKind::Class, None).expect("samples");
        assert_eq!(samples.features, Features::Bytes(vec![0, 255, 1, 2]));
        assert_eq!(samples.classes().map(<[_]>::len), Some(2));
    }

    #[test]
    fn an_archive_is_read_by_the_names_of_its_arrays() {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in [
            ("x.npy", npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]))),
            ("y.npy", npy("<i8", "(2,)", &longs(&[0, 1]))),
        ] {
            let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
            archive.start_file(name, options).expect("a file");
            archive.write_all(&content).expect("written");
        }
        let bytes = archive.finish().expect("an archive").into_inner();
        let arrays = |features: &str| Arrays {
            features: features.into(),
            target: "y".into(),
        };
        let samples = read_archive(&bytes, &arrays("x"), TargetKind::Class, None).expect("samples");
        assert_eq!(samples.features, Features::Floats(vec![1.0, 2.0]));
        let error = read_archive(&bytes, &arrays("z"), TargetKind::Class, None).expect_err("no z");
        assert_eq!(error.reason, "has no array 'z'; its files are x.npy, y.npy");
    }

    #[test]
    fn broken_files_say_what_is_wrong() {
        let table = npy("<f4", "(2, 1)", &floats(&[1.0, f32::NAN]));
        let labels = npy("<i8", "(2,)", &longs(&[0, 1]));
        let wrong =
            |table: &[u8], labels: &[u8]| read_pair(table, labels, TargetKind::Class, None).expect_err("broken");
        assert_eq!(wrong(&table, &labels).reason, "element 1: NaN is not a finite number");
        assert_eq!(
            wrong(&table[..table.len() - 1], &labels).reason,
            "has 7 bytes behind its header, which says shape [2, 1] of '<f4'"
        );
        let sound = npy("<f4", "(2, 1)", &floats(&[1.0, 2.0]));
        assert_eq!(
            wrong(&sound, &npy("<i8", "(2,)", &longs(&[0, -1]))).reason,
            "row 1: -1 is no label: labels are whole numbers from 0 on"
        );
        assert_eq!(
            wrong(&npy(">f4", "(2, 1)", &[0; 8]), &labels).reason,
            "holds elements of type '>f4'; |u1, |i1, <i2, <i4, <i8, <f4 and <f8 are read"
        );
        let huge = npy("<f4", "(99999999999, 99999999999)", &[0; 8]);
        assert!(
            wrong(&huge, &labels)
                .reason
                .starts_with("has 8 bytes behind its header")
        );
    }
}
